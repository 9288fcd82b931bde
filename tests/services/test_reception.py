"""The gateway from inside: what its senders cannot bring about at will, and whatever else they may think of."""

import asyncio
import gzip
import logging
import os
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from unsilo_connectors.contract import Connector, MalformedWebhook
from unsilo_connectors.discovery import connectors
from unsilo_schemas.topics import Topics
from unsilo_services import configuration, logs
from unsilo_services.config_topic import ConfigFollower
from unsilo_services.gateway import receive, store
from unsilo_services.gateway.answers import PROBLEMS
from unsilo_services.gateway.app import create_app
from unsilo_services.gateway.bodies import MOST_BYTES, BodyBroken, BodyTooLarge, NoRoom, Room, decoded, read_body
from unsilo_services.gateway.doors import Door
from unsilo_services.gateway.limits import UNVERIFIED_PER_MINUTE, Limits
from unsilo_services.kafka import Kafka
from unsilo_services.settings import HubSettings

from tests.services.running import SECRETS, Hub, eventually, new_address, sample, section, signed

CANARY = "canary-5be0cd19"
BODY = sample("zendesk", "ticket_created").body
Change = Callable[..., Any]
ODD: dict[str, Connector[Any, Any]] = {}


def made(kafka: Kafka, prefix: str) -> FastAPI:
    """The gateway's application, not started yet."""
    topics = Topics(prefix)
    return create_app(kafka, topics, ConfigFollower(kafka, topics.config(), "gateway"))


class Inside:
    """The gateway's application in this process, its event loop running only while it is asked something."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.app = made(hub.kafka, hub.prefix)
        self._runner = asyncio.Runner()
        self._lifespan = self.app.router.lifespan_context(self.app)

    def start(self) -> None:
        self._runner.run(self._lifespan.__aenter__())

    def stop(self) -> None:
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def run(self, ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(new_address(), 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://hub", timeout=30) as client:
                return await ask(client)

        return self._runner.run(asked())

    def post(self, connection: str, body: Any, headers: Mapping[str, Any]) -> httpx.Response:
        return self.run(lambda client: client.post(f"/in/{connection}", content=body, headers=dict(headers)))

    def knows(self, name: str) -> None:
        """Returns once it follows the configuration as far as this connection."""
        eventually(lambda: self.post(name, b"", {}).status_code and refused(name), f"the gateway to know {name}")


def refused(name: str) -> float:
    outcomes = {
        metric.labels["outcome"]: metric.value
        for family in REGISTRY.collect()
        if family.name == "unsilo_gateway_requests"
        for metric in family.samples
        if metric.name.endswith("_total") and metric.labels["connection"] == name
    }
    return sum(outcomes.values())


def counted(name: str, outcome: str) -> float:
    return REGISTRY.get_sample_value(
        "unsilo_gateway_requests_total", {"connection": name, "outcome": outcome}
    ) or 0.0  # fmt: skip


@pytest.fixture(scope="module")
def inside(shared_hub: Hub) -> Iterator[Inside]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setattr(configuration, "connectors", lambda: {**connectors(), **ODD})
        shared_hub.connect(section("desk", "zendesk"), section("chat", "slack"), section("people", "bamboohr"))
        gateway = Inside(shared_hub)
        gateway.start()
        gateway.knows("desk")
        yield gateway
        gateway.stop()


@contextmanager
def another(hub: Hub) -> Iterator[Inside]:
    """A gateway of the test's own, on the same hub."""
    gateway = Inside(hub)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def odd(inside: Inside) -> Callable[..., str]:
    """Makes a connection whose connector is Zendesk's but for what is given."""

    def make(**changed: Change) -> str:
        name = f"odd-{len(ODD)}"
        ODD[name] = replace(connectors()["zendesk"], name=name, **changed)  # type: ignore[arg-type]  # each of these fields is a function
        given_settings = {"signing_secret": {"env": "SECRET"}}
        inside.hub.connect(configuration.ConnectionSection(id=name, connector=name, settings=given_settings))
        inside.knows(name)
        return name

    return make


