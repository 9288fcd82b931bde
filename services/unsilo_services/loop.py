"""The transactional loop: consume, decide, produce; outputs and offsets in one transaction.

A transaction never spans a poll, so when partitions are taken away none of them has anything open. After any failure
of a transaction, and after any whose outcome is unknown, its producer is given up: a new one with the same
`transactional.id` initialises, which ends what the old one left behind, and every partition is read again from its
committed offset, and what is remembered of it too: the transaction may have been committed after all. (librdkafka has
no KIP-890 yet: confluentinc/librdkafka#5423.)
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from unsilo_schemas.topics import Topics

from .errors import UnsiloError
from .kafka import (
    FENCING,
    Consumer,
    Headers,
    Kafka,
    KafkaError,
    KafkaException,
    Message,
    Partition,
    Producer,
    TopicPartition,
    TopicsUnusable,
    partition_of,
)
from .metrics import BATCH_SECONDS, TRANSACTIONS
from .progress import Progress

log = logging.getLogger(__name__)

BATCH_RECORDS = 4000
POLL_SECONDS = 0.2
TRANSACTION_SECONDS = 10  # one open transaction holds back every reader of the partitions it touched
_PAUSE_SECONDS = 0.5
METADATA_REFRESH_MS = 2000  # so that a connection's new topic is followed within seconds

AnswerT = TypeVar("AnswerT")


class Fenced(UnsiloError):
    """Another process works under this one's transactional id. This one ends: only one of the two may go on."""


class Step(ABC):
    """What a service does with records. All of it is called from one thread."""

    @abstractmethod
    def process(self, records: Sequence[Message], outbox: "Outbox") -> None:
        """Decides on a batch, and on what is due, and puts the outcome into the outbox."""

    @abstractmethod
    def aborted(self) -> None:
        """What `process` put into the outbox was never there; the same records come again."""

    def committed(self) -> None:  # noqa: B027  # not every step has something to do then
        """What `process` put into the outbox is now seen by readers."""

    def refused(self, record: Message, fault: KafkaError, outbox: "Outbox") -> None:
        """Puts a record aside of which Kafka does not take what it becomes. Unless a step can, it is tried for ever."""
        self.process([record], outbox)

    def assigned(self, partitions: Sequence[Partition]) -> None:  # noqa: B027  # a hook: most steps have nothing to do then
        """Restores what is remembered of these partitions, before their first record, and after a failure again.

        While it raises KafkaException it is asked again.
        """

    def revoking(self, partitions: Sequence[Partition]) -> None:  # noqa: B027  # a hook: most steps have nothing to do then
        """Brings what is under way for these partitions to an end: what is due then is still committed."""

    def revoked(self, partitions: Sequence[Partition]) -> None:  # noqa: B027  # a hook: most steps have nothing to do then
        """Forgets these partitions."""

    def paused(self) -> Collection[str]:
        """Topics of which no more records are wanted for now, because enough of theirs are held."""
        return ()

    def due(self) -> bool:
        """Whether a held record can be finished now, so that `process` is worth calling without new ones."""
        return False


