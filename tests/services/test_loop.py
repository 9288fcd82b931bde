"""The transactional loop with faults put in where Kafka would show them only by luck."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from unsilo_schemas.topics import Topic
from unsilo_services import kafka, loop
from unsilo_services.broker.local import LocalKafka
from unsilo_services.kafka import (
    Kafka,
    KafkaError,
    KafkaException,
    Message,
    Partition,
    Producer,
    TopicPartition,
    TopicsUnusable,
    deadline,
    partition_of,
)
from unsilo_services.loop import Fenced, Outbox, Step, TransactionalLoop
from unsilo_services.normalizer.ledger import Ledger

from tests.services.running import eventually, running_hub, section

pytestmark = pytest.mark.kafka


class Copier(Step):
    """Copies what it reads, and holds what says so until it is let go. It remembers what it was told."""

    def __init__(self, out: str) -> None:
        self._out = out
        self.held: dict[tuple[Partition, int], Message] = {}
        self.again: list[bytes] = []
        self.assigned_partitions: list[Partition] = []
        self.fail: list[BaseException] = []
        self.let_go = False
        self.aborts = 0

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.assigned_partitions += partitions

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.held = {place: message for place, message in self.held.items() if place[0] not in partitions}

    def due(self) -> bool:
        return self.let_go and bool(self.held)

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        if self.let_go:
            for place, message in self.held.items():
                outbox.put(self._out, message.value(), message.key(), [])
                outbox.finish(*place)
            self.held.clear()
        for message in records:
            place = (partition_of(message), int(message.offset() or 0))
            if outbox.again(*place):
                self.again.append(message.value() or b"")
            if (message.value() or b"").startswith(b"hold") and not self.let_go:
                outbox.hold(*place)
                self.held[place] = message
            else:
                outbox.put(self._out, message.value(), message.key(), [])
        if self.fail:
            raise self.fail.pop()

    def committed(self) -> None: ...

    def aborted(self) -> None:
        self.held.clear()
        self.aborts += 1


class Bench:
    """An input, an output, and loops between them."""

    def __init__(self, kafka: Kafka, prefix: str) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.source = Topic(f"{prefix}.raw.in", "none", 2, "delete", timedelta(days=1))
        self.other = Topic(f"{prefix}.raw.other", "none", 1, "delete", timedelta(days=1))
        self.out = Topic(f"{prefix}.out", "none", 1, "delete", timedelta(days=1))
        kafka.create([self.source, self.other, self.out])
        self.topics = [self.source.name]

    def write(self, *values: bytes, topic: Topic | None = None) -> None:
        producer = self.kafka.producer()
        for value in values:
            producer.produce((topic or self.source).name, value, value)
        assert producer.flush(30) == 0

    def read(self) -> list[bytes]:
        found: list[bytes] = []
        self.kafka.read_to_end([TopicPartition(self.out.name, 0)], lambda message: found.append(message.value() or b""))
        return found

    def make_anew(self, *values: bytes) -> None:
        """Deletes the input and makes it again, with these in it."""
        self.kafka.admin.delete_topics([self.source.name])[self.source.name].result(30)
        eventually(lambda: not self.kafka.partitions(self.source.name))
        self.kafka.create([self.source])
        self.write(*values)

    def loop(self, step: Any, slot: str = "a", kind: type[TransactionalLoop] = TransactionalLoop) -> TransactionalLoop:
        return kind(self.kafka, "copier", self.prefix, slot, lambda: list(self.topics), step, poll_seconds=0.02)

    def wrote(self, *values: bytes) -> None:
        """Returns when the output holds these and no more."""
        eventually(lambda: len(self.read()) >= len(values), f"{len(values)} records")
        assert sorted(self.read()) == sorted(values)


@pytest.fixture
def bench(kafka_bootstrap: str, topic_prefix: str) -> Bench:
    return Bench(Kafka({"bootstrap.servers": kafka_bootstrap}), topic_prefix)


@contextmanager
def running(loop: TransactionalLoop) -> Iterator[list[BaseException]]:
    """Runs a loop in a thread of its own; gives what it ended with."""
    ended: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        loop.stop()
        thread.join(60)
        assert not thread.is_alive()


class Doubtful:
    """A real producer, the outcome of whose first commit is not told."""

    def __init__(self, producer: Producer, commits: bool) -> None:
        self._producer = producer
        self._commits = commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, timeout: float) -> None:
        if self._commits:
            self._producer.commit_transaction(timeout)
        else:
            self._producer.flush(timeout)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def doubtful(commits: bool, faults: int = 1) -> type[TransactionalLoop]:
    """A loop whose first producers leave it in doubt."""
    left = [faults]

    class Loop(TransactionalLoop):
        def _new_producer(self) -> Producer:
            producer = super()._new_producer()
            if not left[0]:
                return producer
            left[0] -= 1
            return Doubtful(producer, commits)  # type: ignore[return-value]  # it does what that does

    return Loop


@pytest.mark.parametrize("commits", [True, False])
def test_a_commit_whose_outcome_is_unknown_happens_once(bench: Bench, commits: bool) -> None:
    step = Copier(bench.out.name)
    bench.write(b"1", b"2", b"3")
    with running(bench.loop(step, kind=doubtful(commits, faults=2))) as ended:
        bench.wrote(b"1", b"2", b"3")
        bench.write(b"4")
        bench.wrote(b"1", b"2", b"3", b"4")
    assert ended == []
    assert step.aborts == 2


def test_remembers_what_an_unknown_commit_had_committed(bench: Bench, tmp_path: Path) -> None:
    ledger_topic = Topic(f"{bench.prefix}.ledger", "none", 1, "delete", timedelta(days=1))
    bench.kafka.create([ledger_topic])
    ledger = Ledger(bench.kafka, ledger_topic, tmp_path / "cache")

    class Remembering(Copier):
        def assigned(self, partitions: Sequence[Partition]) -> None:
            ledger.restore(partitions)

        def process(self, records: Sequence[Message], outbox: Outbox) -> None:
            ids = [(message.value() or b"").ljust(16) for message in records]
            known = ledger.known(ids)
            for message, id in zip(records, ids, strict=True):
                if id not in known:
                    outbox.put(bench.out.name, message.value(), message.key(), [])
                    ledger.record(partition_of(message), [id], outbox)

        def committed(self) -> None:
            ledger.committed()

        def aborted(self) -> None:
            ledger.aborted()

    with running(bench.loop(Remembering(bench.out.name), kind=doubtful(commits=True))):
        bench.write(b"1", b"2", b"3")
        bench.wrote(b"1", b"2", b"3")
        bench.write(b"1", b"2", b"3", b"4")
        bench.wrote(b"1", b"2", b"3", b"4")
    ledger.close()


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError.INVALID_TXN_STATE, KafkaError.UNKNOWN_MEMBER_ID])
def test_what_a_failed_transaction_held_comes_again(bench: Bench, code: int) -> None:
    step = Copier(bench.out.name)
    step.fail.append(KafkaException(KafkaError(code)))
    bench.write(b"1", b"2", b"3")
    with running(bench.loop(step)) as ended:
        bench.wrote(b"1", b"2", b"3")
    assert ended == []
    assert step.aborts == 1


def test_a_step_that_fails_ends_the_worker_and_commits_nothing(bench: Bench) -> None:
    step = Copier(bench.out.name)
    step.fail.append(ZeroDivisionError())
    bench.write(b"1", b"2")
    with running(bench.loop(step)) as ended:
        eventually(lambda: bool(ended), "it to end")
    assert isinstance(ended[0], ZeroDivisionError)
    with running(bench.loop(Copier(bench.out.name))):
        bench.wrote(b"1", b"2")


def test_of_two_processes_with_one_name_the_older_ends_and_says_why(bench: Bench) -> None:
    with running(bench.loop(Copier(bench.out.name))) as ended:
        bench.write(b"1")
        bench.wrote(b"1")
        with running(bench.loop(Copier(bench.out.name))) as others:
            eventually(lambda: len(bench.kafka.group(f"{bench.prefix}.copier").members) == 2, "both in the group")
            sent = 1
            while not ended:
                bench.write(b"%d" % (sent := sent + 1))
                eventually(lambda: len(bench.read()) >= sent or bool(ended))  # within this turn
            bench.wrote(*(b"%d" % number for number in range(1, sent + 1)))
        assert others == []
    assert isinstance(ended[0], Fenced)
    assert "UNSILO_INSTANCE" in str(ended[0])


def test_the_older_of_two_with_one_name_ends_without_a_word_more_to_kafka(bench: Bench) -> None:
    """Its step may have something due still: said now, it would end the younger one in turn."""

    class Tenacious(Copier):
        def due(self) -> bool:
            return self.let_go

    older, younger = Tenacious(bench.out.name), Copier(bench.out.name)
    bench.write(*(b"hold %d" % number for number in range(20)))
    with running(bench.loop(older)) as ended:
        eventually(lambda: len(older.held) == 20, "what is held")
        with running(bench.loop(younger)) as others:
            eventually(lambda: older.held and younger.held, "both to hold some")
            older.let_go = True
            eventually(lambda: bool(ended), "the older one to end")
            bench.write(b"1", b"2", b"3", b"4")
            bench.wrote(b"1", b"2", b"3", b"4")
        assert others == []
    assert isinstance(ended[0], Fenced)


def test_a_topic_that_is_made_anew_under_a_running_worker_is_read_from_its_beginning(bench: Bench) -> None:
    first, second = [b"a%d" % n for n in range(50)], [b"b%d" % n for n in range(20)]
    bench.write(*first)
    with running(bench.loop(Copier(bench.out.name))) as ended:
        bench.wrote(*first)
        bench.make_anew(*second)
        eventually(lambda: set(bench.read()) >= set(second), "all of the new topic")
    assert ended == []


def test_a_topic_that_is_made_anew_is_read_from_its_beginning_also_where_nothing_was_read_since_the_start(
    bench: Bench,
) -> None:
    first, second = [b"a%d" % n for n in range(50)], [b"b%d" % n for n in range(20)]
    bench.write(*first)
    with running(bench.loop(Copier(bench.out.name))):
        bench.wrote(*first)
    again = bench.loop(Copier(bench.out.name))
    with running(again) as ended:
        eventually(lambda: len(again.assigned) == 2, "both partitions")
        bench.make_anew(*second)
        eventually(lambda: set(bench.read()) >= set(second), "all of the new topic")
    assert ended == []


def test_a_batch_that_takes_longer_than_a_transaction_may_is_tried_in_parts(bench: Bench) -> None:
    values = [b"%d" % number for number in range(100)]
    sizes: list[int] = []

    class Slow(Copier):
        def process(self, records: Sequence[Message], outbox: Outbox) -> None:
            sizes.append(len(records))
            if len(records) > 10:
                worker._begun_at -= 60
                raise KafkaException(KafkaError(KafkaError._FATAL, "the broker has ended the transaction"))
            super().process(records, outbox)

    bench.write(*values)
    worker = bench.loop(Slow(bench.out.name))
    with running(worker) as ended:
        bench.wrote(*values)
    assert ended == []
    assert max(sizes) > 10


def test_a_topic_that_is_missing_is_made_again_where_it_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TRANSACTION_SECONDS", 2)
    bench.kafka.admin.delete_topics([bench.out.name])[bench.out.name].result(30)
    eventually(lambda: not bench.kafka.partitions(bench.out.name))
    bench.write(b"1", b"2")
    refused = [TopicsUnusable("one of three brokers is away")]

    def restore() -> None:
        if refused:
            raise refused.pop()
        bench.kafka.create([bench.out])

    worker = TransactionalLoop(
        bench.kafka,
        "copier",
        bench.prefix,
        "a",
        lambda: [bench.source.name],
        Copier(bench.out.name),
        restore_topics=restore,
    )
    with running(worker) as ended:
        eventually(lambda: bench.kafka.partitions(bench.out.name), "the topic")
        bench.wrote(b"1", b"2")
    assert ended == []


def test_a_worker_that_has_committed_nothing_yet_says_so_in_its_metrics(bench: Bench) -> None:
    """An alert asks for services that commit nothing: a series that is missing would keep it quiet."""
    TransactionalLoop(bench.kafka, "newborn", bench.prefix, "a", lambda: bench.topics, Copier(bench.out.name))
    for outcome in ("committed", "aborted"):
        assert REGISTRY.get_sample_value("unsilo_transactions_total", {"service": "newborn", "outcome": outcome}) == 0


def test_a_worker_is_ready_once_it_has_a_place_in_its_group(bench: Bench) -> None:
    loop = bench.loop(Copier(bench.out.name))
    assert not loop.ready
    with running(loop):
        eventually(lambda: loop.ready)
        assert loop.assigned


def test_a_process_that_is_fenced_in_the_middle_of_a_batch_ends_and_says_why(bench: Bench) -> None:
    class Overtaken(Copier):
        def process(self, records: Sequence[Message], outbox: Outbox) -> None:
            super().process(records, outbox)
            other = bench.kafka.producer(transactional_id=f"{bench.prefix}.copier.a")
            other.init_transactions(30)
            left = deadline(30)
            while left():
                outbox.put(bench.out.name, b"never", b"never", [])
                time.sleep(0.01)  # the producer's own thread learns of it

    bench.write(b"1")
    with running(bench.loop(Overtaken(bench.out.name))) as ended:
        eventually(lambda: bool(ended), "it to end")
    assert isinstance(ended[0], Fenced), ended[0]
    with running(bench.loop(Copier(bench.out.name))):
        bench.wrote(b"1")


def test_what_is_held_comes_again_after_a_restart_and_nothing_else_does(bench: Bench) -> None:
    bench.write(b"hold 1", b"2", b"hold 3", b"4", b"hold 5", b"6")
    before = Copier(bench.out.name)
    with running(bench.loop(before)):
        eventually(lambda: len(before.held) == 3, "three to be held")
        bench.wrote(b"2", b"4", b"6")
    step = Copier(bench.out.name)
    with running(bench.loop(step)) as ended:
        eventually(lambda: len(step.held) == 3, "what was held")
        assert sorted(step.again) == [b"hold 1", b"hold 3", b"hold 5"]
        bench.write(b"7")
        bench.wrote(b"2", b"4", b"6", b"7")
        step.let_go = True
        bench.wrote(b"2", b"4", b"6", b"7", b"hold 1", b"hold 3", b"hold 5")
    assert ended == []
    with running(bench.loop(Copier(bench.out.name))):
        bench.write(b"8")
        bench.wrote(b"2", b"4", b"6", b"7", b"8", b"hold 1", b"hold 3", b"hold 5")


def test_what_is_held_comes_again_after_a_failure(bench: Bench) -> None:
    step = Copier(bench.out.name)
    bench.write(b"hold 1", b"2")
    with running(bench.loop(step)) as ended:
        eventually(lambda: len(step.held) == 1 and bench.read() == [b"2"], "one to be held")
        step.fail.append(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        bench.write(b"3")
        bench.wrote(b"2", b"3")
        eventually(lambda: len(step.held) == 1, "it to be held again")
        step.let_go = True
        bench.wrote(b"2", b"3", b"hold 1")
    assert ended == []


def test_a_held_record_moves_with_its_partition(bench: Bench) -> None:
    first, second = Copier(bench.out.name), Copier(bench.out.name)
    bench.write(*(b"hold %d" % number for number in range(20)), b"20")
    with running(bench.loop(first, "a")):
        eventually(lambda: len(first.held) == 20, "all to be held")
        with running(bench.loop(second, "b")):
            eventually(lambda: second.held and len(first.held) + len(second.held) == 20, "some to move")
            first.let_go = second.let_go = True
            bench.wrote(b"20", *(b"hold %d" % number for number in range(20)))


def test_a_topic_that_is_dropped_and_comes_back_is_read_from_where_it_was(bench: Bench) -> None:
    step = Copier(bench.out.name)
    bench.topics.append(bench.other.name)
    with running(bench.loop(step)) as ended:
        bench.write(b"1", topic=bench.other)
        bench.wrote(b"1")
        for number in range(2, 12):
            bench.topics.remove(bench.other.name)
            bench.write(b"%d" % number, topic=bench.other)
            bench.topics.append(bench.other.name)
        bench.wrote(*(b"%d" % number for number in range(1, 12)))
    assert ended == []


def test_records_of_a_dropped_topic_stay_where_they_are(bench: Bench) -> None:
    busy, go_on = threading.Event(), threading.Event()

    class Slow(Copier):
        def process(self, records: Sequence[Message], outbox: Outbox) -> None:
            super().process(records, outbox)
            if any(message.value() == b"slow" for message in records):
                busy.set()
                assert go_on.wait(30)

    bench.topics.append(bench.other.name)
    group = f"{bench.prefix}.copier"
    with running(bench.loop(Slow(bench.out.name))) as ended:
        bench.write(b"1", topic=bench.other)
        bench.wrote(b"1")
        bench.write(b"slow")
        assert busy.wait(30)
        bench.write(b"2", topic=bench.other)  # fetched before its topic is dropped
        bench.topics.remove(bench.other.name)
        go_on.set()
        eventually(lambda: bench.other.name not in bench.kafka.group(group).topics, "it to be given back")
        bench.write(b"3")
        bench.wrote(b"1", b"slow", b"3")
        where = TopicPartition(bench.other.name, 0)
        assert bench.kafka.committed(group, [where]) == {(bench.other.name, 0): 1}
    assert ended == []


def test_asks_again_while_what_is_remembered_cannot_be_read(bench: Bench) -> None:
    faults = [KafkaException(KafkaError(KafkaError._TIMED_OUT))] * 2

    class Forgetful(Copier):
        def assigned(self, partitions: Sequence[Partition]) -> None:
            if faults:
                raise faults.pop()
            super().assigned(partitions)

    step = Forgetful(bench.out.name)
    bench.write(b"1")
    with running(bench.loop(step)) as ended:
        bench.wrote(b"1")
    assert ended == []
    assert len(step.assigned_partitions) == 2


def test_more_may_be_held_than_an_offset_can_say(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [(b"hold %d" if number % 7 in (0, 3, 4) else b"%d") % number for number in range(9000)]
    step = Copier(bench.out.name)
    bench.write(*names)
    with running(bench.loop(step)) as ended:
        free = [name for name in names if not name.startswith(b"hold")]
        bench.wrote(*free)
    assert ended == []
    again = Copier(bench.out.name)
    again.let_go = True
    with running(bench.loop(again)) as ended:
        eventually(lambda: set(bench.read()) == set(names), "all of them")
    assert ended == []


def test_a_worker_ends_in_order_while_kafka_is_away(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as broker, running_hub(broker.bootstrap, tmp_path) as hub:
        hub.connect(section("desk", "zendesk"))
        worker = hub.start("normalizer")
        group = f"{hub.prefix}.normalizer"
        eventually(lambda: hub.kafka.group(group).topics, "it to work")
        broker.stop()
        assert worker.stop() == 0, worker.said


def test_reading_to_the_end_gives_up_where_nothing_is_heard(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when the broker is gone for good, or somebody's transaction stays open far too long."""
    monkeypatch.setattr(kafka, "_SILENCE_SECONDS", 0.2)
    other = bench.kafka.producer(transactional_id=f"{bench.prefix}.other")
    other.init_transactions(30)
    other.begin_transaction()
    other.produce(bench.out.name, b"never committed", partition=0)
    other.flush(30)
    with pytest.raises(KafkaException, match="nothing is heard"):
        bench.kafka.read_to_end([TopicPartition(bench.out.name, 0)], lambda message: None, poll_seconds=0.05)
    other.abort_transaction(30)
    bench.kafka.read_to_end([TopicPartition(bench.out.name, 0)], lambda message: pytest.fail("was never committed"))


