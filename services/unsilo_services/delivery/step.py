"""A batch of commands: hold each, hand it to the lanes once that is committed, and commit what came of it.

So nothing is called before Kafka knows that it may have been, and a command is doubled only where its result could not
be committed any more.
"""

import logging
import queue
from asyncio import Task
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Target, Written
from unsilo_connectors.payloads import describe
from unsilo_schemas.command import CommandData
from unsilo_schemas.entity import Ref
from unsilo_schemas.envelope import JSON, Envelope
from unsilo_schemas.identity import entity_id, event_id
from unsilo_schemas.jsonschema import file_name
from unsilo_schemas.link import LINK, End, Link, Story, Wrote
from unsilo_schemas.topics import Topics

from ..configuration import Configuration, SecretUnavailable, connection_of, connector_of, from_environment
from ..dead_letters import DeadLetter, letter_headers
from ..kafka import Message, headers_of
from ..loop import Outbox, Partition, partition_of
from ..metrics import DEAD, DELIVERIES, DELIVERY_WAITING
from ..rules import CLOSED, may_write
from .lanes import Job, Lanes
from .outcomes import Done, Failed, Outcome

log = logging.getLogger(__name__)

CONSUMER = "delivery"
_MOST_WAITING = 500  # of one connection
_DRAIN_SECONDS = 15.0

Place = tuple[Partition, int]


@dataclass(slots=True)
class _Command:
    """One command, from its record to its outcome."""

    message: Message
    envelope: Envelope
    data: CommandData
    running: "Future[Task[None]] | None" = None


class _Refusal(Exception):
    """The command cannot even be tried."""

    def __init__(self, outcome: Failed) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


