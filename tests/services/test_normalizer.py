"""The normalizer as a process: what it makes of raw records, exactly once, whatever happens to it."""

import json
import random
import re
import shutil
import signal
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from unsilo_connectors.contract import WebhookRequest
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.jsonschema import file_name
from unsilo_schemas.topics import Topics
from unsilo_services.broker.local import free_ports
from unsilo_services.configuration import ConnectionSection, connection_of, connector_of, placeholder
from unsilo_services.gateway.doors import Door, records
from unsilo_services.kafka import Message, TopicPartition, headers_of

from tests.services.running import Hub, Process, caller, eventually, facts, sample, section, ticket

pytestmark = pytest.mark.kafka

CANARY = "canary-a54ff53a"
OPEN = sample("zendesk", "ticket_status_pending_to_open")
AT = datetime.now(UTC).replace(microsecond=123_000)  # of today: what is older than its topic keeps is deleted


@dataclass
class Normalizer:
    """A hub with one normalizer, and what it says of itself."""

    hub: Hub
    process: Process
    port: int

    @classmethod
    def start(cls, hub: Hub) -> "Normalizer":
        (port,) = free_ports(1)
        return cls(hub, hub.start("normalizer", UNSILO_HEALTH_PORT=str(port)), port)

    def connect(self, *sections: ConnectionSection) -> None:
        """Adds connections, and returns when the normalizer follows the configuration so far."""
        self.hub.connect(*sections)
        config = TopicPartition(self.hub.topics.config().name, 0)
        end = self.hub.kafka.end_offsets([config])[config.topic, 0]
        metric = "unsilo_config_offset"
        eventually(lambda: self.metric(metric, service="normalizer") >= end, "the configuration to be followed")

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric now; 0 where there is none."""
        assert self.process.alive(), self.process.said
        try:
            with caller() as client:
                text = client.get(f"http://127.0.0.1:{self.port}/metrics").text
        except httpx.TransportError:
            return 0.0
        said = ",".join(f'{key}="{value}"' for key, value in labels.items())
        found = re.search(rf"^{name}{re.escape('{' + said + '}')} ([-\d.e+]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def handled(self, connection: str, count: int) -> None:
        """Returns when so many raw records of a connection are done with."""
        hub = self.hub
        topic = hub.topics.raw(connection, hub.connections[connection].partitions)
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]

        def done() -> bool:
            assert self.process.alive(), self.process.said
            return sum(hub.kafka.committed(f"{hub.prefix}.normalizer", partitions).values()) >= count

        eventually(done, f"{count} records of {connection} to be handled")


@pytest.fixture(scope="module")
def normalizer(shared_hub: Hub) -> Normalizer:
    """One normalizer for the tests of this module that do it no harm."""
    return Normalizer.start(shared_hub)


def name_of(request: pytest.FixtureRequest) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:30].strip("-")
    return f"{words}-{zlib.crc32(request.node.name.encode()):08x}"


def deliver(
    hub: Hub,
    connection: str,
    bodies: Iterable[bytes],
    headers: Mapping[str, str] | None = None,
    at: datetime = AT,
) -> None:
    """Puts deliveries on the raw log as the gateway does once it has verified them."""
    found = hub.connections[connection]
    made = connection_of(found, placeholder)
    door = Door(found, connector_of(found), made, hub.topics.raw(connection, found.partitions).name)
    producer = hub.kafka.producer()
    for body in bodies:
        request = WebhookRequest(made, headers or {}, body, at)
        for record in records(door, request):
            moment = int(at.timestamp() * 1000)
            producer.produce(record.topic, record.value, record.key, headers=list(record.headers), timestamp=moment)
        producer.poll(0)
    assert producer.flush(60) == 0


def write(hub: Hub, connection: str, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> None:
    """Puts a record on the raw log as nobody should."""
    producer = hub.kafka.producer()
    producer.produce(hub.topics.raw(connection).name, value, b"key", headers=list(headers))
    assert producer.flush(60) == 0


def of(connection: str, messages: Iterable[Message]) -> list[Message]:
    return [message for message in messages if facts(message).get("ce_connection") == connection]


def letters(hub: Hub, connection: str) -> list[Message]:
    return [letter for letter in hub.dead() if facts(letter)["dl_topic"] == hub.topics.raw(connection).name]


def test_an_event_says_who_what_when_and_under_which_contract(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    deliver(hub, desk, [OPEN.body], {"traceparent": trace, "tracestate": "a=b"})
    normalizer.handled(desk, 1)
    (message,) = of(desk, hub.events())
    envelope = Envelope.from_headers(headers_of(message))
    entity = json.loads(message.value() or b"")["entity"]
    type = EVENT_TYPES["unsilo.ticket.ticket.status_changed.v1"]
    assert envelope.model_dump(exclude_none=True) == {
        "specversion": "1.0",
        "id": envelope.id,
        "source": f"/c/{desk}",
        "type": type.name,
        "subject": f"ticket/{entity['id']}",
        "time": envelope.time,
        "datacontenttype": "application/json",
        "dataschema": f"http://localhost:8080/schemas/{file_name(type)}",
        "recordedtime": AT,
        "partitionkey": entity["id"],
        "correlationid": envelope.id,
        "traceparent": trace,
        "tracestate": "a=b",
        "dataclassification": "internal",
        "dataregulation": "GDPR",
        "authtype": envelope.authtype,
        "authid": envelope.authid,
        "connection": desk,
        "mappinggen": connectors()["zendesk"].generation,
        "origin": desk,
        "hops": 0,
        "via": desk,
    }
    assert message.timestamp()[1] == int(AT.timestamp() * 1000)
    assert message.key() == entity["id"].encode()
    assert sorted(envelope.to_headers()) == sorted(headers_of(message))


def test_open_pending_open_are_three_events_and_a_redelivery_is_none(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    changes = [ticket(1, 1, "OPEN"), ticket(1, 2, "PENDING"), ticket(1, 3, "OPEN")]
    deliver(hub, desk, [*changes, *changes, *reversed(changes)])
    normalizer.handled(desk, 9)
    events = of(desk, hub.events())
    said = [json.loads(event.value() or b"")["entity"]["status"]["raw"] for event in events]
    assert said == ["OPEN", "PENDING", "OPEN"]
    eventually(lambda: normalizer.metric("unsilo_normalizer_records_total", connection=desk, outcome="duplicate") == 6)


def test_a_delivery_that_comes_again_is_known_by_its_number_and_in_its_connection_only(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    """A redelivery may say something else: a retried webhook shows the ticket as it is by then."""
    hub, desk = normalizer.hub, name_of(request)[:30].strip("-")
    normalizer.connect(section(desk, "zendesk", partitions=1), section(desk + "-2", "zendesk", partitions=1))
    call = {"x-zendesk-webhook-invocation-id": "call-1"}
    deliver(hub, desk, [ticket(1, 1)], call)
    deliver(hub, desk, [ticket(1, 2)], call)
    deliver(hub, desk, [ticket(1, 3)], {"x-zendesk-webhook-invocation-id": "call-2"})
    deliver(hub, desk + "-2", [ticket(1, 1)], call)
    normalizer.handled(desk, 3)
    normalizer.handled(desk + "-2", 1)
    titles = [json.loads(event.value() or b"")["entity"]["title"] for event in of(desk, hub.events())]
    assert sorted(titles) == ["1", "3"]
    assert len(of(desk + "-2", hub.events())) == 1
    assert normalizer.metric("unsilo_normalizer_records_total", connection=desk, outcome="duplicate") == 1


def test_what_was_published_is_remembered_for_longer_than_anybody_sends_it() -> None:
    topics = Topics("x")
    remembered, kept = topics.ledger().retention, topics.raw("y").retention
    assert remembered is not None
    assert kept is not None
    longest = max(connector.sender.retry_horizon for connector in connectors().values())
    assert remembered >= kept > longest


def test_a_broker_whose_clock_lies_behind_stops_nobody(normalizer: Normalizer, request: pytest.FixtureRequest) -> None:
    """Kafka refuses times that lie an hour ahead of its own, unless a topic says otherwise."""
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    deliver(hub, desk, [OPEN.body], at=datetime.now(UTC) + timedelta(days=2))
    normalizer.handled(desk, 1)
    assert len(of(desk, hub.events())) == 1


def test_what_was_published_is_known_after_a_restart_without_the_cache_and_in_another_worker(hub: Hub) -> None:
    first = Normalizer.start(hub)
    first.connect(section("desk", "zendesk"))
    changes = [ticket(number) for number in range(30)]
    deliver(hub, "desk", changes)
    first.handled("desk", 30)
    assert first.process.stop() == 0

    restarted = Normalizer.start(hub)
    deliver(hub, "desk", changes)
    restarted.handled("desk", 60)
    assert restarted.process.stop() == 0

    shutil.rmtree(hub.folder / "data" / "cache")
    without_cache = Normalizer.start(hub)
    deliver(hub, "desk", changes)
    without_cache.handled("desk", 90)
    assert without_cache.process.stop() == 0

    for table in (hub.folder / "data" / "cache").rglob("CURRENT"):
        table.write_text("damaged")
    with_damaged_cache = Normalizer.start(hub)
    deliver(hub, "desk", changes)
    with_damaged_cache.handled("desk", 120)

    other = Normalizer.start(hub)
    group = f"{hub.prefix}.normalizer"
    eventually(
        lambda: [bool(member) for member in hub.kafka.group(group).members] == [True, True], "both to have partitions"
    )
    with_damaged_cache.process.kill()
    deliver(hub, "desk", [*changes, ticket(999)])
    other.handled("desk", 151)
    assert len(hub.events()) == 31
    assert hub.dead() == []


def test_what_cannot_be_processed_is_kept_as_it_came_and_harms_nothing_else(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    undeclared = json.loads(ticket(1)) | {"type": f"ticket of {CANARY}"}
    violating = json.loads(ticket(2)) | {"time": CANARY}
    bad = [b"{" + CANARY.encode(), json.dumps(undeclared).encode(), json.dumps(violating).encode()]
    deliver(hub, desk, [ticket(10), bad[0], ticket(11), bad[1], bad[2], ticket(12)], {"x-kept": "yes", "x-odd": "\xfc"})
    normalizer.handled(desk, 6)
    assert len(of(desk, hub.events())) == 3
    found = letters(hub, desk)
    assert {letter.value() for letter in found} == set(bad)
    originals = {record.value(): record for record in hub.raw(desk)}
    for letter in found:
        original = originals[letter.value()]
        said = facts(letter)
        assert letter.key() == original.key()
        assert headers_of(letter)[: len(headers_of(original))] == headers_of(original)
        assert said["dl_offset"] == str(original.offset())
        assert said["dl_partition"] == str(original.partition())
        assert (said["dl_consumer"], said["dl_attempts"]) == ("normalizer", "1")
        assert datetime.fromisoformat(said["dl_first_at"]) > datetime.now(UTC) - timedelta(hours=1)
        assert said["dl_last_at"] == said["dl_first_at"]
        assert CANARY not in said["dl_error"]
        assert said["dl_stage"]
    reasons = {letter.value(): facts(letter)["dl_reason"] for letter in found}
    assert reasons == {bad[0]: "payload_malformed", bad[1]: "source_unmapped", bad[2]: "payload_malformed"}
    assert CANARY not in normalizer.process.said


def test_what_one_connector_took_in_is_not_read_by_another_that_has_its_connection_now(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "slack"))
    hub.connections[desk] = section(desk, "zendesk")  # of whose records a backlog is left
    deliver(hub, desk, [ticket(1)])
    hub.connections[desk] = section(desk, "slack")
    normalizer.handled(desk, 1)
    (letter,) = letters(hub, desk)
    assert facts(letter)["dl_reason"] == "source_unmapped"
    assert "another connector took it in than slack" in facts(letter)["dl_error"]
    normalizer.connect(section(desk, "zendesk"))

    def read_again() -> bool:
        deliver(hub, desk, [ticket(1)])
        return bool(of(desk, hub.events()))

    eventually(read_again)


def test_an_event_that_breaks_its_schema_is_a_letter(normalizer: Normalizer, request: pytest.FixtureRequest) -> None:
    hub, any_system = normalizer.hub, name_of(request)
    normalizer.connect(section(any_system, "standardwebhooks"))
    case = sample("standardwebhooks", "contact_created")
    body = json.loads(case.body)
    body["data"]["entity"]["emails"] = CANARY
    deliver(hub, any_system, [json.dumps(body).encode()], case.headers)
    normalizer.handled(any_system, 1)
    (letter,) = letters(hub, any_system)
    assert facts(letter)["dl_reason"] == "schema_violation"
    assert "emails" in facts(letter)["dl_error"]
    assert CANARY not in facts(letter)["dl_error"]


def test_what_is_declared_ignored_is_counted_and_is_nothing_else(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    deliver(hub, desk, [sample("zendesk", "ignored_agent_state").body] * 2)
    normalizer.handled(desk, 2)
    assert of(desk, hub.events()) == letters(hub, desk) == []
    eventually(lambda: normalizer.metric("unsilo_normalizer_records_total", connection=desk, outcome="ignored") == 2)


def test_an_event_too_large_for_its_topic_is_a_letter(normalizer: Normalizer, request: pytest.FixtureRequest) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    body = json.loads(sample("zendesk", "ticket_created").body)
    body["detail"]["description"] = "x" * (4 * 1024 * 1024 - 64_000)
    large = json.dumps(body).encode()
    body["detail"]["description"] = "x" * (3 * 1024 * 1024)
    body["id"] = "another"
    producer = hub.kafka.producer(message_max_bytes=6_000_000)
    for value in (large, json.dumps(body).encode()):
        producer.produce(hub.topics.raw(desk).name, value, b"key", 0)
    assert producer.flush(60) == 0
    normalizer.handled(desk, 2)
    (letter,) = letters(hub, desk)
    assert letter.value() == large
    assert facts(letter)["dl_reason"] == "size_exceeded"
    assert len(of(desk, hub.events())) == 1


def test_reads_only_what_was_committed(normalizer: Normalizer, request: pytest.FixtureRequest) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk", partitions=1))
    topic = hub.topics.raw(desk, 1).name
    producer = hub.kafka.producer(transactional_id=f"{hub.prefix}.fetcher")
    producer.init_transactions(30)
    for number, commit in ((1, False), (2, True)):
        producer.begin_transaction()
        producer.produce(topic, ticket(number), b"key")
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    normalizer.handled(desk, 3)  # the first record, the mark that it never was, the second
    (event,) = of(desk, hub.events())
    assert json.loads(event.value() or b"")["entity"]["refs"][0]["id"] == "1002"


def test_records_that_no_gateway_wrote_become_letters_and_stop_nobody(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    normalizer.connect(section(desk, "zendesk"))
    odd: list[tuple[bytes | None, list[tuple[str, bytes | None]]]] = [
        (None, []),
        (b"", []),
        (OPEN.body, [("hub_delivery", None), ("http_x", None)]),
        (ticket(5), [("http_x-zendesk-webhook-invocation-id", b"\xff\xfe"), ("hub_delivery", b"\xff\xfe")]),
        (ticket(6), [("dl_reason", b"forged"), ("dl_redrive_of", b"dead/0/7"), ("http_\xfc", b"")]),
        (b"\x00" * 1000, [("hub_delivery", b"\x00" * 1000)]),
    ]
    for value, headers in odd:
        write(hub, desk, value, headers)
    deliver(hub, desk, [ticket(7)])
    normalizer.handled(desk, len(odd) + 1)
    assert len(of(desk, hub.events())) == 4
    assert len(letters(hub, desk)) == 3


def test_whatever_lies_on_raw_is_an_event_or_a_letter(normalizer: Normalizer, request: pytest.FixtureRequest) -> None:
    hub = normalizer.hub
    chosen = random.Random(7)
    names = {connector: f"{connector[:8]}-{name_of(request)[-20:]}" for connector in sorted(connectors())}
    normalizer.connect(*(section(name, connector) for connector, name in names.items()))
    for connector, name in names.items():
        bodies = [mutated(case.body, chosen) for case in samples(connectors()[connector]) for _ in range(8)]
        deliver(hub, name, bodies, {"webhook-id": "m", "x-bamboohr-timestamp": "1"})
        count = len(hub.raw(name))
        assert count >= len(bodies)
        normalizer.handled(name, count)
        for letter in letters(hub, name):
            assert facts(letter)["dl_error"]
    assert normalizer.process.alive()


def mutated(body: bytes, chosen: random.Random) -> bytes:
    """A body with something wrong somewhere inside."""
    try:
        document = json.loads(body)
    except ValueError:
        return bytes(chosen.randrange(256) if chosen.random() < 0.02 else byte for byte in body)
    hostile: list[Any] = [None, True, -1, 10**40, 1e308, "", CANARY, "9" * 400, [], {}, [CANARY], {"": None}, [[[]]]]

    def change(value: Any) -> Any:
        if chosen.random() < 0.03:
            return chosen.choice(hostile)
        if isinstance(value, dict):
            return {name: change(item) for name, item in value.items() if chosen.random() > 0.02}
        return [change(item) for item in value] if isinstance(value, list) else value

    return json.dumps(change(document)).encode()


def test_follows_a_connection_that_is_added_and_leaves_alone_what_is_taken_away(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    hub.connect(section(desk, "zendesk"))
    deliver(hub, desk, [ticket(1)])
    normalizer.handled(desk, 1)
    gone = hub.connections[desk]
    hub.disconnect(desk)
    normalizer.connect(section(f"{desk[:30]}-b", "zendesk"))
    eventually(
        lambda: hub.topics.raw(desk).name not in hub.kafka.group(f"{hub.prefix}.normalizer").topics,
        "its partitions to be given back",
    )
    hub.connections[desk] = gone
    deliver(hub, desk, [ticket(2)])
    del hub.connections[desk]
    assert len(of(desk, hub.events())) == 1
    hub.connect(gone)
    normalizer.handled(desk, 2)
    assert len(of(desk, hub.events())) == 2
    assert letters(hub, desk) == []


def test_a_connection_whose_settings_do_not_hold_waits_and_stops_nobody(
    normalizer: Normalizer, request: pytest.FixtureRequest
) -> None:
    hub, desk = normalizer.hub, name_of(request)
    broken = ConnectionSection(id=f"broken-{desk[-8:]}", connector="zendesk", settings={"signing_secret": "inline"})
    normalizer.connect(section(desk, "zendesk"), broken)
    deliver(hub, desk, [ticket(1)])
    normalizer.handled(desk, 1)
    assert len(of(desk, hub.events())) == 1
    mended = section(broken.id, "zendesk")
    hub.connections[broken.id] = mended
    deliver(hub, broken.id, [ticket(1)])
    normalizer.connect(mended)
    normalizer.handled(broken.id, 1)
    assert len(of(broken.id, hub.events())) == 1


def test_tells_how_it_is(normalizer: Normalizer) -> None:
    with caller() as client:
        url = f"http://127.0.0.1:{normalizer.port}"
        eventually(lambda: client.get(f"{url}/health/ready").status_code == 200)
        assert client.get(f"{url}/health/live").json() == {"ok": True}
        assert client.get(f"{url}/anything").status_code == 404
        assert "unsilo_transactions_total" in client.get(f"{url}/metrics").text


@dataclass
class Load:
    """Deliveries on two connections of a hub, and what has to become of them."""

    hub: Hub
    count: int = 0

    def add(self, count: int) -> None:
        """Puts in so many new deliveries, and the first of them twice."""
        for connection in ("desk", "chat"):
            changes = [ticket(number % 250, number) for number in range(self.count, self.count + count // 2)]
            deliver(self.hub, connection, [*changes, changes[0]])
        self.count += count // 2

    def done(self) -> bool:
        """Whether all of it is done with."""
        raw = [self.hub.topics.raw(name, found.partitions) for name, found in self.hub.connections.items()]
        partitions = [TopicPartition(topic.name, number) for topic in raw for number in range(topic.partitions)]
        return self.hub.kafka.committed(f"{self.hub.prefix}.normalizer", partitions) == self.hub.kafka.end_offsets(
            partitions
        )

    def is_there_once(self) -> None:
        """Every delivery is one event, and the events of each aggregate are in order."""
        events = self.hub.events()
        times = Counter(facts(event)["ce_id"] for event in events)
        assert [id for id, number in times.items() if number > 1] == []
        assert len(times) == 2 * self.count
        assert self.hub.dead() == []
        order: dict[bytes, list[int]] = {}
        for event in events:
            title = json.loads(event.value() or b"")["entity"]["title"]
            order.setdefault(event.key() or b"", []).append(int(title))
        assert len(order) == 500
        assert all(changes == sorted(changes) for changes in order.values())


@pytest.fixture
def load(hub: Hub) -> Load:
    """A hub with six thousand deliveries, and nobody who has worked on them yet."""
    hub.connect(section("desk", "zendesk"), section("chat", "zendesk", partitions=6))
    found = Load(hub)
    found.add(6000)
    return found


def test_kills_in_the_middle_lose_nothing_and_double_nothing(load: Load) -> None:
    kills = 0
    while kills < 4 or not load.hub.aborted():
        assert kills < 20, "no kill ever met an open transaction"
        worker = load.hub.start("normalizer")
        eventually(lambda: load.hub.in_transaction() or load.done(), "work to be under way")
        worker.kill()
        kills += 1
        load.add(1000)
    last = load.hub.start("normalizer")
    eventually(load.done, "all to be done")
    assert last.alive()
    load.is_there_once()


def test_two_workers_share_the_work_and_one_takes_over_from_the_other(load: Load) -> None:
    workers = [load.hub.start("normalizer"), load.hub.start("normalizer")]

    def shares() -> list[int]:
        return sorted(map(len, load.hub.kafka.group(f"{load.hub.prefix}.normalizer").members))

    eventually(lambda: shares() == [4, 5], "both to work")
    load.add(3000)
    workers[0].kill()
    eventually(load.done, "all to be done")
    load.is_there_once()
    assert workers[1].stop() == 0


def test_a_worker_that_was_stopped_for_too_long_goes_on(load: Load) -> None:
    worker = load.hub.start("normalizer")
    while True:
        eventually(lambda: load.hub.in_transaction() or load.done(), "work to be under way")
        worker.send(signal.SIGSTOP)
        if load.hub.in_transaction():
            break
        worker.send(signal.SIGCONT)
        load.add(1000)
    eventually(lambda: not load.hub.in_transaction(), "the broker to give its transaction up")
    worker.send(signal.SIGCONT)
    eventually(load.done, "all to be done")
    load.is_there_once()
    assert worker.alive()
    assert load.hub.aborted()


def test_ends_in_order_when_told_to(load: Load) -> None:
    worker = load.hub.start("normalizer")
    eventually(lambda: load.hub.in_transaction() or load.done(), "work to be under way")
    assert worker.stop() == 0
    assert not load.hub.in_transaction()
