"""What is typed to set a hub up and look at it: check, apply, connections, connectors, topics, schemas, send, tail."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from jsonschema import Draft202012Validator
from unsilo_connectors.discovery import connectors
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.topics import Topic
from unsilo_services.broker.local import free_ports
from unsilo_services.cli.output import wrapped
from unsilo_services.config_topic import Change, from_entries, load, publish, publish_accounts
from unsilo_services.health import is_ready
from unsilo_services.kafka import Kafka, TopicPartition
from unsilo_services.local_hub import LocalHub
from unsilo_services.settings import HubSettings, note_addresses, running
from unsilo_services.supervisor import Supervisor

from tests.services.commands import Ran, Unsilo, typed
from tests.services.running import SECRET, Hub, eventually, section, ticket

CANARY = "canary-510e527f"
FILE = """\
hub: {public_url: https://hub.example.org}
connections:
  - {id: helpdesk, connector: zendesk, settings: {signing_secret: {env: SECRET}}}
  - {id: chat, connector: slack, audience: internal, settings: {signing_secret: {env: NOT_SET}}}
"""
PLAIN = re.compile(r"[^\x1b\u2500-\u257f]*")  # neither colours nor boxes


@pytest.fixture
def unsilo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Unsilo:
    """Runs a command in a folder of its own, in this process: `unsilo(hub, "apply")`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNSILO_DATA", str(tmp_path / "data"))
    run = typed(monkeypatch, capsys)

    def plainly(hub: Hub | None, *words: str, **environment: str) -> Ran:
        ran = run(hub, *words, **environment)
        assert PLAIN.fullmatch(ran.out), "what goes to a pipe is plain"
        return ran

    return plainly


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "unsilo.yaml"
    written.write_text(FILE)
    return written


def entries_of(hub: Hub) -> dict[str, bytes]:
    return load(hub.kafka, hub.topics.config())


def test_check_says_that_nothing_is_wrong_without_a_hub(unsilo: Unsilo, file: Path) -> None:
    ran = unsilo(None, "check")
    assert (ran.code, ran.err) == (0, "")
    assert "2 connections" in ran.out
    assert unsilo(None, "check", "-f", str(file.parent), "--json").json()["connections"] == ["chat", "helpdesk"]


def test_check_says_what_is_wrong_by_file_line_and_field(unsilo: Unsilo, file: Path) -> None:
    file.write_text(FILE.replace("zendesk", "zendesc").replace("{env: NOT_SET}", CANARY))
    ran = unsilo(None, "check")
    assert (ran.code, ran.out) == (1, "")
    assert [line.split(": ")[:2] for line in ran.err.splitlines()] == [
        ["unsilo.yaml:3", "connections.0.connector"],
        ["unsilo.yaml:4", "connections.1.settings.signing_secret"],
    ]
    assert CANARY not in ran.err
    assert unsilo(None, "check", "-f", "nowhere.yaml").err.startswith("nowhere.yaml:1: ")


def test_check_warns_of_a_secret_whose_file_is_not_there(unsilo: Unsilo, file: Path) -> None:
    file.write_text(FILE.replace("{env: SECRET}", "[{file: secrets/desk}, {file: unsilo.yaml}]"))
    ran = unsilo(None, "check")
    assert (ran.code, ran.err.count("\n")) == (0, 1), "variables belong to where the hub runs"
    assert "connection helpdesk: file secrets/desk is not there here: set it where gateway" in ran.err


def test_files_can_be_named_without_an_option(unsilo: Unsilo, file: Path) -> None:
    file.rename(file.with_name("other.yaml"))
    assert unsilo(None, "check").err.startswith("unsilo.yaml:1: file: does not exist")
    assert unsilo(None, "check", "other.yaml").out.startswith("2 connections")
    file.write_text("connections: []")
    assert unsilo(None, "check", "other.yaml", "-f", "unsilo.yaml", "--json").json()["connections"]


def test_check_says_what_is_wrong_as_json(unsilo: Unsilo, file: Path) -> None:
    file.write_text(FILE.replace("zendesk", "zendesc"))
    ran = unsilo(None, "check", "--json")
    (fault,) = ran.json()["faults"]
    assert (ran.code, ran.err) == (1, "")
    assert (fault["file"], fault["line"], fault["field"]) == ("unsilo.yaml", 3, "connections.0.connector")
    assert "is no connector" in fault["problem"]


@pytest.mark.kafka
def test_apply_puts_everything_in_and_is_done_when_that_is_so(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    dry = unsilo(hub, "apply", "--dry-run", "--json")
    assert {change["key"]: change["change"] for change in dry.json()} == {
        "hub": "added",
        "connection/chat": "added",
        "connection/helpdesk": "added",
    }
    assert entries_of(hub) == {}
    assert hub.kafka.partitions(hub.topics.raw("chat").name) == 0
    ran = unsilo(hub, "apply")
    assert ran.code == 0
    assert "applied" in ran.out
    assert sorted(from_entries(entries_of(hub)).connections) == ["chat", "helpdesk"]
    assert hub.kafka.partitions(hub.topics.raw("chat").name) == 3
    assert SECRET.encode() not in b"".join(entries_of(hub).values())
    again = unsilo(hub, "apply", "--json")
    assert again.json() == []


@pytest.mark.kafka
def test_a_dry_run_creates_no_topic(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    ran = unsilo(hub, "apply", "--dry-run", UNSILO_TOPIC_PREFIX=f"{hub.prefix}-other")
    assert ran.code == 0
    assert "added    connection/chat" in ran.out
    assert not [name for name in hub.kafka.admin.list_topics().topics if name.startswith(f"{hub.prefix}-other")]


@pytest.mark.kafka
def test_apply_warns_of_secrets_that_are_not_here(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    file.write_text(FILE.replace("{env: SECRET}", "{file: secrets/desk}"))
    ran = unsilo(hub, "apply")
    assert ran.code == 0
    assert "connection helpdesk: file secrets/desk is not there here" in ran.err
    assert "connection chat: environment variable NOT_SET is not set here" in ran.err


@pytest.mark.kafka
def test_a_connection_that_the_running_services_do_not_know_is_called_neither_followed_nor_open(
    hub: Hub, unsilo: Unsilo, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unsilo_services.cli.config._FOLLOW_SECONDS", 0.0)
    monkeypatch.setattr("unsilo_services.follow._NOTICED_SECONDS", 0.0)
    hub.kafka.create([hub.topics.raw("chat")])
    old = hub.kafka.consumer(f"{hub.prefix}.normalizer")
    try:
        old.subscribe([hub.topics.raw("chat").name])
        eventually(lambda: old.poll(0.1) is None and old.assignment(), "the group to have a member")
        for ran in (unsilo(hub, "apply"), unsilo(hub, "apply")):  # the second finds nothing to change, and no remedy
            assert ran.code == 1
            assert ", but not followed: 2 connections" in ran.out
            assert f"normalizer does not read {hub.topics.raw('helpdesk').name}: start the services anew" in ran.err
        assert unsilo(hub, "apply", "--json").code == 1
        rows = {row["id"]: row["state"] for row in unsilo(hub, "connections", "list", "--json").json()}
        assert rows["helpdesk"] == "not followed by the running services: start them anew"
        assert "NOT_SET" in rows["chat"]
        assert "start them anew" in unsilo(hub, "connections", "show", "helpdesk", "--json").json()["state"]
        checks = {check["check"]: check["findings"] for check in unsilo(hub, "doctor", "--json").json()["checks"]}
        wrong = [finding for finding in checks["configuration"] if finding["level"] == "wrong"]
        assert [finding["what"].partition(":")[0] for finding in wrong] == ["connection helpdesk"]
        assert "start the services anew" in wrong[0]["remedy"]
    finally:
        old.close()


@pytest.mark.kafka
def test_nothing_is_said_of_what_workers_do_not_read_while_they_share_it_out_anew(
    hub: Hub, unsilo: Unsilo, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unsilo_services.cli.config._FOLLOW_SECONDS", 0.0)
    hub.kafka.create([hub.topics.raw("chat")])
    group = f"{hub.prefix}.normalizer"
    slow, late = hub.kafka.consumer(group), hub.kafka.consumer(group)
    try:
        slow.subscribe([hub.topics.raw("chat").name], on_revoke=lambda consumer, partitions: None)
        eventually(lambda: slow.poll(0.1) is None and slow.assignment(), "the group to have a member")
        late.subscribe([hub.topics.raw("chat").name])  # which waits for the other, who does not hear of it
        eventually(lambda: late.poll(0.1) is None and not hub.kafka.group(group).settled, "the group to be unsettled")
        ran = unsilo(hub, "apply")
        assert "normalizer shares its work out anew" in ran.err
        rows = {row["id"]: row["state"] for row in unsilo(hub, "connections", "list", "--json").json()}
        assert rows["helpdesk"] == "open"
    finally:
        slow.close()
        late.close()


@pytest.mark.kafka
def test_apply_changes_nothing_when_anything_is_wrong(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    unsilo(hub, "apply")
    before = entries_of(hub)
    file.write_text(FILE.replace("helpdesk", "second-desk").replace("connector: slack", "connector: slick"))
    (fault,) = unsilo(hub, "apply", "--json").json()["faults"]
    assert fault["field"] == "connections.1.connector"
    ran = unsilo(hub, "apply", "--prune")
    assert ran.code == 1
    assert "unsilo.yaml:4: connections.1.connector: " in ran.err
    assert entries_of(hub) == before
    assert hub.kafka.partitions(hub.topics.raw("second-desk").name) == 0


@pytest.mark.kafka
def test_apply_keeps_what_no_file_declares_until_it_is_told_to_prune(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    unsilo(hub, "apply")
    file.write_text("".join(line for line in FILE.splitlines(keepends=True) if "chat" not in line))
    kept = unsilo(hub, "apply")
    assert "connection/chat" in kept.err
    assert "connection/chat" in entries_of(hub)
    would = unsilo(hub, "apply", "--prune", "--dry-run", "--json")
    assert would.json() == [{"key": "connection/chat", "change": "removed"}]
    assert "connection/chat" in entries_of(hub)
    assert unsilo(hub, "apply", "--prune").code == 0
    assert sorted(entries_of(hub)) == ["connection/helpdesk", "hub"]
    assert hub.kafka.partitions(hub.topics.raw("chat").name) == 3


@pytest.mark.kafka
def test_apply_of_a_file_without_a_hub_keeps_the_address_that_the_hub_has(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    unsilo(hub, "apply")
    file.write_text(FILE.partition("\n")[2])
    ran = unsilo(hub, "apply")
    assert ran.code == 0
    assert from_entries(entries_of(hub)).hub.public_url == "https://hub.example.org"
    assert "kept, though no file declares it: hub (" in ran.err
    assert unsilo(hub, "apply", "--prune", "--json").json() == [{"key": "hub", "change": "removed"}]


@pytest.mark.kafka
def test_what_the_hub_found_out_of_its_accounts_is_nothing_that_files_would_declare(
    hub: Hub, unsilo: Unsilo, file: Path
) -> None:
    unsilo(hub, "apply")
    publish_accounts(hub.kafka, hub.topics.config(), "chat", ["B1"])
    file.write_text("".join(line for line in FILE.splitlines(keepends=True) if "chat" not in line))
    assert "kept, though no file declares it: connection/chat (" in unsilo(hub, "apply").err
    assert "accounts/chat" in entries_of(hub)
    assert unsilo(hub, "apply", "--prune").code == 0
    assert sorted(entries_of(hub)) == ["connection/helpdesk", "hub"]


SINK = """\
connections:
  - id: sink
    connector: standardwebhooks
    audience: internal
    settings: {secret: {env: SECRET}, types: {case: unsilo.ticket.ticket.created.v1}}
  - {id: chat, connector: slack, audience: internal, settings: {signing_secret: {env: NOT_SET}}}
flows:
"""
THERE = """\
  - {id: there, on: social.post.published, do: [{deliver: sink, action: send, with: {type: x, data: y}}]}
"""
BACK = """\
  - {id: back, on: ticket.ticket.created, do: [{deliver: chat, action: post, with: {channel: x, text: y}}]}
"""


@pytest.mark.kafka
def test_apply_refuses_a_loop_that_only_files_applied_one_by_one_make(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    file.write_text(SINK + THERE)
    assert unsilo(hub, "apply").code == 0
    file.write_text(SINK + BACK)
    before = entries_of(hub)
    ran = unsilo(hub, "apply")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("flow there: do.0.deliver: ")
    assert "own_accounts" in ran.err
    (fault,) = unsilo(hub, "apply", "--json").json()["faults"]
    assert (fault["file"], fault["field"]) == (None, "flow there: do.0.deliver")
    assert entries_of(hub) == before
    assert unsilo(hub, "apply", "--prune").code == 0


@pytest.mark.kafka
def test_apply_of_two_people_at_once_ends_in_one_of_both(hub: Hub, file: Path) -> None:
    command = [sys.executable, "-m", "unsilo_services.cli.app", "apply", "-f"]
    files = []
    for name in ("one", "two"):
        other = file.with_name(f"{name}.yaml")
        other.write_text(FILE.replace("helpdesk", f"desk-{name}"))
        files.append(other)
    running = [
        subprocess.Popen([*command, str(each)], env=hub.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for each in files
    ]
    said = [process.communicate(timeout=60)[1].decode() for process in running]
    assert 0 in [process.returncode for process in running], said
    assert all("Traceback" not in text for text in said), said
    found = from_entries(entries_of(hub)).connections
    done = {name for name, process in zip(("one", "two"), running, strict=True) if process.returncode == 0}
    assert {f"desk-{name}" for name in done} <= found.keys()


@pytest.mark.kafka
def test_apply_writes_nothing_that_it_has_not_held_against_what_another_one_wrote(
    hub: Hub, unsilo: Unsilo, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded_and_overtaken(kafka: Kafka, topic: Topic) -> dict[str, bytes]:
        found = load(kafka, topic)
        publish(kafka, topic, [Change("flow/back", "added", b"{}")])
        return found

    monkeypatch.setattr("unsilo_services.cli.config.load", loaded_and_overtaken)
    ran = unsilo(hub, "apply")
    assert ran.code == 1
    assert "another `unsilo apply` has begun" in ran.err
    assert entries_of(hub) == {"flow/back": b"{}"}


@pytest.mark.kafka
def test_a_topic_that_is_not_as_it_should_be_is_named(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    hub.kafka.create([hub.topics.raw("helpdesk", 1)])
    ran = unsilo(hub, "apply")
    name = hub.topics.raw("helpdesk").name
    assert any(name in line and "partitions" in line for line in ran.err.splitlines())
    rows = {row["topic"]: row for row in unsilo(hub, "topics", "--json").json()}
    assert "partitions is 1" in rows[name]["differs"]
    assert not rows[hub.topics.raw("chat").name]["differs"]
    assert rows.keys() >= {topic.name for topic in hub.topics.fixed()}
    assert len(unsilo(hub, "topics").out.splitlines()) == 1 + len(rows)


@pytest.mark.kafka
def test_connections_are_listed_with_their_address_and_whether_they_are_open(
    hub: Hub, unsilo: Unsilo, file: Path
) -> None:
    nothing = unsilo(hub, "connections", "list")
    assert (nothing.code, nothing.out) == (0, "")
    assert "unsilo apply" in nothing.err
    unsilo(hub, "apply")
    rows = {row["id"]: row for row in unsilo(hub, "connections", "list", "--json").json()}
    assert rows["helpdesk"]["url"] == "https://hub.example.org/in/helpdesk"
    assert rows["helpdesk"]["state"] == "open"
    assert "NOT_SET" in rows["chat"]["state"]
    lines = unsilo(hub, "connections", "list").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["id", "chat", "helpdesk"]
    shown = unsilo(hub, "connections", "show", "helpdesk", "--json").json()
    assert shown["url"] == "https://hub.example.org/in/helpdesk"
    assert shown["when_we_fail"] == connectors()["zendesk"].sender.on_failure
    unknown = unsilo(hub, "connections", "show", "nobody")
    assert unknown.code == 1
    assert "unsilo connections list" in unknown.err


def test_connectors_are_listed_and_shown(unsilo: Unsilo) -> None:
    listed = unsilo(None, "connectors", "list", "--json").json()
    assert {row["name"] for row in listed} == set(connectors())
    assert len(unsilo(None, "connectors", "list").out.splitlines()) == 1 + len(listed)
    for name in connectors():
        assert unsilo(None, "connectors", "show", name, "--json").json()["name"] == name
        assert connectors()[name].title in unsilo(None, "connectors", "show", name).out
    assert unsilo(None, "connectors", "show", "nothing").code == 1


def test_schemas_are_listed_and_shown_with_an_example(unsilo: Unsilo) -> None:
    listed = [row["type"] for row in unsilo(None, "schemas", "list", "--json").json()]
    assert listed == list(EVENT_TYPES)
    name = "unsilo.ticket.ticket.created.v1"
    shown = unsilo(None, "schemas", "show", name).json()
    assert shown["$schema"].endswith("2020-12/schema")
    Draft202012Validator(shown).validate(shown["examples"][0])
    assert shown["examples"][0]["entity"]
    assert name in unsilo(None, "schemas", "show", name, "--example").out
    assert unsilo(None, "schemas", "show", "ticket.ticket.created") == unsilo(None, "schemas", "show", name)
    wrong = unsilo(None, "schemas", "show", "ticket.created")
    assert wrong.code == 1
    assert "unsilo.ticket" in wrong.err


@pytest.mark.kafka
def test_send_and_tail_go_through_the_running_hub(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    unsilo(hub, "apply")
    gateway = hub.start_gateway()
    hub.start("normalizer")
    assert "ticket_created" in unsilo(hub, "send", "helpdesk").out.split()
    sent = unsilo(hub, "send", "helpdesk", "ticket_created", "--gateway", gateway.url)
    assert (sent.code, sent.out.split()[0]) == (0, "202")
    body = file.with_name("body.json")
    body.write_bytes(ticket(7))
    assert unsilo(hub, "send", "helpdesk", str(body), "--gateway", gateway.url).code == 0

    def both() -> list[dict[str, Any]] | None:
        found = tailed(unsilo, hub)
        return found if len(found) == 2 else None

    events = eventually(both, "two events")
    kinds = {"unsilo.ticket.ticket.created.v1", "unsilo.ticket.ticket.status_changed.v1"}
    assert {event["type"] for event in events} == kinds
    assert {event["connection"] for event in events} == {"helpdesk"}
    assert events[0]["data"]["entity"]["refs"]
    assert [event["type"] for event in tailed(unsilo, hub, "--type", "status_changed")] == [
        "unsilo.ticket.ticket.status_changed.v1"
    ]
    assert tailed(unsilo, hub, "--connection", "chat") == []
    lines = unsilo(hub, "tail", "--once", "--since", "1h").out.splitlines()
    assert lines[0] == "at\tconnection\ttype\ttext"
    assert [line.split("\t")[1] for line in lines[1:]] == ["helpdesk"] * 2
    assert all(line.split("\t")[3] for line in lines[1:])
    assert unsilo(hub, "tail", "--once").out == ""


@pytest.mark.kafka
def test_tail_says_that_there_is_nothing_that_its_filters_could_let_through(
    hub: Hub, unsilo: Unsilo, file: Path
) -> None:
    unsilo(hub, "apply")
    nowhere = unsilo(hub, "tail", "--once", "--connection", "nosuch")
    assert (nowhere.code, nowhere.out) == (1, "")
    assert "there is no connection 'nosuch': `unsilo connections list`" in nowhere.err
    nothing = unsilo(hub, "tail", "--once", "--type", "nosuch")
    assert (nothing.code, nothing.out) == (1, "")
    assert "no event type with 'nosuch' in it: `unsilo schemas list`" in nothing.err
    assert unsilo(hub, "tail", "--once", "--type", "comment", "--connection", "chat").code == 0
    hub.apply()  # which declares none
    assert unsilo(hub, "tail", "--once", "--connection", "chat").code == 0, "a removed one has left events"


def tailed(unsilo: Unsilo, hub: Hub, *words: str) -> list[dict[str, Any]]:
    ran = unsilo(hub, "tail", "--once", "--since", "1h", "--json", *words)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.mark.kafka
def test_send_says_what_stands_in_its_way(hub: Hub, unsilo: Unsilo, file: Path) -> None:
    assert "unsilo connections list" in unsilo(hub, "send", "helpdesk", "ticket_created").err
    unsilo(hub, "apply")
    assert "unsilo up" in unsilo(hub, "send", "helpdesk", "ticket_created", "--gateway", "http://127.0.0.1:1").err
    why = "connection chat: environment variable NOT_SET is not set or empty, here: send signs with it"
    assert why in unsilo(hub, "send", "chat", "message").err
    nothing = unsilo(hub, "send", "helpdesk", "no-such-sample")
    assert nothing.code == 1
    assert "neither a file nor" in nothing.err
    assert "near it are ticket_created" in unsilo(hub, "send", "helpdesk", "ticket_creatd").err
    pasted = unsilo(hub, "send", "helpdesk", '{"name": "' + 5000 * "Ada" + '"}')
    assert "neither a file nor" in pasted.err
    assert len(pasted.err) < 300, "a body that stands in a file's place is not shown whole"
    for nowhere in ("http://[::1", "localhost:8080", "ftp://hub.example.org"):
        ran = unsilo(hub, "send", "helpdesk", "ticket_created", "--gateway", nowhere)
        assert (ran.code, ran.out) == (1, "")
        assert f"{nowhere} is no address of a gateway" in ran.err
    refused = hub.start_gateway(SECRET="another")
    ran = unsilo(hub, "send", "helpdesk", "ticket_created", "--gateway", refused.url)
    assert ran.code == 1
    assert ran.out.startswith("401")
    for type in ("é", "a\nb"):
        ran = unsilo(hub, "send", "helpdesk", str(file), "--content-type", type, "--gateway", refused.url)
        assert "HTTP has no such header" in ran.err
    taken = hub.start_gateway()
    (file.parent / "body").write_bytes(b"{}")
    typed = ("--content-type", "text/x-other", "--gateway", taken.url)
    assert unsilo(hub, "send", "helpdesk", str(file.parent / "body"), *typed).out.startswith("415")


@pytest.mark.kafka
def test_tail_shows_what_it_can_of_what_no_normalizer_wrote(hub: Hub, unsilo: Unsilo) -> None:
    producer = hub.kafka.producer()
    topic = hub.event_topics()[0]
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/c/x"), ("ce_type", b"x\x1b[31m")]
    for value, said in ((None, headers), (b"\xff", headers), (b"1", []), (b"{}", [("ce_id", b"\xff")])):
        producer.produce(topic, value, headers=list(said))
    assert producer.flush(30) == 0
    assert hub.kafka.end_offsets([TopicPartition(topic, n) for n in range(6)])
    for json_too in ((), ("--json",)):
        ran = unsilo(hub, "tail", "--once", "--since", "1h", *json_too)
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err


@pytest.mark.parametrize("words", [["apply"], ["tail", "--once"], ["connections", "show", "x"]])
def test_says_in_a_sentence_that_no_kafka_answers(file: Path, words: list[str]) -> None:
    environment = {**os.environ, "UNSILO_KAFKA_BOOTSTRAP": "127.0.0.1:1", "UNSILO_DATA": str(file.parent)}
    command = [sys.executable, "-m", "unsilo_services.cli.app", *words]
    ran = subprocess.run(command, env=environment, cwd=file.parent, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "127.0.0.1:1" in ran.stderr
    assert "unsilo up" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def beside_nothing(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, and nothing said by the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")} | more
    command = [sys.executable, "-m", "unsilo_services.cli.app", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)


def test_says_that_what_was_typed_is_no_text(tmp_path: Path) -> None:
    ran = beside_nothing(tmp_path, "trace", "desk:\udcff", "--json")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "'desk:\\udcff' is not UTF-8: correct it\n"


def test_says_that_there_is_no_room_for_what_it_says(tmp_path: Path) -> None:
    for words in (["connectors", "list"], ["connectors", "list", "--json"]):
        command = [sys.executable, "-m", "unsilo_services.cli.app", *words]
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert ran.returncode == 1
        assert ran.stderr == "the output cannot be written, as its disk is full: make room and run it again\n"


def test_says_where_no_hub_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsilo: Unsilo) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr("unsilo_services.settings._KAFKA_PORT", port)  # lest a Kafka of this machine answers
    monkeypatch.setattr("unsilo_services.cli.hub.REACH_SECONDS", 3600)  # what is said is said at once
    monkeypatch.delenv("UNSILO_KAFKA_BOOTSTRAP", raising=False)
    assert f"no hub runs with UNSILO_DATA={tmp_path / 'data'}: " in unsilo(None, "connections", "list").err
    monkeypatch.delenv("UNSILO_DATA")
    ran = unsilo(None, "connections", "list")
    assert ran.code == 1
    assert ran.err.startswith(f"no hub runs in {tmp_path} or a folder above it: start one with `unsilo up`, ")
    assert "UNSILO_KAFKA_BOOTSTRAP" in ran.err


def test_the_hub_of_a_folder_is_found_from_the_folders_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSILO_DATA", raising=False)
    inner = tmp_path / "docs" / "platform"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    note_addresses(HubSettings(data=tmp_path / ".unsilo"), {"gateway": "http://127.0.0.1:1"})
    assert running(HubSettings()) == {"gateway": "http://127.0.0.1:1"}
    note_addresses(HubSettings(data=tmp_path / "docs" / ".unsilo"), {"gateway": "http://127.0.0.1:2"})
    assert running(HubSettings()) == {"gateway": "http://127.0.0.1:2"}, "the nearest"
    assert running(HubSettings(data=Path("elsewhere"))) == {}, "a folder that is named is the only one"


def test_up_refuses_a_wrong_file_before_it_starts_anything(tmp_path: Path) -> None:
    (tmp_path / "unsilo.yaml").write_text("hub: {public_url: localhost}")
    ran = beside_nothing(tmp_path, "up")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("unsilo.yaml:1: hub.public_url: ")
    assert beside_nothing(tmp_path, "up", "-f", "nope.yaml").stderr.startswith("nope.yaml:1: ")
    assert not (tmp_path / ".unsilo").exists()


@pytest.mark.kafka
def test_up_applies_the_file_that_lies_where_it_is_started(hub: Hub, file: Path) -> None:
    command = [sys.executable, "-m", "unsilo_services.cli.app", "up"]
    with subprocess.Popen(command, env=hub.environment, cwd=file.parent) as process:
        try:
            eventually(lambda: "connection/chat" in entries_of(hub), "the configuration")
        finally:
            process.terminate()


@pytest.mark.parametrize("command", ["up", "story"])
def test_a_hub_that_runs_in_this_folder_already_is_left_alone(tmp_path: Path, command: str) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ok":true}')

        def log_message(self, format: str, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        gateway = f"http://127.0.0.1:{other.server_port}"
        note_addresses(HubSettings(data=tmp_path / ".unsilo"), {"gateway": gateway})
        ran = beside_nothing(tmp_path, command, UNSILO_KAFKA_BOOTSTRAP="127.0.0.1:1")
        other.shutdown()
        thread.join()
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"a hub runs here already, its gateway at {gateway}: ")
    assert "UNSILO_DATA" in ran.stderr
    assert running(HubSettings(data=tmp_path / ".unsilo")) == {"gateway": gateway}, "it can still be found"


def test_a_restart_is_announced_for_when_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    supervisor.start("steady", [sys.executable, "-c", ""], {})
    (child,) = supervisor._children
    child.started_at -= 3600

    def announced() -> list[str]:
        supervisor.watch()
        return said

    eventually(announced, "its end to be seen")
    assert "starts again in 0.5 s" in said[0]
    supervisor.stop()


def test_a_process_that_cannot_be_started_again_is_no_reason_to_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path / "logs", said.append)
    supervisor.start("steady", [sys.executable, "-c", ""], {})
    (child,) = supervisor._children
    assert child.process
    child.process.wait()

    def none(*words: object, **more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as full:
        full.setattr("unsilo_services.supervisor.subprocess.Popen", none)
        supervisor.watch()
        child.restart_at = 0
        supervisor.watch()
        assert "steady cannot be started" in said[-1]
    child.restart_at = 0
    supervisor.watch()
    assert child.process
    supervisor.stop()


@pytest.mark.kafka
def test_a_service_is_run_by_as_many_workers_as_are_asked_for(hub: Hub) -> None:
    hub.connect(section("helpdesk", "zendesk"))
    group = hub.topics.group("normalizer")
    command = [sys.executable, "-m", "unsilo_services.cli.app", "run", "normalizer", "--workers", "2"]
    with subprocess.Popen(command, env=hub.environment, cwd=hub.folder, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: len(hub.kafka.group(group).clients) == 2, "both workers")
        process.terminate()
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.readline().startswith("2 workers of normalizer run; their logs: ")
    eventually(lambda: not hub.kafka.group(group).clients, "the group to be left")


def test_what_cannot_be_shared_has_one_worker(unsilo: Unsilo) -> None:
    ran = unsilo(None, "run", "gateway", "--workers", "2")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("gateway has one worker: several processes of normalizer")


@pytest.mark.kafka
def test_a_service_warns_when_it_starts_of_a_topic_that_is_not_as_it_should_be(hub: Hub) -> None:
    topic = hub.topics.dead("normalizer").name
    sooner = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[sooner])
    for altered in hub.kafka.admin.incremental_alter_configs([resource]).values():
        altered.result(30)
    normalizer = hub.start("normalizer")
    eventually(lambda: "metrics at" in normalizer.said, "its start")
    (line,) = [line for line in normalizer.said.splitlines() if "is 60000, not" in line]
    assert f"topic {topic}: retention.ms is 60000, not" in line
    assert "`unsilo topics`" in line


def up(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Where no Kafka answers, so that it ends in any case."""
    more = {"UNSILO_KAFKA_BOOTSTRAP": "127.0.0.1:1", "UNSILO_DATA": str(folder), "UNSILO_GATEWAY_PORT": str(port)}
    command = [sys.executable, "-m", "unsilo_services.cli.app", "up"]
    return subprocess.run(command, env=os.environ | more, cwd=folder, capture_output=True, text=True, timeout=60)


def test_says_at_once_and_once_that_it_stops() -> None:
    code = (
        "import os; from unsilo_services.cli.up import Interrupt; Interrupt(); [os.kill(os.getpid(), 2) for _ in '12']"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "stopping ...\n")


def test_says_its_version(unsilo: Unsilo) -> None:
    assert re.fullmatch(r"unsilo \d+\.\d+\.\d+\n", unsilo(None, "--version").out)


def test_up_says_before_all_else_that_its_port_is_taken_and_what_to_set(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = up(tmp_path, port)
    assert ran.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in ran.stderr
    assert "UNSILO_GATEWAY_PORT" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_up_says_that_a_port_is_none(tmp_path: Path) -> None:
    ran = up(tmp_path, 70_000)
    assert ran.returncode == 1
    assert ran.stderr.startswith("UNSILO_GATEWAY_PORT: ")


def test_another_program_is_not_taken_for_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"<html>welcome</html>"

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        hub = LocalHub(HubSettings(data=tmp_path), ephemeral=True, workers=1, say=print)
        monkeypatch.setattr(LocalHub, "gateway", f"http://127.0.0.1:{other.server_port}")
        mistaken = is_ready(hub.gateway)
        said = b'{"ok":true}'
        ours = is_ready(hub.gateway)
        other.shutdown()
        thread.join()
    assert (mistaken, ours) == (False, True)


def on_a_terminal(command: list[str], hub: Hub, columns: int) -> str:
    """What a command says there, without its colours."""
    main_end, other_end = pty.openpty()
    environment = {**hub.environment, "COLUMNS": str(columns)}
    with subprocess.Popen(command, env=environment, stdout=other_end, stderr=other_end) as process:
        os.close(other_end)
        said = b""
        try:
            while chunk := os.read(main_end, 65536):
                said += chunk
        except OSError:  # a terminal whose other end is gone
            pass
        assert process.wait(60) == 0
    os.close(main_end)
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", said.decode())


@pytest.mark.kafka
def test_nothing_that_is_there_to_be_copied_is_folded_on_a_narrow_terminal(hub: Hub) -> None:
    ids = ["desk-of-the-north-and-the-south", "desk-2"]
    shut = {"signing_secret": {"env": "NOT_SET_ANYWHERE"}}
    hub.connect(*(section(name, "zendesk", settings=shut) for name in ids))
    raw = hub.topics.raw(ids[0]).name
    dead = [("dl_reason", b"source_unmapped"), ("dl_topic", raw.encode()), ("dl_error", 20 * b"a word and ")]
    producer = hub.kafka.producer()
    producer.produce(hub.topics.dead("normalizer").name, b"", headers=[*dead])
    assert producer.flush(30) == 0
    unsilo = [sys.executable, "-m", "unsilo_services.cli.app"]
    wanted = {
        ("connections", "list"): [f"http://localhost:8080/in/{name}" for name in ids],
        ("dead", "list"): ["normalizer/0/0", "source_unmapped", ids[0]],
        ("status",): [*ids, "`unsilo doctor`", "`unsilo run gateway`"],
        ("topics",): [raw, hub.topics.command(ids[0]).name],
    }
    for words, copied in wanted.items():
        lines = on_a_terminal([*unsilo, *words], hub, columns=80).splitlines()
        assert all(any(text in line for line in lines) for text in copied), lines
        assert max(map(len, lines)) <= 80, lines


def test_a_line_ends_between_words_and_never_within_a_command() -> None:
    assert list(wrapped("no hub: start one with `unsilo up -f x`, or look", 20)) == [
        "no hub: start one",
        "with",
        "`unsilo up -f x`, or",
        "look",
    ]
    assert list(wrapped("unsilo.event.crm.opportunity.v1 is gone", 10)) == [
        "unsilo.event.crm.opportunity.v1",
        "is gone",
    ]


@pytest.mark.kafka
def test_tail_tells_in_order_of_time_over_all_partitions(hub: Hub, unsilo: Unsilo) -> None:
    producer = hub.kafka.producer()
    now = int(time.time() * 1000)
    topics = hub.event_topics()[:3]
    for number in reversed(range(12)):  # the newest partition first
        for event in (number, number + 12):
            headers = {"ce_specversion": "1.0", "ce_id": f"{event}", "ce_source": "/x", "ce_type": "x"}
            producer.produce(
                topics[number % 3], b"{}", partition=number // 3, timestamp=now - 1000 + event,
                headers=[(name, text.encode()) for name, text in headers.items()],
            )  # fmt: skip
    assert producer.flush(30) == 0
    told = [int(event["id"]) for event in tailed(unsilo, hub)]
    assert told == sorted(told)
    assert len(told) == 24


@pytest.mark.kafka
def test_tail_is_done_when_nobody_reads_on(hub: Hub) -> None:
    producer = hub.kafka.producer()
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/x"), ("ce_type", b"x" * 1000)]
    for _ in range(300):  # more than a pipe holds
        producer.produce(hub.event_topics()[0], b"{}", headers=list(headers))
    assert producer.flush(30) == 0
    command = [sys.executable, "-m", "unsilo_services.cli.app", "tail", "--once", "--since", "1h"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=hub.environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, "")


@pytest.mark.kafka
def test_a_terminal_gets_a_table_and_a_pipe_gets_tabs(hub: Hub, file: Path) -> None:
    hub.connect(section("helpdesk", "zendesk"))
    command = [sys.executable, "-m", "unsilo_services.cli.app", "connections", "list"]
    said = on_a_terminal(command, hub, columns=200)
    assert "connector" in said
    assert "\t" not in said
    piped = subprocess.run(command, env=hub.environment, capture_output=True, text=True, timeout=60, check=True)
    names, row = piped.stdout.splitlines()
    assert names.split("\t")[:2] == ["id", "connector"]
    assert row.split("\t")[:2] == ["helpdesk", "zendesk"]