class Delivery:
    """The step of delivery's loop."""

    def __init__(self, topics: Topics, lanes: Lanes) -> None:
        self._topics = topics
        self._lanes = lanes
        self._configuration = Configuration.empty()
        self._commands: dict[Place, _Command] = {}
        self._accepted: list[tuple[Place, Job]] = []
        self._settled: queue.SimpleQueue[tuple[Place, Outcome]] = queue.SimpleQueue()
        self._outcomes: dict[Place, Outcome] = {}

    def configure(self, configuration: Configuration) -> None:
        """Takes a configuration over, from the next batch on."""
        self._configuration = configuration

    def command_topics(self) -> list[str]:
        """The command topics of the connections that can be written to."""
        return [
            self._topics.command(name).name
            for name, section in self._configuration.connections.items()
            if connector_of(section).actions
        ]

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Nothing to restore: what was held comes again."""

    def revoking(self, partitions: Sequence[Partition]) -> None:
        lost = set(partitions)
        running = [
            command.running
            for (partition, _), command in self._commands.items()
            if partition in lost and command.running is not None
        ]
        self._lanes.drain(running, _DRAIN_SECONDS)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        lost = set(partitions)
        for place in [place for place in self._commands if place[0] in lost]:
            del self._commands[place]
            self._outcomes.pop(place, None)

    def paused(self) -> Collection[str]:
        waiting = Counter(partition[0] for partition, _ in self._commands)
        for topic in self.command_topics():
            DELIVERY_WAITING.labels(topic.rpartition(".")[2]).set(waiting[topic])
        return [topic for topic, count in waiting.items() if count >= _MOST_WAITING]

    def due(self) -> bool:
        return bool(self._outcomes) or not self._settled.empty()

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        while not self._settled.empty():
            place, outcome = self._settled.get()
            if place in self._commands:
                self._outcomes[place] = outcome
        for place, outcome in self._outcomes.items():
            self._settle(self._commands[place], outcome, outbox)
            outbox.finish(*place)
        for message in records:
            place = (partition_of(message), int(message.offset() or 0))
            if place in self._outcomes:
                continue
            if place not in self._commands:
                self._take_up(place, message, outbox)
            else:
                outbox.hold(*place)

    def committed(self) -> None:
        for place, outcome in self._outcomes.items():
            command = self._commands.pop(place)
            ended = "done" if isinstance(outcome, Done) else outcome.reason
            DELIVERIES.labels(command.envelope.connection or "unknown", ended).inc()
            if isinstance(outcome, Failed):
                DEAD.labels(CONSUMER, command.envelope.connection or "unknown", outcome.reason).inc()
        self._outcomes.clear()
        for place, job in self._accepted:
            self._commands[place].running = self._lanes.submit(job, self._teller(place))
        self._accepted.clear()

    def aborted(self) -> None:
        """What was taken up and not handed over comes again; what runs goes on, and its outcome is put again."""
        for place, _ in self._accepted:
            del self._commands[place]
        self._accepted.clear()

    def _teller(self, place: Place) -> Any:
        return lambda outcome: self._settled.put((place, outcome))

    def _take_up(self, place: Place, message: Message, outbox: Outbox) -> None:
        try:
            envelope = Envelope.from_headers(headers_of(message))
            data = CommandData.model_validate_json(message.value() or b"null")
        except ValidationError as error:
            letter = DeadLetter("payload_malformed", describe(error), "read")
            outbox.put(self._topics.dead(CONSUMER).name, message.value(), message.key(), _letter(message, letter))
            DEAD.labels(CONSUMER, "unknown", letter.reason).inc()
            return
        command = _Command(message, envelope, data)
        try:
            job = self._job(command, repeated=outbox.again(*place))
        except _Refusal as refusal:
            self._settle(command, refusal.outcome, outbox)
            DELIVERIES.labels(envelope.connection or "unknown", refusal.outcome.reason).inc()
            DEAD.labels(CONSUMER, envelope.connection or "unknown", refusal.outcome.reason).inc()
            return
        outbox.hold(*place)
        self._commands[place] = command
        self._accepted.append((place, job))

    def _job(self, command: _Command, repeated: bool) -> Job:
        name = command.envelope.connection or ""
        section = self._configuration.connections.get(name)
        if section is None:
            raise _Refusal(Failed("rule_violation", f"connection {name} is not configured any more", "gate"))
        connector = connector_of(section)
        action = connector.actions.get(command.data.action)
        if action is None:
            raise _Refusal(Failed("rule_violation", f"{connector.name} has no action {command.data.action}", "gate"))
        try:
            arguments = action.arguments.model_validate(command.data.arguments)
            connection = connection_of(section, from_environment)
        except ValidationError as error:
            raise _Refusal(Failed("delivery_rejected", describe(error), "arguments")) from None
        except SecretUnavailable as error:
            raise _Refusal(Failed("delivery_rejected", str(error), "secret")) from None
        if not may_write(section, action, arguments):
            raise _Refusal(Failed("rule_violation", f"connection {name} {CLOSED}", "gate"))
        ref = command.data.target
        return Job(
            connection,
            connector,
            action,
            arguments,
            command.envelope.id,
            None if ref is None else Target(ref.type, ref.id, ref.scope or ""),
            command.message.key() or b"",
            repeated,
            _trace(command.envelope),
        )

    def _settle(self, command: _Command, outcome: Outcome, outbox: Outbox) -> None:
        if isinstance(outcome, Failed):
            letter = DeadLetter(outcome.reason, outcome.why, outcome.stage)
            value, key = command.message.value(), command.message.key()
            outbox.put(self._topics.dead(CONSUMER).name, value, key, _letter(command.message, letter))
            log.warning("a command for %s ended: %s", command.envelope.connection, outcome.why)
        elif outcome.written:
            value, headers = self._link(command, outcome.written)
            outbox.put(self._topics.event(LINK).name, value, command.message.key(), headers)

    def _link(self, command: _Command, written: Sequence[Written]) -> tuple[bytes, list[tuple[str, bytes]]]:
        """What was written, as a link between the event's object and its copy: by it the echo is known."""
        envelope, now = command.envelope, datetime.now(UTC)
        name = envelope.connection or ""
        system = self._configuration.connections[name].connector
        wrote = [_wrote(system, name, item) for item in written]
        identity = entity_id(name, "link", envelope.id)
        aggregate = (command.message.key() or b"").decode()
        story = Story(
            correlationid=envelope.correlationid or envelope.id,
            hops=envelope.hops or 0,
            via=[step for step in (envelope.via or "").split(",") if step],
        )
        link = Link(
            id=identity,
            refs=[wrote[0].ref],
            kind="mirror_of",
            left=command.data.mirrors,
            right=End(id=wrote[0].id, ref=wrote[0].ref),
            wrote=wrote,
            aggregate=aggregate,
            command=envelope.id,
            story=story,
        )
        event = LINK["asserted"]
        data = event.data(entity=link, changed=[], complete=True)
        said = Envelope(
            id=event_id(name, "link\x1f" + envelope.id),
            source=f"/c/{name}",
            type=event.name,
            subject=f"link/{identity}",
            time=now,
            recordedtime=now,
            datacontenttype=JSON,
            dataschema=f"{self._configuration.hub.public_url}/schemas/{file_name(event)}",
            partitionkey=aggregate,
            correlationid=story.correlationid,
            causationid=envelope.id,
            traceparent=envelope.traceparent,
            tracestate=envelope.tracestate,
            dataclassification=LINK.classification,
            connection=name,
            origin=envelope.origin,
            hops=story.hops,
            via=envelope.via,
        )
        return data.model_dump_json(exclude_unset=True).encode(), said.to_headers()


def _wrote(system: str, connection: str, item: Written) -> Wrote:
    optional: Mapping[str, Any] = {key: text for key, text in (("scope", item.scope), ("url", item.url)) if text}
    ref = Ref(system=system, connection=connection, type=item.type, id=item.id, **optional)
    identity = entity_id(connection, item.type, item.id, item.scope)
    return Wrote(id=identity, ref=ref) if item.fields is None else Wrote(id=identity, ref=ref, fields=list(item.fields))


def _letter(message: Message, letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    return letter_headers(message, letter, CONSUMER, datetime.now(UTC))


def _trace(envelope: Envelope) -> dict[str, str]:
    found = {"traceparent": envelope.traceparent, "tracestate": envelope.tracestate}
    return {name: value for name, value in found.items() if value is not None}
