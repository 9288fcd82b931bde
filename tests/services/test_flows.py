"""Flows on a real Kafka: what is commanded of what happens, once, whatever is killed, and never in a circle."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from unsilo_connectors.actions import Written
from unsilo_schemas.account import ACCOUNT
from unsilo_schemas.command import CommandData
from unsilo_schemas.entity import Ref
from unsilo_schemas.identity import entity_id
from unsilo_schemas.link import End
from unsilo_schemas.space import SPACE
from unsilo_schemas.ticket import TICKET
from unsilo_schemas.topics import Topics
from unsilo_services.cache import CacheUnusable
from unsilo_services.configuration import Configuration, ConnectionSection, FlowSection, HubSection
from unsilo_services.dead_letters import original_headers
from unsilo_services.flows import copies, decisions, step
from unsilo_services.flows.breaker import MOST_WRITES
from unsilo_services.flows.known import Known
from unsilo_services.flows.step import Flows
from unsilo_services.flows.waiting import Item, Waiting
from unsilo_services.kafka import TopicPartition, headers_of

from tests.services.running import eventually
from tests.services.writing import (
    AGENT,
    BOT,
    TRACE,
    Record,
    Told,
    Worker,
    Writing,
    comment,
    counted,
    doubtful,
    long_ago,
    number,
    post,
    reply,
    ticket,
    told,
    writing_hub,
)

pytestmark = pytest.mark.kafka

SECRET = {"env": "SECRET"}
DESK = ConnectionSection(
    id="helpdesk", connector="zendesk", audience="internal", settings={"signing_secret": SECRET}, own_accounts=(AGENT,)
)
CHAT = ConnectionSection(
    id="chat", connector="slack", audience="internal", settings={"signing_secret": SECRET}, own_accounts=(BOT,)
)
WALL = CHAT.model_copy(update={"id": "wall"})
SINK = ConnectionSection(
    id="sink", connector="standardwebhooks", audience="internal", settings={"secret": SECRET}, own_accounts=()
)
STRANGE = CHAT.model_copy(update={"id": "strange", "own_accounts": None})
REF = Ref(system="zendesk", connection="helpdesk", type="ticket", id="1")
ORDER = CommandData(flow="f", action="post", arguments={}, mirrors=End(id="1", ref=REF))
FLOWS: list[dict[str, Any]] = [
    {
        "id": "tickets",
        "on": "ticket.ticket.created",
        "when": "!has(entity.tags)",
        "do": [{"deliver": "chat", "action": "post", "with": {"channel": "C1", "text": "{{ entity.title }}"}}],
    },
    {
        "id": "comments",
        "on": "ticket.comment.added",
        "do": [{"deliver": "chat", "action": "reply", "to": "ticket", "with": {"text": "{{ entity.body }}"}}],
    },
    {
        "id": "replies",
        "on": "social.reply.published",
        "do": [
            {"deliver": "helpdesk", "action": "comment", "to": "thread", "with": {"body": "{{ entity.body|plain }}"}}
        ],
    },
    {
        "id": "posts",
        "on": ["social.post.published", "social.post.edited"],
        "do": [{"deliver": "helpdesk", "action": "ticket", "with": {"title": "chat", "body": "{{ entity.body }}"}}],
    },
    {
        "id": "changes",
        "on": "ticket.ticket.updated",
        "do": [{"deliver": "wall", "action": "post", "with": {"channel": "C1", "text": "{{ entity.title }}"}}],
    },
    {
        "id": "strangers",
        "on": "social.space.created",
        "do": [{"deliver": "strange", "action": "post", "with": {"channel": "C1", "text": "x"}}],
    },
]


@pytest.fixture(scope="module")
def writing(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """The hub of this module's tests, whose objects are their own."""
    with writing_hub(kafka_bootstrap, tmp_path_factory.mktemp("hub")) as hub:
        hub.configure([DESK, CHAT, WALL, STRANGE], FLOWS)
        yield hub


@pytest.fixture(scope="module")
def worker(writing: Writing) -> Iterator[Worker]:
    with writing.routing() as found:
        yield found


@pytest.fixture
def alone(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Writing]:
    """A hub of a test's own, for those that start and stop workers."""
    with writing_hub(kafka_bootstrap, tmp_path) as hub:
        hub.configure([DESK, CHAT, WALL], FLOWS)
        yield hub


def mirrored(hub: Writing, id: str) -> tuple[Told, Record, str]:
    """A ticket that has its copy in chat: the ticket, the command, the message's `ts`."""
    event = ticket(id)
    hub.tell(event)
    [command] = hub.await_command(event)
    hub.done(command, Written("message", ts := number(), "C1"))
    return event, command, ts


def test_a_command_says_what_it_follows_from_and_is_keyed_by_what_it_is_about(writing: Writing, worker: Worker) -> None:
    event = ticket(number(), title="<Fire>")
    writing.tell(event)
    [command] = writing.await_command(event)
    assert command.topic == writing.topics.command("chat").name
    assert command.key == event.key
    facts = command.headers
    assert {name: facts[f"ce_{name}"] for name in ("correlationid", "causationid", "hops", "via", "traceparent")} == {
        "correlationid": event.id, "causationid": event.id, "hops": "1", "via": "helpdesk,chat", "traceparent": TRACE,
    }  # fmt: skip
    assert facts["ce_partitionkey"] == event.key
    assert (facts["ce_source"], facts["ce_origin"], facts["ce_connection"]) == ("/flows/tickets", "helpdesk", "chat")
    assert command.data == {
        "flow": "tickets",
        "action": "post",
        "arguments": {"channel": "C1", "text": "&lt;Fire&gt;"},
        "mirrors": {"id": event.object, "ref": event.entity["refs"][0]},
    }