def fails(*arguments: Any) -> Any:
    raise KeyError(CANARY)


@pytest.mark.kafka
def test_a_body_that_does_not_come_is_not_waited_for(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_READING_SECONDS", 0.2)
    inside.hub.connect(section("fresh", "zendesk"))
    inside.knows("fresh")

    async def drip() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await asyncio.Event().wait()

    for name in ("desk", "nobody-knows-me"):
        answer = inside.post(name, drip(), signed("zendesk", BODY))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) < 60
    assert counted("desk", "too_slow") == counted("unknown", "too_slow") == 1


def test_a_body_has_no_longer_to_come_than_the_most_impatient_sender_waits() -> None:
    kinds = {name: Door(section(name, name), connectors()[name], None, "raw") for name in ("slack", "zendesk")}
    assert receive._reading_seconds([]) == receive._reading_seconds([kinds["zendesk"]]) == 8
    assert receive._reading_seconds(kinds.values()) == pytest.approx(0.8 * 3)


@pytest.mark.kafka
def test_a_connector_that_fails_to_verify_trusts_nobody(inside: Inside, odd: Callable[..., str]) -> None:
    name = odd(verify=fails)
    answer = inside.post(name, BODY, signed("zendesk", BODY))
    assert answer.status_code == 401
    assert answer.content == inside.post("nobody-knows-me", BODY, {}).content
    assert counted(name, "connector_failed") >= 1
    assert inside.hub.raw(name) == []


@pytest.mark.kafka
@pytest.mark.parametrize("function", ["split", "decode", "aggregate", "delivery_key", "handshake"])
def test_a_delivery_on_which_its_connector_fails_is_stored_all_the_same(
    inside: Inside, odd: Callable[..., str], function: str
) -> None:
    name = odd(**{function: fails})
    assert inside.post(name, BODY, signed("zendesk", BODY)).status_code == 202
    assert [record.value() for record in inside.hub.raw(name)] == [BODY]


@pytest.mark.kafka
def test_parts_are_stored_all_or_the_whole_is(inside: Inside, odd: Callable[..., str]) -> None:
    def halves(request: Any) -> Iterator[bytes]:
        yield request.body
        raise ValueError(CANARY)

    name = odd(split=halves)
    assert inside.post(name, BODY, signed("zendesk", BODY)).status_code == 202
    (record,) = inside.hub.raw(name)
    assert record.key() == name.encode()


@pytest.mark.kafka
@pytest.mark.parametrize("broken", [False, True])
def test_a_body_that_cannot_be_split_is_stored_whole(inside: Inside, odd: Callable[..., str], broken: bool) -> None:
    def nothing(request: Any) -> tuple[bytes, ...]:
        if broken:
            raise MalformedWebhook("broken")
        return ()

    name = odd(split=nothing)
    assert inside.post(name, BODY, signed("zendesk", BODY)).status_code == 202
    (record,) = inside.hub.raw(name)
    assert (record.key(), record.value()) == (name.encode(), BODY)


@pytest.mark.kafka
def test_of_too_many_parts_no_more_are_made(inside: Inside, odd: Callable[..., str]) -> None:
    made = []

    def many(request: Any) -> Iterator[bytes]:
        for number in range(20_000):
            made.append(number)
            yield request.body

    name = odd(split=many)
    assert inside.post(name, BODY, signed("zendesk", BODY)).status_code == 202
    (record,) = inside.hub.raw(name)
    assert (record.key(), record.value()) == (name.encode(), BODY)
    assert len(made) == 10_001


@pytest.mark.kafka
def test_a_request_that_holds_nothing_is_stored_whole(inside: Inside, odd: Callable[..., str]) -> None:
    name = odd(split=lambda request: ())
    assert inside.post(name, BODY, signed("zendesk", BODY)).status_code == 202
    assert [record.value() for record in inside.hub.raw(name)] == [BODY]


