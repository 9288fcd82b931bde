"""`unsilo tail` and `unsilo send`: what comes out, and something to put in."""

from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from errno import ENAMETOOLONG
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from unsilo_connectors.contract import UnusableSecret
from unsilo_connectors.samples import Sample, samples
from unsilo_schemas.catalogue import ENTITY_TYPES, EVENT_TYPES
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.topics import Topics

from ..configuration import SecretUnavailable, connection_of, connector_of, from_environment, short_name
from ..kafka import (
    OFFSET_END,
    Kafka,
    KafkaError,
    KafkaException,
    Message,
    Partition,
    TopicPartition,
    headers_of,
    offset_at,
    recorded_at,
)
from .hub import Hub, place_of
from .moments import moment
from .output import AsJson, AsJsonLines, console, fail, printable, show_json, show_json_line, tell
from .queues import gateway_address
from .stories import written
from .tables import cell_text, show_line, show_names

_TELLING = ("title", "name", "subject", "display_name", "preferred_name", "body", "emoji")  # fields of entities
_TITLES = ("at", "connection", "type", "text")
_MOST_HELD = 50_000  # events
_LONGEST_SHOWN = 40  # of what may be a body in a file's place


def tail(
    type: Annotated[str | None, typer.Option(help="Only event types that contain this text.")] = None,
    connection: Annotated[str | None, typer.Option(help="Only events of this connection.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin so long ago (30s, 10m, 2h, 1d), or at a time. From now on, unless given.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end instead of waiting for more.")] = False,
    as_json: AsJsonLines = False,
) -> None:
    """Show events as they are published, one a line.

    Example: unsilo tail --type ticket --since 10m
    """
    if type is not None and not any(type in name for name in EVENT_TYPES):
        raise fail(f"there is no event type with {type!r} in it: `unsilo schemas list` shows those there are")
    hub = Hub.reach()
    if connection is not None and hub.topics.raw_name(connection) not in hub.partitions:  # one removed left events
        hub.connection(connection)
    start = None if since is None else moment(since)
    types = [name for name in EVENT_TYPES if type is None or type in name]
    ids = [*hub.configuration.connections, _TITLES[1]]
    widths = (
        len(cell_text(start or datetime.now(UTC))),
        max(map(len, ids)),
        max(len(short_name(name)) for name in types),
    )
    begun = False
    for message in _events(hub.kafka, hub.topics, start, once):
        try:
            envelope = Envelope.from_headers(headers_of(message))
        except ValidationError:
            place = f"{message.topic()}/{message.partition()}/{message.offset()}"
            tell(f"the record at {place} is no event and is passed over")
            continue
        if type is not None and type not in envelope.type:
            continue
        if connection is not None and connection != envelope.connection:
            continue
        if as_json:
            show_json_line(envelope.structured(message.value()))
            continue
        if not begun:
            show_line(_TITLES, widths)
            begun = True
        said = _said(envelope, message.value())
        show_line((envelope.recordedtime, envelope.connection, short_name(envelope.type), said), widths)
    if once and not begun and not as_json:
        tell("nothing there; an event's time is when its delivery came, also after a redrive")


def _said(envelope: Envelope, value: bytes | None) -> str:
    """What an event is about, in its own words; where it has none, what was written, or where its entity lives."""
    data = envelope.structured(value).get("data")
    entity = data.get("entity") if isinstance(data, dict) else None
    if not isinstance(entity, dict):
        return ""
    words = next((str(entity[name]) for name in _TELLING if entity.get(name)), "") or written(entity)
    refs = [f"{ref.get('type')} {ref.get('id')}" for ref in entity.get("refs") or ()]
    return " ".join((words or ", ".join(refs)).split())