def test_a_command_about_a_copy_is_keyed_by_the_copy(writing: Writing, worker: Worker) -> None:
    _, _, ts = mirrored(writing, id := number())
    event = comment(id)
    writing.tell(event)
    [command] = writing.await_command(event)
    assert command.key == entity_id("chat", "message", ts, "C1")
    assert command.data["target"] == {
        "system": "slack", "connection": "chat", "type": "message", "id": ts, "scope": "C1",
    }  # fmt: skip


def test_what_is_said_of_an_object_goes_to_its_first_copy_whatever_else_was_told_of_it(
    writing: Writing, worker: Worker
) -> None:
    """A note elsewhere about the same ticket must not draw its conversation there."""
    flow = {
        "id": "notes", "on": "ticket.ticket.escalated",
        "do": [{"deliver": "chat", "action": "post", "with": {"channel": "C7", "text": "{{ entity.title }}"}}],
    }  # fmt: skip
    writing.configure(flows=[flow])
    followed(worker, "notes")
    _, _, ts = mirrored(writing, id := number())
    note = ticket(id, verb="escalated")
    writing.tell(note)
    [command] = writing.await_command(note)
    writing.done(command, Written("message", later := number(), "C7"))
    twin = worker.step._known.links.twin  # type: ignore[attr-defined]  # its step is Flows
    eventually(lambda: twin(entity_id("chat", "message", later, "C7"), "helpdesk"))
    event = comment(id)
    writing.tell(event)
    [found] = writing.await_command(event)
    assert found.data["target"]["id"] == ts


def test_a_reply_finds_the_original_of_its_thread_and_arrives_as_plain_text(writing: Writing, worker: Worker) -> None:
    _, _, ts = mirrored(writing, id := number())
    event = reply("C1", ts, body="see <https://x.example|this> &amp; that")
    writing.tell(event)
    [command] = writing.await_command(event)
    assert command.key == entity_id("helpdesk", "ticket", id)
    assert command.data["arguments"] == {"body": "see this (https://x.example) & that"}
    assert command.headers["ce_via"] == "chat,helpdesk"


@pytest.mark.parametrize("first", ["link", "echo"])
def test_an_echo_starts_nothing_whether_it_comes_before_its_link_or_after(
    writing: Writing, worker: Worker, first: str
) -> None:
    original = ticket(number())
    writing.tell(original)
    [command] = writing.await_command(original)
    channel = "C" + number()
    echo = post(channel, actor=BOT)
    written = Written("message", echo.entity["refs"][0]["id"], channel)
    if first == "link":
        writing.done(command, written)
    behind, elsewhere = post(channel), post("C" + number())
    writing.tell(echo, behind, elsewhere, partition=0)
    if first == "echo":
        writing.await_command(elsewhere)  # which lies behind in the same partition: the others were looked at
        assert writing.commands(echo, behind) == []
        writing.done(command, written)
    writing.await_command(behind)
    assert writing.await_suppressed(echo).data["why"] == "echo"
    assert writing.commands(echo) == []


def test_an_echo_that_no_flow_asks_for_is_waited_for_by_what_refers_to_it(alone: Writing) -> None:
    """Somebody answers our message before its link has come: without it, the answer would be about nothing."""
    del alone.flows["posts"]
    alone.apply()
    with alone.routing() as worker:
        original = ticket(number())
        alone.tell(original)
        [command] = alone.await_command(original)
        echo = post("C1", actor=BOT)
        ts = echo.entity["refs"][0]["id"]
        answer = reply("C1", ts)
        alone.tell(echo, answer, partition=0)
        eventually(lambda: len(worker.step._waiting) == 2)  # type: ignore[attr-defined]  # its step is Flows
        alone.done(command, Written("message", ts, "C1"))
        alone.await_command(answer)


