"""A hub on the tests' Kafka: its topics, its configuration, and its services as the processes that they are."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
from unsilo_connectors.contract import Secrets
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import Sample, samples, with_sample_secrets
from unsilo_schemas.topics import EVENT_PARTITIONS, Topics
from unsilo_services.broker.local import free_ports
from unsilo_services.config_topic import changes, entries, load, publish
from unsilo_services.configuration import Configuration, ConnectionSection, HubSection
from unsilo_services.kafka import Kafka, Message, TopicPartition, headers_of

PATIENCE_SECONDS = 60.0
SECRET = "unsilo-sample-secret"
WHSEC = "whsec_dW5zaWxvLXNhbXBsZS1zZWNyZXQsIHB1Ymxpc2hlZDogaXQgcHJvdGVjdHMgbm90aGluZw=="
SECRETS = {"SECRET": SECRET, "WHSEC": WHSEC, "NEXT_SECRET": "the one that takes its place"}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "zendesk": {"signing_secret": {"env": "SECRET"}},
    "slack": {"signing_secret": {"env": "SECRET"}},
    "pipedrive": {"username": "hub", "password": {"env": "SECRET"}},
    "bamboohr": {"private_key": {"env": "SECRET"}},
    "standardwebhooks": {
        "secret": {"env": "WHSEC"},
        "types": {"contact.created": "unsilo.crm.contact.created.v1"},
        "ignored": ["contact.viewed"],
    },
}
T = TypeVar("T")


def eventually(ask: Callable[[], T | None], what: str = "it", seconds: float = PATIENCE_SECONDS) -> T:
    """The first answer that is true; fails when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.02)


def wait_for_end(pid: int) -> None:
    """Returns when the process has ended, whoever its parent is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([handle], [], [], PATIENCE_SECONDS)
        assert ended, f"process {pid} still runs"
    finally:
        os.close(handle)


def section(id: str, connector: str, **changed: Any) -> ConnectionSection:
    """A connection with the published test secret."""
    settings = {**SETTINGS[connector], **changed.pop("settings", {})}
    return ConnectionSection(id=id, connector=connector, settings=settings, **changed)


@cache
def sample(connector: str, name: str) -> Sample:
    """A recorded request."""
    return next(found for found in samples(connectors()[connector]) if found.name == name)


def signed(
    connector: str,
    body: bytes,
    secret: str | None = None,
    at: datetime | None = None,
    more: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The headers of a genuine request with this body."""
    found = connectors()[connector]
    text = secret or (WHSEC if connector == "standardwebhooks" else SECRET)
    names = {"pipedrive": "password", "standardwebhooks": "secret", "bamboohr": "private_key"}
    settings = {**SETTINGS[connector], names.get(connector, "signing_secret"): {"sample": text}}
    proofs = found.sign(body, found.settings.model_validate(with_sample_secrets(settings)), at or datetime.now(UTC))
    return {"content-type": "application/json", **(more or {}), **proofs}


