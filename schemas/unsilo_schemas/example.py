"""An example of every event type, made from its model: every field is there, with a value that could stand there."""

import re
import types
import typing
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel

from .entity import Coded, Entity, EventType, Money
from .identity import entity_id

_MOMENT = datetime(2026, 3, 2, 9, 14, 7, tzinfo=UTC)
_ID = entity_id("example", "thing", "1")


def example(event: EventType) -> dict[str, Any]:
    """The data of an event of this type, as JSON values."""
    entity = _instance(event.entity_type.model)
    data = event.data(entity=entity, changed=[], complete=True)
    shown: dict[str, Any] = data.model_dump(mode="json", exclude_unset=True)
    return shown


def _instance(model: type[BaseModel], name: str = "") -> BaseModel:
    if issubclass(model, Coded):
        category = next(iter(model.model_fields["category"].examples or ()), "example")
        return model(category=category, raw=category.upper())
    if model is Money:
        return Money(amount="12500.00", currency="EUR")
    values = {field: _value(info.annotation, field, list(info.metadata)) for field, info in model.model_fields.items()}
    if issubclass(model, Entity):
        values.pop("deleted_at", None)
    return model.model_validate(values)


def _value(annotation: Any, name: str, metadata: list[Any]) -> Any:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(annotation) if choice is not type(None)]
        return _value(choices[0], name, metadata)
    if origin is typing.Annotated:
        return _value(typing.get_args(annotation)[0], name, metadata)
    if origin is Literal:
        return typing.get_args(annotation)[0]
    if origin is list:
        return [_value(typing.get_args(annotation)[0], name.removesuffix("s"), [])]
    if origin is dict:
        return {"example": "value"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _instance(annotation, name)
    return _scalar(annotation, name)


def _scalar(annotation: Any, name: str) -> Any:
    if annotation is bool:
        return True
    if annotation in (int, float):
        return 1
    if annotation is datetime:
        return _MOMENT
    if annotation is date:
        return _MOMENT.date()
    if re.search(r"(^|_)id$", name) or name in _IDS:
        return _ID
    return f"example {name.replace('_', ' ')}"


_IDS = {"space", "thread", "in_reply_to", "target", "ticket", "aggregate"}