def test_a_link_that_is_read_just_before_it_is_known_that_all_are_read_counts(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ticket(id := number()), ticket(number())
    writing.tell(first, second)
    [to_first], [to_second] = writing.await_command(first), writing.await_command(second)
    echo = post(channel := "C" + number(), actor=BOT, recorded=long_ago())
    known = worker.step._known  # type: ignore[attr-defined]  # its step is Flows
    really = known.is_current

    def is_current(connection: str, moment: float) -> bool:
        if not known.links.writes(echo.object):
            writing.done(to_second, Written("message", echo.entity["refs"][0]["id"], channel))
            eventually(lambda: known.links.writes(echo.object))
        return bool(really(connection, moment))

    monkeypatch.setattr(known, "is_current", is_current)
    writing.tell(echo)
    assert writing.await_suppressed(echo).data["why"] == "echo"
    answer = reply("C1", ts := number())

    def is_current_now(connection: str, moment: float) -> bool:
        if not known.links.twin(entity_id("chat", "message", ts, "C1"), "helpdesk"):
            writing.done(to_first, Written("message", ts, "C1"))
            eventually(lambda: known.links.twin(entity_id("chat", "message", ts, "C1"), "helpdesk"))
        return bool(really(connection, moment))

    monkeypatch.setattr(known, "is_current", is_current_now)
    writing.tell(answer)
    [found] = writing.await_command(answer)
    assert found.data["target"]["id"] == id


def test_one_call_may_cause_several_echoes(writing: Writing, worker: Worker) -> None:
    _, _, ts = mirrored(writing, id := number())
    answer = reply("C1", ts)
    writing.tell(answer)
    [command] = writing.await_command(answer)
    said = comment(id, actor=AGENT)
    writing.done(
        command,
        Written("comment", said.entity["refs"][0]["id"]),
        Written("ticket", id, fields=("/status", "/tags")),
    )
    changed = ticket(id, verb="updated", actor=AGENT, changed=("/status",))
    more = ticket(id, verb="updated", actor=AGENT, changed=("/status", "/title"), recorded=long_ago())
    writing.tell(said, changed, more)
    writing.await_command(more)
    assert writing.commands(said, changed) == []


def test_an_echo_is_known_also_when_more_was_written_since(writing: Writing, worker: Worker) -> None:
    _, _, ts = mirrored(writing, id := number())
    answers = [reply("C1", ts), reply("C1", ts)]
    writing.tell(*answers)
    for answer, field in zip(answers, ("/tags", "/status"), strict=True):
        [command] = writing.await_command(answer)
        writing.done(command, Written("comment", number()), Written("ticket", id, fields=(field,)))
    links = worker.step._known.links  # type: ignore[attr-defined]  # its step is Flows
    eventually(lambda: len(links.writes(entity_id("helpdesk", "ticket", id))) == 2)
    echo = ticket(id, verb="updated", actor=AGENT, changed=("/tags",))
    writing.tell(echo)
    assert writing.await_suppressed(echo).data["why"] == "echo"


def test_what_nobody_wrote_under_our_account_joins_the_story_of_the_last_write_and_is_counted_once(
    writing: Writing, worker: Worker
) -> None:
    _, _, ts = mirrored(writing, id := number())
    answer = reply("C1", ts)
    writing.tell(answer)
    [command] = writing.await_command(answer)
    writing.done(command, Written("comment", number()), Written("ticket", id, fields=("/tags",)))
    before = counted("unsilo_flows_events", connection="helpdesk", outcome="near_miss")
    rewritten = ticket(id, verb="updated", actor=AGENT, changed=("/title",), recorded=long_ago())
    writing.tell(rewritten)
    [onward] = writing.await_command(rewritten)
    facts = onward.headers
    assert facts["ce_correlationid"] == answer.id
    assert facts["ce_via"] == "chat,helpdesk,wall"
    assert facts["ce_hops"] == "3"
    eventually(lambda: counted("unsilo_flows_events", connection="helpdesk", outcome="near_miss") == before + 1)


def test_a_near_miss_that_waits_for_a_copy_is_counted_once(writing: Writing, worker: Worker) -> None:
    original = ticket(id := number())
    writing.tell(original)
    [command] = writing.await_command(original)
    before = counted("unsilo_flows_events", connection="helpdesk", outcome="near_miss")
    said = comment(id, actor=AGENT, recorded=long_ago())
    others = [comment(number()) for _ in range(3)]
    writing.tell(said, *others)
    for other in others:  # each is looked at, and so is what waits
        probe = ticket(number())
        writing.tell(other, probe)
        [passing] = writing.await_command(probe)
        writing.done(passing, Written("message", number(), "C1"))
    assert writing.commands(said) == []
    writing.done(command, Written("message", number(), "C1"))
    writing.await_command(said)
    eventually(lambda: counted("unsilo_flows_events", connection="helpdesk", outcome="near_miss") == before + 1)


def test_a_command_under_way_holds_up_the_verdict_on_our_own_account(writing: Writing, worker: Worker) -> None:
    """As it is when delivery was killed between call and commit: the echo is old before its link comes."""
    before = datetime.now(UTC) - timedelta(seconds=400)
    command = writing.command(writing.order("strange", ORDER, "k", at=before))
    echo = reply("C5", number(), connection="strange", actor=BOT, recorded=long_ago(30))
    another = reply("C6", number(), connection="strange", actor=BOT, recorded=long_ago(30))
    writing.tell(echo, another)
    waiting = worker.step._waiting  # type: ignore[attr-defined]  # its step is Flows
    eventually(lambda: echo.key.encode() in waiting and another.key.encode() in waiting)
    writing.done(command, Written("message", echo.entity["refs"][0]["id"], "C5"))
    assert writing.await_suppressed(echo).data["why"] == "echo"
    eventually(lambda: another.key.encode() not in waiting)


def test_an_echo_may_be_much_older_than_the_link_of_its_write(writing: Writing, worker: Worker) -> None:
    mirrored(writing, id := number())
    target = REF.model_copy(update={"id": id})
    order = ORDER.model_copy(update={"action": "comment", "target": target})
    order = CommandData.model_validate(order.model_dump(exclude_none=True))
    command = writing.command(writing.order("helpdesk", order, "k", at=long_ago(500)))
    echo = ticket(id, verb="updated", actor=AGENT, changed=("/status",), recorded=long_ago(450))
    earlier = ticket(id, verb="updated", actor=AGENT, changed=("/status",), recorded=long_ago(600))
    writing.done(command, Written("comment", number()), Written("ticket", id, fields=("/status",)))
    writing.tell(echo, earlier)
    writing.await_command(earlier)
    assert writing.await_suppressed(echo).data["why"] == "echo"


def test_where_nobody_knows_who_we_are_an_echo_is_known_by_its_link_alone(writing: Writing, worker: Worker) -> None:
    channel = "C" + number()
    writing.tell(space := new_space("helpdesk"))
    [command] = writing.await_command(space)
    echo = post(channel, connection="strange", actor=BOT)
    behind = post(channel, connection="strange")
    writing.tell(echo, behind)
    writing.done(command, Written("message", echo.entity["refs"][0]["id"], channel))
    assert writing.await_suppressed(echo)
    assert writing.commands(behind) == []  # may be ours as well, as far as anybody knows
    somebodys = post("C" + number(), connection="strange", recorded=long_ago())
    writing.tell(somebodys)
    writing.await_command(somebodys)


def test_a_comment_right_behind_its_ticket_waits_for_the_copy_and_others_go_on(
    writing: Writing, worker: Worker
) -> None:
    original, said = ticket(id := number()), comment(id)
    never, after = comment(number()), ticket(number())
    writing.tell(original, said, never, after, partition=0)
    [command] = writing.await_command(original)
    writing.await_command(after)
    assert writing.commands(said) == []
    writing.done(command, Written("message", ts := number(), "C1"))
    [answer] = writing.await_command(said)
    assert answer.data["target"]["id"] == ts
    assert writing.commands(never) == []  # there was never to be a copy


def test_what_is_about_a_copy_that_was_refused_becomes_a_letter_and_runs_when_both_are_put_back(
    writing: Writing, worker: Worker
) -> None:
    original, said = ticket(id := number()), comment(id)
    writing.tell(original, said)
    [command] = writing.await_command(original)
    writing.refused(command)
    [letter] = writing.await_letter("flows", said.id)
    assert (letter.headers["dl_reason"], letter.headers["dl_flow"]) == ("delivery_rejected", "comments")
    assert "chat" in letter.headers["dl_error"]
    put_back(writing, writing.topics.command("chat").name, command)
    writing.done(command, Written("message", number(), "C1"))
    put_back(writing, writing.topics.retry("flows").name, letter)
    [answer] = writing.await_command(said)
    assert "dl_redrive_of" in answer.headers


def new_space(connection: str) -> Told:
    return told("social.space.created", connection, ("channel", number(), ""))


def put_back(hub: Writing, topic: str, record: Record) -> None:
    """As `unsilo dead redrive` does."""
    headers = headers_of(record.message)
    kept = [*original_headers(headers), *(item for item in headers if item[0] == "dl_flow")]
    message = record.message
    hub.producer.produce(topic, message.value(), message.key(), headers=[*kept, ("dl_redrive_of", b"flows/0/1")])
    assert hub.producer.flush(30) == 0


def test_what_waits_too_long_for_a_copy_becomes_a_letter(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, said = ticket(id := number()), comment(id)
    writing.tell(original, said)
    [command] = writing.await_command(original)
    eventually(lambda: said.key.encode() in worker.step._waiting)  # type: ignore[attr-defined]  # its step is Flows
    monkeypatch.setattr(copies, "PATIENCE_SECONDS", 0)
    [letter] = writing.await_letter("flows", said.id)
    assert (letter.headers["dl_reason"], letter.headers["dl_flow"]) == ("delivery_timeout", "comments")
    writing.done(command, Written("message", number(), "C1"))


def test_a_text_that_fails_is_a_letter_of_its_flow_alone_which_alone_runs_when_it_is_put_back(
    writing: Writing, worker: Worker
) -> None:
    failing = {
        "id": "failing",
        "on": "ticket.ticket.created",
        "when": '"failing" in entity.tags',
        "do": [
            {"deliver": "wall", "action": "post", "with": {"channel": "C2", "text": "first"}},
            {"deliver": "wall", "action": "post", "with": {"channel": "C2", "text": "{{ entity.description }}"}},
        ],
    }
    fine = {
        **failing,
        "id": "fine",
        "do": [{"deliver": "wall", "action": "post", "with": {"channel": "C3", "text": "fine"}}],
    }
    writing.configure(flows=[failing, fine])
    followed(worker, "failing")
    canary = "canary-" + number()
    event = ticket(number(), tags=["failing"], custom={"secret": canary})
    writing.tell(event)
    [letter] = writing.await_letter("flows", event.id)
    facts = letter.headers
    assert (facts["dl_flow"], facts["dl_reason"], facts["dl_stage"]) == ("failing", "rule_violation", "text")
    assert facts["dl_error"].startswith("text: entity.description is missing")
    assert canary not in str(facts)
    assert letter.message.value() == event.value
    assert [command.data["arguments"]["text"] for command in writing.await_command(event)] == ["fine"]
    mended = json.loads(json.dumps(failing).replace("entity.description", "entity.description|default('none')"))
    writing.configure(flows=[mended])
    followed(worker, "failing", "default")
    put_back(writing, writing.topics.retry("flows").name, letter)
    said = [command.data["arguments"]["text"] for command in writing.await_command(event, 3)]
    assert said == ["fine", "first", "none"]


def followed(worker: Worker, flow: str, text: str = "") -> None:
    """Returns when the worker has taken a flow over."""
    eventually(lambda: (found := worker._follower.current.flows.get(flow)) and text in str(found))
    current = worker._follower.current
    eventually(lambda: worker.step._configuration is current)  # type: ignore[attr-defined]  # its step is Flows


def test_too_many_writes_on_one_object_are_parked(writing: Writing, worker: Worker) -> None:
    """Each is another comment, and all are answers in one thread: so a loop looks that nothing else knows."""
    mirrored(writing, id := number())
    mirrored(writing, another := number())
    now = long_ago(0)
    said = [comment(id, body=str(n), recorded=now) for n in range(MOST_WRITES + 2)]
    other = comment(another, recorded=now)
    writing.tell(*said, other)
    for event in said[:MOST_WRITES]:
        writing.await_command(event)
    for event in said[MOST_WRITES:]:
        [letter] = writing.await_letter("flows", event.id)
        assert (letter.headers["dl_reason"], letter.headers["dl_flow"]) == ("budget_exhausted", "comments")
    assert writing.commands(*said[MOST_WRITES:]) == []
    writing.await_command(other)


def test_what_was_held_up_for_long_is_no_loop(writing: Writing, worker: Worker) -> None:
    mirrored(writing, id := number())
    said = [comment(id, body=str(n), recorded=long_ago(600 - 5 * n)) for n in range(MOST_WRITES + 2)]
    writing.tell(*said)
    for event in said:
        writing.await_command(event)


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"[]", b"{}", b"\xff", b"{" * 5000, b"[" * 200_000, b'{"entity": {"id": 5, "refs": []}}',
     b'{"entity": {"id": "x", "refs": [{"id": 7}]}}', b'{"entity": null}', b'{"entity": {"id": "x", "refs": "y"}}'],
)  # fmt: skip
def test_an_event_that_cannot_be_read_is_a_letter_and_stops_nobody(
    writing: Writing, worker: Worker, value: bytes
) -> None:
    bad, good = ticket(number()), ticket(number())
    topic = writing.topics.event(TICKET).name
    writing.producer.produce(topic, value, b"k", 0, headers=bad.headers)
    writing.tell(good, partition=0)
    writing.await_command(good)
    [letter] = writing.await_letter("flows", bad.id)
    assert letter.headers["dl_reason"] == "payload_malformed"
    assert "dl_flow" not in letter.headers


