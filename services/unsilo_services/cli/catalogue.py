"""`unsilo connectors`, `topics`, `schemas`: what there is."""

import json
from typing import Annotated, Any

import typer
from unsilo_connectors.contract import Connector
from unsilo_connectors.discovery import broken, connectors
from unsilo_connectors.samples import samples
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.example import example as made_up
from unsilo_schemas.jsonschema import schema
from unsilo_schemas.topics import Topics

from ..configuration import declared, whole_name
from .hub import Hub
from .moments import lasting
from .output import AsJson, fail, show_json
from .scaffold import new_connector
from .tables import show_facts, show_rows

connectors_app = typer.Typer(no_args_is_help=True, help="The systems that unsilo knows how to connect.")
connectors_app.command("new")(new_connector)
schemas_app = typer.Typer(no_args_is_help=True, help="The event types and their contracts.")


@connectors_app.command("list")
def list_connectors(as_json: AsJson = False) -> None:
    """List the connectors.

    Example: unsilo connectors list
    """
    rows = [{"name": name, "title": found.title, "events": len(found.events)} for name, found in connectors().items()]
    show_rows(rows, as_json, "there are no connectors")


@connectors_app.command("show")
def show_connector(
    name: Annotated[str, typer.Argument(help="Its name, as `unsilo connectors list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show one connector: its settings, what it maps and ignores, how its sender behaves.

    Example: unsilo connectors show zendesk
    """
    if name in broken():
        raise fail(f"connector {name!r} is there, and is shown once it can be loaded: {broken()[name]}")
    if name not in connectors():
        raise fail(f"there is no connector {name!r}: `unsilo connectors list` shows those there are")
    show_facts(_connector_facts(connectors()[name]), as_json)


def topics(as_json: AsJson = False) -> None:
    """List the hub's topics: key, partitions, retention, and what on the broker differs.

    Example: unsilo topics
    """
    hub = Hub.reach()
    wanted = declared(hub.configuration, hub.topics)
    drifts: dict[str, list[str]] = {}
    for drift in hub.kafka.drift(wanted):
        drifts.setdefault(drift.topic, []).append(f"{drift.setting} is {drift.found}")
    rows = [
        {
            "topic": topic.name,
            "key": topic.key,
            "partitions": topic.partitions,
            "kept": topic.cleanup if topic.retention is None else lasting(topic.retention.total_seconds()),
            "differs": "; ".join(drifts.get(topic.name, [])),
        }
        for topic in wanted
    ]
    show_rows(rows, as_json, "there are no topics", spare=["partitions", "key"])


@schemas_app.command("list")
def list_schemas(as_json: AsJson = False) -> None:
    """List the event types, and the topic of each.

    Example: unsilo schemas list
    """
    rows = [{"type": name, "topic": Topics().event(found.entity_type).name} for name, found in EVENT_TYPES.items()]
    show_rows(rows, as_json, "there are no event types")


@schemas_app.command("show")
def show_schema(
    type: Annotated[str, typer.Argument(help="Its name; `unsilo.` and `.v1` may be left out.")],
    example: Annotated[bool, typer.Option("--example", help="Show an event of that type instead.")] = False,
    as_json: AsJson = True,
) -> None:
    """Show the JSON Schema of an event type, with an example of its data, or a whole event. It is JSON in any case.

    Example: unsilo schemas show ticket.ticket.created --example
    """
    short, type = type, whole_name(type)
    if type not in EVENT_TYPES:
        close = [name for name in EVENT_TYPES if short in name]
        raise fail(f"there is no event type {short!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    if not example:
        show_json({**schema(EVENT_TYPES[type]), "examples": [made_up(EVENT_TYPES[type])]})
        return
    show_json(next(_examples(type), {"type": type, "data": made_up(EVENT_TYPES[type])}))


def _examples(type: str) -> Any:
    for connector in connectors().values():
        for sample in samples(connector):
            for events in sample.events:
                yield from (event for event in events if event["type"] == type)


def _connector_facts(connector: Connector[Any, Any]) -> dict[str, Any]:
    sender = connector.sender
    return {
        "name": connector.name,
        "title": connector.title,
        "settings": json.loads(json.dumps(sorted(connector.settings.model_fields))),
        "maps": sorted(connector.events),
        "ignores": sorted(connector.ignored),
        "writes": sorted(connector.actions),
        "answers_within": f"{sender.deadline.total_seconds():.0f} s",
        "when_we_fail": sender.on_failure,
        "repeats_dropped_for": lasting(sender.retry_horizon.total_seconds()),
        "samples": [sample.name for sample in samples(connector)],
    }
