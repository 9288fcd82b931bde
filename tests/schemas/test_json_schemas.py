"""The published JSON Schemas: current, valid, open for additions, and true of the events that connectors make."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import EventType
from unsilo_schemas.example import example
from unsilo_schemas.jsonschema import files, schema

COMMITTED = Path(__file__).parents[2] / "schemas" / "json"
EACH = pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=EVENT_TYPES)


@cache
def told() -> dict[str, list[dict[str, Any]]]:
    """The data of every event in the connectors' samples, by type."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in EVENT_TYPES}
    for connector in connectors().values():
        for sample in samples(connector):
            for part in sample.events:
                for event in part:
                    found[event["type"]].append(event["data"])
    return found


def bare(event: EventType) -> dict[str, Any]:
    """The least that an event of a type can say."""
    whole = example(event)["entity"]
    required = [name for name, field in event.entity_type.model.model_fields.items() if field.is_required()]
    return {"entity": {name: whole[name] for name in required}, "changed": [], "complete": False}


def examples(event: EventType) -> list[dict[str, Any]]:
    """What connectors say, and the most and the least that can be said: not every type has a connector yet."""
    return [*told()[event.name], example(event), bare(event)]


@cache
def validator(event: EventType) -> Draft202012Validator:
    return Draft202012Validator(schema(event))


@cache
def entity_fields(event: EventType) -> dict[str, Any]:
    """The schema of each field of an event's entity."""
    whole = schema(event)
    name = whole["properties"]["entity"]["$ref"].removeprefix("#/$defs/")
    found = whole["$defs"][name]["properties"]
    assert isinstance(found, dict)
    return found


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from nodes(item)


def grown(value: Any) -> Any:
    """The same with a field more in every object."""
    if isinstance(value, list):
        return [grown(item) for item in value]
    if isinstance(value, dict):
        return {**{name: grown(item) for name, item in value.items()}, "added_later": {"x": [1]}}
    return value


def test_the_files_in_the_repository_are_current() -> None:
    """If they are not: `make docs`."""
    assert {path.name: path.read_text("utf-8") for path in COMMITTED.iterdir()} == files()


def test_writing_the_files_again_takes_away_what_is_no_longer_published(tmp_path: Path) -> None:
    (tmp_path / "unsilo.gone.entity.created.v1.json").write_text("{}")
    subprocess.run([sys.executable, "-m", "unsilo_schemas", str(tmp_path)], check=True)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == files()


def test_there_is_one_file_for_each_event_type() -> None:
    assert set(files()) == {f"{name}.json" for name in EVENT_TYPES}


@EACH
def test_a_schema_is_valid_and_says_who_it_is(event: EventType) -> None:
    written = schema(event)
    Draft202012Validator.check_schema(written)
    assert written["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert written["$id"] == f"{event.name}.json"
    assert written["title"] == event.name


@EACH
def test_a_schema_names_itself_as_dataschema_does_where_it_is_served(event: EventType) -> None:
    assert schema(event, "https://hub.example/schemas/")["$id"] == f"https://hub.example/schemas/{event.name}.json"


@EACH
def test_a_schema_describes_every_field_of_the_entity(event: EventType) -> None:
    model = event.entity_type.model
    assert set(entity_fields(event)) == set(model.model_fields)
    assert set(schema(event)["properties"]) == set(event.data.model_fields)
    assert all(set(field) - {"description"} for field in entity_fields(event).values()), "a field without a type"


@EACH
def test_a_schema_is_open_for_additions(event: EventType) -> None:
    for node in nodes(schema(event)):
        assert node.get("additionalProperties") is not False
        assert "unevaluatedProperties" not in node
        assert "maxProperties" not in node


@EACH
def test_an_event_with_fields_added_later_fits_the_schema_of_today(event: EventType) -> None:
    for data in examples(event):
        validator(event).validate(grown(data))


@EACH
def test_what_connectors_say_fits_the_schema_and_the_model(event: EventType) -> None:
    for data in examples(event):
        validator(event).validate(data)
        parsed = event.data.model_validate_json(json.dumps(data))
        assert json.loads(parsed.model_dump_json(exclude_unset=True)) == data


def test_the_connectors_speak_of_something() -> None:
    """Without samples the tests above would pass on bare events alone."""
    assert connectors()
    assert sum(map(len, told().values())) >= len(connectors())


@EACH
def test_a_field_of_the_wrong_type_does_not_fit(event: EventType) -> None:
    data = bare(event)
    for name, field in entity_fields(event).items():
        numeric = any(node.get("type") == "number" for node in nodes(field))
        wrong = "text" if numeric else 12.5
        assert not validator(event).is_valid({**data, "entity": {**data["entity"], name: wrong}}), name


@EACH
@pytest.mark.parametrize(
    "wrong",
    [
        {"entity": []},
        {"entity": {}},
        {"changed": None},
        {"changed": [1]},
        {"complete": "yes"},
        {"previous": []},
    ],
    ids=str,
)
def test_data_of_the_wrong_shape_does_not_fit(event: EventType, wrong: dict[str, Any]) -> None:
    assert not validator(event).is_valid({**bare(event), **wrong})


@EACH
def test_data_without_a_required_field_does_not_fit(event: EventType) -> None:
    data = bare(event)
    for name in ("entity", "changed", "complete"):
        assert not validator(event).is_valid({other: value for other, value in data.items() if other != name}), name
    for name in data["entity"]:
        entity = {other: value for other, value in data["entity"].items() if other != name}
        assert not validator(event).is_valid({**data, "entity": entity}), name
