"""How Pipedrive's fields become ours: tables of fields, and the few ways in which values are written."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ..contract import Facts, MalformedWebhook
from .change import Change, text_id

ABSENT: Final = object()
"""What a conversion gives where the source did not say enough."""

State = Mapping[str, Any]
Convert = Callable[[Any, State, Change], Any]

_V1_CUSTOM = re.compile(r"[0-9a-f]{40}(_[a-z_0-9]+)?")


class Field(NamedTuple):
    """One of our fields, and the names of those of Pipedrive's that it follows from, any of which may be missing.

    It is the first of them that is there, as it comes or converted; a conversion also sees what stands beside it.
    """

    name: str
    keys: tuple[str, ...]
    convert: Convert | None = None


def instant(name: str, *keys: str) -> Field:
    """A moment; without a zone it is UTC (version 1 and users: `2026-03-02 09:14:07`)."""
    return Field(name, keys, lambda value, state, change: instant_text(value))


def day(name: str, key: str) -> Field:
    """A date; an empty one is none."""
    return Field(name, (key,), lambda value, state, change: value or None)


def owner(*keys: str) -> Field:
    """The user whom an object belongs to; version 1 adds the name."""

    def convert(value: Any, state: State, change: Change) -> Any:
        if value is None:
            return None
        name = state.get("owner_name")
        return change.connection.actor(text_id(value, keys[0]), name if isinstance(name, str) else None)

    return Field("owner", keys, convert)


def reference(name: str, kind: str, key: str, label: str = "") -> Field:
    """Another object, named by its id; version 1 gives the name in a field beside it."""

    def convert(value: Any, state: State, change: Change) -> Any:
        return None if value is None else change.reference(kind, value, key, state.get(label))

    return Field(name, (key,), convert)


def points(name: str, *keys: str) -> Field:
    """E-mail addresses or telephone numbers: `[{label, value, primary}]`, where an empty value stands for none."""

    def convert(values: Any, state: State, change: Change) -> Any:
        if not isinstance(values, list):
            return values
        return [_point(value, keys[0]) for value in values if not isinstance(value, dict) or value.get("value")]

    return Field(name, keys, convert)


def labels() -> Field:
    """Labels by id: a list, one number, or (version 1) numbers in a text with commas."""

    def convert(value: Any, state: State, change: Change) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            return [one.strip() for one in value.split(",") if one.strip()]
        return [text_id(one, "label_ids") for one in (value if isinstance(value, list) else [value])]

    return Field("tags", ("label_ids", "label"), convert)


TIMES = (
    instant("remote_created_at", "add_time", "created"),
    instant("remote_updated_at", "update_time", "modified"),
    instant("deleted_at", "delete_time"),
)


def told(fields: Iterable[Field], state: State, change: Change) -> Facts:
    """What a state says of some of our fields, without those that it does not touch."""
    facts = {}
    for name, keys, convert in fields:
        for key in keys:
            if key in state:
                value = state[key] if convert is None else convert(state[key], state, change)
                if value is not ABSENT:
                    facts[name] = value
                break
    return facts


def custom(state: State) -> Any:
    """The custom fields: an object of their own in version 2, 40 hexadecimal digits among the others in version 1."""
    if "custom_fields" in state:
        return state["custom_fields"]
    return {key: state[key] for key in state if len(key) >= 40 and _V1_CUSTOM.fullmatch(key)} or ABSENT


def money(value: Any, currency: Any) -> Any:
    """An amount as decimal text; null where there is none."""
    if value is None:
        return None
    if not isinstance(value, int | Decimal | str):
        raise MalformedWebhook("value: not a number")
    return {"amount": format(value, "f") if isinstance(value, Decimal) else str(value), "currency": currency}


def instant_text(value: Any) -> Any:
    """A moment with its zone; what is no text is left for the model to refuse."""
    if type(value) is not str:
        return value
    if not value:
        return None
    if len(value) < len("2026-03-02T09:14"):
        raise MalformedWebhook("a moment without its time of day")
    text = value.replace(" ", "T", 1)
    return text if text[-1] == "Z" or text[-6] in "+-" else text + "Z"


def _point(value: Any, place: str) -> Facts:
    if not isinstance(value, dict):
        raise MalformedWebhook(f"{place}: not objects with a value")
    point = {"value": value["value"]}
    if isinstance(value.get("label"), str):
        point["type"] = value["label"]
    if "primary" in value:
        point["primary"] = value["primary"]
    return point
