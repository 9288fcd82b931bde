"""A hub that writes: events as the normalizer publishes them, flows and delivery in threads, and what comes of it."""

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from unsilo_connectors.actions import Written
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.command import CommandData
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.identity import entity_id
from unsilo_schemas.link import LINK
from unsilo_services.config_topic import ConfigFollower, changes, entries, load, publish
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection, topics_of
from unsilo_services.dead_letters import DeadLetter, letter_headers
from unsilo_services.delivery.accounts import Accounts
from unsilo_services.delivery.jobs import Order
from unsilo_services.delivery.lanes import Lanes
from unsilo_services.delivery.mirrors import mirror_link
from unsilo_services.delivery.step import Delivery
from unsilo_services.flows.known import Known
from unsilo_services.flows.step import Flows
from unsilo_services.flows.stories import PATIENCE_MS
from unsilo_services.kafka import KafkaError, KafkaException, Message, Producer, TopicPartition, headers_of
from unsilo_services.loop import Step, TransactionalLoop

from tests.services.running import Hub, facts

PATIENCE_SECONDS = 30.0
AGENT, BOT = "17204399901777", "B0DOUBLE01"
PERSON = "U7"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_numbers = itertools.count(int(time.time() * 1000) % 10**9 * 1000)


def number() -> str:
    """A number that no other object of the run has."""
    return str(next(_numbers))


@dataclass(frozen=True)
class Told:
    """An event as the normalizer publishes it."""

    type: str
    connection: str
    entity: Mapping[str, Any]
    key: str
    actor: str | None = PERSON
    changed: Sequence[str] = ()
    recorded: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def object(self) -> str:
        """The canonical id of what it is about."""
        return str(self.entity["id"])

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        return list(Envelope(
            id=self.id, source=f"/c/{self.connection}", type=self.type, time=self.recorded, recordedtime=self.recorded,
            datacontenttype="application/json", partitionkey=self.key, correlationid=self.id, traceparent=TRACE,
            dataclassification="internal", authtype=self.actor and "human", authid=self.actor,
            connection=self.connection, origin=self.connection, hops=0, via=self.connection,
        ).to_headers())  # fmt: skip

    @property
    def value(self) -> bytes:
        return json.dumps({"entity": self.entity, "changed": list(self.changed), "complete": True}).encode()


def told(type: str, connection: str, remote: tuple[str, str, str], key: str | None = None, **more: Any) -> Told:
    """An event about an object of a system, which is given by type, id and scope there."""
    about = {name: more.pop(name) for name in ("actor", "changed", "recorded") if name in more}
    kind, id, scope = remote
    own = entity_id(connection, kind, id, scope)
    ref = {"system": "zendesk" if kind in ("ticket", "comment") else "slack", "connection": connection}
    ref |= {"type": kind, "id": id, **({"scope": scope} if scope else {})}
    return Told(f"unsilo.{type}.v1", connection, {"id": own, "refs": [ref], **more}, key or own, **about)


def ticket(id: str, connection: str = "helpdesk", verb: str = "created", **more: Any) -> Told:
    return told(f"ticket.ticket.{verb}", connection, ("ticket", id, ""), **{"title": f"ticket {id}", **more})


def comment(of: str, connection: str = "helpdesk", body: str = "well", id: str | None = None, **more: Any) -> Told:
    here = entity_id(connection, "ticket", of)
    remote = ("comment", id or number(), "")
    return told("ticket.comment.added", connection, remote, here, ticket=here, body=body, **more)


def post(channel: str, ts: str | None = None, connection: str = "chat", body: str = "hello", **more: Any) -> Told:
    space = entity_id(connection, "channel", channel)
    return told("social.post.published", connection, ("message", ts or number(), channel), space, space=space,
                body=body, **more)  # fmt: skip


