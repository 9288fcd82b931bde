"""The configuration on its compacted topic: written whole in one transaction, followed by every service."""

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import TypeAdapter
from unsilo_schemas.topics import Topic

from .configuration import Configuration, ConnectionSection, FlowSection, HubSection
from .errors import UnsiloError, where
from .kafka import FENCING, OFFSET_BEGINNING, Kafka, KafkaError, KafkaException, Message, Partition, TopicPartition
from .metrics import CONFIG_OFFSET

log = logging.getLogger(__name__)

_HUB = "hub"
_CONNECTION = "connection/"
_FLOW = "flow/"
_ACCOUNTS = "accounts/"  # written by delivery, not by `apply`: what the vendor said of our own accounts there
_IDS = TypeAdapter(list[str])
_PUBLISH_SECONDS = 10.0


class ApplyOvertaken(UnsiloError):
    """Another configuration was being applied at the same time. Nothing of this one was."""


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a configuration would do to one entry."""

    key: str
    kind: str  # added, changed or removed
    value: bytes | None


def entries(configuration: Configuration) -> dict[str, bytes]:
    """A configuration as records: key and value. A hub that is not declared is none: it may be in another file."""
    found = {_HUB: _encoded(configuration.hub)} if configuration.declares_hub else {}
    found |= {_CONNECTION + name: _encoded(section) for name, section in configuration.connections.items()}
    found |= {_FLOW + name: _encoded(section) for name, section in configuration.flows.items()}
    return found


def from_entries(found: dict[str, bytes]) -> Configuration:
    """The configuration that records make. An entry that this version cannot read is left out and logged."""
    hub = None
    connections = {}
    flows = {}
    accounts: dict[str, list[str]] = {}
    for key, value in found.items():
        try:
            if key == _HUB:
                hub = HubSection.model_validate_json(value)
            elif key.startswith(_CONNECTION):
                section = ConnectionSection.model_validate_json(value)
                connections[section.id] = section
            elif key.startswith(_FLOW):
                flow = FlowSection.model_validate_json(value)
                flows[flow.id] = flow
            elif key.startswith(_ACCOUNTS):
                accounts[key.removeprefix(_ACCOUNTS)] = _IDS.validate_json(value)
        except ValueError:
            log.error(
                "configuration entry %s cannot be read here: start the services anew where its connector is new, "
                "apply the files again where this version is older",
                key,
            )
    accounts |= {name: list(item.own_accounts) for name, item in connections.items() if item.own_accounts is not None}
    return Configuration(hub or HubSection(), connections, flows, accounts, declares_hub=hub is not None)


def publish_accounts(kafka: Kafka, topic: Topic, connection: str, accounts: Sequence[str]) -> None:
    """Tells every service under which ids the hub acts in a connection's system; KafkaException if that fails."""
    faults: list[KafkaError] = []
    producer = kafka.producer()
    producer.produce(
        topic.name,
        json.dumps(sorted(accounts)).encode(),
        (_ACCOUNTS + connection).encode(),
        0,
        on_delivery=lambda error, message: None if error is None else faults.append(error),
    )
    if producer.flush(_PUBLISH_SECONDS):
        faults.append(KafkaError(KafkaError._TIMED_OUT, f"not taken within {_PUBLISH_SECONDS:.0f} s"))
    for fault in faults:
        raise KafkaException(fault)


def changes(before: dict[str, bytes], after: dict[str, bytes], prune: bool) -> list[Change]:
    """What differs, by key. Entries that are no longer declared are removed with `prune` only."""
    found = [
        Change(key, "changed" if key in before else "added", value)
        for key, value in sorted(after.items())
        if before.get(key) != value
    ]
    if prune:
        gone = [key for key in before if _is_account(key) and _CONNECTION + key.removeprefix(_ACCOUNTS) not in after]
        found += [Change(key, "removed", None) for key in sorted([*gone, *undeclared(before, after)])]
    return found


def applied(before: dict[str, bytes], wanted: Iterable[Change]) -> dict[str, bytes]:
    """The entries as changes leave them."""
    changed = {change.key: change.value for change in wanted}
    return {key: value for key, value in {**before, **changed}.items() if value is not None}


