"""The only user of confluent_kafka: clients with the hub's settings, topics, and records as they are read.

Every producer partitions as Java does (`murmur2_random`), or joins would miss; every consumer reads committed records
only.
"""

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed
from unsilo_schemas.topics import Topic

from .errors import UnsiloError
from .progress import Progress
from .settings import HubSettings, kafka_options

__all__ = [
    "OFFSET_BEGINNING",
    "OFFSET_END",
    "Consumer",
    "KafkaError",
    "KafkaException",
    "Message",
    "Producer",
    "TopicPartition",
]

REQUEST_SECONDS = 10.0
_GREETING_SECONDS = 1.0
_SILENCE_SECONDS = 60.0  # the hub's transactions are open for 10 at most
_COMMON: dict[str, str | int | float] = {
    # librdkafka writes to standard error by itself: only what is critical, the rest we say ourselves.
    "log_level": 2,
    # When no broker is left, librdkafka 2.16 otherwise begins anew and forgets those that it knew, but not that one of
    # them coordinates a group: after a restart of the only broker, requests about groups are never answered again. What
    # it does then instead is seen to by stranded.py.
    "metadata.recovery.strategy": "none",
    "reconnect.backoff.max.ms": 1000,  # ten times that, by default: senders do not wait so long for Kafka to come back
}
_MOVING = frozenset({
    KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR,
})  # fmt: skip
FENCING = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
"""What says that another producer has begun under the same transactional id."""
Headers = Sequence[tuple[str, bytes | None]]


class KafkaUnavailable(UnsiloError):
    """No broker answered in time. A command gives up; a service goes on trying."""


class TopicsUnusable(UnsiloError):
    """A topic could not be created. Nothing that needs it may start."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A topic that is not on the broker as it should be."""

    topic: str
    setting: str
    wanted: str
    found: str


Partition = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group: the partitions of each member, and whether they have settled who gets which."""

    members: tuple[frozenset[Partition], ...] = ()
    settled: bool = True
    clients: frozenset[str] = frozenset()
    """The `client.id` of each."""

    @property
    def topics(self) -> frozenset[str]:
        """The topics that it reads."""
        return frozenset(topic for member in self.members for topic, _ in member)


_while_leaders_move = retry(
    retry=retry_if_exception(lambda error: isinstance(error, KafkaException) and error.args[0].code() in _MOVING),
    stop=stop_after_delay(REQUEST_SECONDS),
    wait=wait_fixed(0.1),
    reraise=True,
)
"""Asks again while a partition has no leader, or another than was thought, as just after a topic is created.