class TransactionalLoop:
    """One worker of a service's consumer group."""

    def __init__(
        self,
        kafka: Kafka,
        service: str,
        prefix: str,
        slot: str,
        topics: Callable[[], Iterable[str]],
        step: Step,
        poll_seconds: float = POLL_SECONDS,
        batch_records: int = BATCH_RECORDS,
        restore_topics: Callable[[], object] = lambda: None,
    ) -> None:
        """`topics` are those to read now; `restore_topics` makes those again that are missing, of all that are written.

        It is called when a transaction fails: a topic that somebody deleted would hold up all others for ever.
        """
        self._kafka = kafka
        self._service = service
        self._transactional_id = f"{prefix}.{service}.{slot}"
        self.group = Topics(prefix).group(service)
        self.client_id = self._transactional_id
        """What the broker calls this worker."""
        self._topics = topics
        self._step = step
        self._poll_seconds = poll_seconds
        self._batch_records = batch_records
        self._restore_topics = restore_topics
        self._paused: set[Partition] = set()
        self._rewinding = False
        self._subscribed: set[str] = set()
        self._progress: dict[Partition, Progress] = {}
        for outcome in ("committed", "aborted"):
            TRANSACTIONS.labels(service, outcome)  # from 0 on: an alert asks for those that never happen
        self._producer: Producer | None = None
        self._consumer = self._new_consumer()
        self._stopping = False
        self._most = batch_records
        self._last: dict[Partition, int] = {}  # the offset that was read last, since reading began where it did
        self._made_anew: set[Partition] = set()  # and not committed since
        self._name_lost = False
        self._hopeless: tuple[Partition, int, KafkaError] | None = None  # a record whose outcome the broker refuses
        self._begun_at = 0.0
        self.turned_at = time.monotonic()
        self.ready = False
        """Whether it has a place in its group, or nothing to read for which it would need one."""

    def stop(self) -> None:
        """Ends `run` after the batch at hand. Safe to call from a signal handler."""
        self._stopping = True

    @property
    def assigned(self) -> list[Partition]:
        """The partitions that this worker has now."""
        return sorted(self._progress)

    def wants_a_place(self) -> bool:
        """Whether there is something to read, for which it needs to be a member of its group."""
        return bool(self._subscribed) and not self._stopping

    def run(self) -> None:
        """Works until `stop`. Raises Fenced when another process has taken this one's place."""
        try:
            self._producer = self._new_producer()
            while not self._stopping:
                self.turned_at = time.monotonic()
                self._follow_topics()
                self._pause()
                self._turn()
                self.ready = self.ready or not self._subscribed
        except KafkaException as error:
            if not self._stopping:
                raise
            log.warning("ended while Kafka was away: %s", error.args[0].str())
        finally:
            self._consumer.close()

    def _pause(self) -> None:
        topics = self._step.paused()
        wanted = {partition for partition in self._progress if partition[0] in topics}
        if wanted != self._paused:
            self._consumer.resume([TopicPartition(*partition) for partition in self._paused - wanted])
            self._consumer.pause([TopicPartition(*partition) for partition in wanted - self._paused])
            self._paused = wanted

    def _turn(self) -> None:
        if self._rewinding:
            self._rewind()
        records = self._read()
        if not records and not self._step.due():
            return
        try:
            self._transact(records)
        except KafkaException as error:
            took = time.monotonic() - self._begun_at
            self._give_up(error)
            self._narrow(records, error.args[0], took)
            self._rewind()
        else:
            if time.monotonic() - self._begun_at < TRANSACTION_SECONDS / 4:
                self._most = min(self._batch_records, self._most * 2)
            if self._hopeless is not None and not self._wants(*self._hopeless[:2]):
                self._hopeless = None

    def _wants(self, partition: Partition, offset: int) -> bool:
        progress = self._progress.get(partition)
        return progress is not None and progress.wants(offset)

    def _narrow(self, records: Sequence[Message], fault: KafkaError, took: float) -> None:
        """Goes on with fewer records where these took longer than a transaction may.

        So, too, where the broker refuses what one of them becomes, until it is known which.
        """
        refused = fault.code() in _REFUSED
        if len(records) > 1 and (refused or took >= TRANSACTION_SECONDS):
            self._most = len(records) // 2
        elif records and refused:
            self._hopeless = partition_of(records[0]), records[0].offset() or 0, fault

    def _read(self) -> list[Message]:
        first = self._consumer.poll(0 if self._step.due() else self._poll_seconds)
        if first is None:
            return []
        records: list[Message] = []
        for partition, run in groupby([first, *self._consumer.consume(self._most - 1, 0.001)], partition_of):
            progress = self._progress.get(partition)
            last = self._last.get(partition, -1)
            for message in run:
                error = message.error()
                if error is None:
                    if progress is None:  # taken away since it was fetched
                        continue
                    offset = message.offset() or 0
                    if offset <= last:
                        return self._begun_anew(partition, last)
                    last = offset
                    if progress.wants(offset):
                        records.append(message)
                elif error.code() not in _PASSING:
                    log.warning("consumer: %s", error.str())
            self._last[partition] = last
        return records

    def _begun_anew(self, partition: Partition, last: int) -> list[Message]:
        """A log whose offsets begin again was made anew, or cut, which cannot be told apart: it is all read again.

        What was done of it before is known to be a repeat, as far as whoever works on it remembers.
        """
        log.error("%s/%d begins again behind offset %d: it is read from its beginning", *partition, last)
        self._step.revoking([partition])
        self._step.revoked([partition])
        self._step.aborted()
        self._made_anew.add(partition)
        self._rewind()
        return []

    def _transact(self, records: Sequence[Message]) -> None:
        if self._producer is None:
            self._producer = self._new_producer()
        producer = self._producer
        started = time.perf_counter()
        self._begun_at = time.monotonic()
        producer.begin_transaction()
        outbox = Outbox(producer, self._progress)
        for partition, run in groupby(records, partition_of):
            outbox.progress(partition).finish(*(message.offset() or 0 for message in run))
        self._process(records, outbox)
        if outbox.offsets:
            producer.send_offsets_to_transaction(
                outbox.offsets, self._consumer.consumer_group_metadata(), TRANSACTION_SECONDS
            )
        producer.commit_transaction(TRANSACTION_SECONDS)
        self._progress.update(outbox.touched)
        self._made_anew -= outbox.touched.keys()
        outbox.committed()
        TRANSACTIONS.labels(self._service, "committed").inc()
        BATCH_SECONDS.labels(self._service).observe(time.perf_counter() - started)
        self._step.committed()

    def _process(self, records: Sequence[Message], outbox: "Outbox") -> None:
        if self._hopeless is None:
            self._step.process(records, outbox)
            return
        partition, offset, fault = self._hopeless

        def hopeless(message: Message) -> bool:
            return message.offset() == offset and partition_of(message) == partition

        self._step.process([message for message in records if not hopeless(message)], outbox)
        for message in filter(hopeless, records):
            self._step.refused(message, fault, outbox)

    def _give_up(self, error: KafkaException) -> None:
        """The transaction at hand did not happen, and its producer is done. Raises Fenced if another took its place."""
        TRANSACTIONS.labels(self._service, "aborted").inc()
        fault = self._reason(error.args[0])
        log.warning("transaction given up, its records come again: %s", fault.str())
        self._step.aborted()
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        # The broker fences a transaction that took too long just as it fences a second process of the same name.
        expired = time.monotonic() - self._begun_at >= TRANSACTION_SECONDS
        if fault.code() in FENCING and not expired:
            raise self._fenced(fault) from error
        try:
            self._restore_topics()
        except (KafkaException, TopicsUnusable) as still:
            log.warning("topics that are missing cannot be made: %s", still)
        self._producer = self._new_producer()

    def _reason(self, fault: KafkaError) -> KafkaError:
        """What is behind an error that only says that there was one before: a fence hides so."""
        if fault.code() in (KafkaError._FATAL, KafkaError._STATE) and self._producer is not None:
            try:
                self._producer.abort_transaction(_PAUSE_SECONDS)
            except KafkaException as error:
                if error.args[0].code() in FENCING:
                    fault = error.args[0]
        return fault

    def _fenced(self, fault: KafkaError) -> Fenced:
        self._name_lost = True  # whoever has it now would be fenced in turn
        return Fenced(
            f"another process works as {self._transactional_id}: give each machine its own UNSILO_INSTANCE",
            fault.str(),
        )

    def _rewind(self) -> None:
        """Reads every partition again from what is committed of it."""
        self._rewinding = False
        partitions = list(self._progress)
        committed = self._committed([TopicPartition(*partition) for partition in partitions])
        self._until_answered("what is remembered", lambda: self._step.assigned(partitions))
        for partition, progress in self._resumed(committed).items():
            self._progress[partition] = progress
            self._last[partition] = progress.offset - 1
            self._consumer.seek(TopicPartition(*partition, progress.offset))

    def _follow_topics(self) -> None:
        wanted = set(self._topics())
        if wanted != self._subscribed:
            self._subscribed = wanted
            if wanted:
                self._consumer.subscribe(sorted(wanted), on_assign=self._on_assign, on_revoke=self._on_revoke)
            else:
                self._consumer.unsubscribe()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        found = self._committed(partitions)
        assigned = [(tp.topic, tp.partition) for tp in found]
        self._until_answered("what is remembered", lambda: self._step.assigned(assigned))
        resumed = self._resumed(found)
        self._progress.update(resumed)
        self._last |= {partition: progress.offset - 1 for partition, progress in resumed.items()}
        consumer.incremental_assign([TopicPartition(*partition, found.offset) for partition, found in resumed.items()])
        self.ready = True
        log.info("assigned %s", ", ".join(f"{topic}/{number}" for topic, number in sorted(assigned)) or "nothing")

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = [(tp.topic, tp.partition) for tp in partitions]
        self._step.revoking(revoked)
        if self._step.due() and not self._name_lost:
            try:
                self._transact([])
            except KafkaException as error:  # the partitions were lost, not given back: their next owner does it again
                self._give_up(error)
                self._rewinding = True  # of what is kept: not from here, inside the rebalance
        for partition in revoked:
            self._progress.pop(partition, None)
            self._paused.discard(partition)
            self._made_anew.discard(partition)
        self._step.revoked(revoked)
        log.info("gave back %s", ", ".join(f"{topic}/{number}" for topic, number in sorted(revoked)))

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Asks until it is answered: offsets inside another's open transaction are not told before it ends."""
        if not partitions:
            return []

        def ask() -> list[TopicPartition]:
            found = list(self._consumer.committed(partitions, timeout=TRANSACTION_SECONDS))
            for tp in found:
                if tp.error is not None:  # and its offset looks as if none had ever been committed
                    raise KafkaException(tp.error)
            return found

        return self._until_answered("committed offsets", ask)

    def _resumed(self, committed: Sequence[TopicPartition]) -> dict[Partition, Progress]:
        """How far each partition was brought. A log that ends before that was cut, or made anew: it is read again."""
        ends = self._until_answered("the ends of the logs", lambda: self._kafka.end_offsets(committed))
        found: dict[Partition, Progress] = {}
        for tp in committed:
            partition, end = (tp.topic, tp.partition), ends[tp.topic, tp.partition]
            found[partition] = Progress.parse(tp.offset, tp.metadata)
            if partition in self._made_anew:
                found[partition] = Progress(seen=end)
            elif tp.offset > end:
                log.error("%s/%d ends at %d, and %d was committed: it is read again", *partition, end, tp.offset)
                found[partition] = Progress(seen=end)
        return found

    def _until_answered(self, what: str, ask: Callable[[], AnswerT]) -> AnswerT:
        while True:
            try:
                return ask()
            except KafkaException as error:
                if self._stopping:
                    raise
                log.warning("%s cannot be read yet: %s", what, error.args[0].str())
                time.sleep(_PAUSE_SECONDS)

    def _new_consumer(self) -> Consumer:
        return self._kafka.consumer(
            self.group,
            client_id=self.client_id,
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=6_000,  # so long a killed worker's partitions wait; brokers allow no less
            heartbeat_interval_ms=1_500,
            max_poll_interval_ms=600_000,  # restoring a ledger of days may take minutes
            topic_metadata_refresh_interval_ms=METADATA_REFRESH_MS,
            fetch_wait_max_ms=50,
            fetch_queue_backoff_ms=10,
            queued_min_messages=20_000,
            queued_max_messages_kbytes=65_536,
        )

    def _new_producer(self) -> Producer:
        """A producer whose predecessor's transaction, if any was open, is aborted."""
        while True:
            producer = self._kafka.producer(  # another one for each try: one that lost Kafka never finds it again
                transactional_id=self._transactional_id,
                transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
                linger_ms=5,
                batch_size=1_000_000,
                message_max_bytes=12_000_000,
            )
            try:
                producer.init_transactions(TRANSACTION_SECONDS)
                return producer
            except KafkaException as error:
                fault = error.args[0]
                if fault.code() in FENCING:
                    raise self._fenced(fault) from error
                if self._stopping or not fault.retriable():
                    raise
                log.warning("Kafka does not answer yet: %s", error.args[0].str())