@pytest.mark.parametrize("size", [90_000, 3_900_000])
def test_an_event_that_makes_too_much_of_a_command_is_a_letter_with_all_its_bytes(
    writing: Writing, worker: Worker, size: int
) -> None:
    """A text may be long, and many of them together too long for a command."""
    many = {f"t{n}": "{{ entity.description }}" for n in range(20)}
    flow = {
        "id": "many",
        "on": "ticket.ticket.created",
        "when": '"many" in entity.tags',
        "do": [{"deliver": "sink", "action": "send", "with": {"type": "t", "data": many}}],
    }
    writing.configure([SINK], [flow])
    followed(worker, "many")
    event = ticket(number(), tags=["many"], description="x" * size)
    writing.tell(event)
    [letter] = writing.await_letter("flows", event.id)
    assert letter.headers["dl_reason"] == "rule_violation"
    assert letter.message.value() == event.value


def test_flows_ends_when_links_can_no_longer_be_followed(alone: Writing) -> None:
    """Without them every echo would be taken for somebody's act."""
    with pytest.raises(AssertionError, match="lost"), alone.routing() as worker:
        worker.step._known._table._failure = RuntimeError("lost")  # type: ignore[attr-defined]  # its step is Flows
        alone.tell(event := ticket(number()))
        eventually(lambda: alone.ended)
    assert alone.commands(event) == []


