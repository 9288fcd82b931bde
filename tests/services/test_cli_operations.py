"""What an operator asks of a hub: where something went, how it is doing, what is wrong, what died and how it lives."""

import json
import os
import re
import shutil
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command
from unsilo_connectors.contract import Connection, Raw
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import with_sample_secrets
from unsilo_schemas.identity import entity_id
from unsilo_services.audit import POSTPONED, REDRIVEN, REJECTED, RESUMED, SUPPRESSED, audit_record
from unsilo_services.cli.app import app
from unsilo_services.cli.checks_cluster import is_old
from unsilo_services.cli.hub import Hub as Asked
from unsilo_services.cli.letters import Wanted, letters
from unsilo_services.cli.partitions import partition_of_key
from unsilo_services.cli.redrive import Redrive, RedriveOvertaken, planned
from unsilo_services.config_topic import changes, entries, publish
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection
from unsilo_services.dead_letters import DeadLetter, Reason, letter_headers
from unsilo_services.follow import await_followed
from unsilo_services.kafka import Headers, Message, headers_of
from unsilo_services.raw_records import raw_headers
from unsilo_services.story.doubles import Double

from tests.services.commands import Ran, Unsilo, typed
from tests.services.running import PATIENCE_SECONDS, SECRET, SETTINGS, Hub, eventually, post, sample, section, signed
from tests.services.running import facts as headers_as_text

REPOSITORY = Path(__file__).parent.parent.parent
LATELY = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def unsilo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Unsilo:
    """Runs a command as if typed beside a hub, in this process: `unsilo(hub, "dead", "list")`."""
    return typed(monkeypatch, capsys)


def write(hub: Hub, topic: str, value: bytes, key: bytes, headers: Headers, at: datetime | None = None) -> None:
    producer = hub.kafka.producer()
    milliseconds = 0 if at is None else int(at.timestamp() * 1000)
    producer.produce(topic, value, key, headers=list(headers), timestamp=milliseconds)
    assert producer.flush(PATIENCE_SECONDS) == 0


def deliver(hub: Hub, connection: str, body: bytes, at: datetime = LATELY, connector: str = "zendesk") -> Message:
    """Puts a delivery on the raw log as the gateway does, and returns its record."""
    found = connectors()[connector]
    settings = with_sample_secrets({name: _sampled(value) for name, value in SETTINGS[connector].items()})
    here = Connection(connection, connector, found.settings.model_validate(settings))
    raw: Raw[Any] = Raw(here, {"content-type": "application/json"}, body, at)
    payload = found.decode(raw)
    key = found.aggregate(payload, raw).encode()
    headers = raw_headers(raw.headers, connector, found.delivery_key(payload, raw))
    write(hub, hub.topics.raw(connection).name, body, key, headers, at)
    return [message for message in hub.raw(connection) if message.value() == body][-1]


def _sampled(value: Any) -> Any:
    return {"sample": SECRET} if isinstance(value, dict) and set(value) == {"env"} else value


def bury(
    hub: Hub,
    message: Message,
    consumer: str,
    reason: Reason = "source_unmapped",
    more: Headers = (),
    at: datetime | None = None,
) -> str:
    """Makes a dead letter of a record, as a service does; the id that people write."""
    headers = letter_headers(
        message, DeadLetter(reason, f"no such thing: {reason}", "map"), consumer, datetime.now(UTC)
    )
    topic = hub.topics.dead(consumer).name
    write(hub, topic, message.value() or b"", message.key() or b"", [*headers, *more], at)
    return f"{consumer}/0/{hub.read(topic)[-1].offset()}"


def note(hub: Hub, type: str, connection: str, facts: Mapping[str, str]) -> None:
    """Notes something on `audit`, as the services do."""
    key, value, headers = audit_record(type, connection, datetime.now(UTC), facts)
    write(hub, hub.topics.audit().name, value, key or b"", headers)


def ticket(number: str, kind: str = "ticket.created") -> bytes:
    """Zendesk's word that something happened to a ticket."""
    body = json.loads(sample("zendesk", "ticket_created").body)
    body["type"] = f"zen:event-type:{kind}"
    body["subject"] = f"zen:ticket:{number}"
    body["detail"]["id"] = number
    return json.dumps(body).encode()


def configure(hub: Hub, connections: Sequence[ConnectionSection], flows: Sequence[FlowSection] = ()) -> Configuration:
    """Puts a configuration with flows on its topic, as `unsilo apply` does."""
    found = Configuration(HubSection(), {item.id: item for item in connections}, {item.id: item for item in flows})
    hub.kafka.create([hub.topics.raw(item.id) for item in connections])
    hub.kafka.create([hub.topics.command(item.id) for item in connections if connectors()[item.connector].actions])
    publish(hub.kafka, hub.topics.config(), changes({}, entries(found), prune=False))
    return found


def flow(id: str, on: str, **more: str) -> FlowSection:
    """A flow that posts a title, or nothing much, to the connection `chat`."""
    text = "{{ entity.title }}" if on.startswith("ticket") else "said"
    step = {"deliver": "chat", "action": "post", "with": {"channel": "support", "text": text}}
    return FlowSection.model_validate({"id": id, "on": on, "do": [step], **more})


@pytest.fixture(scope="module")
def desk(shared_hub: Hub) -> Hub:
    shared_hub.connect(section("desk", "zendesk"), section("other", "zendesk"))
    shared_hub.kafka.create([shared_hub.topics.command("desk")])
    return shared_hub


@pytest.fixture(scope="module")
def ward(shared_hub: Hub) -> Hub:
    shared_hub.connect(section("ward", "zendesk"))
    shared_hub.kafka.create([shared_hub.topics.command("ward")])
    return shared_hub