_REFUSED = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG,
})  # fmt: skip
_PASSING = frozenset({KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MAX_POLL_EXCEEDED})


class Outbox:
    """What a step has decided, on its way into one transaction, and how far that brings each partition."""

    def __init__(self, producer: Producer, before: Mapping[Partition, Progress]) -> None:
        self._producer = producer
        self._before = before
        self._then: list[Callable[[], object]] = []
        self.touched: dict[Partition, Progress] = {}

    @property
    def offsets(self) -> list[TopicPartition]:
        """What to commit."""
        return [TopicPartition(*where, found.offset, found.metadata) for where, found in self.touched.items()]

    def progress(self, partition: Partition) -> Progress:
        """How far the partition is brought: a copy, because the transaction may not happen."""
        found = self.touched.get(partition)
        if found is None:
            before = self._before[partition]
            found = self.touched[partition] = before.copy()
        return found

    def hold(self, partition: Partition, offset: int) -> None:
        """Leaves a record of the batch unfinished: others go on, and after a restart it comes again."""
        self.progress(partition).hold(offset)

    def finish(self, partition: Partition, offset: int) -> None:
        """Finishes a record that was held."""
        self.progress(partition).finish(offset)

    def again(self, partition: Partition, offset: int) -> bool:
        """Whether a record was held when the last transaction committed: work on it may have begun before."""
        return self._before[partition].again(offset)

    def finished(self, partition: Partition, offset: int) -> bool:
        """Whether a record is finished already: a transaction may have committed without our being told."""
        return not self._before[partition].wants(offset)

    def put(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        *,
        timestamp_ms: int = 0,
        partition: int = -1,
        on_offset: Callable[[int], None] | None = None,
    ) -> None:
        """Adds a record. `on_offset` is told its offset once the broker has it, before the transaction commits."""
        told = None if on_offset is None else _told(on_offset)
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    told,
                    timestamp=timestamp_ms,
                    headers=headers,  # type: ignore[arg-type]  # its type leaves out that values may be null
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def when_committed(self, do: Callable[[], object]) -> None:
        """Has something done once the transaction has committed, and never where it has not: so things are counted."""
        self._then.append(do)

    def committed(self) -> None:
        """Does all that was left until now."""
        for do in self._then:
            do()


def _told(on_offset: Callable[[int], None]) -> Callable[[KafkaError | None, Message], None]:
    def delivered(error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            on_offset(offset)

    return delivered
