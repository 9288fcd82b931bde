"""What is not finished in each queue: how much, since when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from unsilo_schemas.topics import CONSUMERS, Topics

from ..kafka import REQUEST_SECONDS, Kafka, Partition, TopicPartition
from ..progress import Progress
from .queues import Queue
from .reader import Glimpse, Reader


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a queue its group has not finished: what is held, and what comes after."""

    records: int
    oldest: datetime | None  # when the first of them was written
    end: int  # the sum of the partitions' end offsets

    def __add__(self, other: Self) -> "Backlog":
        both = [moment for moment in (self.oldest, other.oldest) if moment is not None]
        return Backlog(self.records + other.records, min(both, default=None), self.end + other.end)


class Backlogs:
    """Measures queues. Asks for the offsets of groups without being a member of one."""

    def __init__(self, kafka: Kafka, topics: Topics, reader: Reader) -> None:
        self._kafka = kafka
        self._topics = topics
        self._reader = reader

    def measure(self, queues: Sequence[Queue]) -> dict[Queue, Backlog]:
        """The backlog of each queue that the broker has. Raises KafkaException or KafkaUnavailable."""
        partitions = self._partitions(queues)
        found: dict[Queue, Backlog] = {}
        for consumer in CONSUMERS:
            own = {queue: numbers for queue, numbers in partitions.items() if queue.group == consumer}
            backlogs = self._of(self._topics.group(consumer), [tp for numbers in own.values() for tp in numbers])
            for queue, numbers in own.items():
                parts = [backlogs[queue.topic, tp.partition] for tp in numbers]
                found[queue] = sum(parts, Backlog(0, None, 0))
        return found

    def _of(self, group: str, partitions: list[TopicPartition]) -> dict[Partition, Backlog]:
        if not partitions:
            return {}
        # Before the ends: what is written or finished in between counts as waiting, and nothing falls below zero.
        progress = self._kafka.progress(group, partitions)
        ends = self._kafka.end_offsets(partitions, committed=True)
        after = self._reader.look(
            [TopicPartition(*place, known.next) for place, known in progress.items() if known.next != ends[place]]
        )
        held = self._reader.look(
            [TopicPartition(*place, known.offset) for place, known in progress.items() if known.held], most=1
        )
        return {
            place: _backlog(known, ends[place], held.get(place), after.get(place)) for place, known in progress.items()
        }

    def _partitions(self, queues: Sequence[Queue]) -> dict[Queue, list[TopicPartition]]:
        """The partitions of those queues that exist: a connection is told of before its topics are everywhere."""
        topics = self._kafka.admin.list_topics(timeout=REQUEST_SECONDS).topics
        return {
            queue: [TopicPartition(queue.topic, number) for number in topics[queue.topic].partitions]
            for queue in queues
            if queue.topic in topics
        }


def _backlog(progress: Progress, end: int, held: Glimpse | None, after: Glimpse | None) -> Backlog:
    """One partition's. Held records that have outlived the topic's retention are gone, and wait no more."""
    waiting = [offset for offset in progress.held if held and held.first is not None and offset >= held.first]
    oldest = held.recorded_at if held and waiting else after.recorded_at if after else None
    return Backlog(len(waiting) + (after.records(end) if after else 0), oldest, end)
