"""What the normalizer remembers: over restarts, and over moves of a partition from worker to worker and back."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from unsilo_schemas.topics import Topics
from unsilo_services.kafka import Kafka, Partition
from unsilo_services.loop import Outbox
from unsilo_services.normalizer.ledger import Ledger

from tests.services.running import eventually

pytestmark = pytest.mark.kafka


@dataclass
class Ledgers:
    """Ledgers of several workers over one topic, with a raw partition that they have in turn."""

    bootstrap: str
    prefix: str
    folder: Path

    def __post_init__(self) -> None:
        self.kafka = Kafka({"bootstrap.servers": self.bootstrap})
        self.topic = Topics(self.prefix).ledger()
        self.partition = (f"{self.prefix}.raw.desk", 0)
        self.kafka.create([self.topic])

    def ledger(self, worker: str) -> Ledger:
        return Ledger(self.kafka, self.topic, self.folder / worker)

    def ids(self, numbers: Iterable[int]) -> list[bytes]:
        return [number.to_bytes(16, "big") for number in numbers]

    def beside(self, ledger: Ledger) -> Partition:
        """Another raw partition whose ids lie on the same partition of the ledger."""
        numbered = ((self.partition[0], number) for number in range(1, 1000))
        return next(other for other in numbered if ledger._partition_of(other) == ledger._partition_of(self.partition))

    def publish(
        self, ledger: Ledger, numbers: Iterable[int], commits: bool = True, partition: Partition | None = None
    ) -> None:
        """As one transaction of its worker."""
        producer = self.kafka.producer(transactional_id=f"{self.prefix}.{id(ledger)}")
        producer.init_transactions(10)
        producer.begin_transaction()
        ledger.record(partition or self.partition, self.ids(numbers), Outbox(producer, {}))
        if commits:
            producer.commit_transaction(10)
            ledger.committed()
        else:
            producer.abort_transaction(10)
            ledger.aborted()

    def publish_and_make_anew(self, ledger: Ledger) -> None:
        """Leaves a worker with a checkpoint of a ledger that is no more."""
        for number in range(5):
            self.publish(ledger, [number])
        for done in self.kafka.admin.delete_topics([self.topic.name]).values():
            done.result()
        eventually(lambda: self.topic.name not in self.kafka.admin.list_topics(timeout=5).topics, "it to be gone")
        self.kafka.create([self.topic])


@pytest.fixture
def desk(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> Ledgers:
    return Ledgers(kafka_bootstrap, topic_prefix, tmp_path)


def test_what_another_worker_published_is_known_when_a_partition_comes_back(desk: Ledgers) -> None:
    first, second = desk.ledger("first"), desk.ledger("second")
    desk.publish(first, range(5))
    second.restore([desk.partition])
    desk.publish(second, range(5, 10))
    desk.publish(second, range(10, 15))
    first.restore([desk.partition])
    assert first.known(desk.ids(range(20))) == set(desk.ids(range(15)))


def test_a_partition_that_lags_behind_another_on_the_same_ledger_is_read_whole(desk: Ledgers) -> None:
    first, second = desk.ledger("first"), desk.ledger("second")
    beside = desk.beside(first)
    desk.publish(second, range(5), partition=beside)
    desk.publish(second, range(5, 10))
    first.restore([desk.partition])
    first.restore([desk.partition, beside])
    assert first.known(desk.ids(range(10))) == set(desk.ids(range(10)))


def test_what_is_known_already_is_not_read_again(desk: Ledgers) -> None:
    first = desk.ledger("first")
    desk.publish(first, range(5))
    before = restored()
    first.restore([desk.partition])
    assert restored() == before


def test_a_ledger_that_was_made_anew_is_read_from_its_beginning(desk: Ledgers) -> None:
    first, second = desk.ledger("first"), desk.ledger("second")
    desk.publish_and_make_anew(first)
    desk.publish(second, [100])
    first.restore([desk.partition])
    assert first.known(desk.ids([100])) == set(desk.ids([100]))


def test_a_ledger_that_was_made_anew_and_grew_past_what_was_read_is_read_from_its_beginning(desk: Ledgers) -> None:
    first, second = desk.ledger("first"), desk.ledger("second")
    desk.publish_and_make_anew(first)
    first.restore([desk.partition])
    for number in range(100, 110):
        desk.publish(second, [number])
    first.restore([desk.partition])
    assert first.known(desk.ids(range(100, 110))) == set(desk.ids(range(100, 110)))


def test_what_was_not_committed_is_not_remembered(desk: Ledgers) -> None:
    first = desk.ledger("first")
    desk.publish(first, range(3), commits=False)
    desk.publish(first, range(3, 5))
    assert first.known(desk.ids(range(5))) == set(desk.ids(range(3, 5)))


def restored() -> float:
    return REGISTRY.get_sample_value("unsilo_deduplication_restored_total") or 0.0
