"""The hub that a command asks: where its Kafka is, what its topics are called, what is configured and recorded."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from unsilo_schemas.topics import Topics

from ..config_topic import from_entries, load
from ..configuration import Configuration, ConnectionSection
from ..kafka import (
    REQUEST_SECONDS,
    Kafka,
    KafkaError,
    KafkaException,
    KafkaUnavailable,
    Message,
    TopicPartition,
    offset_at,
)
from ..settings import LOCAL, HubSettings, named_cluster, running
from .output import fail

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""

REACH_SECONDS = 5.0
_AT_ONCE_SECONDS = 0.1
_NEAR = 1000  # offsets: so few are read over rather than sought past
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Read:
    """What was read in search of something."""

    topics: int
    records: int


class Hub:
    """One hub, over its Kafka. What was once asked of it stays as it was answered, until `refresh`."""

    def __init__(self, settings: HubSettings | None = None) -> None:
        self.settings = settings or HubSettings()
        self.kafka = Kafka.from_settings(self.settings)
        self.topics = Topics(self.settings.topic_prefix)

    @classmethod
    def reach(cls) -> "Hub":
        """Raises KafkaUnavailable."""
        hub = cls()
        hub.await_kafka()
        return hub

    def await_kafka(self) -> None:
        """Returns when Kafka answers; KafkaUnavailable, at once where nothing on this machine listens for it."""
        host, _, port = self.kafka.bootstrap.rpartition(":")
        absent = host == LOCAL and port.isdecimal() and not _listens(int(port))
        if absent and not named_cluster() and not running(self.settings):
            raise KafkaUnavailable(_no_hub(self.settings))
        try:
            self.kafka.wait(_AT_ONCE_SECONDS if absent else REACH_SECONDS)
        except KafkaUnavailable:
            if absent and "gateway" in running(self.settings):
                raise KafkaUnavailable(
                    f"the hub's Kafka at {self.kafka.bootstrap} is away: where `unsilo up` runs, it starts it again "
                    "within seconds and says so; where it runs no more, start it"
                ) from None
            if absent or self.kafka.bootstrap != running(self.settings).get("bootstrap"):
                raise
            raise KafkaUnavailable(
                f"the local Kafka at {self.kafka.bootstrap} runs and does not answer: see the hub's "
                f"{self.settings.data}/kafka/broker.log, end it and run `unsilo up`; what it has stored is kept"
            ) from None

    def refresh(self) -> None:
        """Forgets what it was told of topics and configuration."""
        for name in ("partitions", "entries", "configuration"):
            self.__dict__.pop(name, None)

    @cached_property
    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has that there is, whoever it belongs to."""
        found = self.kafka.admin.list_topics(timeout=REQUEST_SECONDS).topics
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    @cached_property
    def entries(self) -> Mapping[str, bytes]:
        """The configuration as it lies on its topic; empty where nobody has applied one."""
        topic = self.topics.config()
        return load(self.kafka, topic) if topic.name in self.partitions else {}

    @cached_property
    def configuration(self) -> Configuration:
        return from_entries(dict(self.entries))

    def connection(self, name: str) -> ConnectionSection:
        """A connection by its id; ends the command where there is none."""
        if name not in self.configuration.connections:
            raise fail(f"there is no connection {name!r}: `unsilo connections list` shows those there are")
        return self.configuration.connections[name]

    def places(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Every partition of those topics that there are."""
        return [TopicPartition(name, number) for name in topics for number in range(self.partitions.get(name, 0))]

    def read(
        self,
        topics: Iterable[str],
        since: datetime | None,
        take: Callable[[Message], None],
        only: Callable[[str, int], bool] = lambda topic, partition: True,
    ) -> Read:
        """Hands over what was recorded from a moment on until now, or all that is kept. Topics may be missing."""
        wanted = [tp for tp in self.places(topics) if only(tp.topic, tp.partition)]
        records = 0

        def count(message: Message) -> None:
            nonlocal records
            records += 1
            take(message)

        if wanted and since is not None:
            wanted = [tp for tp in offset_at(self.kafka, wanted, since) if tp.offset >= 0]  # below: nothing since
        if wanted:
            self.kafka.read_to_end(wanted, count)
        return Read(len({tp.topic for tp in wanted}), records)

    def at(self, places: Iterable[Place]) -> Iterator[Message]:
        """The records at those places, by topic, partition and offset; none where there is none, or none any more."""
        there = sorted({place for place in places if place[1] < self.partitions.get(place[0], 0)})
        wanted = [TopicPartition(*place) for place, _ in groupby(there, key=lambda place: place[:2])]
        ends = self.kafka.end_offsets(wanted) if wanted else {}
        for (topic, partition), group in groupby(there, key=lambda place: place[:2]):
            offsets = [offset for *_, offset in group if offset < ends[topic, partition]]
            yield from self._in_partition(topic, partition, offsets)

    def _in_partition(self, topic: str, partition: int, offsets: Sequence[int]) -> Iterator[Message]:
        consumer = self.kafka.consumer(enable_partition_eof=True, fetch_wait_max_ms=10, queued_min_messages=_NEAR)
        wanted = deque(offsets)
        position = -_NEAR
        heard_at = time.monotonic()
        try:
            while wanted:
                if wanted[0] - position >= _NEAR:
                    consumer.assign([TopicPartition(topic, partition, wanted[0])])
                    position = wanted[0]
                message = consumer.poll(_POLL_SECONDS)
                if message is None:
                    if time.monotonic() - heard_at > REQUEST_SECONDS:
                        raise KafkaUnavailable(f"Kafka at {self.kafka.bootstrap} answers no more: try it again")
                    continue
                heard_at = time.monotonic()
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return
                if error is not None:
                    raise KafkaException(error)
                position = int(message.offset() or 0)
                while wanted and wanted[0] < position:
                    wanted.popleft()
                if wanted and wanted[0] == position:
                    wanted.popleft()
                    yield message
        finally:
            consumer.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOCAL, port), REACH_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True


def _no_hub(settings: HubSettings) -> str:
    where = f"with UNSILO_DATA={settings.data}" if "data" in settings.model_fields_set else (
        f"in {Path.cwd()} or a folder above it"
    )  # fmt: skip
    return f"no hub runs {where}: start one with `unsilo up`, go to its folder, or set UNSILO_KAFKA_BOOTSTRAP"


def place_of(message: Message) -> Place:
    """Where a record was read."""
    return str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)


def named(place: Place) -> str:
    """A place as it is written."""
    return "/".join(map(str, place))


def texts(message_headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """Headers as text, whatever they are; of those with the same name the last."""
    return {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in message_headers}


def json_value(message: Message) -> Any:
    """A record's value from JSON; None where it is none."""
    try:
        return from_json(message.value() or b"null")
    except ValueError:
        return None