def test_a_flow_that_is_applied_acts_soon_and_on_nothing_that_happened_before(alone: Writing) -> None:
    flow = {**FLOWS[0], "id": "late", "on": "crm.account.created", "when": None}
    flow["do"] = [{**flow["do"][0], "with": {"channel": "C9", "text": "{{ entity.name }}"}}]
    with alone.routing() as worker:
        before = account(alone, "before")
        eventually(
            lambda: alone.kafka.committed(worker.loop.group, positions(alone, before)) and finished(alone, before)
        )
        alone.configure(flows=[flow])
        after = [account(alone, "after")]

        def again() -> list[Record]:
            after.append(account(alone, "after"))
            return alone.commands(*after)

        [command] = eventually(again, "the new flow", seconds=5)[:1]
        assert command.data["arguments"]["text"] == "after"
        assert alone.commands(before) == []


def account(hub: Writing, name: str) -> Told:
    ref = {"system": "pipedrive", "connection": "deals", "type": "organization", "id": number()}
    event = Told("unsilo.crm.account.created.v1", "deals", {"id": number(), "refs": [ref], "name": name}, number())
    hub.tell(event)
    return event


def positions(hub: Writing, event: Told) -> list[TopicPartition]:
    return [TopicPartition(hub.topics.event(ACCOUNT).name, n) for n in range(6)]


def finished(hub: Writing, event: Told) -> bool:
    """Whether flows has done with all that is on the event's topic."""
    places = positions(hub, event)
    return hub.kafka.committed(f"{hub.prefix}.flows", places) == hub.kafka.end_offsets(places)


def test_what_is_held_is_held_over_a_restart_and_nothing_is_done_twice(alone: Writing) -> None:
    original = ticket(number())
    echo, behind, elsewhere = post("C7", actor=BOT), post("C7"), post("C8")
    with alone.routing():
        alone.tell(original)
        [command] = alone.await_command(original)
        alone.tell(echo, behind, elsewhere, partition=0)
        alone.await_command(elsewhere)
    assert held(alone, echo) == {0, 1}
    with alone.routing():
        alone.tell(probe := post("C8"), partition=0)
        alone.await_command(probe)
        assert alone.commands(behind) == []
        alone.done(command, Written("message", echo.entity["refs"][0]["id"], "C7"))
        alone.await_command(behind)
        alone.await_suppressed(echo)
    assert held(alone, echo) == set()
    assert Counter(record.cause for record in alone.commands(original, echo, behind, elsewhere, probe)) == {
        event.id: 1 for event in (original, behind, elsewhere, probe)
    }


