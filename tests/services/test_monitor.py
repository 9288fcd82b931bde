"""What the monitor says of the queues, compared with what was put into them: with their consumers down, too."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from unsilo_schemas.topics import CONSUMERS, Topic, Topics
from unsilo_services.broker.local import free_ports
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection
from unsilo_services.kafka import Kafka, Message, TopicPartition, deadline, partition_of
from unsilo_services.loop import Outbox, Step, TransactionalLoop
from unsilo_services.monitor import backlog
from unsilo_services.monitor.app import Monitor
from unsilo_services.monitor.queues import queues
from unsilo_services.monitor.reader import Reader

PATIENCE_SECONDS = 60
CONFIGURATION = Configuration(
    HubSection(), {"desk": ConnectionSection(id="desk", connector="zendesk", audience="internal")}
)


class Hub:
    """The topics of one hub, with one partition each, and a monitor that looks at them."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.kafka = Kafka({"bootstrap.servers": bootstrap})
        self.topics = Topics(prefix)
        self.raw = self.topics.raw("desk", 1)
        self.command = self.topics.command("desk", 1)
        self.dead = self.topics.dead("normalizer")
        self.kafka.create([self.raw, self.command, *map(self.topics.dead, CONSUMERS)])
        self.monitor = Monitor(self.kafka, self.topics)

    def write(self, topic: Topic, count: int, at: float = 0.0) -> None:
        """Writes records as the gateway does: in no transaction."""
        producer = self.kafka.producer()
        for number in range(count):
            producer.produce(topic.name, b"a record", str(number).encode(), 0, timestamp=int(at * 1000))
        assert producer.flush(PATIENCE_SECONDS) == 0

    def transact(self, topic: Topic, count: int, commit: bool = True) -> None:
        """Writes records as the other services do: in one transaction."""
        producer = self.kafka.producer(transactional_id=f"{topic.name}.writer")
        producer.init_transactions(PATIENCE_SECONDS)
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(topic.name, b"a record", b"key", 0)
        producer.flush(PATIENCE_SECONDS)
        if commit:
            producer.commit_transaction(PATIENCE_SECONDS)
        else:
            producer.abort_transaction(PATIENCE_SECONDS)

    def work(self, service: str, topic: Topic, count: int, hold: Collection[int] = ()) -> None:
        """Has a service's own loop work a queue off until it has seen so many records, and ends it."""
        worker = Worker(count, hold)
        loop = TransactionalLoop(self.kafka, service, self.topics.prefix, "0", lambda: [topic.name], worker)
        worker.done = loop.stop
        thread = threading.Thread(target=loop.run)
        thread.start()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        self.await_stable(service, topic)

    def await_stable(self, service: str, topic: Topic) -> None:
        """The broker finishes a transaction some milliseconds after it has said that it is committed."""
        consumer = self.kafka.consumer(f"{self.topics.prefix}.{service}")
        consumer.committed([TopicPartition(topic.name, 0)], timeout=PATIENCE_SECONDS)
        consumer.close()

    def forget(self, topic: Topic, before: int) -> None:
        """Deletes records as a topic's retention does."""
        place = TopicPartition(topic.name, 0, before)
        self.kafka.admin.delete_records([place])[place].result(PATIENCE_SECONDS)

    def look(self, configuration: Configuration = CONFIGURATION) -> None:
        assert self.monitor.look(configuration)

    def offsets_left(self, service: str, topic: Topic) -> int:
        """What offsets alone say of a queue."""
        place = [TopicPartition(topic.name, 0)]
        committed = self.kafka.committed(f"{self.topics.prefix}.{service}", place)
        return self.kafka.end_offsets(place, committed=True)[topic.name, 0] - committed[topic.name, 0]


class Worker(Step):
    """A step that finishes every record but those it holds."""

    def __init__(self, count: int, hold: Collection[int]) -> None:
        self._left = count
        self._hold = hold
        self.done: Callable[[], None] = lambda: None

    def aborted(self) -> None: ...

    def process(self, records: Sequence[Message], outbox: Outbox) -> None:
        self._left -= len(records)
        for message in records:
            if message.offset() in self._hold:
                outbox.hold(partition_of(message), message.offset() or 0)

    def committed(self) -> None:
        if self._left <= 0:
            self.done()


