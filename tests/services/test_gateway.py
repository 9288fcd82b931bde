"""The gateway as its senders meet it: over a real socket, in front of a real Kafka."""

import gzip
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from unsilo_connectors.contract import Raw
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_schemas import jsonschema
from unsilo_schemas.envelope import Envelope
from unsilo_services.broker.local import LocalKafka, free_ports
from unsilo_services.configuration import connection_of, placeholder
from unsilo_services.kafka import Message, headers_of

from tests.services.running import (
    SECRET,
    SECRETS,
    Gateway,
    Hub,
    caller,
    eventually,
    facts,
    new_address,
    planted,
    post,
    running_hub,
    sample,
    section,
    signed,
)

pytestmark = pytest.mark.kafka

CANARY = "canary-9f1c2e77"
TICKET = sample("zendesk", "ticket_created")
SLACK = sample("slack", "message")


@pytest.fixture(scope="module")
def gateway(shared_hub: Hub) -> Gateway:
    """One gateway for all tests of this module."""
    started = shared_hub.start_gateway(UNSILO_LOG_FORMAT="text")
    shared_hub.connect(section("first", "zendesk"))
    return started


@pytest.fixture
def desk(shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest) -> str:
    """A Zendesk connection of the test's own."""
    return connect(shared_hub, gateway, request, "zendesk")


