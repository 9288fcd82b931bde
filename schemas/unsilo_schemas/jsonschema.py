"""JSON Schema 2020-12 of every event type's data, generated from the models: what `dataschema` names.

The models refuse unknown fields, so that the hub writes none by mistake. The published schemas allow them, because a
field may be added inside a major version and must not break whoever checks against yesterday's schema.
"""

import json
from functools import cache
from typing import Any

from .catalogue import EVENT_TYPES
from .entity import EventType


def schema(event: EventType, base_url: str = "") -> dict[str, Any]:
    """The schema of one event type. Its `$id` is relative to wherever it is served, unless a base is given."""
    body = _published(event.data.model_json_schema(mode="serialization"))
    body["title"] = event.name
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": base_url + file_name(event), **body}


@cache
def text(event: EventType) -> str:
    """The text of a schema's file."""
    return json.dumps(schema(event), indent=2, ensure_ascii=False) + "\n"


def file_name(event: EventType) -> str:
    """Name of the schema's file, in `schemas/json/` and below the hub's `/schemas/`."""
    return f"{event.name}.json"


def files() -> dict[str, str]:
    """Every schema file: name and text."""
    return {file_name(event): text(event) for event in EVENT_TYPES.values()}


def _published(node: Any) -> Any:
    """Drops what pydantic says and the hub does not mean: closed objects, `null` for absent, titles made of names."""
    if isinstance(node, list):
        return [_published(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if not (key == "additionalProperties" and value is False)}
    if kept.get("default", ...) is None:
        del kept["default"]
    if isinstance(kept.get("title"), str) and "properties" not in kept:
        del kept["title"]
    return {key: _published(value) for key, value in kept.items()}
