"""`unsilo tail` and `unsilo send`: what comes out, and something to put in."""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from unsilo_connectors.samples import Sample, samples
from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.topics import Topics

from ..config_topic import from_entries, load
from ..configuration import connection_of, connector_of, from_environment
from ..kafka import OFFSET_END, Kafka, KafkaException, Message, TopicPartition, headers_of, offset_at
from ..settings import HubSettings, running
from .output import AsJsonLines, console, fail

_SPAN = re.compile(r"^(\d+)([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def tail(
    type: Annotated[str | None, typer.Option(help="Only event types that contain this text.")] = None,
    connection: Annotated[str | None, typer.Option(help="Only events of this connection.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin so long ago: 30s, 10m, 2h, 1d. From now on, unless given.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end instead of waiting for more.")] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Show events as they are published, one a line.

    Example: unsilo tail --type ticket --since 10m
    """
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait()
    start = None if since is None else datetime.now(UTC) - _span(since)
    for message in _events(kafka, Topics(settings.topic_prefix), start, once):
        envelope = Envelope.from_headers(headers_of(message))
        if type is not None and type not in envelope.type:
            continue
        if connection is not None and connection != envelope.connection:
            continue
        if as_json:
            sys.stdout.write(json.dumps(envelope.structured(message.value()), ensure_ascii=False) + "\n")
        else:
            console.print(line(envelope, message.value()), markup=False)
        sys.stdout.flush()


def line(envelope: Envelope, value: bytes | None) -> str:
    """An event on one line: when the hub had it, whose it is, what happened, to what."""
    entity = {} if value is None else json.loads(value)["entity"]
    said = next(
        (str(entity[name]) for name in ("title", "name", "body", "display_name", "emoji") if entity.get(name)), ""
    )
    at = "" if envelope.recordedtime is None else f"{envelope.recordedtime.astimezone():%H:%M:%S}"
    kind = envelope.type.removeprefix("unsilo.")
    text = f"{at}  {envelope.connection or '':14} {kind:34} {said}".replace("\n", " ")
    return text if len(text) <= 110 else text[:109] + "…"


def send(
    connection: Annotated[str, typer.Argument(help="Connection to send to, as in unsilo.yaml.")],
    what: Annotated[str | None, typer.Argument(help="A sample of its connector, or a file with a body.")] = None,
    gateway: Annotated[str | None, typer.Option(help="Address of the gateway; the running one unless given.")] = None,
) -> None:
    """Sign a sample or a file as the vendor would, with the connection's own secret, and post it to the hub.

    Without a sample's name, lists those there are. Example: unsilo send helpdesk ticket_created
    """
    settings = HubSettings()
    kafka = Kafka.from_settings(settings)
    kafka.wait()
    section = from_entries(load(kafka, Topics(settings.topic_prefix).config())).connections.get(connection)
    if section is None:
        raise fail(f"there is no connection {connection!r}: `unsilo connections list` shows those there are")
    connector = connector_of(section)
    found = {sample.name: sample for sample in samples(connector)}
    if what is None:
        console.print("\n".join(found) or "this connector was installed without its samples: name a file", markup=False)
        return
    body, headers = _body(what, found)
    signed = connector.sign(body, connection_of(section, from_environment).settings, datetime.now(UTC))
    address = gateway or running(settings).get("gateway") or f"http://{settings.gateway_host}:{settings.gateway_port}"
    try:
        answer = httpx.post(f"{address}/in/{connection}", content=body, headers={**headers, **signed}, timeout=30)
    except httpx.TransportError as error:
        raise fail(f"no gateway answers at {address}: start one with `unsilo up`") from error
    console.print(f"{answer.status_code} {answer.text or answer.reason_phrase}", markup=False)
    if not answer.is_success:
        raise typer.Exit(1)


def _body(what: str, found: dict[str, Sample]) -> tuple[bytes, dict[str, str]]:
    if what in found:
        return found[what].body, dict(found[what].headers)
    path = Path(what)
    if not path.is_file():
        raise fail(f"{what!r} is neither a file nor one of {', '.join(found)}")
    return path.read_bytes(), {"content-type": "application/json"}


def _events(kafka: Kafka, topics: Topics, start: datetime | None, once: bool) -> Iterator[Message]:
    names = sorted({topics.event(kind).name for kind in ENTITY_TYPES})
    partitions = [
        TopicPartition(name, number, OFFSET_END) for name in names for number in range(kafka.partitions(name))
    ]
    if start is not None:
        partitions = offset_at(kafka, partitions, start)
    ends = kafka.end_offsets(partitions, committed=True)
    consumer = kafka.consumer(enable_partition_eof=True, fetch_wait_max_ms=100)
    consumer.assign(partitions)
    open_partitions: set[Any] = set(ends)
    try:
        while open_partitions or not once:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif (message.offset() or -1) >= 0 or error.name() == "_PARTITION_EOF":
                open_partitions.discard((message.topic(), message.partition()))
            else:
                raise KafkaException(error)
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()


def _span(text: str) -> timedelta:
    match = _SPAN.match(text)
    if match is None:
        raise fail(f"{text!r} is no span of time: write 30s, 10m, 2h or 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