The same holds for who coordinates a group.
"""


class Kafka:
    """One cluster, as every process of the hub reaches it."""

    def __init__(self, options: Mapping[str, str], replication_factor: int = -1) -> None:
        self.options = dict(options)
        self.replication_factor = replication_factor
        self._groups: dict[str, Consumer] = {}  # to ask how far each has come

    @classmethod
    def from_settings(cls, settings: HubSettings) -> "Kafka":
        return cls(kafka_options(settings), settings.replication_factor)

    @property
    def bootstrap(self) -> str:
        return self.options["bootstrap.servers"]

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's own id; KafkaException where no broker answers in time."""
        return str(self.admin.list_topics(timeout=REQUEST_SECONDS).cluster_id)

    @cached_property
    def admin(self) -> AdminClient:
        """Kept as long as this object: the answers of a client that is gone never come."""
        return AdminClient({**_COMMON, **self.options})

    def producer(self, **options: Any) -> Producer:
        """An idempotent producer with acks=all. Options are librdkafka's, with underscores for dots."""
        producer = Producer(
            {
                "partitioner": "murmur2_random",
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                **_COMMON,
                **self.options,
                **_dotted(options),
            }
        )
        with suppress(KafkaException):  # librdkafka asks for a producer's id now, or in half a second: so be connected
            producer.list_topics(timeout=_GREETING_SECONDS)
        return producer

    def consumer(self, group: str | None = None, **options: Any) -> Consumer:
        """A consumer of committed records that starts at the earliest and commits nothing by itself."""
        return Consumer(
            {
                "group.id": group or "unsilo-reader",  # librdkafka wants a name even where no group is used
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                **_COMMON,
                **self.options,
                **_dotted(options),
            }
        )

    def wait(self, seconds: float = REQUEST_SECONDS) -> None:
        """Returns when a broker answers; KafkaUnavailable after that many seconds."""
        try:
            self.admin.list_topics(timeout=seconds)
        except KafkaException as error:
            raise KafkaUnavailable(
                f"no Kafka answers at {self.bootstrap}: start one with `unsilo up` or `unsilo broker`, "
                "or set UNSILO_KAFKA_BOOTSTRAP",
                str(error),
            ) from error

    def create(self, topics: Iterable[Topic]) -> list[str]:
        """Creates the topics that are missing and returns their names. Those that exist are left as they are."""
        admin = self.admin
        wanted = {topic.name: topic for topic in topics}
        present = set(admin.list_topics(timeout=REQUEST_SECONDS).topics)
        missing = [topic for name, topic in wanted.items() if name not in present]
        if not missing:
            return []
        requests = [
            NewTopic(topic.name, topic.partitions, self.replication_factor, config=topic.config) for topic in missing
        ]
        created = []
        for name, future in admin.create_topics(requests, operation_timeout=REQUEST_SECONDS).items():
            try:
                future.result()
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise TopicsUnusable(
                        f"topic {name} could not be created at {self.bootstrap}: {error.args[0].str()}", repr(error)
                    ) from error
        self._await_leaders(created)
        return created

    def _await_leaders(self, names: Iterable[str]) -> None:
        """A topic is created before it can be used: until each partition has a leader, requests for it fail."""
        left = deadline(REQUEST_SECONDS)
        waiting = set(names)
        while waiting and left():
            topics = self.admin.list_topics(timeout=REQUEST_SECONDS).topics
            waiting = {name for name in waiting if not _led(topics, name)}
            if waiting:
                time.sleep(0.05)

    def drift(self, topics: Iterable[Topic]) -> list[Drift]:
        """How the topics on the broker differ from what they should be; missing ones show `partitions` found 0."""
        admin = self.admin
        wanted = list(topics)
        metadata = admin.list_topics(timeout=REQUEST_SECONDS).topics
        found = [
            Drift(topic.name, "partitions", str(topic.partitions), str(_partitions(metadata, topic.name)))
            for topic in wanted
            if _partitions(metadata, topic.name) != topic.partitions
        ]
        present = [topic for topic in wanted if topic.name in metadata]
        resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in present}
        if resources:
            for resource, future in admin.describe_configs(list(resources)).items():
                actual = future.result()
                found += [
                    Drift(resource.name, setting, value, actual[setting].value)
                    for setting, value in resources[resource].config.items()
                    if actual[setting].value != value
                ]
        return found

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 if it does not exist."""
        return _partitions(self.admin.list_topics(topic, timeout=REQUEST_SECONDS).topics, topic)

    def existing(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Those of the partitions whose topic there is."""
        metadata = self.admin.list_topics(timeout=REQUEST_SECONDS).topics
        return [TopicPartition(*at) for at in partitions if at[1] < _partitions(metadata, at[0])]

    def end_offsets(self, partitions: Sequence[TopicPartition], committed: bool = False) -> dict[Partition, int]:
        """The offset behind each partition's last record; with `committed`, behind the last that readers may see."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(partitions, OffsetSpec.latest(), level)  # type: ignore[no-untyped-call]  # untyped there

    def first_offsets(self, partitions: Sequence[TopicPartition], timestamp_ms: int) -> dict[Partition, int]:
        """The offset of each partition's first record of that time or later; below 0 where there is none."""
        return self._offsets(partitions, OffsetSpec.for_timestamp(timestamp_ms), IsolationLevel.READ_UNCOMMITTED)

    @_while_leaders_move
    def _offsets(
        self, partitions: Sequence[TopicPartition], wanted: OffsetSpec, level: IsolationLevel
    ) -> dict[Partition, int]:
        request = {TopicPartition(tp.topic, tp.partition): wanted for tp in partitions}
        if not request:
            return {}
        answers = self.admin.list_offsets(request, isolation_level=level, request_timeout=REQUEST_SECONDS)
        try:
            return {(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}
        except KafkaException:
            self.admin.list_topics(timeout=REQUEST_SECONDS)  # or who leads is asked for again in minutes only
            raise

    def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[Partition, int]:
        """The offsets that a group has committed, 0 where none: lag counts from them, also while nobody consumes."""
        return {place: progress.offset for place, progress in self.progress(group, partitions).items()}

    def progress(self, group: str, partitions: Sequence[TopicPartition]) -> dict[Partition, Progress]:
        """How far a group has come, asked without being a member of it.

        Offsets inside an open transaction are not waited for: the last stable ones are told. Asked of a consumer, as an
        AdminClient takes its process down where the group's coordinator is just starting: confluentinc/librdkafka#5040.
        """
        if not partitions:
            return {}
        if group not in self._groups:
            self._groups[group] = self.consumer(group, isolation_level="read_uncommitted")
        found = self._groups[group].committed(list(partitions), timeout=REQUEST_SECONDS)
        for tp in found:
            if tp.error is not None:  # and its offset looks as if none had ever been committed
                raise KafkaException(tp.error)
        return {(tp.topic, tp.partition): Progress.parse(tp.offset, tp.metadata) for tp in found}

    @_while_leaders_move
    def group(self, name: str) -> Group:
        """A group as it is now; without members where there is none of that name. Raises KafkaException.

        Asked by the older of two ways, which asks each broker: the newer one asks the group's coordinator, and takes
        its process down where the connection to that is lost meanwhile: confluentinc/librdkafka#4605.
        """
        for group in self.admin.list_groups(name, timeout=REQUEST_SECONDS):
            if group.error is not None:
                raise KafkaException(group.error)
            return Group(
                tuple(_assigned(member.assignment) for member in group.members),  # type: ignore[arg-type]  # typed as None there
                group.state in ("Stable", "Empty"),
                frozenset(member.client_id for member in group.members),  # type: ignore[misc]  # the same
            )
        return Group(settled=False)

    def read_to_end(
        self, partitions: Sequence[TopicPartition], take: Callable[[Message], None], poll_seconds: float = 0.5
    ) -> dict[Partition, int]:
        """Hands over every committed record from the given offsets to the end as it is now, and says where that was.

        The end is that of the log, not of its committed part: a transaction that is still open there is waited for, so
        nothing that was committed before the call can be missed. Raises KafkaException, also where nothing is heard for
        longer than a transaction can be open.
        """
        ends = self.end_offsets(partitions)
        starts = {(tp.topic, tp.partition): max(0, tp.offset) for tp in partitions}
        waiting = {key for key, start in starts.items() if start < ends[key]}
        if not waiting:
            return ends
        # The end shows by its own event, because control records move it without being handed over; the broker sends
        # that after the longest wait for more.
        consumer = self.consumer(enable_partition_eof=True, fetch_wait_max_ms=10)
        try:
            # By number: where the beginning is, librdkafka would first have to ask, and waits half a second for that.
            consumer.assign([TopicPartition(*key, starts[key]) for key in waiting])
            left = deadline(_SILENCE_SECONDS)
            while waiting:
                first = consumer.poll(poll_seconds)
                if first is not None:
                    left = deadline(_SILENCE_SECONDS)
                elif not left():
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "nothing is heard of it any more"))
                for message in () if first is None else (first, *consumer.consume(10_000, 0)):
                    key = (str(message.topic()), int(message.partition() or 0))
                    error = message.error()
                    if error is None:
                        if (message.offset() or 0) < ends[key]:
                            take(message)
                    elif error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    elif (message.offset() or 0) >= ends[key]:
                        waiting.discard(key)
        finally:
            consumer.close()
        return ends


