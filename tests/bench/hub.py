"""A hub to measure: an ephemeral Kafka, configured connections, and raw topics filled as the gateway fills them."""

import os
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deliveries import CONNECTIONS, deliveries, headers
from processes import Measured
from unsilo_connectors.contract import WebhookRequest
from unsilo_schemas.topics import Topics
from unsilo_services.broker.local import LocalKafka
from unsilo_services.config_topic import changes, entries, publish
from unsilo_services.configuration import Configuration, ConnectionSection, HubSection, declared
from unsilo_services.gateway.doors import doors, records
from unsilo_services.kafka import OFFSET_BEGINNING, Kafka, TopicPartition

SECRET = "unsilo-bench-secret"  # of a hub that lives for minutes on this machine
SETTINGS: dict[str, dict[str, Any]] = {
    "zendesk": {"signing_secret": {"env": "UNSILO_BENCH_SECRET"}},
    "slack": {"signing_secret": {"env": "UNSILO_BENCH_SECRET"}},
    "pipedrive": {"username": "hub", "password": {"env": "UNSILO_BENCH_SECRET"}},
    "bamboohr": {"private_key": {"env": "UNSILO_BENCH_SECRET"}},
}


class Hub:
    """One hub with its own topic prefix, for as long as it is measured."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="unsilo-bench-")
        self.data = Path(self._folder.name)
        self.prefix = "bench" + uuid.uuid4().hex[:6]
        self.topics = Topics(self.prefix)
        self.broker = LocalKafka(self.data / "kafka", ephemeral=True, heap_mb=1024)
        self.configuration = Configuration(
            HubSection(),
            {name: ConnectionSection(id=name, connector=connector, settings=SETTINGS[connector],
                                     rate_per_minute=100_000_000, audience="internal")
             for name, connector in CONNECTIONS.items()},
        )  # fmt: skip

    def __enter__(self) -> Self:
        os.environ["UNSILO_BENCH_SECRET"] = SECRET
        self.broker.start()
        self.kafka = Kafka({"bootstrap.servers": self.broker.bootstrap})
        self.kafka.create(declared(self.configuration, self.topics))
        publish(self.kafka, self.topics.config(), changes({}, entries(self.configuration), prune=False))
        self.events = [topic for topic in self.topics.fixed() if ".event." in topic.name]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.broker.stop()
        self._folder.cleanup()

    def start(self, service: str, **environment: str) -> Measured:
        """Starts one service of the hub."""
        told = {
            "UNSILO_KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "UNSILO_TOPIC_PREFIX": self.prefix,
            "UNSILO_DATA": str(self.data),
            "UNSILO_LOG_LEVEL": "WARNING",
            "UNSILO_BENCH_SECRET": SECRET,
            **environment,
        }
        return Measured(f"unsilo_services.{service}", told, self.data / f"{service}.log")

    def count(self, partitions: Sequence[TopicPartition]) -> int:
        """Records that a read_committed reader sees."""
        seen = 0

        def take(message: object) -> None:
            nonlocal seen
            seen += 1

        self.kafka.read_to_end([TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in partitions], take)
        return seen


def seed(hub: Hub, count: int) -> list[TopicPartition]:
    """Fills the raw topics with so many deliveries, verified and keyed as the gateway does."""
    ways_in = doors(hub.configuration, hub.topics)
    producer = hub.kafka.producer(linger_ms=20, batch_size=1_000_000, queue_buffering_max_messages=500_000)
    now = datetime.now(UTC)
    for number, delivery in enumerate(deliveries(count)):
        door = ways_in[delivery.connection]
        assert door.connection is not None
        request = WebhookRequest(door.connection, headers(delivery, number), delivery.body, now)
        for record in records(door, request):
            producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    return [TopicPartition(hub.topics.raw(name).name, number) for name in CONNECTIONS for number in range(3)]