@pytest.mark.kafka
def test_what_a_connector_fails_with_is_logged_without_its_words(
    inside: Inside, odd: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    name = odd(verify=fails)
    inside.post(name, BODY, signed("zendesk", BODY))
    records = [record for record in caplog.records if name in record.getMessage()]
    assert records
    for formatter in formatters():
        for record in records:
            record.exc_text = None  # pytest's own formatter left its version there
            text = formatter.format(record)
            assert "KeyError" in text
            assert CANARY not in text


def test_no_log_shows_a_secret_that_a_process_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", f"{CANARY} äß")
    configuration.from_environment({"env": "SECRET"})
    record = logging.LogRecord("any", logging.INFO, __file__, 1, "it said %s, and so", (f"{CANARY} äß",), None)
    for formatter in formatters():
        line = formatter.format(record)
        assert CANARY not in line
        assert "it said ***, and so" in line
        assert "test" in line, "which service says so"


def formatters() -> list[logging.Formatter]:
    return [logs.formatter(HubSettings(log_format=kind), "test") for kind in ("json", "text")]


@pytest.mark.kafka
def test_a_door_opens_when_its_secret_appears_and_shuts_when_it_goes(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(receive, "_DOORS_SECONDS", 0.0)
    file = tmp_path / "secret"
    inside.hub.connect(section("mounted", "zendesk", settings={"signing_secret": {"file": str(file)}}))
    inside.knows("mounted")
    statuses = []
    for secret in (None, b"\n", SECRETS["SECRET"].encode() + b"\n", b"\xff\xfe", None):
        file.unlink(missing_ok=True) if secret is None else file.write_bytes(secret)
        statuses.append(inside.post("mounted", BODY, signed("zendesk", BODY)).status_code)
    assert statuses == [401, 401, 202, 401, 401]


@pytest.mark.kafka
@pytest.mark.parametrize(("most_bytes", "statuses"), [(len(BODY) - 1, [503] * 3), (len(BODY), [202] * 3)])
def test_bodies_together_take_no_more_than_their_room(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, most_bytes: int, statuses: list[int]
) -> None:
    monkeypatch.setattr(receive, "Room", lambda: Room(most_bytes, most_bytes))
    with another(inside.hub) as narrow:
        headers = signed("zendesk", BODY)
        assert [narrow.post("desk", BODY, headers).status_code for _ in range(3)] == statuses


@pytest.mark.kafka
def test_a_producer_that_librdkafka_gives_up_is_replaced(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Kafka.producer
    narrow = replace(inside.hub.topics.raw("narrow"), max_bytes=1000)
    inside.hub.kafka.create([narrow])
    inside.hub.connect(section("narrow", "slack"))
    monkeypatch.setattr(  # so that a record which the broker refuses is fatal
        Kafka, "producer", lambda kafka, **options: producer(kafka, **options, enable_gapless_guarantee=True)
    )
    with another(inside.hub) as gateway:
        gateway.knows("narrow")
        large = os.urandom(2000).hex().encode()
        assert gateway.post("narrow", large, signed("slack", large)).status_code == 503
        eventually(lambda: gateway.post("desk", BODY, signed("zendesk", BODY)).status_code == 202, "another producer")


@pytest.mark.kafka
def test_a_topic_that_somebody_deleted_is_made_again(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_GIVEN_UP_MS", 1000)
    inside.hub.connect(section("fleeting", "zendesk"))
    topic = inside.hub.topics.raw("fleeting")
    inside.hub.kafka.create([topic])
    with another(inside.hub) as gateway:
        gateway.knows("fleeting")
        assert gateway.post("fleeting", BODY, signed("zendesk", BODY)).status_code == 202
        inside.hub.kafka.admin.delete_topics([topic.name])[topic.name].result()
        eventually(
            lambda: gateway.post("fleeting", BODY, signed("zendesk", BODY)).status_code == 202, "a topic to store it on"
        )
    assert [record.value() for record in inside.hub.raw("fleeting")][-1:] == [BODY]


@pytest.mark.kafka
def test_a_stop_waits_for_the_evidence_that_is_under_way(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Kafka.producer
    patient = {"linger_ms": 60_000, "message_timeout_ms": 120_000}  # it keeps what it has, unless told to let go
    monkeypatch.setattr(Kafka, "producer", lambda kafka, **options: producer(kafka, **{**options, **patient}))
    with another(hub) as gateway:
        assert gateway.post("nobody-knows-me", b"", {}).status_code == 401
        assert hub.audit() == []
    assert len(hub.audit()) == 1


HEADER_NAMES = st.sampled_from(
    ["content-type", "content-encoding", "x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp",
     "x-slack-signature", "x-slack-request-timestamp", "x-bamboohr-signature", "x-bamboohr-timestamp", "authorization",
     "traceparent", "tracestate", "x-zendesk-webhook-invocation-id", "content-length", "cookie"]
) | st.text("abcxyz-_", min_size=1, max_size=12)  # fmt: skip
HEADER_VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"gzip", b"deflate", b"application/json", b"v0=", b"2026-01-01T00:00:00Z", b"9" * 40, b"-1", b"1e400", b"\xff"]
)
BODIES = (
    st.binary(max_size=200)
    | st.sampled_from([b"", b"null", b"{}", b"[]", b'{"type": "event_callback", "event": {}}', BODY])
    | st.binary(max_size=100).map(gzip.compress)
)


@pytest.mark.kafka
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    st.sampled_from(["desk", "chat", "people", "nobody", "%00", "gr%C3%BC%C3%9F"]),
    BODIES,
    st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6),
)
def test_whatever_a_stranger_sends_is_refused_by_name(
    inside: Inside, connection: str, body: bytes, headers: list[tuple[str, bytes]]
) -> None:
    answer = inside.run(lambda client: client.post(f"/in/{connection}", content=body, headers=headers))  # type: ignore[arg-type]  # httpx sends bytes as they are
    assert answer.status_code in (400, 401, 413, 415, 429)
    assert answer.json()["status"] == answer.status_code


@pytest.mark.kafka
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.sampled_from([("desk", "zendesk"), ("chat", "slack"), ("people", "bamboohr")]),
    BODIES,
    st.lists(st.tuples(st.text("abcxyz-_", min_size=1, max_size=12), st.binary(max_size=40)), max_size=4),
)
def test_whatever_a_genuine_sender_sends_is_stored(
    inside: Inside, where: tuple[str, str], body: bytes, more: list[tuple[str, bytes]]
) -> None:
    headers = [*((name, value.encode()) for name, value in signed(where[1], body).items()), *more]
    answer = inside.run(lambda client: client.post(f"/in/{where[0]}", content=body, headers=headers))
    assert answer.status_code == 202


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "x-gzip", None, "", " Identity "]), st.integers(0, 3000))
def test_a_coding_is_undone_within_the_limit_or_not_at_all(body: bytes, coding: str | None, limit: int) -> None:
    coded = gzip.compress(body) if coding and "gzip" in coding else body
    if "gzip" in (coding or "") and len(body) > limit:
        with pytest.raises(BodyTooLarge):
            decoded(coded, coding, limit)
    else:
        assert decoded(coded, coding, limit) == body


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=10), st.integers(0, 1500))
def test_members_of_gzip_are_one_body_within_one_limit(parts: list[bytes], limit: int) -> None:
    coded = b"".join(map(gzip.compress, parts))
    if len(b"".join(parts)) > limit:
        with pytest.raises(BodyTooLarge):
            decoded(coded, "gzip", limit)
    else:
        assert decoded(coded, "gzip", limit) == b"".join(parts)


