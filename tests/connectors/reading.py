"""An event as its consumers read it."""

from typing import Any

from unsilo_connectors.contract import Event
from unsilo_schemas.writer import writer


def entity_of(event: Event) -> Any:
    """The entity of an event that is published, by its model."""
    return event.type.data.model_validate_json(writer(event.type.data).write(event.data)).entity