@pytest.fixture
def hub(kafka_bootstrap: str, topic_prefix: str) -> Iterator[Hub]:
    made = Hub(kafka_bootstrap, topic_prefix)
    yield made
    made.monitor.look(Configuration.empty())  # so that no test sees another's queues
    made.monitor.close()


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def lag(queue: str, group: str) -> float | None:
    return shown("unsilo_queue_lag", queue=queue, group=group)


def oldest(queue: str, group: str) -> float:
    age = shown("unsilo_queue_oldest_seconds", queue=queue, group=group)
    assert age is not None
    return age


@pytest.mark.kafka
def test_tells_the_lag_of_a_queue_whose_consumer_never_ran(hub: Hub) -> None:
    hub.write(hub.raw, 5, at=time.time() - 1000)
    hub.look()
    assert lag("raw.desk", "normalizer") == 5
    assert 1000 <= oldest("raw.desk", "normalizer") < 1000 + PATIENCE_SECONDS
    assert shown("unsilo_queue_end_offset", queue="raw.desk") == 5
    assert shown("unsilo_group_members", group="normalizer") == 0


@pytest.mark.kafka
def test_tells_the_lag_that_grows_after_a_consumer_went_down(hub: Hub) -> None:
    hub.write(hub.raw, 3, at=time.time() - 1000)
    hub.work("normalizer", hub.raw, 3)
    hub.look()
    assert lag("raw.desk", "normalizer") == 0
    assert oldest("raw.desk", "normalizer") == 0
    hub.write(hub.raw, 2, at=time.time() - 100)
    hub.look()
    assert lag("raw.desk", "normalizer") == 2
    assert 100 <= oldest("raw.desk", "normalizer") < 100 + PATIENCE_SECONDS


@pytest.mark.kafka
def test_does_not_take_for_waiting_what_was_finished_behind_a_held_record(hub: Hub) -> None:
    hub.write(hub.command, 1, at=time.time() - 5000)
    hub.write(hub.command, 9)
    hub.work("delivery", hub.command, 10, hold={0, 4})
    assert hub.offsets_left("delivery", hub.command) == 10
    hub.look()
    assert lag("command.desk", "delivery") == 2
    assert oldest("command.desk", "delivery") >= 5000
    hub.write(hub.command, 3)
    hub.look()
    assert lag("command.desk", "delivery") == 5


@pytest.mark.kafka
def test_takes_neither_ends_of_transactions_nor_aborted_records_for_waiting(hub: Hub) -> None:
    for _ in range(3):
        hub.transact(hub.command, 1)
    hub.transact(hub.command, 2, commit=False)
    hub.look()
    assert lag("command.desk", "delivery") == 3
    hub.work("delivery", hub.command, 3)
    assert hub.offsets_left("delivery", hub.command) > 0
    hub.look()
    assert lag("command.desk", "delivery") == 0
    assert oldest("command.desk", "delivery") == 0


@pytest.mark.kafka
def test_counts_by_offsets_what_is_too_much_to_count(hub: Hub) -> None:
    hub.write(hub.raw, 7)
    reader = Reader(hub.kafka)
    glimpse = reader.look([TopicPartition(hub.raw.name, 0, 1)], most=2)[hub.raw.name, 0]
    reader.close()
    assert (glimpse.count, glimpse.records(7)) == (2, 6)


@pytest.mark.kafka
def test_does_not_wait_for_what_the_retention_has_deleted(hub: Hub) -> None:
    hub.write(hub.command, 8)
    hub.work("delivery", hub.command, 8, hold={1, 5})
    hub.write(hub.command, 2)
    hub.forget(hub.command, before=3)
    hub.look()
    assert lag("command.desk", "delivery") == 1 + 2
    hub.forget(hub.command, before=9)
    hub.look()
    assert lag("command.desk", "delivery") == 1


@pytest.mark.kafka
def test_tells_how_many_workers_a_group_has(hub: Hub) -> None:
    hub.write(hub.raw, 1)
    seen: list[float | None] = []

    class Looking(Worker):
        def committed(self) -> None:
            hub.look()
            seen.append(shown("unsilo_group_members", group="normalizer"))
            super().committed()

    worker = Looking(1, ())
    loop = TransactionalLoop(hub.kafka, "normalizer", hub.topics.prefix, "0", lambda: [hub.raw.name], worker)
    worker.done = loop.stop
    loop.run()
    hub.look()
    assert [*seen, shown("unsilo_group_members", group="normalizer")] == [1, 0]


