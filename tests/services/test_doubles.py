"""The doubles are to a connector what the systems are: its actions succeed on them, and their webhooks are genuine."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from unsilo_connectors.actions import Command, Postponed, Refused, Response, Target, Written
from unsilo_connectors.contract import Connection, Connector, Event, WebhookRequest
from unsilo_connectors.samples import stored, translated
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack import connector as slack_connector
from unsilo_connectors.standardwebhooks import connector as sender
from unsilo_connectors.zendesk import connector as zendesk_connector
from unsilo_schemas.post import Post, Reaction
from unsilo_schemas.ticket import Comment, Ticket
from unsilo_services.broker.local import free_ports
from unsilo_services.doubles import receiver, slack, zendesk
from unsilo_services.doubles.workspace import BOT_ID, BOT_USER_ID

from tests.connectors.reading import entity_of

KEY = "c1f6b0b2-6f0e-5f8c-9d8e-0a6f3f0f7c11"
WHSEC = "whsec_dW5zaWxvLXNhbXBsZS1zZWNyZXQsIHB1Ymxpc2hlZDogaXQgcHJvdGVjdHMgbm90aGluZw=="
SLACK = slack_connector.settings.model_validate(
    {"signing_secret": Resolved("signs"), "token": Resolved("xoxb-1"), "api_url": "http://slack.test/api"}
)
ZENDESK = zendesk_connector.settings.model_validate(
    {
        "signing_secret": Resolved("signs"),
        "token": Resolved("t"),
        "email": "hub@acme.example",
        "url": "http://zendesk.test",
    }
)
SENDER = sender.settings.model_validate(
    {"secret": Resolved(WHSEC), "url": "http://receiver.test/in/hub", "sending_secret": Resolved(WHSEC)}
)


@dataclass
class Clock:
    at: datetime = datetime(2025, 9, 3, 8, 15, 9, 672717, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


@dataclass
class Hub:
    """Takes webhooks as the gateway does, and translates what it trusts."""

    connector: Connector[Any, Any]
    settings: Any
    clock: Clock = field(default_factory=Clock)
    answers: list[int] = field(default_factory=list)  # 202, once they are used up
    events: list[Event] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def connection(self) -> Connection[Any]:
        return Connection("here", self.connector.name, self.settings)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.receive)

    async def receive(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.log.append("told")
        status = self.answers.pop(0) if self.answers else 202
        if status < 300:
            received = WebhookRequest(self.connection, dict(request.headers), request.content, self.clock.at)
            self.connector.verify(received)
            for raw in stored(self.connector, received):
                self.events.extend(translated(self.connector, raw))
        return httpx.Response(status)

    def seen(self, app: FastAPI) -> Callable[[Any, Any, Any], Awaitable[None]]:
        """The application, with a note of when it has answered."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def noted(message: Any) -> None:
                if message["type"] == "http.response.body" and not scope["path"].startswith("/__"):
                    self.log.append("answered")
                await send(message)

            await app(scope, receive, noted)

        return watched


