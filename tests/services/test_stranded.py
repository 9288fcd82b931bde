"""Clients that lost Kafka for good while it is there."""

import os
import subprocess
import sys

import pytest
from unsilo_schemas.topics import Topics
from unsilo_services import stranded
from unsilo_services.kafka import Kafka, Partition
from unsilo_services.stranded import StrandedWatch

from tests.services.running import eventually

NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stranded, "_ANSWER_SECONDS", 2.0)


def lost(kafka: Kafka) -> Kafka:
    """With a client that has lost every broker, while others reach them."""
    kafka.__dict__["admin"] = Kafka({"bootstrap.servers": NOWHERE}).admin
    return kafka


@pytest.mark.kafka
def test_a_client_that_does_not_reach_what_others_reach_is_stranded_when_it_fails_again(kafka_bootstrap: str) -> None:
    watch = StrandedWatch(lost(Kafka({"bootstrap.servers": kafka_bootstrap})))
    assert [watch.look(), watch.look()] == [False, True]


@pytest.mark.kafka
def test_a_client_that_is_answered_is_not_stranded(kafka_bootstrap: str) -> None:
    watch = StrandedWatch(Kafka({"bootstrap.servers": kafka_bootstrap}))
    assert [watch.look() for _ in range(3)] == [False] * 3


def test_nobody_is_stranded_while_kafka_is_away_from_all() -> None:
    kafka = Kafka({"bootstrap.servers": NOWHERE})
    watch = StrandedWatch(kafka)
    assert [watch.look() for _ in range(3)] == [False] * 3


@pytest.mark.kafka
def test_a_process_with_a_stranded_client_ends_as_a_failure_and_says_so(kafka_bootstrap: str) -> None:
    script = f"""
import signal, threading
from unsilo_services import stranded
from unsilo_services.kafka import Kafka, Partition
from unsilo_services.processes import Process
stranded.LOOK_SECONDS, stranded._ANSWER_SECONDS = 0.1, 1.0
with Process("monitor") as process:
    process.kafka.__dict__["admin"] = Kafka({{"bootstrap.servers": {NOWHERE!r}}}).admin
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(0.1):
        pass
"""
    environment = {**os.environ, "UNSILO_KAFKA_BOOTSTRAP": kafka_bootstrap, "UNSILO_TOPIC_PREFIX": "stranded"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "has lost Kafka" in ran.stderr.splitlines()[-1]


class Worker:
    """A member of a group, or not."""

    def __init__(self, group: str, client_id: str) -> None:
        self.group = group
        self.client_id = client_id
        self.reads = True

    def wants_a_place(self) -> bool:
        return self.reads


@pytest.mark.kafka
def test_a_worker_that_is_no_member_of_its_group_any_more_is_stranded_after_a_while(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    kafka = Kafka({"bootstrap.servers": kafka_bootstrap})
    topic = Topics(topic_prefix).audit()
    kafka.create([topic])
    consumer = kafka.consumer(topic_prefix, client_id="a-worker")
    consumer.subscribe([topic.name])
    eventually(lambda: consumer.poll(0.1) is None and consumer.assignment(), "a place in the group")
    watch = StrandedWatch(kafka)
    worker = Worker(topic_prefix, "a-worker")
    watch.watch_member(worker)
    assert [watch.look() for _ in range(2 * stranded._LOOKS_OUTSIDE)] == [False] * 2 * stranded._LOOKS_OUTSIDE
    worker.client_id = "one that is gone"
    looks = [watch.look() for _ in range(stranded._LOOKS_OUTSIDE)]
    assert looks == [False] * (stranded._LOOKS_OUTSIDE - 1) + [True]
    worker.reads = False
    assert not watch.look()
    consumer.close()


class Reader:
    """Somebody who reads a topic, and is somewhere in it."""

    def __init__(self, topic: str) -> None:
        self.at = (topic, 0)
        self.offset = 0

    @property
    def positions(self) -> dict[Partition, int]:
        return {self.at: self.offset}


@pytest.mark.kafka
def test_a_reader_that_stands_still_before_the_end_is_stranded_after_a_while(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    kafka = Kafka({"bootstrap.servers": kafka_bootstrap})
    topic = Topics(topic_prefix).config()
    kafka.create([topic])
    producer = kafka.producer()
    for number in range(100):
        producer.produce(topic.name, b"", b"%d" % number, 0)
    assert producer.flush(30) == 0
    watch = StrandedWatch(kafka)
    watch.watch_reader(Reader("there-is-none"))
    watch.watch_reader(reader := Reader(topic.name))
    for _ in range(2 * stranded._LOOKS_OUTSIDE):
        assert not watch.look(), "it goes on"
        reader.offset += 1
    looks = [watch.look() for _ in range(stranded._LOOKS_OUTSIDE + 1)]
    assert looks == [False] * stranded._LOOKS_OUTSIDE + [True]
    reader.offset = 100
    assert [watch.look() for _ in range(2 * stranded._LOOKS_OUTSIDE)] == [False] * 2 * stranded._LOOKS_OUTSIDE