@pytest.mark.kafka
def test_counts_dead_letters_and_not_the_transactions_that_wrote_them(hub: Hub) -> None:
    hub.transact(hub.dead, 2)
    hub.look()
    assert shown("unsilo_dead_letter_records", consumer="normalizer") == 2
    assert shown("unsilo_dead_letter_records", consumer="delivery") == 0
    hub.transact(hub.dead, 1)
    hub.look()
    assert shown("unsilo_dead_letter_records", consumer="normalizer") == 3
    hub.forget(hub.dead, before=1)
    hub.look()
    assert shown("unsilo_dead_letter_records", consumer="normalizer") == 2


@pytest.mark.kafka
def test_a_queue_is_shown_no_longer_than_its_connection_is_configured(hub: Hub) -> None:
    hub.look()
    assert lag("raw.desk", "normalizer") == 0
    hub.look(Configuration.empty())
    assert lag("raw.desk", "normalizer") is None
    assert shown("unsilo_queue_end_offset", queue="raw.desk") is None


@pytest.mark.kafka
def test_joins_no_group_and_leaves_none_behind(hub: Hub) -> None:
    hub.look()
    groups = hub.kafka.admin.list_consumer_groups().result().valid or []
    assert [group.group_id for group in groups if hub.topics.prefix in group.group_id] == []


@pytest.mark.kafka
def test_keeps_the_last_figures_and_their_time_when_the_broker_is_away(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.write(hub.raw, 4)
    hub.look()
    looked = shown("unsilo_monitor_looked_timestamp_seconds")
    monkeypatch.setattr(backlog, "REQUEST_SECONDS", 0.2)
    (port,) = free_ports(1)
    away = Monitor(Kafka({"bootstrap.servers": f"127.0.0.1:{port}"}), hub.topics)
    assert not away.look(CONFIGURATION)
    away.close()
    assert shown("unsilo_monitor_looked_timestamp_seconds") == looked
    assert lag("raw.desk", "normalizer") == 4


@pytest.mark.kafka
def test_runs_as_a_process_of_its_own(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told = {
        "UNSILO_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "UNSILO_TOPIC_PREFIX": topic_prefix,
        "UNSILO_DATA": str(tmp_path),
        "UNSILO_HEALTH_PORT": str(port),
    }
    log = tmp_path / "monitor.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "unsilo_services.monitor"], env=os.environ | told, stderr=output
        )
        try:
            assert answer(port, "/health/ready", process) == b'{"ok": true}', log.read_text()
            metrics = answer(port, "/metrics", process).decode()
            assert 'unsilo_queue_lag{group="flows",queue="retry.flows"} 0.0' in metrics
            assert 'unsilo_config_offset{service="monitor"}' in metrics
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
        finally:
            process.kill()


def answer(port: int, path: str, process: subprocess.Popen[bytes]) -> bytes:
    """What the process answers once it answers 200; nothing if it ends or takes too long."""
    left = deadline(PATIENCE_SECONDS)
    while left() and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                body: bytes = response.read()
                return body
        except (urllib.error.URLError, OSError):
            threading.Event().wait(0.05)
    return b""


def test_a_queue_is_what_a_service_follows() -> None:
    flow = FlowSection.model_validate(
        {
            "id": "urgent",
            "on": "ticket.ticket.created",
            "do": [{"deliver": "chat", "action": "post", "with": {"channel": "desk", "text": "{{ entity.id }}"}}],
        }
    )
    configuration = Configuration(
        HubSection(),
        {
            "chat": ConnectionSection(id="chat", connector="slack", audience="internal"),
            "people": ConnectionSection(id="people", connector="bamboohr"),
        },
        {"urgent": flow},
    )
    found = {(queue.name, queue.group) for queue in queues(configuration, Topics("hub"))}
    assert found == {
        ("raw.chat", "normalizer"),
        ("raw.people", "normalizer"),
        ("event.ticket.ticket.v1", "flows"),
        ("retry.flows", "flows"),
        ("command.chat", "delivery"),
    }


def test_an_event_type_that_there_is_not_makes_no_queue() -> None:
    flow = FlowSection.model_validate(
        {"id": "broken", "on": "ticket.ticket.exploded", "do": [{"deliver": "nobody", "action": "post"}]}
    )
    found = queues(Configuration(HubSection(), {}, {"broken": flow}), Topics("hub"))
    assert [queue.name for queue in found] == ["retry.flows"]
