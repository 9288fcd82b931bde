"""What flows knows of past and present writes, in RocksDB on local disk, kept current from the topics that tell.

Every worker follows all of these topics, because an event meets links of any aggregate. The table holds the offsets up
to which it is current; it may be deleted at any time.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from rocksdict import Options, WriteBatch

from ..cache import Cache, CacheUnusable
from ..errors import where
from ..kafka import Kafka, KafkaError, KafkaException, Message, Partition, TopicPartition, partition_of

log = logging.getLogger(__name__)

Take = Callable[[Message, "Changes"], None]

_NEW_TOPIC_SECONDS = 0.5


class Changes:
    """What one record changes in the table: all of it or nothing, together with how far the table is current."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._batch = WriteBatch(raw_mode=True)

    def get(self, key: bytes) -> bytes | None:
        """What the table held before this record."""
        with self._cache.store() as store:
            return store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._batch.put(key, value)

    def delete(self, key: bytes) -> None:
        self._batch.delete(key)

    def write(self) -> None:
        with self._cache.store() as store:
            store.write(self._batch)


class Table:
    """The table. Written by its own thread, read by the loop's."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self._kafka = kafka
        self._cache = Cache(folder, Options(raw_mode=True))
        self._takers: dict[str, Take] = {}
        self._assigned: set[Partition] = set()
        self._places_of: dict[str, list[Partition]] = {}  # the number of a topic's partitions never changes
        self._changed = threading.Condition()
        self._positions: dict[Partition, int] = {}
        self._ends: dict[
            tuple[str, ...], tuple[float, dict[Partition, int]]
        ] = {}  # when it was asked, and what was answered
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="known", daemon=True)
        self.version = 0
        """Grows with every record: what could not be decided before may be decided now."""

    def follow(self, takers: dict[str, Take]) -> None:
        """Follows these topics too, each with what takes its records. One that is not there yet is waited for."""
        self._takers = {**self._takers, **takers}

    def start(self, seconds: float = 120) -> None:
        """Returns when all that there is has been read; TimeoutError if that takes too long."""
        self._thread.start()
        partitions = [TopicPartition(*place) for topic in self._takers for place in self._places(topic)]
        ends = self._kafka.end_offsets(partitions, committed=True) if partitions else {}
        with self._changed:
            caught_up = self._changed.wait_for(lambda: self._failure or self._at(ends), seconds)
        self.check()
        if not caught_up:
            raise TimeoutError(f"what is known of writes could not be read within {seconds:.0f} s")

    def reached(self, topics: tuple[str, ...], moment: float) -> bool:
        """Whether all of these topics that was committed before a moment (on the monotonic clock) has been read."""
        asked_at, ends = self._ends.get(topics, (0.0, {}))
        if asked_at <= moment:
            asked_at = time.monotonic()
            places = [TopicPartition(*at) for topic in topics for at in self._places(topic)]
            try:
                ends = self._kafka.end_offsets(places, committed=True)
            except KafkaException as error:
                log.warning("what is known of writes: %s", error.args[0].str())
                return False
            self._ends[topics] = asked_at, ends
        return self._at(ends)

    def check(self) -> None:
        """Raises what the table's thread has died of: who routes without it takes every echo for somebody's act."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ends the thread and closes the table."""
        self._stop.set()
        self._thread.join(10)
        self._cache.close()

    @property
    def positions(self) -> dict[Partition, int]:
        """Which offset of each partition it expects next."""
        with self._changed:
            return {at: self._positions.get(at, 0) for at in self._assigned}

    def get(self, key: bytes) -> bytes | None:
        """What stands under a key."""
        with self._cache.store() as store:
            return store.get(key)

    def keys(self, first: bytes) -> Iterator[bytes]:
        """All keys from one on, in their order."""
        with self._cache.store() as store:
            yield from map(_as_bytes, store.keys(from_key=first))

    def _at(self, ends: Mapping[Partition, int]) -> bool:
        return all(self._positions.get(at, -1) >= end for at, end in ends.items())

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:
            log.error("what is known of writes can no longer be followed: %s", where(error))
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _follow(self) -> None:
        consumer = self._kafka.consumer(enable_partition_eof=True, fetch_wait_max_ms=20)
        look_again = 0.0
        while not self._stop.is_set():
            if time.monotonic() >= look_again and self._takers.keys() - {topic for topic, _ in self._assigned}:
                look_again = time.monotonic() + _NEW_TOPIC_SECONDS
                new = {at for topic in self._takers for at in self._places(topic)} - self._assigned
                if new and (ends := self._ends_of(new)):
                    consumer.incremental_assign([TopicPartition(*at, self._checkpoint(at, ends[at])) for at in new])
                    with self._changed:
                        self._assigned |= new
            self._read(consumer.consume(500, 0.05))
        consumer.close()

    def _read(self, messages: Collection[Message]) -> None:
        reached: dict[Partition, int] = {}
        for message in messages:
            error = message.error()
            at = partition_of(message)
            if error is None:
                self._take(message, at)
                reached[at] = int(message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[at] = int(message.offset() or 0)
            else:
                log.warning("what is known of writes: %s: %s", at[0], error.str())
        if messages:
            with self._changed:
                self._positions |= reached
                self.version += 1
                self._changed.notify_all()

    def _take(self, message: Message, at: Partition) -> None:
        changes = Changes(self._cache)
        take = self._takers.get(at[0])
        if take is not None:
            try:
                take(message, changes)
            except CacheUnusable:
                raise
            except Exception as error:  # one record must not stop all that come behind it
                log.error("%s/%d at offset %s cannot be read: %s", *at, message.offset(), type(error).__name__)
                changes = Changes(self._cache)
        changes.put(_position_key(at), str(int(message.offset() or 0) + 1).encode())
        changes.write()

    def _places(self, topic: str) -> list[Partition]:
        found = self._places_of.get(topic)
        if not found:
            try:
                found = [(topic, number) for number in range(self._kafka.partitions(topic))]
            except KafkaException as error:
                log.warning("what is known of writes: %s: %s", topic, error.args[0].str())
                return []
            self._places_of[topic] = found
        return found

    def _ends_of(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The ends of the logs; nothing where they cannot be told yet."""
        try:
            return self._kafka.end_offsets([TopicPartition(*at) for at in partitions])
        except KafkaException as error:
            log.warning("what is known of writes: %s", error.args[0].str())
            return {}

    def _checkpoint(self, at: Partition, end: int) -> int:
        found = int(self.get(_position_key(at)) or 0)
        if found > end:
            log.error("%s/%d ends at %d, and was read up to %d: it is read again", *at, end, found)
        return found if found <= end else 0


def _as_bytes(key: object) -> bytes:
    return bytes(key) if isinstance(key, bytes) else b""  # in raw mode they all are


def _position_key(at: Partition) -> bytes:
    return f"o:{at[0]}/{at[1]}".encode()
