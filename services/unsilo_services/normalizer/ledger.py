"""What was published already: ids of deliveries and events, for as long as raw records are kept.

That is far longer than any sender tries again, and so long because a record may lie on `raw` before it is looked at.

The truth is the ledger topic: one record per transaction and raw partition, written in the same transaction as the
events it tells of. RocksDB on local disk is a cache of it: it bounds memory (its write buffer and block cache), and it
may be deleted at any time. For each raw partition it remembers up to which ledger offset it is current, so that after a
restart or a move only the rest is read.
"""

import logging
import struct
import zlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import rocksdict
from rocksdict import BlockBasedOptions, Options, WriteBatch
from unsilo_schemas.topics import Topic

from ..cache import Cache
from ..kafka import Kafka, Message, Partition, TopicPartition
from ..loop import Outbox
from ..metrics import DEDUPLICATION_RESTORED

log = logging.getLogger(__name__)

ID_BYTES = 16
_CACHE_BYTES = 32 * 1024 * 1024
_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_IDS_PER_RECORD = 100_000  # keeps a ledger record below the topic's limit


class Ledger:
    """The ids of one worker's partitions. Used from the loop's thread only. CacheUnusable where its cache is."""

    def __init__(self, kafka: Kafka, topic: Topic, folder: Path) -> None:
        self._kafka = kafka
        self._topic = topic
        self._cache = Cache(folder, _options(), topic.retention or timedelta.max)
        self._fresh: dict[Partition, list[bytes]] = {}
        self._written: dict[Partition, int] = {}

    def close(self) -> None:
        """Closes the cache."""
        self._cache.close()

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that were published before."""
        with self._cache.store() as store:
            found: list[bytes | None] = store[list(ids)] or []
        return {id for id, value in zip(ids, found, strict=True) if value is not None}

    def record(self, partition: Partition, ids: Iterable[bytes], outbox: Outbox) -> None:
        """Puts ids into the transaction at hand. They are known once it commits."""
        fresh = list(ids)
        key = _key(partition)
        for start in range(0, len(fresh), _IDS_PER_RECORD):
            outbox.put(
                self._topic.name,
                b"".join(fresh[start : start + _IDS_PER_RECORD]),
                key,
                [],
                partition=self._partition_of(partition),
                on_offset=lambda offset: self._written.__setitem__(partition, offset + 1),
            )
        self._fresh.setdefault(partition, []).extend(fresh)

    def committed(self) -> None:
        """What was recorded is now known."""
        batch = WriteBatch(raw_mode=True)
        for ids in self._fresh.values():
            for id in ids:
                batch.put(id, b"")
        for partition, offset in self._written.items():
            batch.put(_checkpoint(partition), struct.pack(">q", offset))
        with self._cache.store() as store:
            store.write(batch)
        self.aborted()

    def aborted(self) -> None:
        """What was recorded since the last commit never was."""
        self._fresh.clear()
        self._written.clear()

    def restore(self, partitions: Sequence[Partition]) -> None:
        """Reads what others, or we ourselves before a crash, committed for these raw partitions since the checkpoint.

        Reads to the end of the log and not only to the end of its committed part: a transaction whose offsets are
        committed may have its mark on the ledger still to come, and is waited for.
        """
        wanted = {_key(partition): partition for partition in partitions}
        starts: dict[int, int] = {}
        for partition in partitions:
            number = self._partition_of(partition)
            starts[number] = min(starts.get(number, 2**62), self._checkpointed(partition))
        if not starts:
            return
        log_ends = self._kafka.end_offsets(self._from(starts))
        for number, start in starts.items():
            if start > (end := log_ends[self._topic.name, number]):
                log.error(
                    "%s/%d ends at %d, and was read up to %d: it is read again", self._topic.name, number, end, start
                )
                starts[number] = 0
                self._forget_checkpoints(
                    partition for partition in partitions if self._partition_of(partition) == number
                )
        restored = 0
        ends: dict[Partition, int] = {}

        def take(message: Message) -> None:
            nonlocal restored
            partition = wanted.get(message.key() or b"")
            value = message.value() or b""
            if partition is None:
                return
            batch = WriteBatch(raw_mode=True)
            for start in range(0, len(value), ID_BYTES):
                batch.put(value[start : start + ID_BYTES], b"")
            with self._cache.store() as store:
                store.write(batch)
            restored += len(value) // ID_BYTES
            ends[partition] = int(message.offset() or 0) + 1

        self._kafka.read_to_end(self._from(starts), take)
        with self._cache.store() as store:
            for partition, end in ends.items():
                store[_checkpoint(partition)] = struct.pack(">q", end)
        DEDUPLICATION_RESTORED.inc(restored)
        log.info("%d ids of %d partitions were restored from %s", restored, len(partitions), self._topic.name)

    def _from(self, starts: dict[int, int]) -> list[TopicPartition]:
        """Where to read each ledger partition from: its checkpoint, or its beginning."""
        return [TopicPartition(self._topic.name, number, offset) for number, offset in starts.items()]

    def _forget_checkpoints(self, partitions: Iterable[Partition]) -> None:
        """Also those of which the log holds nothing now: it may have grown past them the next time."""
        with self._cache.store() as store:
            for partition in partitions:
                store[_checkpoint(partition)] = struct.pack(">q", 0)

    def _checkpointed(self, partition: Partition) -> int:
        with self._cache.store() as store:
            packed = store.get(_checkpoint(partition))
        return 0 if packed is None else int(struct.unpack(">q", packed)[0])

    def _partition_of(self, partition: Partition) -> int:
        return zlib.crc32(_key(partition)) % self._topic.partitions


def _key(partition: Partition) -> bytes:
    return f"{partition[0]}/{partition[1]}".encode()


def _checkpoint(partition: Partition) -> bytes:
    return b"checkpoint:" + _key(partition)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_memtable_whole_key_filtering(True)  # what is asked for is mostly new: say so without a search
    options.set_memtable_prefix_bloom_ratio(0.1)
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)  # nearly every id asked for is new: the filter answers without reading
    table.set_block_cache(rocksdict.Cache(_CACHE_BYTES))
    options.set_block_based_table_factory(table)
    return options