def held(hub: Writing, event: Told) -> set[int]:
    """Offsets of the event's topic, partition 0, that flows has not finished."""
    [found] = hub.kafka.progress(f"{hub.prefix}.flows", [TopicPartition(hub.topics.event(SPACE).name, 0)]).values()
    return found.held


def test_that_a_copy_is_being_made_is_known_to_whoever_comes_next(alone: Writing) -> None:
    original, said = ticket(id := number()), comment(id)
    with alone.routing("0"):
        alone.tell(original)
        [command] = alone.await_command(original)
    with alone.routing("1"):  # another machine, with no cache
        alone.tell(said, after := ticket(number()), partition=0)
        alone.await_command(after)
        assert alone.commands(said) == []
        alone.done(command, Written("message", number(), "C1"))
        alone.await_command(said)


def test_what_waits_moves_with_its_partition(alone: Writing) -> None:
    ids = [number() for _ in range(18)]
    events, said = [ticket(id) for id in ids], [comment(id) for id in ids]
    with alone.routing("1") as second:
        with alone.routing("0"):
            alone.tell(*events, *said)
            commands = [alone.await_command(event)[0] for event in events]
        eventually(lambda: all(event.key.encode() in second.step._waiting for event in said))  # type: ignore[attr-defined]  # its step is Flows
        for command in commands:
            alone.done(command, Written("message", number(), "C1"))
        for event in said:
            alone.await_command(event)
    assert Counter(record.cause for record in alone.commands(*said)) == {event.id: 1 for event in said}


def test_a_command_that_nobody_will_ever_settle_holds_up_nothing_for_ever(writing: Writing, worker: Worker) -> None:
    writing.configure([CHAT.model_copy(update={"id": "quiet"})])
    known = worker.step._known.commands  # type: ignore[attr-defined]  # its step is Flows
    given_up = writing.order("quiet", ORDER, "k", at=long_ago(26 * 3600))
    eventually(lambda: known.issued_at(given_up.id))
    assert not known.under_way("quiet", 2**60)
    open_one = writing.order("quiet", ORDER, "k")
    eventually(lambda: known.under_way("quiet", 2**60))
    assert known.issued_at(open_one.id)


class Unread:
    """All that flows would know, while its copies are still being made."""

    version = 0

    def __init__(self) -> None:
        self.links = self.commands = self
        self.copy: dict[str, str] | None = None

    def check(self) -> None: ...

    def follow(self, configuration: Configuration) -> None: ...

    def writes(self, object_id: str) -> list[Any]:
        return []

    def twin(self, object_id: str, connection: str) -> dict[str, str] | None:
        return self.copy

    def copying(self, object_id: str, connection: str) -> str:
        return "under_way"

    def under_way(self, connection: str, before_ms: int) -> bool:
        return False


