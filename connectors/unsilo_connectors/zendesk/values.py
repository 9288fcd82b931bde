"""Zendesk's values. An id is text in events and a number in its API; an empty placeholder renders as empty text."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar

from ..contract import Connection, Facts, MalformedWebhook
from ..payloads import moment
from .settings import ZendeskSettings

ValueT = TypeVar("ValueT")

Here: TypeAlias = Connection[ZendeskSettings]
Reader: TypeAlias = Callable[[Any, Here], ValueT]
Kind: TypeAlias = Literal["human", "bot", "system"]

SYSTEM_ID = "-1"  # Zendesk's own automations, as its audits name them
_NOBODY = ("", "0")  # how user events write an absent id
_ID_LIMIT = 10**20  # beyond 64 bits; Python refuses to write far longer numbers as text
_REMEMBERED = 10_000  # the same few words come again and again


def named(name: str, reader: Reader[ValueT], value: Any, here: Here) -> ValueT:
    """What a reader makes of a value; MalformedWebhook says of which."""
    try:
        return reader(value, here)
    except MalformedWebhook as error:
        raise MalformedWebhook(f"{name}: {error}") from None


def identifier(value: Any, _: Here) -> str | None:
    """An id as text; None for Zendesk's ways of writing none."""
    if value is None:
        return None
    if isinstance(value, str):
        return None if value in _NOBODY else value
    if type(value) is int and -_ID_LIMIT < value < _ID_LIMIT:  # not `isinstance`: true is no id
        return str(value) if value else None
    raise MalformedWebhook("not an id")


def text(value: Any, _: Here) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise MalformedWebhook("not text")


def flag(value: Any, _: Here) -> bool | None:
    """True or false, as JSON or as the text of a placeholder."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise MalformedWebhook("neither true nor false")


def time(value: Any, _: Here) -> datetime | None:
    """A moment; Zendesk writes none, three or nine digits of fraction, and placeholders may leave the seconds out."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise MalformedWebhook("not a time")
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is UTC:
            return found
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise MalformedWebhook("a time that no calendar has") from None
    except ValueError:
        return moment(value)


def tags(value: Any, _: Here) -> list[str] | None:
    """A list in events, or one text with blanks between, as the placeholder renders it."""
    if isinstance(value, str):
        return value.split()
    if value is None or (isinstance(value, list) and all(isinstance(tag, str) for tag in value)):
        return value
    raise MalformedWebhook("not a list of texts")


def channel(value: Any, here: Here) -> str | None:
    """`via` is an object in events and a text in a trigger's body."""
    return text(value.get("channel") if isinstance(value, dict) else value, here)


def emails(value: Any, here: Here) -> list[Facts] | None:
    """The one primary address that a user has."""
    address = text(value, here)
    if address is None:
        return None
    return [{"value": address, "primary": True}] if address else []


def visibility(value: Any, here: Here) -> str | None:
    public = flag(value, here)
    return None if public is None else "public" if public else "internal"


def outsider(value: Any, here: Here) -> bool | None:
    """Whether a role is a customer's."""
    return _OUTSIDERS.get(text(value, here) or "")


def actor(value: Any, here: Here, name: str | None = None, kind: Kind | None = None) -> Facts | None:
    remote_id = identifier(value, here)
    if remote_id is None:
        return None
    return here.actor(remote_id, name, "system" if remote_id == SYSTEM_ID else kind)


def actors(value: Any, here: Here) -> list[Facts] | None:
    """The one person in what is a list with us."""
    if value is None:
        return None
    one = actor(value, here)
    return [] if one is None else [one]


def reference(remote_type: str) -> Reader[Facts | None]:
    """Reads the id of another object."""

    def read(value: Any, here: Here) -> Facts | None:
        remote_id = identifier(value, here)
        return None if remote_id is None else here.reference(remote_type, remote_id)

    return read


def references(remote_type: str) -> Reader[list[Facts] | None]:
    """Reads the id of the one object in what is a list with us."""
    read_one = reference(remote_type)

    def read(value: Any, here: Here) -> list[Facts] | None:
        if value is None:
            return None
        one = read_one(value, here)
        return [] if one is None else [one]

    return read


def coded(categories: Mapping[str, str]) -> Reader[Facts | None]:
    """Reads an enumeration: upper case in events, lower case in the API, capitalised in placeholders."""

    @lru_cache(maxsize=_REMEMBERED)
    def understood(raw: str) -> Facts:
        return {"category": categories.get(raw.upper()), "raw": raw}

    def read(value: Any, here: Here) -> Facts | None:
        raw = text(value, here)
        return understood(raw) if raw else None

    return read


_FLAGS = {"true": True, "false": False, "": None}
_OUTSIDERS = {"end-user": True, "agent": False, "admin": False}
