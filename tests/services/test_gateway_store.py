"""What the gateway's store says of its records, whatever its producer does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from unsilo_services.gateway.doors import RawRecord
from unsilo_services.gateway.store import NotStored, Store
from unsilo_services.kafka import Kafka, KafkaError, KafkaException

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RECORDS = [RawRecord("raw", b"key", b"value", []) for _ in range(3)]
FATAL = KafkaException(KafkaError(KafkaError._FATAL))
REFUSED = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class Producer:
    """Keeps what it is given until the test lets it through."""

    def __init__(self) -> None:
        self.reports: list[Callable[[KafkaError | None, Any], None]] = []
        self.fails: Exception | None = None

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Any, **more: Any) -> None:
        if self.fails:
            raise self.fails
        self.reports.append(on_delivery)

    def poll(self, seconds: float) -> int:
        if self.fails:
            raise self.fails
        return 0


class Cluster:
    def __init__(self) -> None:
        self.made = Producer()

    def producer(self, **options: Any) -> Producer:
        return self.made


def with_store(act: Callable[[Store, Producer], Awaitable[None]]) -> Store:
    cluster = Cluster()
    store = Store(cast(Kafka, cluster))

    async def acted() -> None:
        await act(store, cluster.made)

    asyncio.run(acted())
    return store


def test_a_batch_is_stored_when_the_last_of_its_records_is() -> None:
    async def act(store: Store, producer: Producer) -> None:
        stored = store.store(RECORDS, NOW)
        for report in producer.reports:
            assert not stored.done()
            report(None, None)
        assert stored.done()
        await stored

    with_store(act)


def test_a_batch_of_which_one_record_is_refused_is_not_stored() -> None:
    async def act(store: Store, producer: Producer) -> None:
        stored = store.store(RECORDS, NOW)
        for report, error in zip(producer.reports, (None, None, REFUSED), strict=True):
            report(error, None)
        with pytest.raises(NotStored):
            await stored

    assert not with_store(act).broken


def test_it_is_broken_once_its_producer_takes_nothing_any_more() -> None:
    async def act(store: Store, producer: Producer) -> None:
        producer.fails = FATAL
        with pytest.raises(NotStored):
            await store.store(RECORDS, NOW)

    assert with_store(act).broken


def test_it_is_broken_once_its_producer_can_report_nothing_any_more() -> None:
    async def act(store: Store, producer: Producer) -> None:
        store.store(RECORDS, NOW)
        producer.fails = FATAL
        async with asyncio.timeout(30):
            while not store.broken:
                await asyncio.sleep(0)

    with_store(act)


@pytest.mark.parametrize("full", [BufferError(), KafkaException(KafkaError(KafkaError._QUEUE_FULL))])
def test_a_producer_that_is_full_is_not_broken(full: Exception) -> None:
    async def act(store: Store, producer: Producer) -> None:
        producer.fails = full
        with pytest.raises(NotStored):
            await store.store(RECORDS, NOW)

    assert not with_store(act).broken


def test_it_is_broken_once_a_record_could_not_be_sent_in_all_that_time_though_nobody_waits_any_more() -> None:
    async def act(store: Store, producer: Producer) -> None:
        store.store(RECORDS[:1], NOW).cancel()  # its sender was answered 503 long before
        assert not store.broken
        producer.reports[0](TIMED_OUT, None)
        assert store.broken

    with_store(act)


def test_it_is_broken_once_a_note_could_not_be_sent_in_all_that_time() -> None:
    async def act(store: Store, producer: Producer) -> None:
        store.note("audit", None, b"value", [])
        producer.reports[0](TIMED_OUT, None)
        assert store.broken

    with_store(act)
