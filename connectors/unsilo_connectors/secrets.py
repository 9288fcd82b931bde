"""Secrets in settings: marked where they are declared, given by reference only, masked wherever they are shown."""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

_KINDS = frozenset({"env", "file"})


class Resolved(str):
    """The text behind a reference. Settings take a secret from this type only, never from text in a file."""

    __slots__ = ()


def _from_reference(value: Any) -> Any:
    if isinstance(value, Resolved | SecretStr):
        return value
    if not isinstance(value, dict):
        raise ValueError("is a secret: write {env: NAME} or {file: PATH}, never the value itself")
    for name in value:  # a name that is like none of ours is not shown: it may be the secret itself
        if near := get_close_matches(str(name), sorted(_KINDS - {name}), 1):
            raise ValueError(f"has {name}, which is not known here: write {near[0]}; there are env and file")
    raise ValueError("is a secret: write one of {env: NAME} and {file: PATH}, and nothing beside it")


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Secret = Annotated[SecretStr, BeforeValidator(_from_reference)]
RotatingSecret = Annotated[tuple[Secret, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=2)]
"""One secret, or two while one takes the other's place: either of them is accepted."""