def planted(recorded: Sample, secrets: Secrets, canary: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The body and headers of a recorded request, with a canary wherever its vendor, or anybody, may send a secret."""
    body = json.loads(recorded.body) | dict.fromkeys(secrets.fields, canary)
    anybodys = ("authorization", "cookie", "proxy-authorization", "x-api-key")
    vendors = {name: value for name, value in recorded.headers.items() if name not in ("content-length", "host")}
    return body, {**vendors, **dict.fromkeys((*secrets.headers, *anybodys), canary)}


@dataclass
class Process:
    """One service, run as in production."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """All that it logged."""
        return self.log.read_text(errors="replace")

    @property
    def memory_bytes(self) -> int:
        """The most memory that it ever held."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM; the exit code."""
        if self.alive():
            self.process.terminate()
        return self.process.wait(seconds)


@dataclass
class Gateway(Process):
    """The gateway, and how to call it."""

    url: str = ""

    def post(self, connection: str, body: bytes, headers: Mapping[str, Any], **options: Any) -> httpx.Response:
        """One request of a sender, from an address of its own unless one is given."""
        return post(self.url, connection, body, headers, **options)

    def get(self, path: str) -> httpx.Response:
        with caller() as client:
            return client.get(self.url + path)

    def count(self, connection: str, outcome: str) -> float:
        """How many requests of a connection it has counted so."""
        metric = f'unsilo_gateway_requests_total{{connection="{connection}",outcome="{outcome}"}}'
        found = re.search(rf"^{re.escape(metric)} ([\d.e+]+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def ready(self) -> bool:
        try:
            return self.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False


def post(
    url: str, connection: str, body: bytes, headers: Mapping[str, Any], timeout: float = 20, address: str | None = None
) -> httpx.Response:
    """One request of a sender, from an address of its own unless one is given."""
    with caller(timeout, address or new_address()) as client:
        return client.post(f"{url}/in/{connection}", content=body, headers=dict(headers))


def caller(timeout: float = 20, address: str | None = None) -> httpx.Client:
    """A client for plain HTTP, quick to make: the certificates of the world are not read for it."""
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(transport=transport, timeout=timeout, trust_env=False)


def new_address() -> str:
    """One of the sixteen million loopback addresses: the gateway counts failures by address."""
    number = uuid.uuid4().int
    return f"127.{number % 250 + 2}.{number // 250 % 250 + 2}.{number // 62_500 % 250 + 2}"


@dataclass
class Hub:
    """One hub: its own topics, data folder and processes. `folder` is its own."""

    bootstrap: str
    folder: Path
    prefix: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")
    connections: dict[str, ConnectionSection] = field(default_factory=dict)
    _processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)  # where nobody answers: a gateway of another test may be at the usual one
        self.kafka = Kafka({"bootstrap.servers": self.bootstrap})
        self.topics = Topics(self.prefix)
        self.kafka.create(self.topics.fixed())

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")},
            **SECRETS,
            "UNSILO_KAFKA_BOOTSTRAP": self.bootstrap,
            "UNSILO_TOPIC_PREFIX": self.prefix,
            "UNSILO_DATA": str(self.folder / "data"),
            "UNSILO_INSTANCE": "test",
            "UNSILO_GATEWAY_PORT": str(self.port),
        }

    def connect(self, *sections: ConnectionSection) -> None:
        """Adds connections to the configuration, as `unsilo apply` does."""
        self.connections |= {found.id: found for found in sections}
        self.apply()

    def disconnect(self, id: str) -> None:
        """Takes a connection out of the configuration."""
        del self.connections[id]
        self.apply()

    def apply(self) -> None:
        self.kafka.create([self.topics.raw(found.id, found.partitions) for found in self.connections.values()])
        wanted = entries(Configuration(HubSection(), self.connections))
        found = changes(load(self.kafka, self.topics.config()), wanted, prune=True)
        if found:
            publish(self.kafka, self.topics.config(), found)

    def start(self, service: str, **environment: str) -> Process:
        """Starts a service."""
        process = Process(*self._start(service, environment))
        self._processes.append(process)
        return process

    def start_gateway(self, port: int | None = None, **environment: str) -> Gateway:
        """Starts a gateway and returns once it takes deliveries in."""
        port = port or free_ports(1)[0]
        started = self._start("gateway", {"UNSILO_GATEWAY_PORT": str(port), **environment})
        gateway = Gateway(*started, url=f"http://127.0.0.1:{port}")
        self._processes.append(gateway)
        eventually(lambda: gateway.ready() or not gateway.alive(), "the gateway")
        assert gateway.alive(), gateway.said
        return gateway

    def _start(self, service: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{service}-{len(self._processes)}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"unsilo_services.{service}"],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return process, log

    def read(self, *topics: str) -> list[Message]:
        """All committed records of topics, in the order of each partition."""
        found: list[Message] = []
        partitions = [TopicPartition(name, number) for name in topics for number in range(self.kafka.partitions(name))]
        self.kafka.read_to_end(partitions, found.append)
        return found

    def raw(self, connection: str) -> list[Message]:
        return self.read(self.topics.raw(connection).name)

    def dead(self) -> list[Message]:
        return self.read(self.topics.dead("normalizer").name)

    def audit(self) -> list[Message]:
        return self.read(self.topics.audit().name)

    def events(self) -> list[Message]:
        return self.read(*self.event_topics())

    def event_topics(self) -> Sequence[str]:
        return [topic.name for topic in self.topics.fixed() if topic.name.startswith(f"{self.prefix}.event.")]

    def in_transaction(self) -> bool:
        """Whether something on the event topics is not committed yet."""
        partitions = self._event_partitions()
        return self.kafka.end_offsets(partitions) != self.kafka.end_offsets(partitions, committed=True)

    def aborted(self) -> int:
        """How many records on the event topics were written in transactions that never were."""
        return self._readable("read_uncommitted") - self._readable("read_committed")

    def _event_partitions(self) -> list[TopicPartition]:
        return [TopicPartition(name, number) for name in self.event_topics() for number in range(EVENT_PARTITIONS)]

    def _readable(self, isolation_level: str) -> int:
        """How many records are read on the event topics, up to their ends as they are now."""
        ends = {place: end for place, end in self.kafka.end_offsets(self._event_partitions()).items() if end}
        consumer = self.kafka.consumer(isolation_level=isolation_level, enable_partition_eof=True, fetch_wait_max_ms=10)
        consumer.assign([TopicPartition(*place, 0) for place in ends])
        read = 0
        while ends:
            for message in consumer.consume(1000, 0.2):
                place = (str(message.topic()), int(message.partition() or 0))
                if message.error() is None:
                    read += 1
                elif (message.offset() or 0) >= ends.get(place, 0):
                    ends.pop(place, None)
        consumer.close()
        return read

    def stop(self) -> None:
        """Kills whatever is left."""
        for process in self._processes:
            if process.alive():
                process.kill()


@contextmanager
def running_hub(bootstrap: str, folder: Path) -> Iterator[Hub]:
    """A hub whose processes end with the test."""
    hub = Hub(bootstrap, folder)
    try:
        yield hub
    finally:
        hub.stop()


def facts(message: Message) -> dict[str, str]:
    """A record's headers as text."""
    return {name: (value or b"").decode() for name, value in headers_of(message)}


def ticket(number: int, change: int = 0, status: str = "OPEN") -> bytes:
    """One of our tickets as Zendesk tells of its `change`th change."""
    number += 1000  # Zendesk has no ticket 0
    body = json.loads(sample("zendesk", "ticket_status_pending_to_open").body)
    body["id"] = f"{number:08x}-402a-4e8b-a211-{change:012x}"
    body["detail"]["id"] = str(number)
    body["detail"]["subject"] = str(change)
    body["event"] |= {"current": status}
    body["detail"]["status"] = status
    return json.dumps(body).encode()
