"""`unsilo connectors`, `connections`, `topics`, `schemas`: what there is."""

import json
from typing import Annotated, Any

import typer
from unsilo_connectors.contract import Connector
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.jsonschema import schema
from unsilo_schemas.topics import Topics

from ..config_topic import from_entries, load
from ..configuration import SecretUnavailable, connection_of, connector_of, from_environment, topics_of
from ..kafka import Kafka
from ..settings import HubSettings
from .output import AsJson, fail, show_facts, show_json, show_rows

connectors_app = typer.Typer(no_args_is_help=True, help="The systems that unsilo knows how to connect.")
connections_app = typer.Typer(no_args_is_help=True, help="The systems that this hub is connected to.")
schemas_app = typer.Typer(no_args_is_help=True, help="The event types and their contracts.")


@connectors_app.command("list")
def list_connectors(as_json: AsJson = False) -> None:
    """List the connectors."""
    rows = [{"name": name, "title": found.title, "events": len(found.events)} for name, found in connectors().items()]
    show_rows(rows, as_json, "there are no connectors")


@connectors_app.command("show")
def show_connector(name: str, as_json: AsJson = False) -> None:
    """Show one connector: its settings, what it maps and ignores, how its sender behaves.

    Example: unsilo connectors show zendesk
    """
    if name not in connectors():
        raise fail(f"there is no connector {name!r}: `unsilo connectors list` shows those there are")
    show_facts(_connector_facts(connectors()[name]), as_json)


@connections_app.command("list")
def list_connections(as_json: AsJson = False) -> None:
    """List the connections, the address to paste at each vendor, and whether their secrets are there."""
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait()
    configuration = from_entries(load(kafka, Topics(settings.topic_prefix).config()))
    rows = []
    for name, section in sorted(configuration.connections.items()):
        try:
            connection_of(section, from_environment)
            state = "open"
        except SecretUnavailable as error:
            state = f"shut here: {error}"
        url = f"{configuration.hub.public_url}/in/{name}"
        rows.append({"id": name, "connector": section.connector, "url": url, "state": state})
    show_rows(rows, as_json, "no connections yet: declare some in unsilo.yaml and run `unsilo apply`")


@connections_app.command("show")
def show_connection(name: str, as_json: AsJson = False) -> None:
    """Show one connection: the address to paste at the vendor, and what its sender does when we fail.

    Example: unsilo connections show helpdesk
    """
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait()
    configuration = from_entries(load(kafka, Topics(settings.topic_prefix).config()))
    section = configuration.connections.get(name)
    if section is None:
        raise fail(f"there is no connection {name!r}: `unsilo connections list` shows those there are")
    sender = connector_of(section).sender
    facts = {
        "id": name,
        "connector": section.connector,
        "url": f"{configuration.hub.public_url}/in/{name}",
        "raw_topic": Topics(settings.topic_prefix).raw(name).name,
        "answers_within": f"{sender.deadline.total_seconds():.0f} s",
        "when_we_fail": sender.on_failure,
        "rate_per_minute": section.rate_per_minute,
        "max_body_bytes": section.max_body_bytes or sender.max_body_bytes,
    }
    show_facts(facts, as_json)


def topics(as_json: AsJson = False) -> None:
    """List the hub's topics: key, partitions, retention, and what on the broker differs.

    Example: unsilo topics
    """
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait()
    names = Topics(settings.topic_prefix)
    configuration = from_entries(load(kafka, names.config()))
    wanted = [*names.fixed(), *topics_of(configuration, names)]
    drifts: dict[str, list[str]] = {}
    for drift in kafka.drift(wanted):
        drifts.setdefault(drift.topic, []).append(f"{drift.setting} is {drift.found}")
    rows = [
        {
            "topic": topic.name,
            "key": topic.key,
            "partitions": topic.partitions,
            "kept": topic.cleanup if topic.retention is None else f"{topic.retention.days} d",
            "differs": "; ".join(drifts.get(topic.name, [])),
        }
        for topic in wanted
    ]
    show_rows(rows, as_json, "there are no topics")


@schemas_app.command("list")
def list_schemas(as_json: AsJson = False) -> None:
    """List the event types."""
    rows = [{"type": name, "topic": Topics().event(found.entity_type).name} for name, found in EVENT_TYPES.items()]
    show_rows(rows, as_json, "there are no event types")


@schemas_app.command("show")
def show_schema(
    type: str,
    example: Annotated[bool, typer.Option("--example", help="Show an event of that type instead.")] = False,
) -> None:
    """Show the JSON Schema of an event type, or an example of it.

    Example: unsilo schemas show unsilo.ticket.ticket.created.v1 --example
    """
    if type not in EVENT_TYPES:
        close = [name for name in EVENT_TYPES if type in name]
        raise fail(f"there is no event type {type!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    if not example:
        show_json(schema(EVENT_TYPES[type]))
        return
    found = next(_examples(type), None)
    if found is None:
        raise fail(f"no sample shows {type}")
    show_json(found)


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
        "answers_within": f"{sender.deadline.total_seconds():.0f} s",
        "when_we_fail": sender.on_failure,
        "repeats_dropped_for": str(sender.retry_horizon),
        "samples": [sample.name for sample in samples(connector)],
    }