@dataclass
class Stand:
    """A double with a hub beside it."""

    app: FastAPI
    hub: Hub

    def tell(self, path: str, **body: Any) -> Any:
        answer = asyncio.run(self._ask("POST", path, json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def look(self, path: str) -> Any:
        return asyncio.run(self._ask("GET", path)).json()

    def perform(self, action: str, target: Target | None = None, repeated: bool = False, **arguments: Any) -> list[Any]:
        act = self.hub.connector.actions[action]
        command: Command[Any, Any] = Command(
            self.hub.connection,
            KEY,
            act.arguments.model_validate(arguments),
            self.hub.clock.at,
            self.hub.clock.at,
            target,
            repeated,
        )
        return list(self.play(act.perform(command)))

    def whoami(self) -> list[str]:
        return list(self.play(self.hub.connector.whoami(self.hub.connection)))

    def play(self, steps: Any) -> Sequence[Any]:
        call = next(steps)
        try:
            while True:
                got = asyncio.run(self._ask(call.method, call.url, content=call.body, headers=dict(call.headers)))
                call = steps.send(Response(got.status_code, dict(got.headers), got.content))
        except StopIteration as end:
            found: Sequence[Any] = end.value
            return found

    async def _ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.hub.seen(self.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://double.test") as client:
            return await client.request(method, url, **what)


@pytest.fixture
def chat() -> Stand:
    hub = Hub(slack_connector, SLACK)
    return Stand(slack.create_app(SLACK, "http://hub.test/in/chat", transport=hub.transport, clock=hub.clock), hub)


@pytest.fixture
def desk() -> Stand:
    hub = Hub(zendesk_connector, ZENDESK)
    return Stand(zendesk.create_app(ZENDESK, "http://hub.test/in/desk", transport=hub.transport, clock=hub.clock), hub)


@pytest.fixture
def receiving() -> Stand:
    hub = Hub(sender, SENDER)
    settings = sender.settings.model_validate({"secret": Resolved(WHSEC)})
    return Stand(receiver.create_app(settings, hub.clock), hub)


def known_by(event: Event) -> tuple[str, str, str]:
    ref = event.entity["refs"][0]
    return ref["type"], ref["id"], ref.get("scope", "")


def wrote(written: Written) -> tuple[str, str, str]:
    return written.type, written.id, written.scope


def channels(chat: Stand) -> Mapping[str, str]:
    return {name: channel for channel, name in chat.look("/__workspace")["channels"].items()}


# Slack


def test_slack_echoes_a_post_as_our_own_act_with_our_marker(chat: Stand) -> None:
    [written] = chat.perform("post", channel="wins", text="Weaving hall was won")
    [event] = chat.hub.events
    assert event.type.name == "unsilo.social.post.published.v1"
    assert known_by(event) == wrote(written)
    assert isinstance(entity_of(event), Post)
    assert (entity_of(event).body, entity_of(event).marker) == ("Weaving hall was won", KEY)
    assert event.actor is not None
    assert event.actor["ref"]["id"] in chat.whoami()
    assert chat.whoami() == [BOT_ID, BOT_USER_ID]


def test_slack_keeps_a_thread_together_whoever_replies(chat: Stand) -> None:
    posted = chat.tell("/__act/post", channel="support", text="Oven 3 is cold", user="Nora Lind")
    root = Target("message", posted["ts"], posted["channel"])
    [written] = chat.perform("reply", root, text="On it")
    chat.tell("/__act/reply", channel="support", ts=written.id, text="Thanks!")
    first, ours, theirs = (entity_of(event) for event in chat.hub.events)
    assert isinstance(ours, Post)
    assert isinstance(theirs, Post)
    assert ours.in_reply_to == theirs.in_reply_to == first.id
    assert wrote(written) == known_by(chat.hub.events[1])
    assert chat.hub.events[2].type.name == "unsilo.social.reply.published.v1"
    assert theirs.author is not None
    assert theirs.author.kind == "human"


def test_slack_lets_people_react(chat: Stand) -> None:
    [written] = chat.perform("post", channel="wins", text="Weaving hall was won")
    assert chat.tell("/__act/react", channel="wins", emoji="tada")["delivered"] == 202
    reaction = entity_of(chat.hub.events[1])
    assert isinstance(reaction, Reaction)
    assert (reaction.emoji, reaction.target) == ("tada", entity_of(chat.hub.events[0]).id)
    assert written.id in reaction.refs[0].id


@pytest.mark.parametrize(
    ("echo", "log"), [("before", ["told", "answered"]), ("after", ["answered", "told"]), ("off", ["answered"])]
)
def test_an_echo_comes_before_or_after_the_answer_or_not_at_all(
    chat: Stand, desk: Stand, echo: str, log: list[str]
) -> None:
    chat.tell("/__behave", echo=echo)
    chat.perform("post", channel="wins", text="x")
    assert chat.hub.log == log
    chat.hub.log.clear()
    desk.tell("/__behave", echo=echo)
    desk.perform("ticket", title="x", body="y")
    assert list(dict.fromkeys(desk.hub.log)) == log


@pytest.mark.parametrize("channel", ["wins", "#wins", "id"])
def test_slack_shows_a_repeated_command_what_the_lost_answer_was_about(chat: Stand, channel: str) -> None:
    channel = channels(chat)["wins"] if channel == "id" else channel
    chat.tell("/__behave", lose_next=1)
    with pytest.raises(Postponed):
        chat.perform("post", channel=channel, text="x")
    [written] = chat.perform("post", repeated=True, channel=channel, text="x")
    assert [known_by(event) for event in chat.hub.events] == [wrote(written)]


def test_slack_shows_a_repeated_reply_in_its_thread(chat: Stand) -> None:
    posted = chat.tell("/__act/post", channel="support", text="Oven 3 is cold")
    root = Target("message", posted["ts"], posted["channel"])
    chat.tell("/__behave", lose_next=1)
    with pytest.raises(Postponed):
        chat.perform("reply", root, text="On it")
    [written] = chat.perform("reply", root, repeated=True, text="On it")
    assert [known_by(event) for event in chat.hub.events[1:]] == [wrote(written)]


def test_slack_has_a_history_of_several_pages(chat: Stand) -> None:
    [written] = chat.perform("post", channel="wins", text="the one")
    for number in range(250):
        chat.tell("/__act/post", channel="wins", text=str(number))
    assert chat.perform("post", repeated=True, channel="wins", text="the one") == [written]
    asked = [call["query"].get("cursor") for call in chat.look("/__arrived") if call["path"].endswith("history")]
    assert len(asked) == 2
    assert asked[1]
    headers = {"authorization": "Bearer xoxb-1"}
    query = f"/api/conversations.history?channel={written.scope}&limit=251"
    unasked = asyncio.run(chat._ask("GET", query, headers=headers)).json()["messages"]
    assert len(unasked) == 251
    assert not any("metadata" in message for message in unasked)


def test_slack_puts_a_reply_to_a_message_that_is_gone_into_the_channel(chat: Stand) -> None:
    gone = Target("message", "1.000001", channels(chat)["wins"])
    chat.perform("reply", gone, text="Too late")
    assert chat.hub.events[0].type.name == "unsilo.social.post.published.v1"
    with pytest.raises(Refused, match="thread_not_found"):
        chat.perform("reply", gone, repeated=True, text="Too late")


def test_slack_says_what_it_cannot_do_in_its_own_words(chat: Stand) -> None:
    with pytest.raises(Refused, match="channel_not_found"):
        chat.perform("post", channel="nowhere", text="x")
    chat.tell("/__behave", fail_next=1, error="is_archived")
    with pytest.raises(Refused, match="is_archived"):
        chat.perform("post", channel="wins", text="x")
    chat.hub.settings = slack_connector.settings.model_validate({**dict(SLACK), "token": Resolved("xoxb-2")})
    with pytest.raises(Refused, match="invalid_auth"):
        chat.perform("post", channel="wins", text="x")
    assert chat.hub.events == []


def test_slack_sends_again_what_the_hub_did_not_take(chat: Stand) -> None:
    chat.hub.answers = [503]
    chat.tell("/__act/post", channel="wins", text="x")
    assert [request.headers.get("x-slack-retry-num") for request in chat.hub.requests] == [None, "1"]
    assert chat.hub.requests[0].content == chat.hub.requests[1].content
    assert [(sent["status"], sent["attempts"]) for sent in chat.look("/__sent")] == [(202, 2)]
    chat.hub.answers = [401]
    assert chat.tell("/__act/post", channel="wins", text="x")["delivered"] == 401


# Zendesk


def test_zendesk_echoes_a_new_ticket_as_our_own_act(desk: Stand) -> None:
    made, comment = desk.perform(
        "ticket", title="Oven 3 is cold", body="See #ovens", priority="urgent", kind="incident"
    )
    created, added = desk.hub.events
    assert created.type.name == "unsilo.ticket.ticket.created.v1"
    assert (known_by(created), known_by(added)) == (wrote(made), wrote(comment))
    ticket = entity_of(created)
    assert isinstance(ticket, Ticket)
    assert (ticket.title, ticket.external_id) == ("Oven 3 is cold", KEY)
    assert ticket.priority is not None
    assert ticket.priority.category == "urgent"
    assert created.actor is not None
    assert added.actor is not None
    assert [created.actor["ref"]["id"]] == [added.actor["ref"]["id"]] == desk.whoami()


def test_zendesk_echoes_a_comment_and_keeps_it_internal(desk: Stand) -> None:
    made = desk.tell("/__act/ticket", subject="Oven 3 is cold", body="Since Monday")
    comment, ticket = desk.perform("comment", Target("ticket", str(made["ticket"])), body="Said in #ovens")
    added = desk.hub.events[-1]
    assert added.type.name == "unsilo.ticket.comment.added.v1"
    assert known_by(added) == wrote(comment)
    assert isinstance(entity_of(added), Comment)
    assert entity_of(added).visibility == "internal"
    assert (ticket.id, ticket.fields) == (str(made["ticket"]), ())


def test_zendesk_lets_people_act(desk: Stand) -> None:
    made = desk.tell("/__act/ticket", subject="Oven 3 is cold", body="Since Monday")
    desk.tell("/__act/comment", body="Which one?", public=True)
    desk.tell("/__act/status", status="solved")
    desk.tell("/__act/status", status="open", ticket=made["ticket"])
    assert [event.type.name.removeprefix("unsilo.ticket.") for event in desk.hub.events] == [
        "ticket.created.v1",
        "comment.added.v1",
        "comment.added.v1",
        "ticket.resolved.v1",
        "ticket.reopened.v1",
    ]
    first = entity_of(desk.hub.events[0])
    assert isinstance(first, Ticket)
    assert first.priority is not None
    assert first.priority.category == "urgent"
    actors = {event.actor["ref"]["id"] for event in desk.hub.events if event.actor}
    assert len(actors) == 2
    assert not actors & set(desk.whoami())


def test_zendesk_shows_a_repeated_command_what_the_lost_answer_was_about(desk: Stand) -> None:
    made = desk.tell("/__act/ticket", subject="Oven 3 is cold", body="Since Monday")
    ticket = Target("ticket", str(made["ticket"]))
    desk.tell("/__behave", lose_next=1)
    with pytest.raises(Postponed):
        desk.perform("comment", ticket, body="x")
    comment, _ = desk.perform("comment", ticket, repeated=True, body="x")
    assert [known_by(event) for event in desk.hub.events[2:]] == [wrote(comment)]


@pytest.mark.parametrize("hours", [0, 3])
def test_zendesk_creates_a_ticket_once_even_after_it_has_forgotten_the_idempotency_key(desk: Stand, hours: int) -> None:
    desk.tell("/__behave", lose_next=1)
    with pytest.raises(Postponed):
        desk.perform("ticket", title="x", body="y")
    desk.hub.clock.at += timedelta(hours=hours)
    made, comment = desk.perform("ticket", repeated=True, title="x", body="y")
    assert [known_by(event) for event in desk.hub.events] == [wrote(made), wrote(comment)]


def test_zendesk_answers_an_idempotency_key_as_the_first_time_but_not_for_another_body(desk: Stand) -> None:
    first, again = desk.perform("ticket", title="x", body="y"), desk.perform("ticket", title="x", body="y")
    assert first == again
    assert len(desk.look("/__tickets")) == 1
    with pytest.raises(Refused, match="400"):
        desk.perform("ticket", title="x", body="z")


def test_zendesk_counts_the_calls_of_a_minute_and_then_wants_quiet() -> None:
    hub = Hub(zendesk_connector, ZENDESK)
    desk = Stand(zendesk.create_app(ZENDESK, transport=hub.transport, clock=hub.clock, calls_a_minute=1), hub)
    headers = {"authorization": next(zendesk_connector.whoami(hub.connection)).headers["authorization"]}
    answer = asyncio.run(desk._ask("GET", "/api/v2/users/me.json", headers=headers))
    assert zendesk_connector.pause(Response(200, dict(answer.headers), b"")) == timedelta(seconds=51)
    with pytest.raises(Postponed) as postponed:
        desk.whoami()
    assert postponed.value.retry_after == timedelta(seconds=51)
    assert postponed.value.whole_connection


def test_zendesk_refuses_what_cannot_be_done(desk: Stand) -> None:
    with pytest.raises(Refused, match="404"):
        desk.perform("comment", Target("ticket", "99"), body="x")
    made = desk.tell("/__act/ticket", subject="x", body="y")
    desk.tell("/__act/status", status="closed")
    with pytest.raises(Refused, match="422"):
        desk.perform("comment", Target("ticket", str(made["ticket"])), body="x")
    desk.hub.settings = ZENDESK.model_copy(update={"email": "nobody@acme.example"})
    with pytest.raises(Refused, match="401"):
        desk.whoami()


# All of them


@pytest.mark.parametrize("double", ["chat", "desk", "receiving"])
def test_fails_and_slows_down_when_told_to(double: str, request: pytest.FixtureRequest) -> None:
    stand: Stand = request.getfixturevalue(double)
    acts: dict[str, tuple[str, dict[str, Any]]] = {
        "chat": ("post", {"channel": "wins", "text": "x"}),
        "desk": ("ticket", {"title": "x", "body": "y"}),
        "receiving": ("send", {"type": "a.b", "data": {}}),
    }
    action, arguments = acts[double]
    stand.tell("/__behave", fail_next=1, status=500, rate_limit_next=1, retry_after_seconds=7)
    with pytest.raises(Postponed, match="429") as postponed:
        stand.perform(action, **arguments)
    assert postponed.value.retry_after == timedelta(seconds=7)
    with pytest.raises(Postponed, match="500"):
        stand.perform(action, **arguments)
    assert stand.hub.events == []
    stand.tell("/__behave", delay_seconds=0.05)
    started = time.monotonic()
    assert stand.perform(action, **arguments)
    assert time.monotonic() - started >= 0.05
    arrived = stand.look("/__arrived")
    assert [call["status"] for call in arrived[:2]] == [429, 500]
    assert not any(secret in str(arrived) for secret in ("xoxb-1", "Basic", "v1,"))


def test_tells_whoever_misspells_what_to_do(chat: Stand) -> None:
    answer = asyncio.run(chat._ask("POST", "/__behave", json={"fail_nxt": 1}))
    assert answer.status_code == 422


# Standard Webhooks


def test_the_receiver_takes_a_signed_message_once(receiving: Stand) -> None:
    receiving.tell("/__behave", lose_next=1)
    with pytest.raises(Postponed):
        receiving.perform("send", type="deal.won", data={"name": "Weaving hall"})
    assert receiving.perform("send", repeated=True, type="deal.won", data={"name": "Weaving hall"}) == [
        Written("delivery", KEY)
    ]
    [message] = receiving.look("/__messages")
    assert (message["id"], message["times"], message["data"]) == (KEY, 2, {"name": "Weaving hall"})
    assert [call["headers"]["webhook-id"] for call in receiving.look("/__arrived")] == [KEY, KEY]


def test_the_receiver_shows_each_message_in_one_line(receiving: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    receiving.perform("send", type="deal.won", data={"name": "Weaving\x9bhall " * 20})
    [line] = capsys.readouterr().out.splitlines()
    kind, id, data = line.split("  ", 2)
    assert (kind, id, len(data)) == ("deal.won", KEY, 80)
    assert data.startswith('{"name": "Weaving hall')


def test_the_receiver_takes_nothing_that_is_signed_with_another_secret(receiving: Stand) -> None:
    other = Resolved("whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgcHVibGlzaGVk")
    receiving.hub.settings = sender.settings.model_validate({**dict(SENDER), "sending_secret": other})
    with pytest.raises(Refused, match="401"):
        receiving.perform("send", type="deal.won", data={})
    assert receiving.look("/__messages") == []


def test_the_receiver_can_be_gone_for_good(receiving: Stand) -> None:
    receiving.tell("/__behave", fail_next=1, status=410)
    with pytest.raises(Refused, match="retired"):
        receiving.perform("send", type="deal.won", data={})


# The command


def test_runs_as_a_process_until_it_is_told_to_end() -> None:
    (port,) = free_ports(1)
    secrets = {"SIGNING": "signs", "TOKEN": "xoxb-1"}
    names = ["--secret-env", "SIGNING", "--token-env", "TOKEN"]
    command = [
        sys.executable,
        "-m",
        "unsilo_services.doubles",
        "slack",
        "--port",
        str(port),
        *names,
        "--channel",
        "desk",
    ]
    with subprocess.Popen(command, env={**os.environ, **secrets}, stderr=subprocess.PIPE) as process:
        try:
            assert list(awaited(f"http://127.0.0.1:{port}/__workspace")["channels"].values()) == ["desk"]
        finally:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"xoxb-1" not in said


def test_names_the_variable_that_is_missing() -> None:
    command = [sys.executable, "-m", "unsilo_services.doubles", "receiver", "--port", "1", "--secret-env", "UNSET_HERE"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "UNSET_HERE" in ended.stderr


def awaited(url: str) -> Any:
    end = time.monotonic() + 30
    while True:
        try:
            return httpx.get(url).json()
        except httpx.HTTPError:
            assert time.monotonic() < end
            time.sleep(0.05)