@pytest.mark.kafka
class TestDeadLetters:
    """`unsilo dead`."""

    def test_are_listed_by_reason_connection_service_and_time(self, desk: Hub, unsilo: Unsilo) -> None:
        here, there = deliver(desk, "desk", ticket("1")), deliver(desk, "other", ticket("2"))
        new = bury(desk, here, "normalizer", "schema_violation")
        old = bury(desk, here, "normalizer", "schema_violation", at=datetime.now(UTC) - timedelta(days=2))
        elsewhere = bury(desk, there, "delivery", "delivery_rejected")

        def ids(*options: str) -> set[str]:
            return {letter["id"] for letter in unsilo(desk, "dead", "list", "--json", *options).json()}

        assert {old, new, elsewhere} <= ids("--limit", "0")
        assert ids("--reason", "schema_violation") == {old, new}
        assert elsewhere in ids("--connection", "other")
        assert {old, new}.isdisjoint(ids("--connection", "other"))
        assert elsewhere in ids("--consumer", "delivery")
        assert ids("--reason", "schema_violation", "--since", "1d") == {new}
        assert ids("--reason", "schema_violation", "--until", "1d") == {old}

    def test_are_one_a_line_in_a_pipe(self, desk: Hub, unsilo: Unsilo) -> None:
        letter = bury(desk, deliver(desk, "desk", ticket("3")), "normalizer", "payload_malformed")
        lines = unsilo(desk, "dead", "list", "--reason", "payload_malformed").out.splitlines()
        assert lines[-1].split("\t")[:1] == [letter]
        assert "no such thing: payload_malformed" in lines[-1]

    def test_say_what_there_is_where_a_filter_names_nothing(self, desk: Hub, unsilo: Unsilo) -> None:
        ran = unsilo(desk, "dead", "list", "--reason", "bad_luck")
        assert ran.code == 1
        assert "source_unmapped" in ran.err

    def test_are_shown_with_their_facts_and_a_remedy_but_no_payload(self, desk: Hub, unsilo: Unsilo) -> None:
        letter = bury(desk, deliver(desk, "desk", ticket("4")), "normalizer")
        ran = unsilo(desk, "dead", "show", letter)
        assert "source_unmapped" in ran.out
        assert "map it or declare it ignored" in ran.out
        assert "hub_connector" in ran.out
        assert "requester_id" not in ran.out
        assert "requester_id" in unsilo(desk, "dead", "show", letter, "--payload").out

    def test_are_shown_to_the_letter(self, desk: Hub, unsilo: Unsilo) -> None:
        letter = bury(desk, deliver(desk, "desk", ticket("41")), "normalizer")
        assert "zen:ticket:41" in unsilo(desk, "dead", "show", letter, "--payload").out  # no picture for :ticket:

    def test_cannot_write_to_the_terminal_of_whoever_looks_at_them(self, desk: Hub, unsilo: Unsilo) -> None:
        write(desk, desk.topics.raw("desk").name, b'{"a": "\x1b]0;owned\x07"}', b"key", [])
        letter = bury(desk, next(m for m in desk.raw("desk") if b"owned" in (m.value() or b"")), "normalizer")
        shown = unsilo(desk, "dead", "show", letter, "--payload").out
        assert "owned" in shown
        assert "\x1b" not in shown

    def test_that_were_never_there_are_not_found(self, desk: Hub, unsilo: Unsilo) -> None:
        for id in ("normalizer/0/999999", "nobody/0/1", "seventeen"):
            ran = unsilo(desk, "dead", "show", id)
            assert ran.code == 1
            assert "unsilo dead list" in ran.err