def _assigned(assignment: bytes) -> frozenset[Partition]:
    """What a member of a group was given, in the consumer protocol's own form; nothing where that is still to come."""
    found: set[Partition] = set()
    at = 2  # behind the version
    for _ in range(*struct.unpack_from(">i", assignment, at) if assignment else (0,)):
        (length,) = struct.unpack_from(">h", assignment, at + 4)
        topic = assignment[at + 6 : at + 6 + length].decode()
        (count,) = struct.unpack_from(">i", assignment, at + 6 + length)
        found |= {(topic, number) for number in struct.unpack_from(f">{count}i", assignment, at + 10 + length)}
        at += 6 + length + 4 * count
    return frozenset(found)


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """A record's headers, in their order; empty where it has none."""
    return message.headers() or []  # type: ignore[return-value]  # as read, they are always a list of name and bytes


def header_of(message: Message, wanted: str) -> str | None:
    """The first header of that name as text, whatever its bytes are; None where there is none, or an empty one."""
    value = next((value for name, value in headers_of(message) if name == wanted), None)
    return value.decode("utf-8", "backslashreplace") if value else None


def recorded_at(message: Message) -> datetime:
    """A record's Kafka timestamp, to the millisecond."""
    kind, milliseconds = message.timestamp()
    return datetime.fromtimestamp((0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds) / 1000, UTC)


def offset_at(kafka: Kafka, partitions: Sequence[TopicPartition], moment: datetime) -> list[TopicPartition]:
    """The partitions, each with the offset of its first record at or after a moment; OFFSET_END where there is none."""
    found = kafka.first_offsets(partitions, int(moment.timestamp() * 1000))
    return [TopicPartition(*place, offset) for place, offset in found.items()]


def _led(metadata: Mapping[str, Any], topic: str) -> bool:
    found = metadata.get(topic)
    return found is not None and found.error is None and all(part.leader >= 0 for part in found.partitions.values())


def _partitions(metadata: Mapping[str, Any], topic: str) -> int:
    found = metadata.get(topic)
    return 0 if found is None or found.error is not None else len(found.partitions)


def _dotted(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in options.items()}


def deadline(seconds: float) -> Callable[[], float]:
    """A countdown: how many seconds are left, never below zero."""
    end = time.monotonic() + seconds
    return lambda: max(0.0, end - time.monotonic())


def partition_of(message: Message) -> Partition:
    """Where a record was read."""
    return message.topic(), message.partition()  # type: ignore[return-value]  # of a record that was read, both are set
