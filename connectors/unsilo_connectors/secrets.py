"""Secrets in settings: marked where they are declared, given by reference only, masked wherever they are shown."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr


class Resolved(str):
    """The text behind a reference. Settings take a secret from this type only, never from text in a file."""

    __slots__ = ()


def _from_reference(value: Any) -> Any:
    if isinstance(value, Resolved | SecretStr):
        return value
    raise ValueError("is a secret: write {env: NAME} or {file: PATH}, never the value itself")


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Secret = Annotated[SecretStr, BeforeValidator(_from_reference)]
RotatingSecret = Annotated[tuple[Secret, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=2)]
"""One secret, or two while one takes the other's place: either of them is accepted."""