def test_a_log_that_was_cut_is_read_again_and_its_records_are_known_to_have_been_seen(bench: Bench) -> None:
    """As after a restore from a copy, or a power cut on a single broker: what comes now is not skipped in silence."""
    group = f"{bench.prefix}.copier"
    bench.write(b"1", b"hold 2", b"3")
    committing = bench.kafka.consumer(group)
    committing.commit(offsets=[TopicPartition(bench.source.name, n, 1000) for n in range(2)], asynchronous=False)
    committing.close()
    step = Copier(bench.out.name)
    with running(bench.loop(step)) as ended:
        bench.wrote(b"1", b"3")
        eventually(lambda: len(step.again) == 3)  # the one that is held writes nothing
    assert ended == []
    assert sorted(step.again) == [b"1", b"3", b"hold 2"]
    again = Copier(bench.out.name)
    with running(bench.loop(again)):
        eventually(lambda: again.held)
        assert again.again == [b"hold 2"]


def test_a_record_whose_outcome_kafka_refuses_is_put_aside_and_holds_up_nobody(bench: Bench) -> None:
    small = Topic(f"{bench.prefix}.small", "none", 1, "delete", timedelta(days=1), max_bytes=2000)
    bench.kafka.create([small])
    aside: list[tuple[bytes, str]] = []

    class Careful(Copier):
        def refused(self, record: Message, fault: KafkaError, outbox: Outbox) -> None:
            aside.append(((record.value() or b"")[:5], fault.name()))
            outbox.put(bench.out.name, b"aside", b"", [])

    values = [b"%d" % number for number in range(50)]
    bench.write(*values[:20], b"large" + os.urandom(4000), *values[20:])
    with running(bench.loop(Careful(small.name))) as ended:
        bench.wrote(b"aside")
        found: list[bytes] = []

        def copied() -> bool:
            found.clear()
            place = TopicPartition(small.name, 0)
            bench.kafka.read_to_end([place], lambda message: found.append(message.value() or b""))
            return len(found) >= len(values)

        eventually(copied, "all others")
    assert ended == []
    assert sorted(found) == sorted(values)
    assert set(aside) == {(b"large", "MSG_SIZE_TOO_LARGE")}