def send(
    connection: Annotated[str, typer.Argument(help="Connection to send to, as in unsilo.yaml.")],
    what: Annotated[str | None, typer.Argument(help="A sample of its connector, or a file with a body.")] = None,
    content_type: Annotated[str, typer.Option(help="Of a file's body; a sample has its own.")] = "application/json",
    gateway: Annotated[str | None, typer.Option(help="Address of the gateway; the running one unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a sample or a file as the vendor would, with the connection's own secret, and post it to the hub.

    Without a sample's name, lists those there are. Example: unsilo send helpdesk ticket_created
    """
    import httpx  # takes a fifth of a second, and only this command needs it

    hub = Hub.reach()
    section = hub.connection(connection)
    connector = connector_of(section)
    found = {sample.name: sample for sample in samples(connector)}
    if what is None and as_json:
        show_json(list(found))
        return
    if what is None:
        show_names(list(found), "this connector was installed without its samples: name a file")
        return
    body, headers = _body(what, found, connection, content_type)
    try:
        signed = connector.sign(body, connection_of(section, from_environment).settings, datetime.now(UTC))
    except SecretUnavailable as error:
        raise fail(f"connection {connection}: {error}, here: send signs with it, as the gateway verifies") from None
    except UnusableSecret as error:
        raise fail(f"nothing can be signed for {connection} with its secret: {error}") from None
    address = gateway or gateway_address(hub)
    try:
        answer = httpx.post(
            f"{address}/in/{connection}",
            content=body,
            headers={**headers, **signed},
            timeout=15,
            trust_env=gateway is not None,  # the hub's own is near, and no proxy of a company knows it
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise fail(f"{address} is no address of a gateway: give one such as http://localhost:8080") from error
    except (UnicodeEncodeError, httpx.LocalProtocolError):  # the message of either holds the header
        raise fail("HTTP has no such header: correct the content type, or the connection's secret") from None
    except httpx.ReadTimeout as error:
        raise fail(f"the gateway at {address} hangs: end that process, `unsilo up` restarts it") from error
    except httpx.TransportError as error:
        raise fail(f"no gateway answers at {address}: start one with `unsilo up`") from error
    if as_json:
        show_json({"status": answer.status_code, "body": answer.text})
    else:
        console.print(f"{answer.status_code} {printable(answer.text) or answer.reason_phrase}", markup=False)
        if answer.is_success and what in found and any(found[what].events):
            tell("`unsilo tail --since 1m --once` shows the event; the same sample once more is a repeat, dropped")
    if not answer.is_success:
        tell(f"`unsilo connections show {connection}` says why; right after `unsilo apply` it may only be too early")
        raise typer.Exit(1)


def _body(what: str, found: dict[str, Sample], connection: str, content_type: str) -> tuple[bytes, dict[str, str]]:
    if what in found:
        return found[what].body, dict(found[what].headers)
    path = Path(what)
    try:
        if path.is_file():
            return path.read_bytes(), {"content-type": content_type}
    except OSError as error:
        if error.errno != ENAMETOOLONG:
            raise fail(f"{what} cannot be read: {error.strerror}") from None
    near = ", ".join(get_close_matches(what, found, 3, 0.4))
    known = f"`unsilo send {connection}` lists those there are" + (f"; near it are {near}" if near else "")
    name = repr(what) if len(what) <= _LONGEST_SHOWN else f"what begins with {what[:_LONGEST_SHOWN]!r}"
    raise fail(f"{name} is neither a file nor a sample: {known}")


def _events(kafka: Kafka, topics: Topics, start: datetime | None, once: bool) -> Iterator[Message]:
    names = sorted({topics.event(kind).name for kind in ENTITY_TYPES})
    partitions = [
        TopicPartition(name, number, OFFSET_END) for name in names for number in range(kafka.partitions(name))
    ]
    if start is not None:
        partitions = offset_at(kafka, partitions, start)
    ends = kafka.end_offsets(partitions, committed=True)
    # By number: where an end is, librdkafka would first have to ask, and waits half a second for that.
    begin = {(tp.topic, tp.partition): tp.offset for tp in partitions if tp.offset >= 0}
    consumer = kafka.consumer(enable_partition_eof=True, fetch_wait_max_ms=10 if once else 100)
    consumer.assign([TopicPartition(*place, begin.get(place, end)) for place, end in ends.items()])
    behind = {place for place, end in ends.items() if begin.get(place, end) < end}
    held: defaultdict[Partition, deque[Message]] = defaultdict(deque)
    try:
        while behind or not once:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                held[place_of(message)[:2]].append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            elif (message.offset() or 0) >= ends[place_of(message)[:2]]:
                behind.discard(place_of(message)[:2])
            yield from _ripe(held, behind)
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()


def _ripe(held: dict[Partition, deque[Message]], behind: set[Partition]) -> Iterator[Message]:
    """Takes out what nothing older can follow, by the time of each, because every partition is at least as far.

    Of very many some are taken out sooner: their order then is that of their partition.
    """
    while held and (behind <= held.keys() or sum(map(len, held.values())) > _MOST_HELD):
        place = min(held, key=lambda place: recorded_at(held[place][0]))
        yield held[place].popleft()
        if not held[place]:
            del held[place]