def connect(hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, connector: str, **changed: Any) -> str:
    """A connection named after the test, once the gateway knows it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:30].strip("-")
    name = f"{words}-{zlib.crc32(request.node.name.encode()):08x}"
    hub.connect(section(name, connector, **changed))
    await_door(gateway, name)
    return name


def await_door(gateway: Gateway, name: str) -> None:
    """Until a connection is known, it is refused as `unknown`; then under its own name."""
    eventually(
        lambda: post(gateway.url, name, b"", {}).status_code == 401 and gateway.count(name, refusal_of(gateway, name)),
        f"the gateway to know {name}",
    )


def refusal_of(gateway: Gateway, name: str) -> str:
    found = re.search(rf'unsilo_gateway_requests_total{{connection="{name}",outcome="(\w+)"}}', metrics(gateway))
    return found[1] if found else "none"


def metrics(gateway: Gateway) -> str:
    return gateway.get("/metrics").text


def test_stores_a_genuine_delivery_before_it_answers(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = signed(
        "zendesk",
        TICKET.body,
        more={"x-zendesk-webhook-invocation-id": "I1", "traceparent": trace, "tracestate": "a=b"},
    )
    headers |= {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    before = datetime.now(UTC) - timedelta(seconds=1)
    answer = gateway.post(desk, TICKET.body, headers)
    assert (answer.status_code, answer.content) == (202, b"")
    (record,) = shared_hub.raw(desk)
    said = facts(record)
    assert record.value() == TICKET.body
    assert record.key() == aggregate(desk, TICKET.body).encode()
    assert said["hub_connector"] == "zendesk"
    assert said["hub_kind"] == "webhook"
    assert said["hub_delivery"] == said["http_x-zendesk-webhook-invocation-id"] == "I1"
    assert (said["traceparent"], said["tracestate"]) == (trace, "a=b")
    assert not {"http_host", "http_content-length", "http_accept-encoding", "http_traceparent"} & said.keys()
    assert not any(name.startswith("http_x-forwarded-") for name in said), "whose address it is, is nobody's business"
    assert before <= datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC) <= datetime.now(UTC)
    assert gateway.count(desk, "stored") == 1


def aggregate(connection: str, body: bytes) -> str:
    connector = connectors()["zendesk"]
    raw = Raw(connection_of(section(connection, "zendesk"), placeholder), {}, body, datetime.now(UTC))
    return connector.aggregate(connector.decode(raw), raw)


@pytest.mark.parametrize("traceparent", ["garbage", "00-" + "z" * 32 + "-00f067aa0ba902b7-01", "\u00e9" * 55, ""])
def test_passes_over_a_trace_context_that_is_none(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, traceparent: str
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk")
    headers = {**signed("zendesk", TICKET.body), "traceparent": traceparent.encode("latin-1"), "tracestate": "a=b"}
    assert gateway.post(desk, TICKET.body, headers).status_code == 202
    assert not {"traceparent", "tracestate"} & facts(shared_hub.raw(desk)[0]).keys()


@pytest.mark.parametrize("tracestate", ["r\u00e9=1", "a=" + "b" * 511, ""])
def test_passes_over_a_trace_state_that_nobody_could_pass_on(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, tracestate: str
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk")
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    trace = {"traceparent": parent, "tracestate": tracestate.encode("latin-1")}
    assert gateway.post(desk, TICKET.body, {**signed("zendesk", TICKET.body), **trace}).status_code == 202
    found = facts(shared_hub.raw(desk)[0])
    assert (found["traceparent"], "tracestate" in found) == (parent, False)


def test_refuses_whoever_proves_nothing_alike(
    shared_hub: Hub, gateway: Gateway, desk: str, request: pytest.FixtureRequest
) -> None:
    shut = "no-secret-here"
    shared_hub.connect(section(shut, "zendesk", settings={"signing_secret": {"env": "NOT_SET"}}))
    await_door(gateway, shut)
    genuine = signed("zendesk", TICKET.body)
    answers = [
        gateway.post("nobody-knows-me", TICKET.body, genuine),
        gateway.post(shut, TICKET.body, genuine),
        gateway.post(desk, TICKET.body, {}),
        gateway.post(desk, TICKET.body + b" ", genuine),
        gateway.post(desk, TICKET.body, signed("zendesk", TICKET.body, "another secret")),
        gateway.post(desk, TICKET.body, signed("zendesk", TICKET.body, at=datetime.now(UTC) - timedelta(hours=1))),
        gateway.post(desk, TICKET.body, {**genuine, "x-zendesk-webhook-signature-timestamp": "yesterday"}),
        gateway.post(desk, TICKET.body, {**genuine, "x-zendesk-webhook-signature": "\xff\xfe".encode("latin-1")}),
    ]
    seen = {
        (answer.status_code, answer.content, tuple(sorted((k, v) for k, v in answer.headers.items() if k != "date")))
        for answer in answers
    }
    assert len(seen) == 1
    assert answers[0].status_code == 401
    assert "server" not in answers[0].headers
    assert shared_hub.raw(desk) == shared_hub.raw(shut) == []


def test_keeps_evidence_of_refusals_and_nothing_of_their_bodies(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    address = new_address()
    body = CANARY.encode()
    gateway.post(desk, body, {"x-canary": CANARY}, address=address)
    gateway.post(desk, body, signed("zendesk", body, at=datetime.now(UTC) - timedelta(hours=1)), address=address)
    gateway.post(f"unknown-{CANARY}", body, {"x-canary": CANARY}, address=address)

    def evidence() -> list[Message] | None:
        found = [letter for letter in shared_hub.audit() if address.encode() in (letter.value() or b"")]
        return found if len(found) == 3 else None

    records = eventually(evidence, "three refusals on the audit topic")
    said = [json.loads(record.value() or b"") for record in records]
    assert [fact["reason"] for fact in said] == ["timestamp_missing", "too_old", "connection_unknown"]
    assert [fact["status"] for fact in said] == [401, 401, 401]
    assert said[1]["skew_seconds"] == pytest.approx(3600, abs=60)
    assert [record.key() for record in records] == [desk.encode(), desk.encode(), None]
    envelopes = [Envelope.from_headers(headers_of(record)) for record in records]
    assert {found.type for found in envelopes} == {"unsilo.hub.event.rejected.v1"}
    assert [found.connection for found in envelopes] == [desk, desk, None]
    for record in records:
        assert CANARY not in repr((record.key(), record.value(), record.headers()))


def test_keeps_nothing_of_the_body_of_a_verified_delivery_that_it_refuses(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk", max_body_bytes=1000, rate_per_minute=3)
    body, long = CANARY.encode(), CANARY.encode() * 100
    strange = {**signed("zendesk", body), "content-type": f"text/{CANARY}"}
    answers = [
        gateway.post(desk, long, signed("zendesk", long)),
        gateway.post(desk, body, strange),
        gateway.post(desk, body, signed("zendesk", body)),
        gateway.post(desk, body, signed("zendesk", body)),
    ]
    assert [answer.status_code for answer in answers] == [413, 415, 202, 429]

    def evidence() -> list[Message] | None:
        ours = [record for record in shared_hub.audit() if record.key() == desk.encode()]
        found = [record for record in ours if json.loads(record.value() or b"")["status"] != 401]
        return found if len(found) == 3 else None

    records = eventually(evidence, "three refusals on the audit topic")
    assert [json.loads(record.value() or b"") for record in records] == [
        {"reason": "too_large", "status": 413, "bytes": len(long)},
        {"reason": "wrong_type", "status": 415, "bytes": len(body)},
        {"reason": "too_fast", "status": 429, "bytes": len(body)},
    ]
    for record in records:
        assert CANARY not in repr((record.key(), record.value(), record.headers()))


@pytest.mark.parametrize("connector", sorted(connectors()))
def test_leaves_no_secret_of_a_delivery_anywhere(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, connector: str
) -> None:
    name = connect(shared_hub, gateway, request, connector, secret_headers=("X-Acme",))
    found = connectors()[connector]
    recorded = next(each for each in samples(found) if each.answer is None and each.events != [[]])
    body, headers = planted(recorded, found.secrets, CANARY)
    headers["x-acme"] = CANARY
    body["nested"] = [dict.fromkeys(found.secrets.fields, CANARY)]
    sent = json.dumps(body).encode()
    headers |= signed(connector, sent)
    assert gateway.post(name, sent, headers).status_code == 202
    headers["authorization"] = f"Basic {CANARY}"
    wrong = {**headers, **{name: CANARY for name in signed(connector, sent) if name != "content-type"}}
    assert gateway.post(name, sent, wrong).status_code == 401
    assert len(shared_hub.raw(name)) == 1
    eventually(lambda: gateway.count(name, "stored") == 1)
    everything = [*shared_hub.raw(name), *shared_hub.audit(), *shared_hub.read(shared_hub.topics.config().name)]
    for record in everything:
        for secret in (CANARY, *SECRETS.values()):
            assert secret not in repr((record.key(), record.value(), record.headers()))
    for secret in (CANARY, *SECRETS.values()):
        assert secret not in gateway.said
        assert secret not in metrics(gateway)


def test_undoes_a_content_coding_before_it_verifies(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    for coding, coded in (
        ("gzip", gzip.compress(TICKET.body)),
        ("GZIP", gzip.compress(TICKET.body)),
        ("gzip", gzip.compress(TICKET.body[:100]) + gzip.compress(TICKET.body[100:])),
        ("deflate", zlib.compress(TICKET.body)),
        ("identity", TICKET.body),
    ):
        headers = signed("zendesk", TICKET.body, more={"content-encoding": coding})
        assert gateway.post(desk, coded, headers).status_code == 202
    assert {record.value() for record in shared_hub.raw(desk)} == {TICKET.body}
    assert "http_content-encoding" not in facts(shared_hub.raw(desk)[0])


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", b"", 400),
        ("gzip", b"not gzip", 400),
        ("gzip", gzip.compress(TICKET.body)[:-9], 400),
        ("gzip", gzip.compress(TICKET.body) + b"trailing", 400),
        ("gzip", gzip.compress(TICKET.body)[:-8] + b"\0" * 8, 400),
        ("deflate", gzip.compress(TICKET.body), 400),
        ("br", TICKET.body, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(TICKET.body)), 415),
        ("\u00fc".encode("latin-1"), TICKET.body, 415),
    ],
)
def test_refuses_a_coding_that_is_broken_or_unknown(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, coding: str | bytes, body: bytes, status: int
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk")
    answer = gateway.post(desk, body, {**signed("zendesk", body), "content-encoding": coding})
    assert answer.status_code == status
    assert shared_hub.raw(desk) == []


def test_takes_bodies_up_to_a_connections_limit_also_after_decompression(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk", max_body_bytes=1000)
    fits, too_large = b"x" * 1000, b"x" * 1001
    zipped = {"content-encoding": "gzip"}
    assert gateway.post(desk, fits, signed("zendesk", fits)).status_code == 202
    assert gateway.post(desk, gzip.compress(fits), signed("zendesk", fits, more=zipped)).status_code == 202
    assert gateway.post(desk, too_large, signed("zendesk", too_large)).status_code == 413
    answer = gateway.post(desk, gzip.compress(too_large), signed("zendesk", too_large, more=zipped))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:unsilo:problem:too_large"
    assert [record.value() for record in shared_hub.raw(desk)] == [fits, fits]


def test_reads_no_more_than_it_may_whoever_sends_it(gateway: Gateway, desk: str) -> None:
    endless = b"x" * (3 * 1024 * 1024 + 1)
    assert gateway.post(desk, endless, signed("zendesk", endless)).status_code == 413
    assert gateway.post("nobody-knows-me", endless, {}).status_code == 413


def test_a_bomb_does_not_fill_the_memory(gateway: Gateway, desk: str) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    body = b"".join(bomb.compress(bytes(1024 * 1024)) for _ in range(1024)) + bomb.flush()
    before = gateway.memory_bytes
    many = gzip.compress(bytes(64 * 1024)) * 20_000
    answers = [gateway.post(desk, each, {"content-encoding": "gzip"}).status_code for each in (body, many, body)]
    assert answers == [413, 413, 413]
    assert gateway.memory_bytes - before < 100 * 1024 * 1024


def test_takes_the_media_types_that_the_vendor_sends(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    genuine = signed("zendesk", TICKET.body)
    for fine in ("application/json", "Application/JSON; charset=utf-8", ""):
        assert gateway.post(desk, TICKET.body, {**genuine, "content-type": fine}).status_code == 202
    for strange in ("text/plain", "application/x-www-form-urlencoded", "application/json+x", "\xfc".encode("latin-1")):
        assert gateway.post(desk, TICKET.body, {**genuine, "content-type": strange}).status_code == 415
    assert len(shared_hub.raw(desk)) == 3


def test_counts_only_verified_deliveries_against_a_connections_rate(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk", rate_per_minute=3)
    genuine = signed("zendesk", TICKET.body)
    for _ in range(5):
        assert gateway.post(desk, TICKET.body, {}).status_code == 401
    assert [gateway.post(desk, TICKET.body, genuine).status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = gateway.post(desk, TICKET.body, genuine)
    assert 0 < int(refused.headers["retry-after"]) < 60
    assert gateway.count(desk, "too_fast") == 2
    assert len(shared_hub.raw(desk)) == 3


def test_limits_the_unverified_by_address_and_nobody_else(gateway: Gateway, desk: str) -> None:
    address = new_address()
    with caller(address=address) as client:
        url = f"{gateway.url}/in/"
        answers = [client.post(url + name, content=b"").status_code for name in ("a", desk) * 31]
        assert answers[:60] == [401] * 60
        assert answers[-1] == 429
        assert 0 < int(client.post(url + desk, content=b"").headers["retry-after"]) < 60
        genuine = signed("zendesk", TICKET.body)
        assert client.post(url + desk, content=TICKET.body, headers=genuine).status_code == 202
    assert gateway.post(desk, b"", {}).status_code == 401


def test_takes_two_active_secrets_while_one_takes_the_others_place(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    secrets = {"signing_secret": [{"env": "SECRET"}, {"env": "NEXT_SECRET"}]}
    desk = connect(shared_hub, gateway, request, "zendesk", settings=secrets)
    for secret in (SECRET, SECRETS["NEXT_SECRET"]):
        assert gateway.post(desk, TICKET.body, signed("zendesk", TICKET.body, secret)).status_code == 202
    assert gateway.post(desk, TICKET.body, signed("zendesk", TICKET.body, "a third")).status_code == 401


def test_answers_a_handshake_and_stores_nothing_of_it(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    chat = connect(shared_hub, gateway, request, "slack")
    body = json.dumps({"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}).encode()
    answer = gateway.post(chat, body, signed("slack", body))
    assert (answer.status_code, answer.text) == (200, "3eZbrw1aB")
    assert answer.headers["content-type"].startswith("text/plain")
    assert gateway.post(chat, body, {}).status_code == 401
    assert shared_hub.raw(chat) == []
    assert gateway.count(chat, "handshake") == 1


def employees(*numbers: object) -> bytes:
    return json.dumps({"employees": [
        {"id": number, "action": "Updated", "changedFields": ["firstName"], "fields": {"firstName": {"value": "A"}}}
        for number in numbers
    ]}).encode()  # fmt: skip


def test_splits_a_batch_and_keys_each_part_by_what_it_is_about(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    people = connect(shared_hub, gateway, request, "bamboohr")
    body = employees("1", "2", "1")
    assert gateway.post(people, body, signed("bamboohr", body)).status_code == 202
    records = shared_hub.raw(people)
    assert len(records) == 3
    assert len({record.key() for record in records}) == 2
    assert len({facts(record)["hub_delivery"] for record in records}) >= 2


def test_a_part_that_cannot_be_keyed_spoils_no_other(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    people = connect(shared_hub, gateway, request, "bamboohr")
    body = employees("1", None, "3")
    assert gateway.post(people, body, signed("bamboohr", body)).status_code == 202
    found = [(record.key(), json.loads(record.value() or b"")["employees"]) for record in shared_hub.raw(people)]
    assert sorted(str(one["id"]) for _, [one] in found) == ["1", "3", "None"]
    assert [one["id"] for key, [one] in found if key == people.encode()] == [None]


@pytest.mark.parametrize(("missing", "status"), [("token", 202), ("signing_secret", 401)])
def test_secrets_that_only_writing_takes_need_not_be_where_deliveries_come_in(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, missing: str, status: int
) -> None:
    chat = connect(shared_hub, gateway, request, "slack", settings={missing: {"env": "SET_ELSEWHERE"}})
    body = sample("slack", "message").body
    assert gateway.post(chat, body, signed("slack", body)).status_code == status


def test_of_a_body_that_cannot_be_taken_apart_nothing_private_is_stored(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    people = connect(shared_hub, gateway, request, "bamboohr")
    bodies = {b'{"employees":"Salary"}': b'{"employees":"[masked]"}', b'{"employees":[]}': b'{"employees":[]}'}
    bodies[b'{"employees": [{"Salary": 1'] = b'{"bytes":27,"withheld":"not JSON: unreadable"}'
    for body in bodies:
        assert gateway.post(people, body, signed("bamboohr", body)).status_code == 202
    records = shared_hub.raw(people)
    assert sorted(record.value() or b"" for record in records) == sorted(bodies.values())
    assert {record.key() for record in records} == {people.encode()}


def test_one_request_does_not_become_any_number_of_records(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    people = connect(shared_hub, gateway, request, "bamboohr")
    as_many_as_may_be, too_many = (
        json.dumps({"employees": [{"id": "1"}] * number}).encode() for number in (10_000, 10_001)
    )
    assert gateway.post(people, too_many, signed("bamboohr", too_many)).status_code == 202
    (record,) = shared_hub.raw(people)
    assert (record.key(), json.loads(record.value() or b"")) == (people.encode(), json.loads(too_many))
    assert gateway.post(people, as_many_as_may_be, signed("bamboohr", as_many_as_may_be)).status_code == 202
    assert len(shared_hub.raw(people)) == 1 + 10_000


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"not json", b"\xff\xfe\x00", b"[" * 100_000, b'{"type": "\\ud80"}', b"9" * 50_000],
    ids=["nothing", "null", "list", "object", "text", "bytes", "deep", "escape", "number"],
)
def test_stores_whole_what_is_verified_and_cannot_be_read(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest, body: bytes
) -> None:
    chat = connect(shared_hub, gateway, request, "slack")
    assert gateway.post(chat, body, signed("slack", body)).status_code == 202
    (record,) = shared_hub.raw(chat)
    assert (record.key(), record.value() or b"") == (chat.encode(), body)


def test_takes_hostile_header_bytes_for_what_they_are(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    hostile = {
        "x-latin": b"gr\xfc\xdfe \xff\xfe",
        "x-empty": b"",
        "x-long": b"x" * 20_000,
        "hub_delivery": b"forged",
        "dl_reason": b"forged",
        "ce_id": b"forged",
        "x-%s": b"%s {} ${jndi}",
    }
    assert gateway.post(desk, TICKET.body, {**signed("zendesk", TICKET.body), **hostile}).status_code == 202
    said = facts(shared_hub.raw(desk)[0])
    assert said["http_x-latin"] == b"gr\xfc\xdfe \xff\xfe".decode("latin-1")
    assert said["http_hub_delivery"] == said["http_dl_reason"] == said["http_ce_id"] == "forged"
    assert not {"hub_delivery", "dl_reason", "ce_id"} & said.keys()


def test_of_a_header_that_comes_twice_only_the_first_counts(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    genuine = signed("zendesk", TICKET.body)
    forged = signed("zendesk", TICKET.body, "another secret")
    for first, second, status in ((genuine, forged, b"202"), (forged, genuine, b"401")):
        name = "x-zendesk-webhook-signature"
        lines = [f"{key}: {value}" for key, value in genuine.items() if key != name]
        lines += [f"{name}: {first[name]}", f"{name}: {second[name]}", f"content-length: {len(TICKET.body)}"]
        assert raw_request(gateway, desk, "\r\n".join(lines).encode(), TICKET.body).split()[1] == status


def raw_request(gateway: Gateway, connection: str, head: bytes, body: bytes = b"") -> bytes:
    """What comes back for bytes that no library would send; empty where the connection is just closed."""
    with dial(gateway) as line, suppress(ConnectionError):
        line.sendall(
            b"POST /in/%b HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n%b\r\n\r\n" % (connection.encode(), head)
        )
        line.sendall(body)
        return everything(line)
    return b""


def dial(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), 30, (new_address(), 0))


def everything(line: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while chunk := line.recv(65536):
            received += chunk
    return received


def test_takes_a_body_in_chunks(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(TICKET.body), 100):
            yield TICKET.body[start : start + 100]

    with caller() as client:
        answer = client.post(f"{gateway.url}/in/{desk}", content=chunks(), headers=signed("zendesk", TICKET.body))
    assert answer.status_code == 202
    assert shared_hub.raw(desk)[0].value() == TICKET.body


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"transfer-encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n"),
        (b"transfer-encoding: chunked", b"-1\r\nabc\r\n0\r\n\r\n"),
        (b"transfer-encoding: chunked\r\ncontent-length: 3", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"content-length: 3\r\ncontent-length: 4", b"abcd"),
        (b"content-length: -3", b"abc"),
        (b"content-length: many", b"abc"),
        (b"x-null: a\x00b\r\ncontent-length: 0", b""),
        (b"x y: z\r\ncontent-length: 0", b""),
        (b"x-endless: " + b"x" * 300_000, b""),
        (b"\r\n".join(b"x-%d: y" % number for number in range(20_000)), b""),
    ],
    ids=[
        "size",
        "negative",
        "smuggled",
        "two lengths",
        "below",
        "words",
        "null",
        "blank",
        "endless",
        "many",
    ],
)
def test_refuses_broken_http(shared_hub: Hub, gateway: Gateway, desk: str, head: bytes, body: bytes) -> None:
    proofs = "\r\n".join(f"{name}: {value}" for name, value in signed("zendesk", b"abc").items()).encode()
    outcomes = ("framing_broken", "head_too_large")
    before = sum(gateway.count("unknown", outcome) for outcome in outcomes)
    answer = raw_request(gateway, desk, proofs + b"\r\n" + head, body)
    assert sum(gateway.count("unknown", outcome) for outcome in outcomes) == before + 1
    if answer or len(head) < 65_536:  # whoever still sends when the connection is closed may never see the answer
        assert answer.split()[1] in (b"400", b"431"), answer
        assert b"application/problem+json" in answer
        assert b"urn:unsilo:problem:" in answer
    assert shared_hub.raw(desk) == []
    assert gateway.alive()


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_sender_that_asks_for_another_protocol_is_answered_in_this_one(
    shared_hub: Hub, gateway: Gateway, desk: str, chunked: bool, whole: bool
) -> None:
    lines = [f"{name}: {value}" for name, value in signed("zendesk", TICKET.body).items()]
    lines += ["connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAAB"]
    body = TICKET.body
    if chunked:
        lines.append("transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        lines.append(f"content-length: {len(body)}")
    head = f"POST /in/{desk} HTTP/1.1\r\nhost: hub\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    end = b"GET /health/live HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"
    sent = (head.encode() + body) * 2 + end
    with dial(gateway) as line:
        for piece in [sent] if whole else [bytes([byte]) for byte in sent]:
            line.sendall(piece)
        answers = everything(line)
    assert [part.split()[0] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"202", b"202", b"200"]
    assert [record.value() for record in shared_hub.raw(desk)] == [TICKET.body] * 2


def test_a_tunnel_is_refused(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    body = b"POST /in/%b HTTP/1.1\r\ncontent-length: 0\r\n\r\n" % desk.encode()
    before = gateway.count("unknown", "framing_broken")
    with dial(gateway) as line:
        line.sendall(
            b"CONNECT /in/%b HTTP/1.1\r\nhost: hub\r\ncontent-length: %d\r\n\r\n%b" % (desk.encode(), len(body), body)
        )
        answers = everything(line)
    assert [part.split()[0] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"400"]
    assert gateway.count("unknown", "framing_broken") == before + 1


def test_a_head_that_is_too_large_is_said_to_be(gateway: Gateway, desk: str) -> None:
    for size in (65_536, 80_000):  # whether it comes whole, or is cut off before its end
        answer = raw_request(gateway, desk, b"x-large: " + b"x" * size)
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:unsilo:problem:head_too_large"
    with dial(gateway) as line:
        line.sendall(b"POST /in/%b HTTP/1.1\r\nx-large: %b" % (desk.encode(), b"x" * 66_000))
        answer = everything(line)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 431


def test_an_endless_head_does_not_fill_the_memory(gateway: Gateway, desk: str) -> None:
    before = gateway.memory_bytes
    with dial(gateway) as line:
        line.sendall(b"POST /in/%b HTTP/1.1\r\nx-endless: " % desk.encode())
        with suppress(ConnectionError):
            for _ in range(1024):
                line.sendall(b"x" * 262_144)
        answer = everything(line)
    assert b" 202 " not in answer
    assert gateway.memory_bytes - before < 30 * 1024 * 1024


@pytest.mark.parametrize(
    "endless",
    [b"a: " + b"x" * 1000 + b"\r\n", b"x" * 1000],
    ids=["trailers", "line"],
)
def test_endless_trailers_do_not_fill_the_memory(gateway: Gateway, endless: bytes) -> None:
    before = gateway.memory_bytes
    with dial(gateway) as line:
        line.sendall(b"POST /in/nobody HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ")
        with pytest.raises(ConnectionError):
            for _ in range(256):
                line.sendall(endless * 256)
    assert gateway.memory_bytes - before < 30 * 1024 * 1024


def test_endless_words_beside_a_chunk_are_not_listened_to(gateway: Gateway) -> None:
    with dial(gateway) as line:
        line.sendall(b"POST /in/nobody HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n1;a=")
        with pytest.raises(ConnectionError):
            for _ in range(256):
                line.sendall(b"x" * 262_144)


def test_requests_that_nobody_waits_for_do_not_fill_the_memory(gateway: Gateway) -> None:
    before = gateway.memory_bytes
    with dial(gateway) as line, pytest.raises(ConnectionError):
        for _ in range(256):
            line.sendall(b"GET / HTTP/1.1\r\nhost: hub\r\n\r\n" * 4096)
    assert gateway.memory_bytes - before < 30 * 1024 * 1024


def test_a_trailer_proves_nothing(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    proofs = "".join(f"{name}: {value}\r\n" for name, value in signed("zendesk", b"abc").items()).encode()
    for head, trailers, status in ((proofs, b"", b"202"), (b"", proofs, b"401")):
        with dial(gateway) as line:  # at once, so that all of it is parsed before the request is looked at
            line.sendall(
                b"POST /in/%b HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ntransfer-encoding: chunked\r\n%b\r\n"
                b"3\r\nabc\r\n0\r\n%b\r\n" % (desk.encode(), head, trailers)
            )
            assert everything(line).split()[1] == status


def test_a_sender_that_hangs_up_half_way_leaves_nothing(shared_hub: Hub, gateway: Gateway, desk: str) -> None:
    head = "\r\n".join(f"{name}: {value}" for name, value in signed("zendesk", TICKET.body).items()).encode()
    for sent in (b"", TICKET.body[:100]):
        with dial(gateway) as line:
            line.sendall(b"POST /in/%b HTTP/1.1\r\nhost: hub\r\n%b\r\n" % (desk.encode(), head))
            line.sendall(b"content-length: %d\r\n\r\n" % len(TICKET.body) + sent)
    eventually(lambda: gateway.count(desk, "gone") == 2, "two that hung up")
    assert shared_hub.raw(desk) == []
    assert gateway.post(desk, TICKET.body, signed("zendesk", TICKET.body)).status_code == 202


def test_a_sender_that_ends_its_side_behind_its_delivery_is_answered(
    shared_hub: Hub, gateway: Gateway, desk: str
) -> None:
    head = "\r\n".join(f"{name}: {value}" for name, value in signed("zendesk", TICKET.body).items()).encode()
    with dial(gateway) as line:
        line.sendall(b"POST /in/%b HTTP/1.1\r\nhost: hub\r\n%b\r\n" % (desk.encode(), head))
        line.sendall(b"content-length: %d\r\n\r\n" % len(TICKET.body) + TICKET.body)
        line.shutdown(socket.SHUT_WR)
        assert everything(line).startswith(b"HTTP/1.1 202 ")
    assert [record.value() for record in shared_hub.raw(desk)] == [TICKET.body]


def test_says_nothing_of_a_sender_in_its_metrics(gateway: Gateway) -> None:
    for name in (f"a-{CANARY}", f"{CANARY}%22%7D%0A", "%00", "gr%C3%B6%C3%9Fe", "a" * 5000, ".." + "%2f" + CANARY):
        gateway.post(name, b"", {"x-canary": CANARY})
        gateway.get(f"/{name}?{CANARY}")
    said = metrics(gateway)
    assert CANARY not in said
    assert "%" not in said
    named = set(re.findall(r'unsilo_gateway_\w+{connection="([^"]*)"', said))
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", name) for name in named)
    assert "unknown" in named


def test_knows_no_other_ways_in(gateway: Gateway, desk: str) -> None:
    before = [gateway.count("unknown", outcome) for outcome in ("wrong_method", "no_address")]
    asked, beside = gateway.get(f"/in/{desk}"), gateway.post(f"{desk}/", TICKET.body, signed("zendesk", TICKET.body))
    assert [asked.status_code, beside.status_code] == [405, 404]
    assert [answer.json()["type"] for answer in (asked, beside)] == [
        "urn:unsilo:problem:wrong_method",
        "urn:unsilo:problem:no_address",
    ]
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in (asked, beside))
    assert asked.headers["allow"] == "POST"
    now = [gateway.count("unknown", outcome) for outcome in ("wrong_method", "no_address")]
    assert [after - then for after, then in zip(now, before, strict=True)] == [1, 1]
    assert gateway.post(f"{desk}/..", TICKET.body, signed("zendesk", TICKET.body)).status_code in (401, 404)
    for path in ("/docs", "/redoc", "/openapi.json", "/"):
        assert gateway.get(path).status_code == 404


def test_serves_every_schema_and_no_other_file(gateway: Gateway) -> None:
    for file, text in jsonschema.files().items():
        answer = gateway.get(f"/schemas/{file}")
        assert (answer.status_code, answer.text) == (200, text)
    for path in ("nothing", "..%2f..%2fpyproject.toml", "%2e%2e/", ""):
        assert gateway.get(f"/schemas/{path}").status_code == 404


def test_follows_the_configuration_without_a_restart(
    shared_hub: Hub, gateway: Gateway, request: pytest.FixtureRequest
) -> None:
    desk = connect(shared_hub, gateway, request, "zendesk")
    genuine = signed("zendesk", TICKET.body)
    assert gateway.post(desk, TICKET.body, genuine).status_code == 202
    shared_hub.disconnect(desk)
    eventually(lambda: gateway.post(desk, TICKET.body, genuine).status_code == 401, "the door to be gone")


def test_a_stop_lets_what_is_under_way_come_to_its_end(hub: Hub) -> None:
    hub.connect(section("desk", "zendesk"))
    gateway = hub.start_gateway()
    head = "\r\n".join(f"{name}: {value}" for name, value in signed("zendesk", TICKET.body).items()).encode()
    with dial(gateway) as line:
        line.sendall(b"POST /in/desk HTTP/1.1\r\nhost: hub\r\n%b\r\n" % head)
        line.sendall(b"content-length: %d\r\n\r\n" % len(TICKET.body) + TICKET.body[:100])
        eventually(lambda: gateway.get("/health/live").status_code == 200)
        gateway.send(signal.SIGTERM)
        eventually(lambda: not answers(gateway), "the gateway to take no more connections")
        line.sendall(TICKET.body[100:])
        assert everything(line).split()[1] == b"202"
    assert gateway.stop() == 0
    assert [record.value() for record in hub.raw("desk")] == [TICKET.body]


def answers(gateway: Gateway) -> bool:
    try:
        return gateway.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_acknowledges_nothing_while_kafka_is_away_and_says_so_in_time(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    broker = LocalKafka(tmp_path / "kafka", port=port)
    broker.start()
    try:
        with running_hub(broker.bootstrap, tmp_path) as hub:
            hub.connect(section("chat", "slack"), section("desk", "zendesk"))
            gateway = hub.start_gateway()
            assert gateway.post("chat", SLACK.body, signed("slack", SLACK.body)).status_code == 202
            broker.stop()
            deadline = connectors()["slack"].sender.deadline.total_seconds()
            refused = gateway.post("chat", SLACK.body, signed("slack", SLACK.body), timeout=deadline)
            assert refused.status_code == 503
            assert 0 < int(refused.headers["retry-after"]) < 60
            assert gateway.post("chat", SLACK.body, {}).status_code == 401
            eventually(lambda: gateway.get("/health/ready").status_code == 503, "the gateway not to be ready")
            assert gateway.get("/health/live").status_code == 200
            broker.start()
            eventually(gateway.ready, "the gateway to be ready again")
            acknowledged = [
                body
                for number in range(20)
                if gateway.post(
                    "desk", body := b'{"number": %d}' % number, signed("zendesk", body)
                ).status_code == 202
            ]  # fmt: skip
            assert len(acknowledged) == 20
            assert {record.value() for record in hub.raw("desk")} >= set(acknowledged)
            assert gateway.count("chat", "unavailable") == 1
    finally:
        broker.stop()


def test_whoever_holds_lines_that_prove_nothing_shuts_nobody_out(hub: Hub) -> None:
    hub.connect(section("desk", "zendesk"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (384, hard))  # which the gateway takes over
    try:
        gateway = hub.start_gateway()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with ExitStack() as held:
        for _ in range(450):
            line = socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), 5, ("127.0.0.2", 0))
            held.enter_context(line)
            with suppress(ConnectionError):
                line.sendall(b"POST /in/desk HTTP/1.1\r\n")
        for _ in range(10):
            assert gateway.post("desk", TICKET.body, signed("zendesk", TICKET.body), timeout=5).status_code == 202
        assert gateway.ready()
        assert gateway.count("unknown", "turned_away") == 450 - 256
    assert f"{hard} files may be open" in gateway.said
    assert gateway.said.count("network connections closed at once") == 1


def test_two_gateways_serve_one_hub(hub: Hub) -> None:
    hub.connect(section("desk", "zendesk"))
    gateways = [hub.start_gateway(), hub.start_gateway()]
    bodies = [b'{"number": %d}' % number for number in range(40)]
    answers: list[int] = []

    def send(gateway: Gateway, part: list[bytes]) -> None:
        answers.extend(gateway.post("desk", body, signed("zendesk", body)).status_code for body in part)

    threads = [threading.Thread(target=send, args=(gateways[at], bodies[at::2])) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [202] * 40
    assert sorted(record.value() or b"" for record in hub.raw("desk")) == sorted(bodies)


def test_says_what_is_wrong_when_its_port_is_taken(hub: Hub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = hub.start("gateway", UNSILO_GATEWAY_PORT=str(taken.getsockname()[1]))
        try:
            assert process.process.wait(30) != 0
        except subprocess.TimeoutExpired:
            pytest.fail("it goes on without a port")
    assert "address already in use" in process.said


_WITHOUT_CONFIGURATION = """
from unsilo_services import config_topic
from unsilo_services.gateway import app
from unsilo_services.settings import HubSettings

def lost(entries):
    raise MemoryError

config_topic.from_entries = lost
config_topic.ConfigFollower.start = lambda follower: follower._thread.start()
app.run(HubSettings())
"""


def test_ends_as_a_failure_where_it_can_follow_the_configuration_no_longer(hub: Hub) -> None:
    environment = {**os.environ, **hub.environment, "UNSILO_GATEWAY_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT_CONFIGURATION], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "the configuration can no longer be followed: MemoryError" in ended.stderr
