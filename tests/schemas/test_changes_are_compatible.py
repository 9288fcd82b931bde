"""Inside a major version, events may gain fields and nothing else: what was released is compared with what is.

`released/` holds the schemas of the last release, 0.1.0. When a version is released, and only then, copy
`schemas/json/*.json` there: the additions since become promises. A change that these tests refuse needs a new major of
its type (`EntityType.version`), published beside the old one, whose files stay in `released/` until it is withdrawn on
its sunset date. Until 0.1.0 is out nobody relies on it, and what must still change may be copied again.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.compatibility import breaking
from unsilo_schemas.jsonschema import file_name, schema

RELEASED = {path.name: json.loads(path.read_text("utf-8")) for path in (Path(__file__).parent / "released").iterdir()}
NAME = "unsilo.ticket.ticket.created.v1.json"


def ticket() -> dict[str, Any]:
    """A schema with one of each kind of thing, as pydantic writes them."""
    either: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "what it is about"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": NAME,
        "$defs": {
            "Actor": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
            "Thread": {"type": "object", "properties": {"up": {"$ref": "#/$defs/Thread"}}},
        },
        "type": "object",
        "properties": {
            "title": either,
            "size": {"type": "integer"},
            "amount": {"type": "string", "pattern": r"^\d+$"},
            "due_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "kind": {"anyOf": [{"enum": ["human", "bot"], "type": "string"}, {"type": "null"}]},
            "layout": {"const": "plain", "type": "string"},
            "reporter": {"$ref": "#/$defs/Actor", "description": "who asked"},
            "owners": {"items": {"$ref": "#/$defs/Actor"}, "type": "array", "minItems": 1},
            "custom": {"type": "object", "additionalProperties": {"type": "string"}},
            "target": {"anyOf": [{"$ref": "#/$defs/Actor"}, {"type": "object", "properties": {"url": {}}}]},
            "top": {"$ref": "#/$defs/Thread"},
        },
        "required": ["title", "size"],
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The schema with one place set to a value, or taken out."""
    whole = copy.deepcopy(ticket())
    *steps, last = path.split()
    node: Any = whole
    for step in steps:
        node = node[int(step) if step.isdigit() else step]
    if value is ...:
        del node[last]
    else:
        node[int(last) if last.isdigit() else last] = value
    return whole


def test_what_was_released_still_holds() -> None:
    assert RELEASED
    assert breaking(RELEASED, {file_name(event): schema(event) for event in EVENT_TYPES.values()}) == []


@pytest.mark.parametrize(
    ("path", "value", "faults"),
    [
        ("properties title", ..., ["/title: removed"]),
        ("$defs Actor properties id", ..., [f"/{place}/id: removed" for place in ("reporter", "owners/*", "target")]),
        ("required", ["title", "size", "kind"], ["/kind: now required"]),
        ("required", ["title"], ["/size: no longer required"]),
        ("properties size type", "number", ["/size: no longer integer", "/size: now also number"]),
        ("properties size type", ..., ["/size: no longer integer", "/size: now also anything"]),
        ("properties size", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["/size: now also null"]),
        ("properties title", {"type": "string"}, ["/title: no longer null"]),
        ("properties title anyOf 0 maxLength", 80, ["/title: maxLength changed"]),
        ("properties title maxLength", 80, ["/title: maxLength changed"]),
        ("properties title anyOf 0 enum", ["a"], ["/title: no longer any value", "/title: now also 'a'"]),
        ("properties amount pattern", r"^\d$", ["/amount: pattern changed"]),
        ("properties due_at anyOf 0 format", "date", ["/due_at: format changed"]),
        ("properties kind anyOf 0 enum", ["human"], ["/kind: no longer 'bot'"]),
        ("properties kind anyOf 0 enum", ["human", "bot", "ghost"], ["/kind: now also 'ghost'"]),
        ("properties layout const", "html", ["/layout: no longer 'plain'", "/layout: now also 'html'"]),
        ("properties owners minItems", ..., ["/owners: minItems changed"]),
        ("properties owners items type", "array", ["/owners/*: no longer object", "/owners/*: now also array"]),
        ("properties owners items", ..., ["/owners: items changed"]),
        ("properties custom additionalProperties", {}, ["/custom/*: no longer string", "/custom/*: now also anything"]),
        ("properties reporter", {"type": "string"}, ["/reporter: no longer object", "/reporter: now also string"]),
        ("properties target anyOf 1 properties", {}, ["/target/url: removed"]),
        ("additionalProperties", False, ["/: additionalProperties changed"]),
        ("type", "array", ["/: no longer object", "/: now also array"]),
        ("$defs Thread properties up", {"type": "null"}, ["/top/up: no longer anything", "/top/up: now also null"]),
    ],
)  # fmt: skip
def test_names_what_a_change_would_break(path: str, value: Any, faults: list[str]) -> None:
    found = breaking({NAME: ticket()}, {NAME: changed(path, value)})
    assert found == [f"{NAME}: {fault}" for fault in faults]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties url", {"type": "string"}),
        ("$defs Actor properties name", {"type": "string"}),
        ("$defs Unused", {"type": "string"}),
        ("properties title description", "another sentence"),
        ("properties title default", None),
        ("title", "another title"),
        ("$id", "https://hub.example/schemas/x.json"),
        ("required", ["size", "title"]),
        ("properties kind anyOf", [{"type": "null"}, {"enum": ["bot", "human"], "type": "string"}]),
        ("properties layout", {"enum": ["plain"], "type": "string"}),
        ("properties reporter", {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}),
        ("additionalProperties", True),
    ],
)
def test_lets_additions_and_what_means_the_same_pass(path: str, value: Any) -> None:
    assert changed(path, value) != ticket()
    assert breaking({NAME: ticket()}, {NAME: changed(path, value)}) == []


def test_a_shape_may_be_renamed() -> None:
    renamed = json.loads(json.dumps(ticket()).replace("Actor", "Person"))
    assert breaking({NAME: ticket()}, {NAME: renamed}) == []


def test_a_type_may_come_and_may_not_go() -> None:
    assert breaking({}, {NAME: ticket()}) == []
    assert breaking({NAME: ticket()}, {}) == [f"{NAME}: removed"]


def test_changes_nothing_that_it_compares() -> None:
    old, new = ticket(), changed("properties title", ...)
    breaking({NAME: old}, {NAME: new})
    assert (old, new) == (ticket(), changed("properties title", ...))


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_a_field_taken_from_a_released_entity_is_missed(name: str) -> None:
    without = copy.deepcopy(RELEASED[name])
    entity = without["$defs"][without["properties"]["entity"]["$ref"].removeprefix("#/$defs/")]
    del entity["properties"]["refs"]
    assert breaking({name: RELEASED[name]}, {name: without}) == [f"{name}: /entity/refs: removed"]