@pytest.mark.kafka
class TestRedrive:
    """`unsilo dead redrive`."""

    def test_puts_a_delivery_back_as_it_was_at_the_time_at_which_it_came(self, ward: Hub, unsilo: Unsilo) -> None:
        original = deliver(ward, "ward", ticket("10"), at=LATELY - timedelta(hours=3))
        letter = bury(ward, original, "normalizer")
        assert unsilo(ward, "dead", "redrive", letter, "--yes").code == 0
        back = next(m for m in ward.raw("ward") if "dl_redrive_of" in headers_as_text(m))
        assert (back.value(), back.key(), back.partition()) == (original.value(), original.key(), original.partition())
        assert back.timestamp() == original.timestamp()
        assert [pair for pair in headers_of(back) if not pair[0].startswith("dl_")] == headers_of(original)

    def test_names_the_letter_in_what_it_puts_back(self, ward: Hub, unsilo: Unsilo) -> None:
        letter = bury(ward, deliver(ward, "ward", ticket("11")), "normalizer")
        unsilo(ward, "dead", "redrive", letter, "--yes")
        place = f"{ward.prefix}.dead.{letter}"
        assert place in {headers_as_text(message).get("dl_redrive_of") for message in ward.raw("ward")}

    def test_names_only_the_last_letter_of_what_died_again(self, ward: Hub, unsilo: Unsilo) -> None:
        unsilo(ward, "dead", "redrive", bury(ward, deliver(ward, "ward", ticket("19")), "normalizer"), "--yes")
        back = next(m for m in ward.raw("ward") if m.value() == ticket("19") and "dl_redrive_of" in headers_as_text(m))
        again = bury(ward, back, "normalizer")
        unsilo(ward, "dead", "redrive", again, "--yes")
        last = [m for m in ward.raw("ward") if m.value() == ticket("19")][-1]
        named = [value for name, value in headers_of(last) if name == "dl_redrive_of"]
        assert named == [f"{ward.prefix}.dead.{again}".encode()]

    def test_what_dies_again_says_how_often_it_was_tried_and_since_when(self, ward: Hub, unsilo: Unsilo) -> None:
        first = bury(ward, deliver(ward, "ward", ticket("20")), "normalizer")
        unsilo(ward, "dead", "redrive", first, "--yes")
        back = next(m for m in ward.raw("ward") if m.value() == ticket("20") and "dl_redrive_of" in headers_as_text(m))
        again = bury(ward, back, "normalizer")
        before, after = (unsilo(ward, "dead", "show", letter, "--json").json() for letter in (first, again))
        assert (before["attempts"], after["attempts"]) == (1, 2)
        assert before["first_failed_at"] == after["first_failed_at"] != ""

    def test_puts_a_command_back_for_delivery_alone(self, ward: Hub, unsilo: Unsilo) -> None:
        topic = ward.topics.command("ward").name
        write(ward, topic, b"{}", b"key", [("ce_id", b"the idempotency key"), ("ce_connection", b"ward")])
        letter = bury(ward, ward.read(topic)[-1], "delivery", "delivery_rejected")
        unsilo(ward, "dead", "redrive", letter, "--yes")
        assert [headers_as_text(message)["ce_id"] for message in ward.read(topic)] == ["the idempotency key"] * 2

    def test_puts_an_event_back_for_the_flow_that_failed_alone(self, ward: Hub, unsilo: Unsilo) -> None:
        topic = next(name for name in ward.event_topics() if "ticket" in name)
        write(ward, topic, b"{}", b"key", [("ce_id", b"1"), ("ce_connection", b"ward")])
        before = ward.read(topic)
        letter = bury(ward, before[-1], "flows", "rule_violation", more=[("dl_flow", b"urgent")])
        unsilo(ward, "dead", "redrive", letter, "--yes")
        (back,) = ward.read(ward.topics.retry("flows").name)
        assert headers_as_text(back)["dl_flow"] == "urgent"
        assert "dl_reason" not in headers_as_text(back)
        assert len(ward.read(topic)) == len(before)

    def test_does_nothing_unless_told(self, ward: Hub, unsilo: Unsilo) -> None:
        letter = bury(ward, deliver(ward, "ward", ticket("12")), "normalizer", "size_exceeded")
        before = len(ward.raw("ward"))
        ran = unsilo(ward, "dead", "redrive", "--reason", "size_exceeded", "--json")
        assert [item["id"] for item in ran.json()["letters"]] == [letter]
        assert (ran.json()["dry_run"], ran.json()["redriven"]) == (True, 0)
        assert len(ward.raw("ward")) == before

    def test_wants_to_know_which_letters(self, ward: Hub, unsilo: Unsilo) -> None:
        ran = unsilo(ward, "dead", "redrive", "--yes")
        assert ran.code == 1
        assert "--reason" in ran.err

    def test_puts_back_those_of_a_filter_and_no_others(self, ward: Hub, unsilo: Unsilo) -> None:
        record = deliver(ward, "ward", ticket("13"))
        wanted = [bury(ward, record, "normalizer", "budget_exhausted") for _ in range(3)]
        bury(ward, record, "normalizer", "payload_malformed")
        before = len(ward.raw("ward"))
        ran = unsilo(ward, "dead", "redrive", "--reason", "budget_exhausted", "--yes", "--json")
        assert [item["id"] for item in ran.json()["letters"]] == wanted
        assert len(ward.raw("ward")) == before + 3

    def test_refuses_a_letter_that_was_put_back_already(self, ward: Hub, unsilo: Unsilo) -> None:
        letter = bury(ward, deliver(ward, "ward", ticket("14")), "normalizer", "delivery_timeout")
        unsilo(ward, "dead", "redrive", letter, "--yes")
        before = len(ward.raw("ward"))
        ran = unsilo(ward, "dead", "redrive", letter, "--yes")
        assert ran.code == 1
        assert "--again" in ran.err
        assert len(ward.raw("ward")) == before
        assert unsilo(ward, "dead", "redrive", letter, "--yes", "--again").code == 0
        assert len(ward.raw("ward")) == before + 1

    def test_marks_in_the_list_what_was_put_back(self, ward: Hub, unsilo: Unsilo) -> None:
        record = deliver(ward, "ward", ticket("15"))
        done, left = (bury(ward, record, "normalizer", "schema_violation") for _ in range(2))
        unsilo(ward, "dead", "redrive", done, "--yes")
        found = {item["id"]: item for item in unsilo(ward, "dead", "list", "--connection", "ward", "--json").json()}
        assert found[done]["redriven_at"] is not None
        assert found[left]["redriven_at"] is None

    def test_notes_in_the_same_transaction_what_it_did(self, ward: Hub, unsilo: Unsilo) -> None:
        letter = bury(ward, deliver(ward, "ward", ticket("16")), "normalizer")
        unsilo(ward, "dead", "redrive", letter, "--yes")
        note = next(m for m in ward.audit() if f"{ward.prefix}.dead.{letter}".encode() in (m.value() or b""))
        assert headers_as_text(note)["ce_type"] == REDRIVEN
        assert headers_as_text(note)["ce_connection"] == "ward"
        assert json.loads(note.value() or b"")["to"] == ward.topics.raw("ward").name

    def test_leaves_a_letter_whose_topic_is_gone(self, ward: Hub, unsilo: Unsilo) -> None:
        letter = bury(ward, deliver(ward, "ward", ticket("17")), "normalizer", more=[("dl_topic", b"test.raw.gone")])
        ran = unsilo(ward, "dead", "redrive", letter, "--yes")
        assert ran.code == 1
        assert "apply its connection again" in ran.err

    def test_puts_nothing_back_once_another_has_begun(
        self, ward: Hub, unsilo: Unsilo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = bury(ward, deliver(ward, "ward", ticket("18")), "normalizer")
        unsilo(ward, "topics")  # for the environment
        hub = Asked.reach()
        first, second = Redrive(hub), Redrive(hub)
        plan = planned(hub, [letter for letter in letters(hub, Wanted()) if letter.id == id], again=False)
        before = len(ward.raw("ward"))
        with pytest.raises(RedriveOvertaken):
            list(first.put_back(plan))
        assert len(ward.raw("ward")) == before
        assert list(second.put_back(plan)) == [1]
        assert len(ward.raw("ward")) == before + 1

    def test_makes_an_event_of_what_is_mended(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("shop", "standardwebhooks", settings={"types": {}}))
        gateway, normalizer = hub.start_gateway(), hub.start("normalizer")
        body = sample("standardwebhooks", "contact_created").body
        post(gateway.url, "shop", body, signed("standardwebhooks", body))
        eventually(hub.dead, "the letter")
        normalizer.stop()
        hub.connect(section("shop", "standardwebhooks"))
        assert unsilo(hub, "dead", "redrive", "--connection", "shop", "--yes").code == 0
        hub.start("normalizer")
        (event,) = eventually(hub.events, "the event")
        assert headers_as_text(event)["ce_type"] == "unsilo.crm.contact.created.v1"


@dataclass(frozen=True)
class Told:
    """A hub through which a ticket has gone: from Zendesk to Slack, whence its copy came back."""

    hub: Hub
    event: str
    command: str
    copy: str
    port: str  # the gateway's


@pytest.fixture(scope="module")
def told(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    hub = Hub(kafka_bootstrap, tmp_path_factory.mktemp("told"))
    slack = Double("slack", SECRET, hub.folder / "slack.log")
    try:
        reach = {"token": {"env": "SECRET"}, "api_url": f"{slack.url}/api"}
        connections = [section("desk", "zendesk"), section("chat", "slack", audience="internal", settings=reach)]
        flows = [flow("tickets", "ticket.ticket.created"), flow("posts", "social.post.published")]
        configuration = configure(hub, connections, flows)
        gateway = hub.start_gateway()
        slack.start(f"{gateway.url}/in/chat")
        slack.await_ready()
        for service in ("normalizer", "flows", "delivery"):
            hub.start(service)
        assert not await_followed(hub.kafka, hub.topics, configuration, PATIENCE_SECONDS, absent_is_fine=False)
        body = ticket("5158")
        for _ in range(2):
            assert post(gateway.url, "desk", body, signed("zendesk", body)).status_code == 202
        bad = ticket("5158", "ticket.unheard_of")
        assert post(gateway.url, "desk", bad, signed("zendesk", bad)).status_code == 202
        eventually(hub.dead, "the letter")
        eventually(lambda: [m for m in hub.audit() if headers_as_text(m)["ce_type"] == SUPPRESSED], "the echo's end")
        (command,) = hub.read(hub.topics.command("chat").name)
        link = next(m for m in hub.events() if headers_as_text(m)["ce_type"].startswith("unsilo.link."))
        copy = json.loads(link.value() or b"")["entity"]["wrote"][0]["ref"]["id"]
        ids = headers_as_text(command)
        yield Told(hub, ids["ce_causationid"], ids["ce_id"], copy, gateway.url.rpartition(":")[2])
    finally:
        hub.stop()
        slack.stop()


@pytest.mark.kafka
class TestTrace:
    """`unsilo trace`."""

    def stories(self, ran: Ran) -> list[list[Mapping[str, Any]]]:
        return [story["steps"] for story in ran.json()["stories"]]

    def test_tells_the_way_of_a_ticket_from_delivery_to_answer(self, told: Told, unsilo: Unsilo) -> None:
        story = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))[0]
        kinds = [step["kind"] for step in story]
        assert kinds[0] == "raw"
        assert kinds.index("event") < kinds.index("command") < kinds.index("answer")

    def test_says_when_each_step_was_and_how_long_after_the_delivery(self, told: Told, unsilo: Unsilo) -> None:
        story = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))[0]
        assert story[0]["after_ms"] == 0
        after = [step["after_ms"] for step in story]
        assert after == sorted(after)
        command, answer = (next(step for step in story if step["kind"] == kind) for kind in ("command", "answer"))
        assert 0 < command["after_ms"] < answer["after_ms"] < PATIENCE_SECONDS * 1000
        event = next(step for step in story if step["kind"] == "event")
        assert event["after_ms"] > 0, "an event's record bears the time of its delivery: the ledger tells the other"

    def test_says_where_each_record_lies(self, told: Told, unsilo: Unsilo) -> None:
        story = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))[0]
        raw = told.hub.raw("desk")[0]
        assert story[0]["place"] == f"{raw.topic()}/{raw.partition()}/{raw.offset()}"
        answer = next(step for step in story if step["kind"] == "answer")
        assert told.copy in answer["what"]

    def test_knows_a_delivery_that_came_again(self, told: Told, unsilo: Unsilo) -> None:
        story = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))[0]
        deliveries = [step["what"] for step in story if step["kind"] == "raw" and step["connection"] == "desk"]
        assert ["dropped" in what for what in deliveries] == [False, True]

    def test_tells_that_what_we_wrote_came_back_and_went_no_further(self, told: Told, unsilo: Unsilo) -> None:
        story = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))[0]
        (suppressed,) = [step for step in story if step["kind"] == "suppressed"]
        assert suppressed["connection"] == "chat"
        assert {"raw", "event"} <= {step["kind"] for step in story if step["connection"] == "chat"}

    def test_tells_of_a_delivery_that_died(self, told: Told, unsilo: Unsilo) -> None:
        stories = self.stories(unsilo(told.hub, "trace", "desk:5158", "--json"))
        died = next(story for story in stories if story[-1]["kind"] == "dead")
        assert [step["kind"] for step in died] == ["raw", "dead"]
        assert "source_unmapped" in died[1]["what"]

    @pytest.mark.parametrize("by", ["event", "command", "copy", "connector"])
    def test_finds_the_same_story_from_any_end(self, told: Told, unsilo: Unsilo, by: str) -> None:
        reference = {
            "event": told.event,
            "command": told.command,
            "copy": f"chat:{told.copy}",
            "connector": "zendesk:5158",
        }[by]
        story = self.stories(unsilo(told.hub, "trace", reference, "--json"))[0]
        assert {told.event, told.command} <= {step["id"] for step in story}
        assert {"raw", "event", "command", "answer"} <= {step["kind"] for step in story}

    def test_tells_of_a_command_that_died(self, ward: Hub, unsilo: Unsilo) -> None:
        id, topic = "0b9f3c52-7d0c-5b61-9a56-5a8f3d2c1e07", ward.topics.command("ward").name
        headers = [("ce_id", id.encode()), ("ce_connection", b"ward")]
        write(ward, topic, b'{"action": "comment", "flow": "replies"}', b"another key", headers)
        command = next(m for m in ward.read(topic) if headers_as_text(m)["ce_id"] == id)
        bury(ward, command, "delivery", "delivery_rejected")
        (story,) = self.stories(unsilo(ward, "trace", id, "--json"))
        assert {"command", "dead"} <= {step["kind"] for step in story}
        assert "comment (flow replies)" in story[0]["what"]

    def test_tells_of_a_command_that_died_and_was_put_back_in_the_order_in_which_it_happened(
        self, ward: Hub, unsilo: Unsilo
    ) -> None:
        id, topic = "6d1c9c0e-43f6-5a55-9be5-0f4b1a6f7d11", ward.topics.command("ward").name
        headers = [("ce_id", id.encode()), ("ce_connection", b"ward")]
        write(ward, topic, b'{"action": "comment", "flow": "replies"}', b"a third key", headers)
        command = next(m for m in ward.read(topic) if headers_as_text(m)["ce_id"] == id)
        unsilo(ward, "dead", "redrive", bury(ward, command, "delivery", "delivery_rejected"), "--yes")
        (story,) = self.stories(unsilo(ward, "trace", id, "--json"))
        happened = [(step["kind"], "put back" in step["what"]) for step in story if step["kind"] != "waits"]
        assert happened == [("command", False), ("dead", False), ("redriven", False), ("command", True)]

    def test_says_what_it_read_where_it_finds_nothing(self, told: Told, unsilo: Unsilo) -> None:
        ran = unsilo(told.hub, "trace", "desk:999999", "--since", "1h")
        assert ran.code == 1
        assert re.search(r"nothing found: read \d+ records since", ran.err)
        assert "`unsilo connections show desk` tells of those" in ran.err

    def test_refuses_what_names_nothing(self, told: Told, unsilo: Unsilo) -> None:
        assert "there are chat, desk" in unsilo(told.hub, "trace", "nobody:1").err
        assert "CONNECTION:REMOTE-ID" in unsilo(told.hub, "trace", "5158").err

    def test_knows_the_partition_of_a_key_as_producers_do(self, told: Told) -> None:
        topic = told.hub.topics.retry("flows").name
        keys = [entity_id("desk", "ticket", str(number))[: 30 + number % 7].encode() for number in range(50)]
        producer = told.hub.kafka.producer()
        for key in keys:
            producer.produce(topic, b"", key)
        assert producer.flush(PATIENCE_SECONDS) == 0
        found = {message.key(): message.partition() for message in told.hub.read(topic)}
        assert {key: found[key] for key in keys} == {key: partition_of_key(key, 3) for key in keys}


