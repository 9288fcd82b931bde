"""Services and broker are killed in turn while deliveries go in: nothing is lost, and nothing doubled without cause.

What was acknowledged is an event once, and reaches the receiver. It reaches it twice only where a kill came between the
call and the commit of its result, and then under the same idempotency key.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import httpx
import pytest
from unsilo_services.broker.local import LocalKafka, free_ports
from unsilo_services.kafka import KafkaException, Message, TopicPartition

from tests.services.remotes import Answer, Arrival, Remote, remote
from tests.services.running import Gateway, Process, caller, eventually, facts, section, signed, ticket
from tests.services.writing import Writing, writing_hub

pytestmark = pytest.mark.kafka

DELIVERIES = 5000
SENDERS = 6
STRANDED_SECONDS = 180.0  # more than it takes to notice that a client has lost Kafka, and to start anew
ANSWER_SECONDS = 0.02  # as a receiver next door takes: so that each kill finds calls out
FLOW = {
    "id": "tell",
    "on": "ticket.ticket.status_changed",
    "do": [
        {
            "deliver": "sink",
            "action": "send",
            "with": {"type": "changed", "data": {"change": "{{ entity.title }}"}},
        }
    ],
}
TICKETS, COMMANDS, LINKS = "event.ticket.ticket.v1", "command.sink", "event.link.link.v1"
READS = {"normalizer": "raw.desk", "flows": TICKETS, "delivery": COMMANDS}
WRITES = {"normalizer": TICKETS, "flows": COMMANDS, "delivery": LINKS}


@dataclass
class Sender:
    """A vendor that sends each delivery until it is acknowledged, as the same delivery with a new signature."""

    url: str
    acknowledged: list[int] = field(default_factory=list)
    attempts: Iterator[int] = field(default_factory=count)
    under_way: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)  # attempts that were not acknowledged
    happened: int = 0  # how many deliveries there are to send until now
    complete: bool = False  # no more will happen
    closed: bool = False

    def send(self, part: Iterator[int]) -> None:
        with caller(timeout=12) as client:
            for number in part:
                while number >= self.happened:
                    if self.complete:
                        return
                    assert not self.closed
                    time.sleep(0.01)
                body = ticket(number % 300, number)
                pause = 0.05
                while not self._attempt(client, number, body):
                    assert not self.closed
                    time.sleep(pause)
                    pause = min(1.0, pause * 2)

    def _attempt(self, client: httpx.Client, number: int, body: bytes) -> bool:
        headers = signed("zendesk", body, more={"x-zendesk-webhook-invocation-id": f"call-{number}"})
        attempt = next(self.attempts)
        self.under_way.add(attempt)
        try:
            acknowledged = client.post(f"{self.url}/in/desk", content=body, headers=headers).status_code == 202
        except httpx.TransportError:
            acknowledged = False
        self.under_way.remove(attempt)
        if acknowledged:
            self.acknowledged.append(number)
        else:
            self.failed.add(attempt)
        return acknowledged


@dataclass
class Receiver:
    """Another system, which takes what it is sent as often as it is sent it."""

    times: dict[str, list[float]] = field(default_factory=dict)
    changes: dict[str, set[str]] = field(default_factory=dict)

    def answer(self, arrival: Arrival) -> Answer | None:
        if len(arrival.body) < int(arrival.headers["content-length"]):
            return None  # its sender was killed while it spoke
        time.sleep(ANSWER_SECONDS)
        key = arrival.headers["webhook-id"]
        self.times.setdefault(key, []).append(time.time())
        self.changes.setdefault(key, set()).add(arrival.json["data"]["change"])
        return 204, {}, b""


@dataclass
class Scene:
    """A broker, a hub on it, and the processes that are killed."""

    broker: LocalKafka
    hub: Writing
    port: int
    gateway: Gateway
    services: dict[str, Process]
    monitor: Process
    sender: Sender
    kills: list[tuple[str, float]] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)  # what was done already when a service was last started

    def places(self, topic: str) -> list[TopicPartition]:
        name = f"{self.hub.prefix}.{topic}"
        return [TopicPartition(name, number) for number in range(self.hub.kafka.partitions(name))]

    def done(self, service: str) -> int:
        """Records that a service has done, as far as it has committed that."""
        return sum(self.hub.kafka.committed(f"{self.hub.prefix}.{service}", self.places(READS[service])).values())

    def left(self, service: str) -> int:
        """Records that a service has not done. Offsets do not tell: the end of each transaction has one, too."""
        committed = self.hub.kafka.committed(f"{self.hub.prefix}.{service}", self.places(READS[service]))
        found: list[Message] = []
        self.hub.kafka.read_to_end(
            [TopicPartition(*place, offset) for place, offset in committed.items()], found.append
        )
        return len(found)

    def writes(self, service: str) -> bool:
        """Whether something is written that is not committed."""
        places = self.places(WRITES[service])
        return self.hub.kafka.end_offsets(places) != self.hub.kafka.end_offsets(places, committed=True)

    def at_work(self, service: str) -> bool:
        """Whether a service writes: not its predecessor, whose last transaction may still be open."""
        self.keep_running(service)
        try:
            if self.done(service) <= self.found.get(service, 0):
                return False
            if self.writes(service):
                return True
        except KafkaException:  # the broker was started anew
            return False
        self.sender.happened += SENDERS  # it may have done all that there was
        return False

    def keep_running(self, service: str) -> None:
        """As a supervisor does: a process that has lost Kafka for good ends, and is started anew (stranded.py)."""
        if not self.services[service].alive():
            assert "has lost Kafka" in self.services[service].said, "it ended, and was not killed"
            self._killed(service)
            self.services[service] = self.hub.start(service)

    def kill_gateway(self) -> None:
        with self._a_request_is_met():
            self._killed("gateway")
            self.gateway.kill()
        self.gateway = self.hub.start_gateway(self.port)

    def kill_service(self, name: str) -> None:
        """With lag: a kill may come just after a commit that left nothing to do, and is made again then."""
        for _ in range(5):
            eventually(lambda: self.at_work(name), f"{name} to be at work", STRANDED_SECONDS)
            self._killed(name)
            self.services[name].kill()
            lag = self.left(name)
            self.found[name] = self.done(name)
            self.services[name] = self.hub.start(name)
            if lag:
                return
        self.idle.append(name)

    def kill_monitor(self) -> None:
        """Which only looks on: nothing at a receiver may be explained by its end."""
        self.monitor.kill()
        self.monitor = self.hub.start("monitor")

    def kill_broker(self) -> None:
        with self._a_request_is_met():
            self._killed("broker")
            os.kill(self.broker.pid, signal.SIGKILL)
            eventually(lambda: self.broker.poll() is not None, "the broker to be dead")
        self.broker.stop()
        self.broker.start()

    @contextmanager
    def _a_request_is_met(self) -> Iterator[None]:
        def under_way() -> set[int]:
            return self.sender.under_way.copy()

        self.sender.happened += DELIVERIES // 20  # so that nobody is idle when the kill comes
        several = SENDERS // 2  # one might be answered before
        met = eventually(lambda: now if len(now := under_way()) >= several else None, "requests to be under way")
        yield
        met = met | under_way()  # those before may have been answered just in time
        eventually(lambda: met & self.sender.failed, "one of them to come to nothing")

    def _killed(self, what: str) -> None:
        self.kills.append((what, time.time()))

    def settled(self) -> bool:
        for name in self.services:
            self.keep_running(name)
        try:
            return all(not self.writes(name) and not self.left(name) for name in self.services)
        except KafkaException:
            return False


def test_nothing_is_lost_and_nothing_doubled_without_cause_whoever_is_killed(tmp_path: Path) -> None:
    receiver = Receiver()
    (kafka_port, port) = free_ports(2)
    broker = LocalKafka(tmp_path / "kafka", port=kafka_port)
    broker.start()
    try:
        with remote(receiver.answer) as sink, writing_hub(broker.bootstrap, tmp_path) as hub:
            scene = prepared(broker, hub, sink, port)
            acknowledged = play(scene)
            assert_one_event_each(scene, acknowledged)
            assert_doubled_with_cause(scene, receiver, acknowledged)
    finally:
        broker.stop()


def prepared(broker: LocalKafka, hub: Writing, sink: Remote, port: int) -> Scene:
    there = {"secret": {"env": "WHSEC"}, "sending_secret": {"env": "WHSEC"}, "url": f"{sink.url}/in"}
    desk = section("desk", "zendesk", rate_per_minute=1_000_000)
    hub.configure([desk, section("sink", "standardwebhooks", settings=there, audience="internal")], [FLOW])
    gateway = hub.start_gateway(port)
    services = {name: hub.start(name) for name in READS}
    return Scene(broker, hub, port, gateway, services, hub.start("monitor"), Sender(gateway.url))


def play(scene: Scene) -> Sequence[int]:
    """Sends all deliveries and kills meanwhile; the deliveries that were acknowledged."""
    sender = scene.sender
    normalizer, flows, delivery = (partial(scene.kill_service, name) for name in READS)
    kills: list[Callable[[], None]] = [
        scene.kill_gateway, normalizer, flows, delivery, scene.kill_monitor, scene.kill_broker, delivery, normalizer,
        flows, delivery, scene.kill_gateway,
    ]  # fmt: skip
    with ThreadPoolExecutor(SENDERS) as pool:
        running = [pool.submit(sender.send, count(start, SENDERS)) for start in range(SENDERS)]
        try:
            for number, kill in enumerate(kills, start=1):
                sender.happened = max(sender.happened, number * DELIVERIES // (len(kills) + 1))
                kill()
            sender.happened = max(sender.happened, DELIVERIES)
            sender.complete = True
            for each in running:
                each.result(120)
        finally:
            sender.closed = True
    eventually(scene.settled, "all to be done", STRANDED_SECONDS)
    assert all(service.alive() for service in (*scene.services.values(), scene.monitor))
    assert scene.idle == [], "killed without lag"
    return sender.acknowledged


def assert_one_event_each(scene: Scene, acknowledged: Sequence[int]) -> None:
    hub = scene.hub
    sent = range(max(DELIVERIES, len(acknowledged)))
    assert sorted(acknowledged) == list(sent)
    events = tickets(hub)
    assert [id for id, number in Counter(facts(event)["ce_id"] for event in events).items() if number > 1] == []
    found = Counter(int(json.loads(event.value() or b"")["entity"]["title"]) for event in events)
    assert found == dict.fromkeys(sent, 1)
    assert hub.dead() == []
    assert hub.aborted() > 0


def assert_doubled_with_cause(scene: Scene, receiver: Receiver, acknowledged: Sequence[int]) -> None:
    hub = scene.hub
    commands = hub.read(f"{hub.prefix}.{COMMANDS}")
    assert Counter(facts(one)["ce_causationid"] for one in commands) == {facts(one)["ce_id"]: 1 for one in tickets(hub)}
    assert set(receiver.times) == {facts(one)["ce_id"] for one in commands}
    assert all(len(said) == 1 for said in receiver.changes.values()), "one key, two messages"
    links = [facts(link) for link in hub.read(f"{hub.prefix}.{LINKS}")]
    results = {link["ce_causationid"]: datetime.fromisoformat(link["ce_time"]).timestamp() for link in links}
    assert len(links) == len(results) == len(commands)
    doubled = {key: times for key, times in receiver.times.items() if len(times) > 1}
    for key, times in doubled.items():
        for before, after in pairwise(times):
            assert any(before - ANSWER_SECONDS <= at <= after for _, at in scene.kills), "doubled without a kill"
        assert results[key] >= times[-1] - ANSWER_SECONDS, "the first result was kept: why was it sent again?"
    assert doubled, "no kill came between a call and its result"


def tickets(hub: Writing) -> list[Message]:
    return hub.read(f"{hub.prefix}.{TICKETS}")
