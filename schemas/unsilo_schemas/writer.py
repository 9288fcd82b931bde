"""An event's data as JSON, checked against its model on the way.

The models say what an entity is. To build one of them for every event and to have it written would be a third of the
normalizer's time, so each has a strict twin, a msgspec struct made of the same fields, that takes plain dictionaries. A
test holds the two together: what a twin writes, its model reads, and writes as the same bytes.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

_encode = msgspec.json.Encoder(decimal_format="number").encode
_PLACE = re.compile(r"(.*?)(?: - at (?:`key` in )?`\$\.?([^`]*)`)?", re.DOTALL)  # the last: a value may look like one


class SchemaViolation(ValueError):
    """Facts that their model does not allow. The message names places and types, never values."""


class Writer:
    """Writes what one model describes. A field that is not given is absent from the JSON, as is right."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._strict = _strict(model)

    def write(self, facts: Mapping[str, Any]) -> bytes:
        """The JSON. Facts are JSON values, also exact ones (Decimal), moments with their zone, and dates.

        Raises SchemaViolation.
        """
        return _encode(self._checked(facts))

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raises SchemaViolation where `write` would."""
        self._checked(facts)

    def _checked(self, facts: Mapping[str, Any]) -> msgspec.Struct:
        try:
            return msgspec.convert(facts, self._strict)
        except msgspec.ValidationError as error:
            raise SchemaViolation(_said(error)) from None


def _said(error: msgspec.ValidationError) -> str:
    """The place first; without the value that msgspec quotes where it is none of a few."""
    reason, place = _PLACE.fullmatch(str(error)).groups()  # type: ignore[union-attr]  # it matches every text
    if reason.startswith("Invalid enum value"):
        reason = "Not one of its values"
    return f"{place or 'data'}: {reason}"


@cache
def writer(model: type[BaseModel]) -> Writer:
    """The writer of a model, made when it is first asked for."""
    return Writer(model)


@cache
def _strict(model: type[BaseModel]) -> type[msgspec.Struct]:
    fields = [(name, *_field(info)) for name, info in model.model_fields.items()]
    return msgspec.defstruct(model.__name__, fields, kw_only=True, forbid_unknown_fields=True, gc=False)


def _field(info: FieldInfo) -> tuple[Any, ...]:
    kind = _constrained(_kind(info.annotation), info)
    return (kind,) if info.is_required() else (kind | msgspec.UnsetType, msgspec.UNSET)


def _kind(annotation: Any) -> Any:
    """A field's type in msgspec's terms."""
    if annotation is JsonValue:
        return Any
    if annotation is datetime:
        return Annotated[datetime, msgspec.Meta(tz=True)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _strict(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _constrained(_kind(arguments[0]), FieldInfo.from_annotation(annotation))
    if origin in (Union, UnionType):
        return Union[tuple(_kind(each) for each in arguments)]  # noqa: UP007  # made at run time
    if origin in (list, dict):
        return origin[tuple(_kind(each) for each in arguments)]
    return annotation


def _constrained(kind: Any, info: FieldInfo) -> Any:
    for constraint in info.metadata:
        kind = Annotated[kind, _constraint(constraint)]
    return kind


def _constraint(constraint: Any) -> msgspec.Meta:
    """A constraint in msgspec's terms. None may get lost: one that is not known here is a fault of ours."""
    if (length := getattr(constraint, "min_length", None)) is not None:
        return msgspec.Meta(min_length=length)
    if isinstance(pattern := getattr(constraint, "pattern", None), str):
        return msgspec.Meta(pattern=pattern.removesuffix("$") + r"\Z")  # Python's `$` also stands before a last newline
    raise TypeError(f"no counterpart of {constraint!r} is known")