def undeclared(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Entries that no file declares any more. Accounts never are declared: they go with their connection."""
    return sorted(key for key in before.keys() - after.keys() if not _is_account(key))


def load(kafka: Kafka, topic: Topic) -> dict[str, bytes]:
    """The entries on the topic as it is now."""
    found: dict[str, bytes] = {}
    kafka.read_to_end([TopicPartition(topic.name, 0, OFFSET_BEGINNING)], lambda message: _take(found, message))
    return found


class ConfigWriter:
    """Writes changes in one transaction. Once it is made, no writer that was made before it writes any more.

    What is read of the topic after that is therefore what the changes will meet. KafkaException where the cluster does
    not answer, ApplyOvertaken where another writer was made meanwhile.
    """

    def __init__(self, kafka: Kafka, topic: Topic) -> None:
        self._topic = topic
        self._producer = kafka.producer(transactional_id=f"{topic.name}.apply", message_max_bytes=topic.max_bytes)
        with _overtaken_by_another():
            self._producer.init_transactions(10)

    def publish(self, wanted: list[Change]) -> None:
        """Writes changes, all or none."""
        with _overtaken_by_another():
            self._producer.begin_transaction()
            for change in wanted:
                self._producer.produce(self._topic.name, change.value, change.key.encode(), 0)
            self._producer.commit_transaction(10)


def publish(kafka: Kafka, topic: Topic, wanted: list[Change]) -> None:
    """Writes changes that depend on nothing that is on the topic."""
    ConfigWriter(kafka, topic).publish(wanted)


class ConfigFollower:
    """Keeps a process's view of the configuration current, from a thread of its own."""

    def __init__(self, kafka: Kafka, topic: Topic, service: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._service = service
        self._stop = threading.Event()
        self._read = threading.Event()
        self._thread = threading.Thread(target=self._run, name="configuration", daemon=True)
        self._current = Configuration.empty()
        self.offset = 0
        self.failure: BaseException | None = None
        """What the thread has died of: nothing is followed any more, and the process should end."""

    @property
    def current(self) -> Configuration:
        """The configuration as it is now; raises `failure` where there is one."""
        if self.failure is not None:
            raise self.failure
        return self._current

    @property
    def positions(self) -> dict[Partition, int]:
        """Which offset it expects next."""
        return {(self._topic.name, 0): self.offset}

    def start(self, seconds: float = 30) -> None:
        """Returns when the configuration has been read to its end; TimeoutError if that takes too long."""
        self._thread.start()
        if not self._read.wait(seconds) and self.failure is None:
            raise TimeoutError(f"the configuration on {self._topic.name} could not be read within {seconds:.0f} s")

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:
            log.error("the configuration can no longer be followed: %s", where(error))
            self.failure = error
            self._read.set()

    def _follow(self) -> None:
        found: dict[str, bytes] = {}
        consumer = self._kafka.consumer(
            enable_partition_eof=True, fetch_wait_max_ms=100, topic_metadata_refresh_interval_ms=2000
        )
        consumer.assign([TopicPartition(self._topic.name, 0, 0)])
        while not self._stop.is_set():
            try:
                message = consumer.poll(0.5)
            except KafkaException as failure:
                log.warning("configuration: %s", failure)
                continue
            if message is None:
                continue
            error = message.error()
            if error is None:
                _take(found, message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._current = from_entries(found)
                self.offset = int(message.offset() or 0)
                CONFIG_OFFSET.labels(self._service).set(self.offset)
                self._read.set()
            else:
                log.warning("configuration: %s", error.str())
        consumer.close()


@contextmanager
def _overtaken_by_another() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() in FENCING:
            raise ApplyOvertaken(
                "another `unsilo apply` has begun meanwhile: nothing of this one was applied, run it again", repr(error)
            ) from error
        raise


def _is_account(key: str) -> bool:
    return key.startswith(_ACCOUNTS)


def _take(found: dict[str, bytes], message: Message) -> None:
    key, value = (message.key() or b"").decode(errors="replace"), message.value()
    if value is None:
        found.pop(key, None)
    else:
        found[key] = value


def _encoded(section: HubSection | ConnectionSection | FlowSection) -> bytes:
    return json.dumps(section.model_dump(mode="json", exclude_defaults=True, by_alias=True), sort_keys=True).encode()
