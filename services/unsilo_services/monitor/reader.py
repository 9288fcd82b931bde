"""Looks at records without taking them: how many there are from an offset on, and how old the first of them is.

Offsets alone do not tell. In a topic that is written in transactions, the end of each transaction takes an offset too,
and so does each record of one that was aborted: a queue that is worked off would still seem to hold something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..kafka import (
    REQUEST_SECONDS,
    Kafka,
    KafkaError,
    KafkaException,
    KafkaUnavailable,
    Partition,
    TopicPartition,
    deadline,
    partition_of,
)
from ..kafka import recorded_at as time_of

COUNTED = 1000
"""So many records of a partition are counted one by one, as far as that takes no longer than COUNTING_SECONDS."""
COUNTING_SECONDS = 1.0
_FETCH_BYTES = 256 * 1024


@dataclass(slots=True)
class Glimpse:
    """What a partition holds from an offset on, as far as readers of committed records may see it."""

    count: int = 0
    """Records that were counted."""
    upto: int = 0
    """The offset behind them; where there are no others, that behind everything that readers may see."""
    first: int | None = None
    recorded_at: datetime | None = None
    """Where and when the first of them was written."""

    def records(self, end: int) -> int:
        """How many there are up to an end offset: counted one by one, beyond that by offsets."""
        return self.count + max(0, end - self.upto)


class Reader:
    """A consumer that belongs to no group. Used from one thread."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer = kafka.consumer(
            enable_partition_eof=True,
            fetch_wait_max_ms=10,  # the end is told after the longest wait for more
            fetch_message_max_bytes=_FETCH_BYTES,
            fetch_queue_backoff_ms=10,
            queued_min_messages=COUNTED,
            queued_max_messages_kbytes=4096,
        )

    def close(self) -> None:
        """Ends the connections."""
        self._consumer.close()

    def begin_and_end(self, topic: str, partition: int) -> tuple[int, int]:
        """The offsets of the first record that is kept, and behind the last that readers may see."""
        found = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_SECONDS)
        if found is None:
            raise self._silent()
        begin, end = found
        return begin, end

    def look(self, positions: Sequence[TopicPartition], most: int = COUNTED) -> dict[Partition, Glimpse]:
        """What each partition holds from its offset on; of each, the first record at least is looked for.

        Where an offset's record is gone, the first that is left counts. Raises KafkaUnavailable.
        """
        found = {(tp.topic, tp.partition): Glimpse(upto=tp.offset) for tp in positions}
        if not found:
            return found
        open_ = set(found)
        patient, counting = deadline(REQUEST_SECONDS), deadline(COUNTING_SECONDS)
        self._consumer.assign(list(positions))
        try:
            while open_ and (counting() or not all(found[partition].count for partition in open_)):
                if not patient():
                    raise self._silent()
                first = self._consumer.poll(0.05)
                for message in () if first is None else (first, *self._consumer.consume(COUNTED, 0)):
                    partition, error, offset = partition_of(message), message.error(), message.offset() or 0
                    glimpse = found[partition]
                    if partition not in open_:
                        continue
                    if error is None:
                        if glimpse.first is None:
                            glimpse.first, glimpse.recorded_at = offset, time_of(message)
                        glimpse.count += 1
                        glimpse.upto = offset + 1
                        if glimpse.count >= most:
                            open_.discard(partition)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        glimpse.upto = offset
                        open_.discard(partition)
                    elif not error.retriable():
                        raise KafkaException(error)
        finally:
            self._consumer.unassign()
        return found

    def _silent(self) -> KafkaUnavailable:
        return KafkaUnavailable(f"Kafka at {self._kafka.bootstrap} does not tell what its partitions hold")