class Outcome:
    """What a step puts into its transaction."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

    def put(self, topic: str, *record: Any) -> None:
        self.done.append(("put", topic))

    def hold(self, partition: Any, offset: int) -> None:
        self.done.append(("hold", (*partition, offset)))

    def finish(self, partition: Any, offset: int) -> None:
        self.done.append(("finish", (*partition, offset)))

    def when_committed(self, do: Callable[[], object]) -> None:
        """Counting is no matter here."""


@dataclass(frozen=True)
class Read:
    """An event as it is read."""

    event: Told
    place: tuple[str, int, int]

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def key(self) -> bytes:
        return self.event.key.encode()

    def value(self) -> bytes:
        return self.event.value

    def headers(self) -> Any:
        return self.event.headers


def beside(known: Any) -> Flows:
    """The step, with most of the flows of this module, and what it is told of writes."""
    flows = Flows(Topics("x"), known)
    sections = {found["id"]: FlowSection.model_validate(found) for found in FLOWS[:4]}
    connections = {"helpdesk": DESK, "chat": CHAT}
    flows.configure(Configuration(HubSection(), connections, sections, {"helpdesk": [AGENT], "chat": [BOT]}))
    return flows


def test_a_partition_that_is_given_back_takes_along_what_waits_of_it() -> None:
    known: Any = Unread()
    flows = beside(known)
    mine, theirs = comment(number()), comment(number())
    outcome: Any = Outcome()
    records: Any = [Read(mine, ("t", 0, 7)), Read(theirs, ("t", 1, 8))]
    flows.process(records, outcome)
    assert outcome.done == [("hold", ("t", 0, 7)), ("hold", ("t", 1, 8))]
    flows.revoked([("t", 1)])
    known.copy = {"system": "slack", "connection": "chat", "type": "message", "id": "1", "scope": "C"}
    outcome.done.clear()
    flows.process([], outcome)
    assert outcome.done == [("put", "x.command.chat"), ("finish", ("t", 0, 7))]


def test_a_cache_that_cannot_be_read_ends_flows_and_makes_no_letter_of_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: Any = Unread()
    flows = beside(known)

    def unusable(*anything: Any) -> None:
        raise CacheUnusable("make room")

    monkeypatch.setattr(known.links, "twin", unusable)
    outcome: Any = Outcome()
    records: Any = [Read(comment(number()), ("t", 0, 7))]
    with pytest.raises(CacheUnusable):
        flows.process(records, outcome)
    assert outcome.done == []


def test_what_was_commanded_a_moment_ago_is_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_ON_ITS_WAY_SECONDS", 0.0)
    known: Any = Unread()
    found = copies.Copies(known)
    for n in range(1000):
        found.issued(str(n), "chat")
    assert len(found._issued) < 1000


def test_what_waits_is_forgotten_with_its_partition_and_in_no_other() -> None:
    waiting = Waiting()
    items = [
        Item(Keyed(key), ("topic", partition), offset, "desk", 0.0)  # type: ignore[arg-type]  # as much as it is asked for
        for key, partition, offset in ITEMS
    ]
    for item in items:
        waiting.add(item)
    waiting.drop([("topic", 1)])
    assert (len(waiting), waiting.most("topic"), waiting.of(("topic", 0), "desk")) == (3, 3, 3)
    assert waiting.most("other") == waiting.of(("topic", 1), "desk") == waiting.of(("topic", 0), "other") == 0
    assert (b"a" in waiting, b"b" in waiting) == (True, False)
    first_of_each = list(waiting.settled(lambda item: item.offset != 5))
    assert [item.offset for item in first_of_each] == [0, 4]
    assert [item.offset for item in waiting.settled(lambda item: True)] == [5]
    assert not waiting


ITEMS = ((b"a", 0, 0), (b"b", 1, 1), (b"a", 1, 2), (b"b", 1, 3), (b"a", 0, 4), (b"a", 0, 5))


@dataclass(frozen=True)
class Keyed:
    """As much of a message as a queue needs."""

    found: bytes

    def key(self) -> bytes:
        return self.found

    def value(self) -> bytes:
        return b""


def test_two_workers_share_the_work_and_every_event_is_commanded_once(alone: Writing) -> None:
    events = [ticket(number()) for _ in range(60)]
    with alone.routing("0"):
        alone.tell(*events[:20])
        with alone.routing("1") as second:
            alone.tell(*events[20:40])
            eventually(lambda: second.loop.assigned)
            alone.tell(*events[40:])
            for event in events:
                alone.await_command(event)
    assert Counter(record.cause for record in alone.commands(*events)) == {event.id: 1 for event in events}


@pytest.mark.parametrize("commits", [True, False])
def test_transactions_of_unknown_outcome_neither_lose_nor_double_anything(alone: Writing, commits: bool) -> None:
    ids = [number() for _ in range(12)]
    events, said = [ticket(id) for id in ids], [comment(id) for id in ids]
    before = counted("unsilo_flows_events", connection="helpdesk", outcome="commanded")
    with alone.routing(loop=doubtful(commits)):
        for event, answer in zip(events, said, strict=True):
            alone.tell(event, answer)
            [command] = alone.await_command(event)
            alone.done(command, Written("message", number(), "C1"))
        for event in said:
            alone.await_command(event)
    assert Counter(record.cause for record in alone.commands(*events, *said)) == {
        event.id: 1 for event in (*events, *said)
    }
    count = counted("unsilo_flows_events", connection="helpdesk", outcome="commanded") - before
    assert count <= 24 if commits else count == 24  # what was committed without our being told is not counted


def test_many_that_wait_hold_up_their_own_topic_only_and_are_all_settled(
    alone: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_MOST_WAITING", 90)
    waiting = [post(f"C{n}", actor=BOT, recorded=long_ago(8)) for n in range(620)]
    with alone.routing() as worker:
        alone.tell(*waiting)
        eventually(lambda: worker.step.paused() == [alone.topics.event(SPACE).name])
        alone.tell(other := ticket(number()))
        alone.await_command(other)
        assert alone.commands(*waiting) == []
        for event in waiting:  # they are somebody else's after all
            alone.await_command(event)
        eventually(lambda: not worker.step.paused())
    assert len(alone.commands(*waiting)) == len(waiting)


def test_where_so_many_wait_a_copy_is_not_waited_for_long(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_CROWDED", 1)
    monkeypatch.setattr(copies, "CROWDED_PATIENCE_SECONDS", 0)
    first, second = number(), number()
    writing.tell(ticket(first), ticket(second))
    for id in (first, second):
        writing.tell(comment(id))
    writing.tail.wait(
        lambda record: (
            record.topic == writing.topics.dead("flows").name
            and record.headers["dl_reason"] == "delivery_timeout"
            and record.data["entity"]["ticket"] in (entity_id("helpdesk", "ticket", id) for id in (first, second))
        ),
        "a letter of one of the two",
    )


def test_many_of_one_connection_that_wait_become_letters_before_they_hold_up_another(
    alone: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While commands to it are under way, whatever its own account does may be an echo: for minutes, were it few."""
    monkeypatch.setattr(step, "_CROWDED", 10)
    monkeypatch.setattr(decisions, "CROWDED_PATIENCE_SECONDS", 0.5)
    alone.configure(flows=[{**FLOWS[3], "id": "never", "when": "entity.body == ''"}])
    alone.command(alone.order("chat", ORDER, "k", at=datetime.now(UTC) - timedelta(seconds=400)))
    with alone.routing() as worker:
        suspected = [post(f"C{n}", actor=BOT, recorded=long_ago(30)) for n in range(300)]
        others = [post(f"W{n}", connection="wall") for n in range(20)]
        alone.tell(*suspected, *others)
        for event in others:
            alone.await_command(event)
        letter, *_ = alone.tail.wait(lambda record: record.topic == alone.topics.dead("flows").name, "a letter")
        assert letter.headers["dl_reason"] == "delivery_timeout"
        assert letter.headers["dl_stage"] == "echo"
        letters = alone.tail.all(lambda record: record.topic == alone.topics.dead("flows").name)
        assert {record.headers["dl_flow"] for record in letters} == {"posts"}
        waiting = worker.step._waiting  # type: ignore[attr-defined]  # its step is Flows
        eventually(lambda: 0 < len(waiting) <= 6 * 10, "what is too much to be put aside")
        assert alone.commands(*suspected) == []