@pytest.mark.kafka
class TestStatus:
    """`unsilo status`."""

    def queue(self, ran: Ran, connection: str | None, name: str) -> Mapping[str, Any]:
        queues: list[Mapping[str, Any]] = ran.json()["queues"]
        return next(item for item in queues if (item["connection"], item["queue"]) == (connection, name))

    def test_counts_what_waits_while_nobody_works(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        for number in range(3):
            deliver(hub, "desk", ticket(str(number + 1)))
        ran = unsilo(hub, "status", "--json")
        found = self.queue(ran, "desk", "raw")
        assert found["lag"] == 3
        assert found["oldest_seconds"] == pytest.approx((datetime.now(UTC) - LATELY).total_seconds(), abs=60)
        workers = {item["service"]: item["workers"] for item in ran.json()["services"]}
        assert workers == {"gateway": 0, "normalizer": 0, "flows": 0, "delivery": 0}

    def test_counts_nothing_once_all_is_done(self, told: Told, unsilo: Unsilo) -> None:
        def settled() -> dict[tuple[str, str], int] | None:
            ran = unsilo(told.hub, "status", "--json")
            lags = {(item["connection"], item["queue"]): item["lag"] for item in ran.json()["queues"]}
            return lags if not any(lags.values()) else None

        assert ("chat", "command") in eventually(settled, "every queue to be worked off")

    def test_tells_the_rate_of_the_last_minute(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        for number, at in enumerate((LATELY, datetime.now(UTC), datetime.now(UTC))):
            deliver(hub, "desk", ticket(str(number + 1)), at)
        assert self.queue(unsilo(hub, "status", "--json"), "desk", "raw")["per_minute"] == 2

    def test_counts_the_letters_that_were_not_put_back(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        record = deliver(hub, "desk", ticket("1"))
        letter, _ = (bury(hub, record, "normalizer") for _ in range(2))
        assert self.queue(unsilo(hub, "status", "--json"), "desk", "raw")["dead"] == 2
        unsilo(hub, "dead", "redrive", letter, "--yes")
        assert self.queue(unsilo(hub, "status", "--json"), "desk", "raw")["dead"] == 1

    def test_names_a_service_that_is_down_in_plain_text(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        lines = unsilo(hub, "status").out.splitlines()
        assert "normalizer\tno worker, or it hangs: `unsilo doctor` says what to do" in lines
        assert any(line.startswith("desk\traw\t") and line.endswith("normalizer, down") for line in lines)

    def test_watches_until_it_is_told_to_stop(self, hub: Hub) -> None:
        hub.connect(section("desk", "zendesk"))
        command = [sys.executable, "-m", "unsilo_services.cli.app", "status", "--watch", "--json"]
        with subprocess.Popen(command, env=hub.environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            looks = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(2)
            assert process.wait(PATIENCE_SECONDS) == 0
        assert looks[0]["at"] < looks[1]["at"]


def refuse(hub: Hub, connection: str, reason: str, skew: float | None = None) -> None:
    """Notes a refusal as the gateway does."""
    facts: dict[str, Any] = {"reason": reason, "status": 401, "address": "192.0.2.7", "skew_seconds": skew}
    key, value, headers = audit_record(REJECTED, connection, datetime.now(UTC), facts)
    write(hub, hub.topics.audit().name, value, key or b"", headers)


@pytest.fixture(scope="module")
def ill(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A hub of which much is wrong."""
    hub = Hub(kafka_bootstrap, tmp_path_factory.mktemp("ill"))
    shut = section("desk", "zendesk", settings={"signing_secret": {"env": "NOT_SET_ANYWHERE"}})
    connections = [shut, section("chat", "slack", audience="internal"), section("quiet", "zendesk")]
    configure(hub, connections, [flow("broken", "ticket.ticket.created", when="entity.")])
    bury(hub, deliver(hub, "desk", ticket("1")), "normalizer")
    for reason, skew in (("too_old", 720.0), ("too_old", 730.0), ("secret_missing", None)):
        refuse(hub, "desk", reason, skew)
    hub.kafka.admin.delete_topics([hub.topics.ledger().name])[hub.topics.ledger().name].result(PATIENCE_SECONDS)
    eventually(lambda: not hub.kafka.partitions(hub.topics.ledger().name), "the topic to be gone")
    return hub


@pytest.fixture(scope="module")
def examined(ill: Hub) -> Ran:
    command = [sys.executable, "-m", "unsilo_services.cli.app", "doctor", "--json"]
    ran = subprocess.run(command, env=ill.environment, capture_output=True, text=True)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


class KafkaOfYore(socketserver.StreamRequestHandler):
    """Answers as a broker older than 4.0 does when it is asked what it speaks: version 0 of Fetch, for one."""

    def handle(self) -> None:
        (length,) = struct.unpack(">i", self.rfile.read(4))
        self.rfile.read(length)
        answer = struct.pack(">ihihhhi", 1, 0, 1, 1, 0, 11, 0)
        self.wfile.write(struct.pack(">i", len(answer)) + answer)


@pytest.mark.kafka
class TestDoctor:
    """`unsilo doctor`."""

    def findings(self, ran: Ran) -> dict[str, list[Mapping[str, str]]]:
        return {check["check"]: check["findings"] for check in ran.json()["checks"]}

    @pytest.mark.parametrize(
        ("check", "what", "remedy"),
        [
            ("topics", "1 missing topic, ", "unsilo apply"),
            ("configuration", "flow broken does nothing: when", "unsilo check"),
            ("configuration", "connection desk: environment variable NOT_SET_ANYWHERE is not set", "gateway"),
            ("accounts", "connection chat: the hub does not know its own account", "own_accounts"),
            ("gateway", "no gateway answers at", "unsilo run gateway"),
            ("gateway", "vendors cannot reach localhost:8080", "hub.public_url"),
            ("services", "normalizer: no worker; 1 record waiting", "unsilo run normalizer"),
            ("dead letters", "1 dead letter of desk in normalizer: source_unmapped", "unsilo dead redrive"),
            ("senders", "connection quiet has never been heard from", "unsilo connections show quiet"),
            ("senders", "2 deliveries to desk refused: sent at a time 12 min behind ours", "NTP"),
            ("senders", "1 delivery to desk refused: secret_missing", "set its secret"),
        ],
    )
    def test_says_what_is_wrong_and_what_to_do(
        self, ill: Hub, examined: Ran, check: str, what: str, remedy: str
    ) -> None:
        found = self.findings(examined)[check]
        matching = [finding for finding in found if what in finding["what"]]
        assert matching, found
        assert remedy in matching[0]["remedy"]

    def test_does_not_wait_to_hear_from_what_is_written_to(self, ill: Hub, examined: Ran) -> None:
        said = [finding["what"] for finding in self.findings(examined)["senders"]]
        assert "connection quiet has never been heard from" in said
        assert "connection chat has never been heard from" not in said

    def test_tells_of_refusals_of_the_last_hour_unless_told_to_look_back_further(
        self, hub: Hub, unsilo: Unsilo
    ) -> None:
        hub.connect(section("desk", "zendesk"))
        at = datetime.now(UTC) - timedelta(hours=2)
        key, value, headers = audit_record(REJECTED, "desk", at, {"reason": "signature_wrong", "status": 401})
        write(hub, hub.topics.audit().name, value, key or b"", headers, at)
        for since, told in ((), False), (("--since", "3h"), True):
            found = self.findings(unsilo(hub, "doctor", "--json", *since))["senders"]
            assert any("refused" in finding["what"] for finding in found) == told

    def test_exits_with_1_where_something_is_wrong(self, examined: Ran) -> None:
        assert examined.code == 1
        assert examined.json()["wrong"] is True

    def test_has_a_remedy_for_each_finding(self, examined: Ran) -> None:
        for findings in self.findings(examined).values():
            assert all(finding["remedy"] and finding["what"] for finding in findings)

    def test_finds_nothing_wrong_with_a_hub_that_works(self, told: Told, unsilo: Unsilo) -> None:
        ran = unsilo(told.hub, "doctor", "--json", UNSILO_GATEWAY_PORT=told.port)
        wrong = {
            name: [finding["what"] for finding in found if finding["level"] == "wrong"]
            for name, found in self.findings(ran).items()
        }
        assert {name for name, found in wrong.items() if found} == {"dead letters"}, wrong

    def test_calls_a_secret_wrong_that_the_gateway_lacks_until_a_delivery_is_taken_in(
        self, hub: Hub, unsilo: Unsilo
    ) -> None:
        hub.connect(section("desk", "zendesk", settings={"signing_secret": {"env": "NOT_SET_ANYWHERE"}}))
        assert self.level(unsilo, hub, "configuration", "NOT_SET_ANYWHERE") == "look"
        refuse(hub, "desk", "secret_missing")
        assert self.level(unsilo, hub, "configuration", "NOT_SET_ANYWHERE") == "wrong"
        assert self.level(unsilo, hub, "senders", "secret_missing") == "wrong"
        deliver(hub, "desk", ticket("1"), at=datetime.now(UTC))
        assert self.level(unsilo, hub, "configuration", "NOT_SET_ANYWHERE") == "look"
        assert self.level(unsilo, hub, "senders", "secret_missing") == "look"

    def test_calls_refusals_wrong_where_nothing_else_has_come_of_late(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        for _ in range(5):
            refuse(hub, "desk", "signature_missing")  # whoever that may be
        assert self.level(unsilo, hub, "senders", "signature_missing") == "look"
        for level in ("look", "look", "wrong"):
            refuse(hub, "desk", "signature_wrong")
            assert self.level(unsilo, hub, "senders", "signature_wrong") == level
        deliver(hub, "desk", ticket("1"), at=datetime.now(UTC))
        assert self.level(unsilo, hub, "senders", "signature_wrong") == "look"
        assert "a later delivery was taken in" in unsilo(hub, "doctor").out

    def test_says_nothing_of_later_deliveries_of_a_connection_that_is_gone(self, hub: Hub, unsilo: Unsilo) -> None:
        reasons = ["secret_missing", "signature_wrong"]
        for reason in reasons:
            refuse(hub, "gone", reason)
        found = self.findings(unsilo(hub, "doctor", "--json"))["senders"]
        for finding, reason in zip(found, reasons, strict=True):
            assert finding["what"].startswith(f"1 delivery to no connection of ours refused: {reason}")
            assert "an old address" in finding["remedy"]

    def level(self, unsilo: Unsilo, hub: Hub, check: str, what: str) -> str:
        found = self.findings(unsilo(hub, "doctor", "--json"))[check]
        (finding,) = [finding for finding in found if what in finding["what"]]
        return finding["level"]

    def test_says_which_queue_is_late_though_somebody_works_on_it(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        deliver(hub, "desk", ticket("1"), at=LATELY)
        idle = hub.kafka.consumer(f"{hub.prefix}.normalizer")
        try:
            idle.subscribe([hub.topics.raw("desk").name])
            eventually(lambda: idle.poll(0.1) is not None, "the group to have a member")
            found = self.findings(unsilo(hub, "doctor", "--json"))["queues"]
        finally:
            idle.close()
        assert [finding["level"] for finding in found] == ["wrong"]
        assert re.fullmatch(r"raw of desk: 1 wait, the oldest for \d+ min, standing", found[0]["what"])

    def test_says_what_commands_wait_for_until_they_go_on(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("chat", "slack"))
        note(hub, POSTPONED, "chat", {"why": "slack answered 503"})
        [finding] = self.findings(unsilo(hub, "doctor", "--json"))["deliveries"]
        assert "commands for chat wait" in finding["what"]
        assert "slack answered 503" in finding["what"]
        shown = unsilo(hub, "connections", "show", "chat", "--json").json()
        assert shown["writes"].endswith("slack answered 503")
        note(hub, RESUMED, "chat", {})
        assert self.findings(unsilo(hub, "doctor", "--json"))["deliveries"] == []
        assert "nothing waits" in unsilo(hub, "connections", "show", "chat", "--json").json()["writes"]

    def test_tells_an_old_broker_from_one_of_today(self, kafka_bootstrap: str) -> None:
        host, _, port = kafka_bootstrap.partition(":")
        assert not is_old(host, int(port))
        with socketserver.TCPServer(("127.0.0.1", 0), KafkaOfYore) as server:
            threading.Thread(target=server.handle_request).start()
            assert is_old(*server.server_address)

    def test_says_when_the_disk_is_nearly_full(self, hub: Hub, unsilo: Unsilo, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=100 * 2**30, free=2**30))
        (finding,) = self.findings(unsilo(hub, "doctor", "--json"))["disk"]
        assert "1.0 GiB (1 %) are free" in finding["what"]
        assert "UNSILO_DATA" in finding["remedy"]

    def test_says_that_kafka_is_away_and_looks_at_what_it_can(
        self, unsilo: Unsilo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("unsilo_services.cli.hub.REACH_SECONDS", 0.5)
        away = {"UNSILO_KAFKA_BOOTSTRAP": "127.0.0.1:1", "UNSILO_DATA": str(tmp_path)}
        ran = unsilo(None, "doctor", "--json", **away)
        assert ran.code == 1
        found = self.findings(ran)
        assert "no Kafka answers at 127.0.0.1:1" in found["Kafka"][0]["what"]
        assert "unsilo up" in found["Kafka"][0]["remedy"]
        assert "disk" in found
        assert "topics" not in found


@pytest.mark.kafka
class TestConnections:
    """`unsilo connections`."""

    def test_show_when_they_were_last_heard_from_and_what_became_of_it(self, told: Told, unsilo: Unsilo) -> None:
        facts = unsilo(told.hub, "connections", "show", "desk", "--json").json()
        last = told.hub.raw("desk")[-1]
        assert datetime.fromisoformat(facts["last_delivery"]).timestamp() * 1000 == pytest.approx(last.timestamp()[1])
        assert facts["last_event"].endswith("unsilo.ticket.ticket.created.v1")
        assert facts["dead_letters"] == 1
        assert facts["state"] == "open"

    def test_show_why_deliveries_were_refused_and_how_far_the_clocks_differ(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk"))
        gateway = hub.start_gateway()
        body, late = ticket("1"), datetime.now(UTC) - timedelta(hours=2)
        assert post(gateway.url, "desk", body, signed("zendesk", body, at=late)).status_code == 401
        eventually(hub.audit, "the refusal")
        facts = unsilo(hub, "connections", "show", "desk", "--json").json()
        assert [(item["reason"], item["clock"]) for item in facts["refusals"]] == [("too_old", "2 h behind")]

    def test_show_that_nobody_was_ever_heard(self, hub: Hub, unsilo: Unsilo) -> None:
        hub.connect(section("desk", "zendesk", settings={"signing_secret": {"env": "NOT_SET_ANYWHERE"}}))
        lines = unsilo(hub, "connections", "show", "desk").out.splitlines()
        assert any(re.fullmatch(r"last delivery +never", line) for line in lines)
        assert any("NOT_SET_ANYWHERE is not set" in line for line in lines)

    def test_are_none_where_no_hub_has_been(self, kafka_bootstrap: str, topic_prefix: str, unsilo: Unsilo) -> None:
        here = {"UNSILO_KAFKA_BOOTSTRAP": kafka_bootstrap, "UNSILO_TOPIC_PREFIX": topic_prefix}
        ran = unsilo(None, "connections", "list", **here)
        assert ran.code == 0
        assert "unsilo apply" in ran.err


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The connectors in a place of their own, where a new one disturbs nobody."""
    clone = tmp_path_factory.mktemp("clone")
    for part in ("connectors", "tests"):
        shutil.copytree(REPOSITORY / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", clone)
    return clone


class TestNewConnector:
    """`unsilo connectors new`."""

    def run(self, clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(clone / "connectors"), *sys.path])
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=clone, env=environment, capture_output=True, text=True
        )

    def new(self, clone: Path, name: str) -> subprocess.CompletedProcess[str]:
        return self.run(clone, "unsilo_services.cli.app", "connectors", "new", name)

    def test_makes_a_connector_whose_suite_passes_at_once(self, clone: Path) -> None:
        made = self.new(clone, "acme_desk")
        assert made.returncode == 0, made.stderr
        suite = "tests/connectors/test_every_connector.py"
        ran = self.run(clone, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", suite, "-k", "acme_desk")
        assert re.search(r"^[12]\d passed", ran.stdout, re.MULTILINE), ran.stdout
        assert "failed" not in ran.stdout

    def test_makes_it_short_and_as_the_house_writes(self, clone: Path) -> None:
        assert self.new(clone, "acme_phones").returncode == 0
        folder = clone / "connectors/unsilo_connectors/acme_phones"
        assert len((folder / "webhook.py").read_text().splitlines()) < 60
        for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
            ran = self.run(clone, *tool, str(folder))
            assert ran.returncode == 0, ran.stdout

    def test_says_what_to_do_next(self, clone: Path) -> None:
        said = self.new(clone, "acme_mail").stdout
        assert "connectors/unsilo_connectors/acme_mail/webhook.py" in said
        assert "Run its suite:\n    .venv/bin/pytest tests/connectors/test_every_connector.py -k acme_mail" in said
        assert "python -m unsilo_connectors.record acme_mail" in said

    @pytest.mark.parametrize("name", ["Acme", "2fast", "acme-desk", "a" * 40, "import", "../acme", "acme.desk", ""])
    def test_refuses_a_name_that_is_none(self, unsilo: Unsilo, name: str) -> None:
        ran = unsilo(None, "connectors", "new", name)
        assert ran.code == 1
        assert "lower-case letters" in ran.err

    @pytest.mark.parametrize("name", ["zendesk", "contract"])
    def test_refuses_a_name_that_is_taken(self, unsilo: Unsilo, name: str) -> None:
        ran = unsilo(None, "connectors", "new", name)
        assert ran.code == 1
        assert "is taken" in ran.err


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, by the words that call it."""

    def within(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from within(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    return within(get_command(app), ())


class TestEveryCommand:
    """What holds for each command, because it is one."""

    @pytest.mark.parametrize(("words", "command"), [pytest.param(*found, id=found[0]) for found in commands()])
    def test_shows_an_example_of_itself(self, words: str, command: Any) -> None:
        example = re.search(r"Example: unsilo ([^\n]*)", command.help)
        assert example, command.help
        assert example[1].startswith(words)

    @pytest.mark.parametrize(("words", "command"), [pytest.param(*found, id=found[0]) for found in commands()])
    def test_gives_json(self, words: str, command: Any) -> None:
        processes = {"run", "story"}  # they become, or are, something else than an answer
        if words not in processes:
            assert "--json" in {option for parameter in command.params for option in parameter.opts}

    def test_starts_without_what_only_few_of_them_need(self) -> None:
        slow = {"cel", "httpx", "jinja2", "fastapi", "rocksdict", "uvicorn", "yaml"}
        code = "import sys, unsilo_services.cli.app; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert not slow & set(loaded)

    def test_tells_in_a_sentence_that_there_is_no_kafka(
        self, unsilo: Unsilo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("unsilo_services.cli.hub.REACH_SECONDS", 0.5)
        ran = unsilo(None, "dead", "list", UNSILO_KAFKA_BOOTSTRAP="127.0.0.1:1", UNSILO_DATA=str(tmp_path))
        assert ran.code == 1
        assert ran.err.count("\n") == 1
        assert "unsilo up" in ran.err

    def test_tells_in_a_sentence_which_variable_is_wrong(self, unsilo: Unsilo) -> None:
        ran = unsilo(None, "status", UNSILO_GATEWAY_PORT="many")
        assert ran.code == 1
        assert ran.err.startswith("UNSILO_GATEWAY_PORT: ")

    @pytest.mark.kafka
    def test_tells_in_a_sentence_what_no_moment_is(self, hub: Hub, unsilo: Unsilo) -> None:
        ran = unsilo(hub, "status", "--since", "yesterday")
        assert ran.code == 1
        assert "write 30s, 10m, 2h or 1d" in ran.err

    @pytest.mark.parametrize("since", ["30000d", "1970-01-01T00:00:00+14:00", "1969-12-31T23:59:59.999Z"])
    def test_goes_back_as_far_as_kafka_knows_time(self, told: Told, unsilo: Unsilo, since: str) -> None:
        ran = unsilo(told.hub, "tail", "--once", "--since", since, "--json")
        assert ran.code == 0, ran.err
        assert told.event in ran.out

    @pytest.mark.parametrize("name", ["", "a/b", "a" * 300])
    def test_tells_in_a_sentence_that_there_is_no_such_connection(self, hub: Hub, unsilo: Unsilo, name: str) -> None:
        ran = unsilo(hub, "tail", "--once", "--connection", name)
        assert ran.code == 1
        assert "there is no connection" in ran.err

    def test_writes_nowhere_where_its_output_is_closed(self) -> None:
        words = [sys.executable, "-m", "unsilo_services.cli.app", "schemas", "list"]
        ran = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], stderr=subprocess.PIPE, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
