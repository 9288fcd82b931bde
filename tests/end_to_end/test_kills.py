"""Each service and the broker are killed in turn while deliveries go in: what was acknowledged is there, once."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from unsilo_services.broker.local import LocalKafka, free_ports
from unsilo_services.kafka import KafkaException, TopicPartition

from tests.services.running import (
    Gateway,
    Hub,
    Process,
    caller,
    eventually,
    facts,
    running_hub,
    section,
    signed,
    ticket,
)

pytestmark = pytest.mark.kafka

DELIVERIES = 5000
SENDERS = 6


@dataclass
class Sender:
    """A vendor that sends each delivery until it is acknowledged, as the same delivery with a new signature."""

    url: str
    acknowledged: list[int] = field(default_factory=list)
    attempts: int = 0
    closed: bool = False

    def send(self, part: range) -> None:
        with caller(timeout=12) as client:
            for number in part:
                body = ticket(number % 300, number)
                pause = 0.05
                while not self._attempt(client, number, body):
                    assert not self.closed
                    time.sleep(pause)
                    pause = min(1.0, pause * 2)

    def _attempt(self, client: httpx.Client, number: int, body: bytes) -> bool:
        self.attempts += 1
        headers = signed("zendesk", body, more={"x-zendesk-webhook-invocation-id": f"call-{number}"})
        try:
            answer = client.post(f"{self.url}/in/desk", content=body, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code != 202:
            return False
        self.acknowledged.append(number)
        return True


@dataclass
class Scene:
    """A broker, a hub on it, and the processes that are killed."""

    broker: LocalKafka
    hub: Hub
    port: int
    gateway: Gateway
    normalizer: Process
    killed_at_work: int = 0

    def lag(self) -> int:
        """Deliveries on the raw log that the normalizer has not done."""
        topic = self.hub.topics.raw("desk")
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        ends = self.hub.kafka.end_offsets(partitions)
        return sum(ends.values()) - sum(self.hub.kafka.committed(f"{self.hub.prefix}.normalizer", partitions).values())

    def kill_gateway(self) -> None:
        self.gateway.kill()
        self.gateway = self.hub.start_gateway(self.port)

    def kill_normalizer(self) -> None:
        eventually(self.hub.in_transaction, "work to be under way")
        self.normalizer.kill()
        self.killed_at_work += self.lag() > 0
        self.normalizer = self.hub.start("normalizer")

    def kill_broker(self) -> None:
        os.kill(self.broker.pid, signal.SIGKILL)
        eventually(lambda: self.broker.poll() is not None, "the broker to be dead")
        self.broker.stop()
        self.broker.start()


def test_every_acknowledged_delivery_is_an_event_once_whoever_is_killed(tmp_path: Path) -> None:
    (kafka_port, port) = free_ports(2)
    broker = LocalKafka(tmp_path / "kafka", port=kafka_port)
    broker.start()
    try:
        with running_hub(broker.bootstrap, tmp_path) as hub:
            hub.connect(section("desk", "zendesk", rate_per_minute=1_000_000))
            gateway = hub.start_gateway(port)
            scene = Scene(broker, hub, port, gateway, hub.start("normalizer"))
            play(scene)
    finally:
        broker.stop()


def play(scene: Scene) -> None:
    sender = Sender(scene.gateway.url)
    kills: list[Callable[[], None]] = [
        scene.kill_gateway, scene.kill_normalizer, scene.kill_broker, scene.kill_normalizer, scene.kill_gateway,
        scene.kill_normalizer,
    ]  # fmt: skip
    with ThreadPoolExecutor(SENDERS) as pool:
        running = [pool.submit(sender.send, range(start, DELIVERIES, SENDERS)) for start in range(SENDERS)]
        try:
            for number, kill in enumerate(kills, start=1):
                enough = number * DELIVERIES // (len(kills) + 1)
                eventually(lambda: len(sender.acknowledged) >= enough, f"{enough} deliveries", 120)  # noqa: B023
                kill()
            for each in running:
                each.result(120)
        finally:
            sender.closed = True
    eventually(lambda: settled(scene), "all to be done", 120)
    assert scene.normalizer.alive()
    assert sorted(sender.acknowledged) == list(range(DELIVERIES))
    assert sender.attempts > DELIVERIES, "no kill met a request"
    events = scene.hub.events()
    times = Counter(facts(event)["ce_id"] for event in events)
    assert [id for id, number in times.items() if number > 1] == []
    found = {int(json.loads(event.value() or b"")["entity"]["title"]) for event in events}
    assert sorted(set(sender.acknowledged) - found) == []
    assert len(events) == DELIVERIES
    assert scene.hub.dead() == []
    assert scene.killed_at_work
    assert scene.hub.aborted() > 0


def settled(scene: Scene) -> bool:
    try:
        return scene.lag() == 0 and not scene.hub.in_transaction()
    except KafkaException:
        return False