def test_a_marked_object_is_our_own_though_its_link_never_comes(writing: Writing, worker: Worker) -> None:
    marked = post("C" + number(), actor=BOT, marker="a-key", recorded=long_ago())
    by_another = post("C" + number(), marker="a-key")
    writing.tell(marked, by_another)
    writing.await_command(by_another)
    assert writing.await_suppressed(marked).data["why"] == "echo"


def test_our_own_account_is_no_suspect_where_nobody_writes(writing: Writing, worker: Worker) -> None:
    writing.configure([CHAT.model_copy(update={"id": "lonely"})])
    followed(worker, "tickets")
    eventually(lambda: "lonely" in worker._follower.current.connections)
    eventually(lambda: "lonely" in worker.step._configuration.connections)  # type: ignore[attr-defined]  # its step is Flows
    event = post("C" + number(), connection="lonely", actor=BOT)
    writing.tell(event)
    writing.await_command(event)
    assert counted("unsilo_flows_events", connection="lonely", outcome="near_miss") == 0
    # Unless somebody did until a moment ago: a flow that was taken away leaves commands behind.
    command = writing.command(writing.order("lonely", ORDER, "k"))
    echo = post(channel := "C" + number(), connection="lonely", actor=BOT)
    eventually(lambda: worker.step._known.commands.issued_at(command.id))  # type: ignore[attr-defined]  # its step is Flows
    writing.tell(echo)
    eventually(lambda: echo.key.encode() in worker.step._waiting)  # type: ignore[attr-defined]  # its step is Flows
    writing.done(command, Written("message", echo.entity["refs"][0]["id"], channel))
    assert writing.await_suppressed(echo).data["why"] == "echo"


def test_a_killed_worker_loses_nothing_and_does_nothing_twice(alone: Writing) -> None:
    ids = [number() for _ in range(150)]
    events = [ticket(id) for id in ids]
    said = [comment(id) for id in ids[:20]]
    first = alone.start("flows")
    alone.tell(*events[:50], *said)
    alone.tail.wait(lambda record: record.cause in {event.id for event in events}, "the first command")
    alone.tell(*events[50:])
    first.send(signal.SIGKILL)
    first.process.wait()
    second = alone.start("flows")
    for event in events:
        [command] = alone.await_command(event)
        alone.done(command, Written("message", number(), "C1"))
    for event in said:
        alone.await_command(event)
    assert second.stop() == 0
    causes = Counter(record.cause for record in alone.commands(*events, *said))
    assert causes == {event.id: 1 for event in (*events, *said)}
    assert alone.read(alone.topics.dead("flows").name) == []


def test_the_oldest_command_under_way_is_known_also_after_a_restart(alone: Writing, tmp_path: Path) -> None:
    quiet = CHAT.model_copy(update={"id": "quiet"})
    alone.configure([quiet])
    times = [long_ago(hour * 3600) for hour in (5, 9, 2, 7)]  # in the order of their ids, which is that of the table
    given = [
        alone.order("quiet", ORDER, f"k{number}", at=at, id=f"{number:08x}-0000-4000-8000-000000000000")
        for number, at in enumerate(times)
    ]
    alone.producer.flush()
    oldest, next_oldest = (int(times[number].timestamp() * 1000) for number in (1, 3))
    for _ in range(2):  # the second goes on from where the first was
        known = Known(alone.kafka, alone.topics, tmp_path / "links")
        known.follow(Configuration(HubSection(), {"quiet": quiet}))
        known.start()
        assert known.commands.under_way("quiet", oldest + 1)
        assert not known.commands.under_way("quiet", oldest)
        known.stop()
    known = Known(alone.kafka, alone.topics, tmp_path / "links")
    known.follow(Configuration(HubSection(), {"quiet": quiet}))
    known.start()
    alone.refused(alone.command(given[1]))
    eventually(lambda: not known.commands.under_way("quiet", next_oldest))
    assert known.commands.under_way("quiet", next_oldest + 1)
    known.stop()


def test_the_table_of_links_can_be_deleted_and_is_the_same_again(
    writing: Writing, worker: Worker, tmp_path: Path
) -> None:
    _, _, ts = mirrored(writing, id := number())
    open_one = ticket(number())
    writing.tell(open_one)
    [command] = writing.await_command(open_one)
    known = Known(writing.kafka, writing.topics, tmp_path / "links")
    known.follow(worker._follower.current)
    known.start()
    try:
        assert known.links.twin(entity_id("helpdesk", "ticket", id), "chat") == {
            "system": "slack", "connection": "chat", "type": "message", "id": ts, "scope": "C1",
        }  # fmt: skip
        assert known.links.twin(entity_id("chat", "message", ts, "C1"), "helpdesk")
        assert known.commands.copying(open_one.object, "chat") == "under_way"
        assert known.commands.copying(entity_id("helpdesk", "ticket", id), "chat") is None
        assert known.commands.issued_at(command.id) is not None
    finally:
        known.stop()
    known = Known(writing.kafka, writing.topics, tmp_path / "links")  # goes on from where it was
    known.follow(worker._follower.current)
    known.start()
    try:
        assert known.commands.under_way("chat", 2**60)
        writing.refused(command)
        eventually(lambda: known.commands.copying(open_one.object, "chat") == "failed")
    finally:
        known.stop()