def reply(channel: str, to: str, connection: str = "chat", body: str = "yes", **more: Any) -> Told:
    space = entity_id(connection, "channel", channel)
    thread = entity_id(connection, "message", to, channel)
    return told("social.reply.published", connection, ("message", more.pop("ts", number()), channel), space,
                space=space, thread=thread, in_reply_to=thread, body=body, **more)  # fmt: skip


def long_ago(seconds: float = PATIENCE_MS / 1000 + 1) -> datetime:
    """So long that no link is waited for any more, unless another number of seconds is given."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


@dataclass(frozen=True)
class Record:
    """A record that was committed."""

    message: Message

    @property
    def topic(self) -> str:
        return str(self.message.topic())

    @property
    def key(self) -> str:
        return (self.message.key() or b"").decode()

    @property
    def headers(self) -> dict[str, str]:
        return facts(self.message)

    @property
    def data(self) -> Any:
        return json.loads(self.message.value() or b"null")

    @property
    def id(self) -> str:
        return self.headers["ce_id"]

    @property
    def cause(self) -> str:
        return self.headers.get("ce_causationid", "")


class Tail:
    """Follows all topics of a hub in a thread, and tells when something was seen there."""

    def __init__(self, hub: "Writing") -> None:
        self._hub = hub
        self._records: list[Record] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def all(self, true: Callable[[Record], bool]) -> list[Record]:
        """Those seen until now of which this is true."""
        with self._changed:
            return [record for record in self._records if true(record)]

    def wait(self, true: Callable[[Record], bool], what: str, count: int = 1) -> list[Record]:
        """The first so many of which this is true; fails when there are not so many in time."""
        found: list[Record] = []

        def enough() -> bool:
            found[:] = filter(true, self._records)
            return len(found) >= count

        with self._changed:
            done = self._changed.wait_for(lambda: enough() or self._hub.ended, PATIENCE_SECONDS)
        assert not self._hub.ended, self._hub.ended
        assert done, f"waited in vain for {count} of {what}: {found}"
        return found

    def _follow(self) -> None:
        consumer = self._hub.kafka.consumer(fetch_wait_max_ms=10, topic_metadata_refresh_interval_ms=500)
        known: set[str] = set()
        while not self._stop.is_set():
            if new := set(self._hub.all_topics) - known:
                known |= new
                consumer.incremental_assign(
                    [TopicPartition(name, n, 0) for name in new for n in range(self._hub.kafka.partitions(name))]
                )
            messages = [message for message in consumer.consume(500, 0.02) if message.error() is None]
            if messages:
                with self._changed:
                    self._records += map(Record, messages)
                    self._changed.notify_all()
        consumer.close()


class Worker:
    """A service's loop in a thread of the test's."""

    def __init__(
        self,
        hub: "Writing",
        service: str,
        slot: str,
        step: Step,
        look_after: Callable[[Configuration], None] = lambda configuration: None,
        loop: type[TransactionalLoop] = TransactionalLoop,
        **options: Any,
    ) -> None:
        self.step = step
        self._look_after = look_after
        self._follower = ConfigFollower(hub.kafka, hub.topics.config(), service)
        self._follower.start()
        self._ended = hub.ended
        self.loop = loop(hub.kafka, service, hub.prefix, slot, self._topics, step, **options)
        self._thread = threading.Thread(target=self._run, name=service, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.stop()
        self._thread.join(PATIENCE_SECONDS)
        self._follower.stop()
        assert not self._thread.is_alive()
        assert not self._ended, self._ended

    def _topics(self) -> list[str]:
        assert isinstance(self.step, Flows | Delivery)
        self.step.configure(self._follower.current)
        self._look_after(self._follower.current)
        return self.step.event_topics() if isinstance(self.step, Flows) else self.step.command_topics()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self._ended.append(error)


class _Doubtful:
    """A real producer, some of whose commits end without telling how."""

    def __init__(self, producer: Producer, commits: bool, numbers: Iterator[int]) -> None:
        self._producer = producer
        self._commits = commits
        self._numbers = numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, timeout: float) -> None:
        doubtful = next(self._numbers) % 3 == 0
        if self._commits or not doubtful:
            self._producer.commit_transaction(timeout)
        else:
            self._producer.flush(timeout)
        if doubtful:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def doubtful(commits: bool) -> type[TransactionalLoop]:
    """A loop that is not told how every third of its transactions ended."""
    numbers = itertools.count(1)

    class Loop(TransactionalLoop):
        def _new_producer(self) -> Producer:
            return _Doubtful(super()._new_producer(), commits, numbers)  # type: ignore[return-value]  # it does as that

    return Loop


@dataclass
class Writing(Hub):
    """One hub that writes."""

    flows: dict[str, FlowSection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.all_topics = [topic.name for topic in self.topics.fixed()]
        self.producer = self.kafka.producer(linger_ms=0, message_max_bytes=12_000_000)
        self.ended: list[BaseException] = []  # what workers died of
        self.tail = Tail(self)

    def configure(
        self, connections: Sequence[ConnectionSection] = (), flows: Sequence[Mapping[str, Any]] = (), **settings: Any
    ) -> None:
        """Adds connections and flows, as `unsilo apply` does."""
        self.connections |= {found.id: found for found in connections}
        self.flows |= {found["id"]: FlowSection.model_validate(found) for found in flows}
        self.apply()

    def apply(self) -> None:
        wanted = Configuration(HubSection(), self.connections, self.flows)
        own = topics_of(wanted, self.topics)
        self.kafka.create(own)
        self.all_topics += [topic.name for topic in own if topic.name not in self.all_topics]
        if found := changes(load(self.kafka, self.topics.config()), entries(wanted), prune=True):
            publish(self.kafka, self.topics.config(), found)

    def tell(self, *events: Told, partition: int = -1) -> None:
        """Publishes events, as the normalizer does."""
        for event in events:
            topic = self.topics.event(EVENT_TYPES[event.type].entity_type).name
            at = int(event.recorded.timestamp() * 1000)
            self.producer.produce(
                topic, event.value, event.key.encode(), partition, headers=event.headers, timestamp=at
            )
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def order(
        self,
        connection: str,
        data: CommandData,
        key: str,
        at: datetime | None = None,
        redrive_of: str | None = None,
        **attributes: Any,
    ) -> Envelope:
        """Issues a command, as flows does."""
        now = at or datetime.now(UTC)
        envelope = Envelope(
            **{
                "id": str(uuid.uuid4()), "source": "/flows/f", "type": "unsilo.hub.command.issued.v1", "time": now,
                "recordedtime": now, "datacontenttype": "application/json", "correlationid": "c-1",
                "causationid": "e-1", "connection": connection, "hops": 1, "via": f"elsewhere,{connection}",
                "traceparent": TRACE, **attributes,
            }
        )  # fmt: skip
        topic, value = self.topics.command(connection).name, data.model_dump_json(exclude_unset=True).encode()
        at_ms = int(now.timestamp() * 1000)
        headers = [*envelope.to_headers(), *([] if redrive_of is None else [("dl_redrive_of", redrive_of.encode())])]
        self.producer.produce(topic, value, key.encode(), headers=list(headers), timestamp=at_ms)
        self.producer.poll(0)
        return envelope

    def command(self, envelope: Envelope) -> Record:
        """A command that was issued."""
        what = f"command {envelope.id}"
        return self.tail.wait(lambda record: self._is_command(record) and record.id == envelope.id, what)[0]

    def commands(self, *events: Told) -> list[Record]:
        """The commands that have followed from events until now."""
        causes = {event.id for event in events}
        return self.tail.all(lambda record: self._is_command(record) and record.cause in causes)

    def await_command(self, event: Told, count: int = 1) -> list[Record]:
        """The commands that follow from an event."""
        return self.tail.wait(
            lambda record: self._is_command(record) and record.cause == event.id, f"commands for {event}", count
        )

    def done(self, command: Record, *written: Written) -> None:
        """Settles a command as delivery does, by a link."""
        envelope = Envelope.from_headers(headers_of(command.message))
        order = Order(command.message, envelope, CommandData.model_validate(command.data))
        system = self.connections[order.connection].connector
        value, headers = mirror_link(order, system, written, "http://hub.test")
        self.producer.produce(self.topics.event(LINK).name, value, command.message.key(), headers=list(headers))
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def refused(self, command: Record) -> None:
        """Settles a command as delivery does, by a dead letter."""
        letter = DeadLetter("delivery_rejected", "slack refuses", "call")
        headers = letter_headers(command.message, letter, "delivery", datetime.now(UTC))
        topic = self.topics.dead("delivery").name
        self.producer.produce(topic, command.message.value(), command.message.key(), headers=list(headers))
        assert self.producer.flush(PATIENCE_SECONDS) == 0

    def letters(self, consumer: str, id: str) -> list[Record]:
        """The dead letters of one record until now."""
        topic = self.topics.dead(consumer).name
        return self.tail.all(lambda record: record.topic == topic and record.headers.get("ce_id") == id)

    def await_letter(self, consumer: str, id: str, count: int = 1) -> list[Record]:
        """The dead letters of one record."""
        topic = self.topics.dead(consumer).name
        return self.tail.wait(
            lambda record: record.topic == topic and record.headers.get("ce_id") == id, f"letters of {id}", count
        )

    def await_suppressed(self, event: Told) -> Record:
        """The note that an event started no flow, or not all."""
        topic = self.topics.audit().name
        [found] = self.tail.wait(
            lambda record: record.topic == topic and record.data.get("event") == event.id, f"suppression of {event}"
        )
        return found

    def links(self, command_id: str) -> list[Record]:
        topic = self.topics.event(LINK).name
        return self.tail.all(lambda record: record.topic == topic and record.cause == command_id)

    def await_link(self, command_id: str) -> Record:
        topic = self.topics.event(LINK).name
        return self.tail.wait(
            lambda record: record.topic == topic and record.cause == command_id, f"link of {command_id}"
        )[0]

    @contextmanager
    def routing(self, slot: str = "0", loop: type[TransactionalLoop] = TransactionalLoop) -> Iterator[Worker]:
        """Flows, until the block ends."""
        known = Known(self.kafka, self.topics, self.folder / f"links-{slot}")
        known.follow(Configuration(HubSection(), self.connections))
        known.start()
        step = Flows(self.topics, known)
        worker = Worker(self, "flows", slot, step, loop=loop, poll_seconds=0.02, batch_records=1000)
        try:
            yield worker
        finally:
            worker.stop()
            known.stop()

    @contextmanager
    def delivering(self, slot: str = "0", loop: type[TransactionalLoop] = TransactionalLoop) -> Iterator[Worker]:
        """Delivery, until the block ends."""
        lanes = Lanes()
        lanes.start()
        accounts = Accounts(self.kafka, self.topics.config(), lanes)
        step = Delivery(self.topics, lanes)
        worker = Worker(self, "delivery", slot, step, accounts.look_after, loop, poll_seconds=0.01, batch_records=500)
        try:
            yield worker
        finally:
            worker.stop()
            lanes.stop()

    def stop(self) -> None:
        self.tail.stop()
        super().stop()

    def _is_command(self, record: Record) -> bool:
        return record.topic.startswith(f"{self.prefix}.command.")


@contextmanager
def writing_hub(bootstrap: str, folder: Path) -> Iterator[Writing]:
    """A hub that ends with the test."""
    hub = Writing(bootstrap, folder)
    try:
        yield hub
    finally:
        hub.stop()


def counted(metric: str, **labels: str) -> float:
    """What a counter of this process stands at."""
    return REGISTRY.get_sample_value(f"{metric}_total", labels) or 0.0