def test_members_that_hold_nothing_are_counted_too() -> None:
    blocks = [bytes(64 * 1024)] * (MOST_BYTES // (64 * 1024))
    assert decoded(b"".join(map(gzip.compress, blocks)), "gzip") == b"".join(blocks)
    with pytest.raises(BodyTooLarge):
        decoded(gzip.compress(b"") * 1000, "gzip")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("rest", [b"trailing", b"\0", gzip.compress(BODY)[:-1], zlib.compress(BODY)])
def test_whatever_else_follows_a_coded_body_breaks_it(coding: str, rest: bytes) -> None:
    coded = gzip.compress(BODY) if coding == "gzip" else zlib.compress(BODY)
    with pytest.raises(BodyBroken):
        decoded(coded + rest, coding)


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 500), st.integers(0, 500))
def test_a_body_is_read_within_the_limit_and_the_room_or_not_at_all(parts: list[bytes], limit: int, most: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    size = sum(map(len, parts))
    room = Room(most, most)
    for _ in range(2):  # the room is given back
        with room.share("192.0.2.1") as take:
            try:
                assert asyncio.run(read_body(chunks(), take, limit)) == b"".join(parts)
                assert size <= min(limit, most)
            except BodyTooLarge:
                assert size > limit
            except NoRoom:
                assert size > most


def test_one_address_cannot_fill_the_room_of_all() -> None:
    room = Room(100, 60)
    with room.share("2001:db8:1:2::1") as one, room.share("2001:db8:1:2::2") as same, room.share("192.0.2.1") as other:
        one(40)
        with pytest.raises(NoRoom):
            same(21)
        same(20)
        other(40)
        with pytest.raises(NoRoom):
            other(1)
    with room.share("2001:db8:1:2::3") as again:
        again(60)


@pytest.mark.kafka
@pytest.mark.parametrize("proof", ["none", "wrong"])
def test_the_time_of_a_refusal_does_not_tell_which_connections_there_are(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    monkeypatch.setattr(receive, "_DISTRUST_SECONDS", 0.3)  # no proof is checked for so long
    inside.hub.connect(section("secretless", "zendesk", settings={"signing_secret": {"env": "SET_NOWHERE"}}))
    inside.knows("secretless")
    headers = {} if proof == "none" else signed("zendesk", BODY, "another secret")
    for name in ("desk", "nobody-knows-me", "secretless"):
        began = time.monotonic()
        assert inside.post(name, BODY, headers).status_code == 401
        assert time.monotonic() - began >= 0.3


def test_counts_the_failures_of_a_whole_ipv6_network_together() -> None:
    limits = Limits()
    for number in range(UNVERIFIED_PER_MINUTE):
        assert limits.take_unverified(f"2001:db8:1:2::{number:x}")
    assert not limits.take_unverified("2001:db8:1:2:ffff::1")
    assert limits.take_unverified("2001:db8:1:3::1")
    assert limits.take_unverified("not:an:address")
    for number in range(UNVERIFIED_PER_MINUTE + 1):
        assert limits.take_unverified(f"::ffff:192.0.2.{number}")
    for _ in range(UNVERIFIED_PER_MINUTE - 1):
        assert limits.take_unverified("192.0.2.7")
    assert not limits.take_unverified("::ffff:192.0.2.7")
    assert limits.take_unverified("unknown")


def test_needs_no_kafka_to_be_imported_or_created() -> None:
    app = made(Kafka({"bootstrap.servers": "127.0.0.1:1"}), "x")
    assert "/in/{connection}" in str(app.routes)


def test_describes_every_answer() -> None:
    app = made(Kafka({"bootstrap.servers": "127.0.0.1:1"}), "x")
    described = app.openapi()["paths"]["/in/{connection}"]["post"]["responses"]
    assert {str(problem.status) for problem in PROBLEMS} | {"202"} <= described.keys()
