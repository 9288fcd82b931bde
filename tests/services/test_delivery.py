"""Delivery on a real Kafka and over real sockets: in order, once where that can be had, and each for itself."""

import base64
import gzip
import itertools
import json
import logging
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY, generate_latest
from tenacity import Future, RetryCallState, Retrying
from unsilo_connectors.actions import Action, Arguments, Call, Command, Postponed, Refused, Response, Steps, Written
from unsilo_connectors.contract import Connection, UntrustedWebhook, WebhookRequest
from unsilo_connectors.discovery import connectors
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack.settings import SlackSettings
from unsilo_connectors.standardwebhooks.settings import StandardWebhooksSettings
from unsilo_connectors.zendesk.settings import ZendeskSettings
from unsilo_schemas.command import CommandData
from unsilo_schemas.entity import Ref
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.identity import entity_id
from unsilo_schemas.link import End
from unsilo_services.audit import POSTPONED, RESUMED
from unsilo_services.broker.local import free_ports
from unsilo_services.configuration import ConnectionSection
from unsilo_services.delivery import calls, delays, jobs, lanes, quiet
from unsilo_services.delivery.delays import Delay, Delays
from unsilo_services.doubles import receiver, slack, zendesk
from unsilo_services.kafka import KafkaError, KafkaException, Producer, TopicPartition, headers_of
from unsilo_services.loop import TransactionalLoop

from tests.services.remotes import Answer, Arrival, Double, remote, served, silence
from tests.services.running import SECRET, SECRETS, WHSEC, eventually
from tests.services.running import facts as headers_as_text
from tests.services.writing import PATIENCE_SECONDS, TRACE, Worker, Writing, counted, doubtful, number, writing_hub

pytestmark = pytest.mark.kafka

BACKOFF = lanes._backoff
OK: Answer = (204, {}, b"")
MIRRORS = End(id="m-1", ref=Ref(system="pipedrive", connection="deals", type="deal", id="1"))


class There(Arguments):
    """Where to call."""

    url: str


def raises(command: Command[Any, There]) -> Steps:
    yield Call("POST", f"{command.arguments.url}/first")
    raise KeyError("canary-content")


def raises_at_once(command: Command[Any, There]) -> Steps:
    if command.key:
        raise ValueError("canary-content")
    yield Call("POST", command.arguments.url)
    return ()


def never_ends(command: Command[Any, There]) -> Steps:
    while True:
        yield Call("POST", f"{command.arguments.url}/again")


def bad_header(command: Command[Any, There]) -> Steps:
    yield Call("POST", command.arguments.url, {"authorization": "canary\r\nx: y"})
    return ()


def reads(command: Command[Any, There]) -> Steps:
    response: Response = yield Call("POST", command.arguments.url)
    if response.status >= 300:
        raise Refused(f"answered {response.status}")
    return (Written("thing", str(len(response.body))),)


def asks_twice(command: Command[Any, There]) -> Steps:
    yield Call("POST", f"{command.arguments.url}/cookie")
    yield Call("POST", f"{command.arguments.url}/cookie")
    return (Written("thing", "1"),)


ASKED = threading.Event()


def forgets_who_we_are(connection: Any) -> Any:
    ASKED.set()
    yield Call("POST", connection.settings.nothing)


ACTIONS = (raises, raises_at_once, never_ends, bad_header, reads, asks_twice)
HOSTILE = replaced(
    connectors()["standardwebhooks"],
    name="hostile",
    actions={perform.__name__: Action("Do your worst", There, perform) for perform in ACTIONS},
    whoami=forgets_who_we_are,
)


@pytest.fixture(scope="module", autouse=True)
def _at_worst() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connectors(), "hostile", HOSTILE)
        yield


@pytest.fixture(scope="module", autouse=True)
def _secrets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setattr(lanes, "_backoff", lambda state: 0.05)  # how long it is, is a test of its own
        yield


@pytest.fixture(scope="module")
def writing(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """The hub of this module's tests, each of which has connections of its own there."""
    with writing_hub(kafka_bootstrap, tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="module")
def worker(writing: Writing) -> Iterator[Worker]:
    with writing.delivering() as found:
        yield found


@pytest.fixture
def alone(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Writing]:
    """A hub of a test's own, for those that start and stop workers."""
    with writing_hub(kafka_bootstrap, tmp_path) as hub:
        yield hub


@pytest.fixture(scope="module")
def chat_double() -> Iterator[Double]:
    settings = SlackSettings.model_validate({"signing_secret": Resolved(SECRET), "token": Resolved(SECRET)})
    with served(lambda url: slack.create_app(settings)) as found:
        yield found


@pytest.fixture(scope="module")
def desk_double() -> Iterator[Double]:
    def make(url: str) -> Any:
        secrets = {"signing_secret": Resolved(SECRET), "token": Resolved(SECRET)}
        return zendesk.create_app(ZendeskSettings.model_validate({**secrets, "url": url, "email": "hub@acme.example"}))

    with served(make) as found:
        yield found


@pytest.fixture(scope="module")
def receiver_double() -> Iterator[Double]:
    settings = StandardWebhooksSettings.model_validate({"secret": Resolved(WHSEC)})
    with served(lambda url: receiver.create_app(settings)) as found:
        yield found


def connected(hub: Writing, section: ConnectionSection) -> str:
    """Adds a connection, and returns its id once there is somebody who reads its commands."""
    hub.configure([section])
    return section.id


def new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def to_chat(hub: Writing, double: Double, **more: Any) -> str:
    settings = {"signing_secret": {"env": "SECRET"}, "token": {"env": "SECRET"}, "api_url": f"{double.url}/api"}
    id = new_id("chat")
    optional: dict[str, Any] = {"audience": "internal", "own_accounts": ("B1",), **more}
    return connected(hub, ConnectionSection(id=id, connector="slack", settings=settings, **optional))


def to_desk(hub: Writing, double: Double, **more: Any) -> str:
    secret = {"env": "SECRET"}
    settings = {"signing_secret": secret, "token": secret, "url": double.url, "email": "hub@acme.example"}
    id = new_id("desk")
    optional: dict[str, Any] = {"own_accounts": ("1",), **more}
    return connected(hub, ConnectionSection(id=id, connector="zendesk", settings=settings, **optional))


def to_receiver(hub: Writing, url: str, **more: Any) -> str:
    settings = {"secret": {"env": "WHSEC"}, "sending_secret": {"env": "WHSEC"}, "url": f"{url}/in"}
    section = ConnectionSection(
        id=new_id("sink"), connector="standardwebhooks", settings=settings, **{"audience": "internal", **more}
    )
    return connected(hub, section)


def ordered(
    hub: Writing, connection: str, action: str, arguments: dict[str, Any], key: str = "", target: Ref | None = None,
    **attributes: Any,
) -> Envelope:  # fmt: skip
    optional: dict[str, Any] = {} if target is None else {"target": target}
    data = CommandData(flow="f", action=action, arguments=arguments, mirrors=MIRRORS, **optional)
    return hub.order(connection, data, key or number(), **attributes)


def sent(hub: Writing, connection: str, data: Any, key: str = "") -> Envelope:
    """A command to a receiver."""
    return ordered(hub, connection, "send", {"type": "t", "data": {"said": data}}, key)


def said(arrival: Arrival) -> Any:
    return arrival.json["data"]["said"]


def failing(times: int, answer: Answer | None) -> Callable[[Arrival], Answer | None]:
    """Fails so many times for each message, then takes it."""
    seen: Counter[str] = Counter()

    def answered(arrival: Arrival) -> Answer | None:
        seen[arrival.headers["webhook-id"]] += 1
        return answer if seen[arrival.headers["webhook-id"]] <= times else OK

    return answered


def test_what_was_written_is_told_by_a_link_with_the_story(
    writing: Writing, worker: Worker, chat_double: Double
) -> None:
    chat = to_chat(writing, chat_double)
    channel = next(iter(chat_double.look("/__workspace")["channels"]))
    command = ordered(writing, chat, "post", {"channel": "general", "text": "hi"}, key := number())
    link = writing.await_link(command.id)
    entity = link.data["entity"]
    ts = entity["right"]["ref"]["id"]
    assert entity["right"] == {
        "id": entity_id(chat, "message", ts, channel),
        "ref": {"system": "slack", "connection": chat, "type": "message", "id": ts, "scope": channel},
    }
    assert (entity["left"]["id"], entity["command"], entity["wrote"]) == ("m-1", command.id, [entity["right"]])
    assert entity["story"] == {"correlationid": "c-1", "hops": 1, "via": ["elsewhere", chat]}
    facts = link.headers
    assert (link.key, facts["ce_correlationid"], facts["ce_hops"]) == (key, "c-1", "1")
    assert (facts["ce_via"], facts["ce_traceparent"]) == (f"elsewhere,{chat}", TRACE)


def test_the_fields_that_a_call_touched_are_in_the_link(writing: Writing, worker: Worker, desk_double: Double) -> None:
    desk = to_desk(writing, desk_double)
    made = desk_double.act("ticket", subject="Fire", body="It burns")
    target = Ref(system="zendesk", connection=desk, type="ticket", id=str(made["ticket"]))
    command = ordered(writing, desk, "comment", {"body": "on it"}, target=target)
    wrote = writing.await_link(command.id).data["entity"]["wrote"]
    assert [(item["ref"]["type"], item.get("fields")) for item in wrote] == [("comment", None), ("ticket", [])]
    assert wrote[1]["id"] == entity_id(desk, "ticket", str(made["ticket"]))


@pytest.mark.parametrize("answer", [(503, {}, b""), (500, {}, b"x"), (429, {"retry-after": "0"}, b""), None])
def test_the_idempotency_key_is_the_same_on_every_attempt_and_the_trace_goes_along(
    writing: Writing, worker: Worker, answer: Answer | None
) -> None:
    with remote(failing(2, answer)) as there:
        sink = to_receiver(writing, there.url)
        command = sent(writing, sink, "x")
        writing.await_link(command.id)
        assert [arrival.headers["webhook-id"] for arrival in there.arrived] == [command.id] * 3
        assert {arrival.headers["traceparent"] for arrival in there.arrived} == {TRACE}
        assert len(writing.links(command.id)) == 1
    assert counted("unsilo_delivery_attempts", connection=sink, outcome="postponed") == 2
    assert counted("unsilo_delivery_attempts", connection=sink, outcome="done") == 1
    assert counted("unsilo_deliveries", connection=sink, outcome="done") == 1
    took = {"connection": sink}
    assert REGISTRY.get_sample_value("unsilo_end_to_end_seconds_count", took) == 1
    assert 0 < (REGISTRY.get_sample_value("unsilo_end_to_end_seconds_sum", took) or 0) < PATIENCE_SECONDS


def test_an_attempt_that_may_have_gone_through_is_looked_up_and_not_doubled(
    writing: Writing, worker: Worker, chat_double: Double, desk_double: Double
) -> None:
    chat, desk = to_chat(writing, chat_double), to_desk(writing, desk_double)
    made = desk_double.act("ticket", subject="Fire", body="It burns")["ticket"]
    target = Ref(system="zendesk", connection=desk, type="ticket", id=str(made))
    chat_double.behave(lose_next=1)
    desk_double.behave(lose_next=1)
    posted = ordered(writing, chat, "post", {"channel": "support", "text": (text := "once " + number())})
    written = ordered(writing, desk, "comment", {"body": text}, target=target)
    ts = writing.await_link(posted.id).data["entity"]["right"]["ref"]["id"]
    writing.await_link(written.id)
    bodies = [call["body"] for call in chat_double.arrived("chat.postMessage") if call["body"]["text"] == text]
    assert len(bodies) == 1
    assert ts
    [ticket] = [one for one in desk_double.look("/__tickets") if one["id"] == made]
    comments = [event["body"] for audit in ticket["audits"] for event in audit["events"] if event["type"] == "Comment"]
    assert comments.count(text) == 1


def test_a_command_that_is_put_back_is_looked_up_before_it_is_done(
    writing: Writing, worker: Worker, chat_double: Double
) -> None:
    """It may have been done before it became a letter: so it is with one that was given up."""
    chat = to_chat(writing, chat_double)
    text = "again " + number()
    first = ordered(writing, chat, "post", {"channel": "support", "text": text})
    was = writing.await_link(first.id)
    ordered(writing, chat, "post", {"channel": "support", "text": text}, id=first.id, redrive_of="delivery/0/1")
    again = writing.tail.wait(lambda record: record.topic == was.topic and record.cause == first.id, "two links", 2)[1]
    assert again.data["entity"]["right"] == was.data["entity"]["right"]
    assert [call["body"]["text"] for call in chat_double.arrived("chat.postMessage")].count(text) == 1


def test_what_a_remote_does_not_take_for_a_day_is_a_letter(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = datetime.now(UTC) - timedelta(hours=24)
    with remote(lambda arrival: (503, {}, b"")) as there:
        sink = to_receiver(writing, there.url)
        still = ordered(writing, sink, "send", {"type": "t", "data": "x"}, at=yesterday)
        there.wait(3)
        assert writing.letters("delivery", still.id) == []  # the hub itself may have been down for a day
        monkeypatch.setattr(jobs, "_TRIED_AT_LEAST", timedelta(0))
        command = ordered(writing, sink, "send", {"type": "t", "data": "x"}, at=yesterday)
        [letter] = writing.await_letter("delivery", command.id)
        assert letter.headers["dl_reason"] == "delivery_timeout"
        assert "standardwebhooks answered 503" in letter.headers["dl_error"]
        assert int(letter.headers["dl_attempts"]) >= 1
        writing.disconnect(sink)


def test_a_letter_says_when_its_command_failed_first(writing: Writing, worker: Worker) -> None:
    with remote(lambda arrival: (503, {}, b"") if len(there.arrived) < 3 else (422, {}, b"")) as there:
        sink = to_receiver(writing, there.url)
        [letter] = writing.await_letter("delivery", sent(writing, sink, 1).id)
        first, last = (datetime.fromisoformat(letter.headers[name]) for name in ("dl_first_at", "dl_last_at"))
        waited = there.arrived[2].at - there.arrived[1].at  # between a failure after the first and the refusal
        assert (last - first).total_seconds() >= waited
        assert letter.headers["dl_attempts"] == "3"


@pytest.mark.parametrize(
    ("first_tried", "given_up"),
    [
        ("2026-03-02T10:00", "2026-03-03T10:00"),
        ("2026-03-03T09:30", "2026-03-03T10:30"),
        ("2026-03-05", "2026-03-05T01"),
    ],
)
def test_a_command_is_tried_for_24_hours_and_for_one_where_the_hub_itself_was_down(
    first_tried: str, given_up: str
) -> None:
    issued = Envelope(id="1", source="/f", type="t", time=datetime(2026, 3, 2, 10, tzinfo=UTC))
    order = jobs.Order(cast(Any, None), issued, cast(Any, None))
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first_tried, given_up))
    assert order.given_up_at(first) == last


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (400, {}, "check the flow's arguments"),
        (401, {}, "check the connection's secret"),
        (404, {}, "(404)"),
        (410, {}, "(410)"),
        (302, {"location": "http://127.0.0.1:1/"}, "redirects (302)"),
    ],
)
def test_what_the_remote_refuses_for_good_is_a_letter_without_content(
    writing: Writing, worker: Worker, status: int, headers: dict[str, str], meaning: str
) -> None:
    canary = "canary-" + number()
    with remote(lambda arrival: (status, headers, canary.encode())) as there:
        sink = to_receiver(writing, there.url)
        command = sent(writing, sink, canary)
        [letter] = writing.await_letter("delivery", command.id)
        assert len(there.arrived) == 1
    facts = letter.headers
    assert (facts["dl_reason"], facts["dl_stage"]) == ("delivery_rejected", "call")
    assert meaning in facts["dl_error"]
    assert canary not in str(facts)
    assert letter.data["arguments"]["data"]["said"] == canary
    assert writing.links(command.id) == []


def test_the_log_says_why_commands_wait_once_for_each_reason_and_when_they_go_on(
    writing: Writing, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    canary = "canary-" + number()
    answers: list[Answer] = [*5 * [(503, {}, canary.encode())], *5 * [(500, {}, canary.encode())]]
    with remote(lambda arrival: answers[len(there.arrived) - 1] if len(there.arrived) <= 10 else OK) as there:
        sink = to_receiver(writing, there.url)
        writing.await_link(sent(writing, sink, canary).id)
    told = [message for message in caplog.messages if message.startswith(f"commands for {sink} ")]
    assert told == [
        f"commands for {sink} wait: standardwebhooks answered 503",
        f"commands for {sink} wait: standardwebhooks answered 500",
        f"commands for {sink} go on",
    ]
    assert canary not in caplog.text
    eventually(lambda: len(delays_noted(writing, sink)) == 3)
    assert delays_noted(writing, sink) == [
        (POSTPONED, {"why": "standardwebhooks answered 503"}),
        (POSTPONED, {"why": "standardwebhooks answered 500"}),
        (RESUMED, {}),
    ]


def test_says_where_nobody_answers_and_what_the_system_said_of_it(writing: Writing, worker: Worker) -> None:
    (port,) = free_ports(1)
    canary = "canary-" + number()
    sink = to_receiver(writing, f"http://user:{canary}@127.0.0.1:{port}/{canary}?{canary}")
    sent(writing, sink, 1)
    found = eventually(lambda: delays_noted(writing, sink))
    assert found[0] == (
        POSTPONED,
        {"why": f"standardwebhooks is out of reach at 127.0.0.1:{port} (Connection refused)"},
    )
    writing.disconnect(sink)


def delays_noted(hub: Writing, connection: str) -> list[tuple[str, Any]]:
    """What `audit` says of the commands that waited there."""
    found = [(headers_as_text(message), json.loads(message.value() or b"")) for message in hub.audit()]
    return [(headers["ce_type"], facts) for headers, facts in found if headers.get("ce_connection") == connection]


def test_what_waits_is_told_again_after_it_went_on_and_what_was_given_up_does_not_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    noted: SimpleQueue[Delay] = SimpleQueue()
    found = Delays("sink", noted)
    found.postponed("1", "away")
    found.postponed("2", "away")
    found.ended("1", done=True)
    assert caplog.messages == ["commands for sink wait: away"]
    found.ended("2", done=True)
    found.ended("3", done=True)
    assert caplog.messages[1:] == ["commands for sink go on"]
    found.postponed("4", "away")
    found.start_afresh()
    found.postponed("4", "away")
    found.ended("4", done=False)
    assert caplog.messages[2:] == 2 * ["commands for sink wait: away"]
    assert [noted.get().why for _ in range(noted.qsize())] == ["away", None, "away", "away", None]


def test_a_wait_of_hours_is_told_every_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(delays, "time", SimpleNamespace(monotonic=lambda: now))
    found = Delays("sink", SimpleQueue())
    for minute in range(60):
        now = 60.0 * minute
        found.postponed("1", "away")
    assert len(caplog.messages) == 6


def test_order_is_kept_for_each_object_while_one_is_tried_again(writing: Writing, worker: Worker) -> None:
    go = threading.Event()

    def answer(arrival: Arrival) -> Answer:
        return (503, {}, b"") if said(arrival) == "a1" and not go.is_set() else OK

    with remote(answer) as there:
        sink = to_receiver(writing, there.url)
        first = [sent(writing, sink, name, "object-a") for name in ("a1", "a2", "a3")]
        other = [sent(writing, sink, name, "object-b") for name in ("b1", "b2")]
        for command in other:
            writing.await_link(command.id)
        assert {said(arrival) for arrival in there.arrived} == {"a1", "b1", "b2"}
        go.set()
        for command in first:
            writing.await_link(command.id)
        done = [said(arrival) for arrival in there.arrived if said(arrival) not in ("b1", "b2")]
        assert [name for n, name in enumerate(done) if name not in done[:n]] == ["a1", "a2", "a3"]
        assert done.index("a2") > max(n for n, name in enumerate(done) if name == "a1")


def test_what_comes_behind_a_refused_command_goes_on(writing: Writing, worker: Worker) -> None:
    with remote(lambda arrival: (400, {}, b"") if said(arrival) == 1 else OK) as there:
        sink = to_receiver(writing, there.url)
        first, second = sent(writing, sink, 1, "same"), sent(writing, sink, 2, "same")
        writing.await_letter("delivery", first.id)
        writing.await_link(second.id)


def test_too_many_requests_pause_the_whole_connection(writing: Writing, worker: Worker) -> None:
    """The rest waits for a slot when the first is told to wait, and would fall into the quiet time."""
    together = threading.Barrier(lanes.CONCURRENT_CALLS)
    answered: list[float] = []

    def answer(arrival: Arrival) -> Answer:
        if len(busy.arrived) <= lanes.CONCURRENT_CALLS:
            together.wait(PATIENCE_SECONDS)
            answered.append(arrival.at)
            return 429, {"retry-after": "1"}, b""
        return OK

    with remote(answer) as busy:
        limited = to_receiver(writing, busy.url)
        waiting = [sent(writing, limited, n) for n in range(3 * lanes.CONCURRENT_CALLS)]
        for command in waiting:
            writing.await_link(command.id)
        later = sorted(arrival.at for arrival in busy.arrived)[lanes.CONCURRENT_CALLS :]
        assert len(later) == len(waiting)
        assert min(later) >= max(answered) + 1


def test_a_pause_of_a_day_holds_up_no_other_and_ends_when_the_connection_is_changed(
    writing: Writing, worker: Worker
) -> None:
    """Also for those that were not told to wait, and fall into the quiet time of the one that was."""
    with (
        remote(lambda arrival: (429, {"retry-after": "86400"}, b"") if len(there.arrived) == 1 else OK) as there,
        remote(lambda arrival: OK) as free,
    ):
        sink, other = to_receiver(writing, there.url), to_receiver(writing, free.url)
        told = sent(writing, sink, 1)
        eventually(lambda: counted("unsilo_delivery_attempts", connection=sink, outcome="postponed"))
        others = [sent(writing, sink, n) for n in range(2, 5)]
        eventually(lambda: waiting(worker, sink) == 4)
        writing.await_link(sent(writing, other, "x").id)
        change(writing, sink, url=f"{there.url}/in")
        assert len(there.arrived) == 1  # nothing has changed
        change(writing, sink, url=f"{there.url}/other")
        for command in (told, *others):
            writing.await_link(command.id)
        assert [arrival.path for arrival in there.arrived] == ["/in"] + 4 * ["/other"]


def waiting(worker: Worker, connection: str) -> int:
    """How many of its commands delivery has taken up and not finished."""
    return sum(order.connection == connection for order in list(worker.step._running.values()))  # type: ignore[attr-defined]  # its step is Delivery


def test_no_remote_silences_its_connection_for_longer_than_a_quarter_of_an_hour() -> None:
    day, asked = timedelta(days=1), quiet.Quiet()
    asked.ask(timedelta(minutes=10))
    assert 500 < asked.left <= 600
    asked.ask(day)
    assert 800 < asked.left <= 900
    assert paused(1, Postponed("too many requests (429)", day, whole_connection=True)) == 900


def test_an_answer_to_what_a_connection_was_does_not_silence_what_it_is() -> None:
    lane = lanes._Lane(Delays("sink", SimpleQueue()))
    was = lane.quiet
    lane.start_afresh()
    was.ask(timedelta(minutes=10))
    assert lane.quiet.left <= 0


def test_a_rate_header_pauses_the_connection_after_a_call_that_was_done(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = connectors()["standardwebhooks"]
    paused = replaced(kind, pause=lambda response: timedelta(seconds=response.status // 200))
    monkeypatch.setitem(connectors(), "standardwebhooks", paused)
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url)
        first = sent(writing, sink, 1)
        writing.await_link(first.id)
        second = sent(writing, sink, 2)
        writing.await_link(second.id)
        assert there.arrived[1].at >= there.arrived[0].at + 1


def test_a_retry_waits_as_long_as_the_remote_asks_and_longer_each_time_else() -> None:
    assert paused(1, Postponed("x", timedelta(seconds=30))) >= 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "_backoff", BACKOFF)
        longest = [max(paused(attempt, Postponed("x")) for _ in range(200)) for attempt in (1, 3, 5, 20)]
        assert longest == sorted(longest)
        assert 0.2 < longest[0] <= 0.5
        assert 30 < longest[-1] <= 60
        assert paused(20, Postponed("x", timedelta(seconds=90))) >= 90


def paused(attempt: int, error: Exception) -> float:
    """How long a command waits after an attempt that ended so."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future(attempt)
    state.outcome.set_exception(error)
    return lanes._pause(state)


def test_a_dead_connection_fills_its_own_queue_and_holds_up_nobody_else(writing: Writing, worker: Worker) -> None:
    alive = threading.Event()
    with remote(lambda arrival: OK if alive.is_set() else None) as dead, remote(lambda arrival: OK) as free:
        down, other = to_receiver(writing, dead.url), to_receiver(writing, free.url)
        waiting = [sent(writing, down, n) for n in range(700)]
        topic = writing.topics.command(down).name
        eventually(lambda: topic in worker.step.paused())
        for n in range(20):
            writing.await_link(sent(writing, other, n).id)
        assert worker.step.paused() == [topic]
        alive.set()
        for command in waiting:
            writing.await_link(command.id)
        served_ids = Counter(arrival.headers["webhook-id"] for arrival in dead.arrived)
        assert set(served_ids) == {command.id for command in waiting}
        assert not worker.step.paused()


def test_a_command_is_tried_again_where_no_client_could_be_made_for_it(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a proxy or certificates that do not hold, or for want of an open file."""

    def none(calls: int) -> None:
        raise FileNotFoundError("nowhere.pem")

    with remote(lambda arrival: OK) as there:
        with monkeypatch.context() as broken:
            broken.setattr(lanes, "client", none)
            command = sent(writing, sink := to_receiver(writing, there.url), 1)
            eventually(lambda: counted("unsilo_delivery_attempts", connection=sink, outcome="postponed"))
        writing.await_link(command.id)


def test_a_connection_that_never_answers_holds_up_nobody_else(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silence() as nowhere, remote(lambda arrival: OK) as free:
        mute, other = to_receiver(writing, nowhere), to_receiver(writing, free.url)
        stuck = [sent(writing, mute, n) for n in range(3 * lanes.CONCURRENT_CALLS)]
        for n in range(20):
            writing.await_link(sent(writing, other, n).id)
        assert all(not writing.links(command.id) for command in stuck)
        monkeypatch.setattr(calls, "CALL_SECONDS", 0.1)
        writing.disconnect(mute)


def test_delivery_refuses_by_name_what_is_not_for_colleagues(
    writing: Writing, worker: Worker, desk_double: Double
) -> None:
    desk = to_desk(writing, desk_double)
    target = Ref(system="zendesk", connection=desk, type="ticket", id="4821")
    before = len(desk_double.arrived("tickets"))
    public = ordered(writing, desk, "comment", {"body": "x", "public": True}, target=target)
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url, audience=None)
        outside = sent(writing, sink, "x")
        for command, name in ((public, desk), (outside, sink)):
            [letter] = writing.await_letter("delivery", command.id)
            facts = letter.headers
            assert (facts["dl_reason"], facts["dl_stage"]) == ("rule_violation", "gate")
            assert f"connection {name} is not marked `audience: internal`" in facts["dl_error"]
        assert there.arrived == []
    assert len(desk_double.arrived("tickets")) == before


@pytest.mark.parametrize(
    ("change", "reason", "error"),
    [
        ({"action": "shout"}, "rule_violation", "standardwebhooks has no action shout"),
        ({"arguments": {"type": "no type!", "data": "canary"}}, "delivery_rejected", "type: "),
        ({"arguments": {}}, "delivery_rejected", "data: "),
    ],
)
def test_a_command_that_cannot_be_tried_is_a_letter(
    writing: Writing, worker: Worker, change: dict[str, Any], reason: str, error: str
) -> None:
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url)
        wanted = {"action": "send", "arguments": {"type": "t", "data": "canary"}, **change}
        command = ordered(writing, sink, **wanted)
        [letter] = writing.await_letter("delivery", command.id)
        assert letter.headers["dl_reason"] == reason
        assert error in letter.headers["dl_error"]
        assert "canary" not in letter.headers["dl_error"]
        assert there.arrived == []


@pytest.mark.parametrize("value", [b"", b"null", b"\xff", b"[" * 100_000, b'{"flow": 1}'])
def test_a_command_that_cannot_be_read_is_a_letter_and_stops_nobody(
    writing: Writing, worker: Worker, value: bytes
) -> None:
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url)
        topic, id = writing.topics.command(sink).name, str(uuid.uuid4())
        for headers in ([("ce_id", id.encode())], Envelope(id=id, source="/f", type="t").to_headers()):
            writing.producer.produce(topic, value, b"k", headers=list(headers))
        writing.await_link(sent(writing, sink, "x", "k").id)
        letters = writing.await_letter("delivery", id, 2)
        assert {letter.headers["dl_reason"] for letter in letters} == {"payload_malformed"}


def test_a_command_whose_key_names_no_aggregate_is_a_letter_before_anybody_is_called(
    writing: Writing, worker: Worker
) -> None:
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url)
        command = writing.command(sent(writing, sink, "x", "k"))
        writing.await_link(command.id)
        producer, id = writing.producer, str(uuid.uuid4()).encode()
        headers = {name: id if name == "ce_id" else value for name, value in headers_of(command.message)}
        producer.produce(writing.topics.command(sink).name, command.message.value(), b"\xff\xfe", headers=dict(headers))
        [letter] = writing.await_letter("delivery", id.decode())
        assert letter.headers["dl_reason"] == "payload_malformed"
        assert len(there.arrived) == 1


def test_a_missing_secret_refuses_and_names_itself(writing: Writing, worker: Worker) -> None:
    with remote(lambda arrival: OK) as there:
        settings = {"secret": {"env": "WHSEC"}, "sending_secret": {"env": "NOT_THERE"}, "url": there.url}
        section = ConnectionSection(
            id=new_id("sink"), connector="standardwebhooks", audience="internal", settings=settings
        )
        command = sent(writing, connected(writing, section), "x")
        [letter] = writing.await_letter("delivery", command.id)
        assert "environment variable NOT_THERE is not set" in letter.headers["dl_error"]


def test_a_command_that_waits_goes_to_the_address_that_was_corrected(writing: Writing, worker: Worker) -> None:
    with remote(lambda arrival: (503, {}, b"")) as wrong, remote(lambda arrival: OK) as right:
        sink = to_receiver(writing, wrong.url)
        command = sent(writing, sink, "x")
        wrong.wait(2)
        change(writing, sink, url=f"{right.url}/in")
        writing.await_link(command.id)
        assert [arrival.headers["webhook-id"] for arrival in right.arrived] == [command.id]


def test_a_command_that_waits_signs_with_the_secret_that_its_file_holds_by_then(
    writing: Writing, worker: Worker, tmp_path: Path
) -> None:
    other = "whsec_" + base64.b64encode(b"the other secret of this receiver").decode()
    (file := tmp_path / "secret").write_text(WHSEC)
    with remote(lambda arrival: OK if signed_with(other, arrival) else (503, {}, b"")) as there:
        sink = to_receiver(writing, there.url)
        change(writing, sink, sending_secret={"file": str(file)})
        command = sent(writing, sink, "x")
        there.wait(2)
        file.write_text(other)
        writing.await_link(command.id)


def test_a_command_waits_while_the_file_of_a_secret_is_missing_and_the_log_says_so(
    writing: Writing, worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is for a moment when a secret is rotated by taking its file away and writing another."""
    file = tmp_path / "secret"
    with remote(lambda arrival: OK) as there:
        sink = to_receiver(writing, there.url)
        change(writing, sink, sending_secret={"file": str(file)})
        wanted = writing.connections[sink]
        eventually(lambda: worker.step._configuration.connections.get(sink) == wanted)  # type: ignore[attr-defined]  # its step is Delivery
        command = sent(writing, sink, "x")
        why = f"commands for {sink} wait: the secret's file {file} "
        eventually(lambda: why + "cannot be read: No such file or directory" in caplog.text)
        file.write_text("")
        eventually(lambda: why + "is not set or empty" in caplog.text)
        assert there.arrived == []
        file.write_text(WHSEC)
        writing.await_link(command.id)
    assert writing.letters("delivery", command.id) == []


def signed_with(secret: str, arrival: Arrival) -> bool:
    """Whether a receiver with this secret trusts what came."""
    settings = StandardWebhooksSettings.model_validate({"secret": Resolved(secret)})
    here = Connection("sink", "standardwebhooks", settings)
    try:
        connectors()["standardwebhooks"].verify(WebhookRequest(here, arrival.headers, arrival.body, datetime.now(UTC)))
    except UntrustedWebhook:
        return False
    return True


def change(hub: Writing, connection: str, audience: str | None = "internal", **settings: Any) -> None:
    """Configures a connection otherwise, as `unsilo apply` does."""
    before = hub.connections[connection]
    found = {"settings": {**before.settings, **settings}, "audience": audience}
    hub.configure([before.model_copy(update=found)])


def test_a_command_that_waits_is_not_written_once_its_connection_is_closed_to_it(
    writing: Writing, worker: Worker
) -> None:
    with remote(lambda arrival: (503, {}, b"")) as there, remote(lambda arrival: OK) as after:
        sink = to_receiver(writing, there.url)
        command = sent(writing, sink, "x")
        there.wait(2)
        change(writing, sink, audience=None, url=f"{after.url}/in")
        [letter] = writing.await_letter("delivery", command.id)
        assert (letter.headers["dl_reason"], letter.headers["dl_stage"]) == ("rule_violation", "gate")
        assert f"connection {sink} is not marked `audience: internal`" in letter.headers["dl_error"]
        assert after.arrived == []


def gated() -> tuple[threading.Event, threading.Event, Callable[[Arrival], Answer]]:
    """A remote's answer that comes only once it may: set when it was called, to be set for it to go on, the answer."""
    called, go = threading.Event(), threading.Event()

    def answer(arrival: Arrival) -> Answer:
        called.set()
        go.wait(PATIENCE_SECONDS)
        return OK

    return called, go, answer


def test_a_connection_that_is_taken_away_while_its_call_is_out_loses_no_result(
    writing: Writing, worker: Worker
) -> None:
    called, go, answer = gated()
    with remote(answer) as there:
        sink = to_receiver(writing, there.url)
        command = sent(writing, sink, "x")
        assert called.wait(PATIENCE_SECONDS)
        writing.disconnect(sink)
        eventually(lambda: sink not in worker.step._configuration.connections)  # type: ignore[attr-defined]  # its step is Delivery
        go.set()
        writing.await_link(command.id)


def test_what_waits_for_a_connection_that_is_taken_away_stays_until_it_comes_back(
    writing: Writing, worker: Worker
) -> None:
    with remote(lambda arrival: (503, {}, b"")) as there:
        sink = to_receiver(writing, there.url)
        commands = [sent(writing, sink, number) for number in range(3)]
        eventually(lambda: waiting(worker, sink) == 3)
        there.wait(3)
        section = writing.connections[sink]
        writing.disconnect(sink)
        eventually(lambda: waiting(worker, sink) == 0)
        assert not any(writing.letters("delivery", command.id) for command in commands)
        assert REGISTRY.get_sample_value("unsilo_delivery_waiting", {"connection": sink}) is None
    with remote(lambda arrival: OK) as there:
        writing.configure([replaced_url(section, there.url)])
        for command in commands:
            writing.await_link(command.id)


def replaced_url(section: ConnectionSection, url: str) -> ConnectionSection:
    return section.model_copy(update={"settings": {**section.settings, "url": url}})


def test_one_object_whose_calls_hang_leaves_the_others_of_its_connection_going(
    writing: Writing, worker: Worker
) -> None:
    called, go, answer = gated()
    first = itertools.count()
    with remote(lambda arrival: answer(arrival) if next(first) == 0 else OK) as there:
        sink = to_receiver(writing, there.url)
        hanging = sent(writing, sink, "hangs", key="one")
        assert called.wait(PATIENCE_SECONDS)
        writing.await_link(sent(writing, sink, "goes", key="another").id)
        go.set()
        writing.await_link(hanging.id)


def to_the_worst(hub: Writing) -> str:
    """A system whose connector is the worst there is."""
    settings = {"secret": {"env": "WHSEC"}}
    section = ConnectionSection(id=new_id("worst"), connector="hostile", audience="internal", settings=settings)
    return connected(hub, section)


@pytest.mark.parametrize(
    ("action", "url", "error"),
    [
        ("raises", "", "KeyError at raises"),
        ("raises_at_once", "", "ValueError at raises_at_once"),
        ("never_ends", "", f"needs more than {calls.MOST_CALLS} calls"),
        ("reads", "http://a:b", "has an address that is none"),
        ("reads", "file:///etc/passwd", "neither http nor https"),
        ("reads", "nowhere", "neither http nor https"),
    ],
)
def test_a_fault_of_an_action_is_its_commands_alone(
    writing: Writing, worker: Worker, action: str, url: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with remote(lambda arrival: (200, {}, b"")) as there:
        worst = to_the_worst(writing)
        command = ordered(writing, worst, action, {"url": url or there.url}, "same")
        fine = ordered(writing, worst, "reads", {"url": there.url}, "same")
        [letter] = writing.await_letter("delivery", command.id)
        assert error in letter.headers["dl_error"]
        assert "canary" not in letter.headers["dl_error"] + caplog.text
        writing.await_link(fine.id)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"content-length": str(2 * calls.MOST_BYTES)}, b"x" * (2 * calls.MOST_BYTES)),
        (200, {"content-encoding": "gzip"}, gzip.compress(b"\0" * (20 * calls.MOST_BYTES))),
        (200, {"content-encoding": "gzip"}, b"no gzip"),
        (200, {"content-length": "10", "connection": "close"}, b"short"),
    ],
)  # fmt: skip
def test_an_answer_without_end_or_sense_is_tried_again_and_takes_no_memory(
    writing: Writing, worker: Worker, answer: Answer
) -> None:
    def once(arrival: Arrival) -> Answer | None:
        return answer if len(there.arrived) == 1 else (200, {}, b"fine")

    with remote(once) as there:
        worst = to_the_worst(writing)
        command = ordered(writing, worst, "reads", {"url": there.url})
        assert writing.await_link(command.id).data["entity"]["right"]["ref"]["id"] == "4"
        assert len(there.arrived) == 2


def test_an_answer_that_drips_for_ever_is_given_up(
    writing: Writing, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, and the whole never does."""
    monkeypatch.setattr(calls, "CALL_SECONDS", 0.5)
    stop = threading.Event()

    def drops() -> Iterator[bytes]:
        while not stop.wait(0.1):
            yield b"x"

    def drip(arrival: Arrival) -> Answer:
        return (200, {"content-length": "1000"}, drops()) if len(there.arrived) == 1 else (200, {}, b"fine")

    with remote(drip) as there:
        worst = to_the_worst(writing)
        command = ordered(writing, worst, "reads", {"url": there.url})
        writing.await_link(command.id)
        stop.set()


def test_an_action_that_never_yields_shows_in_the_health_of_the_process() -> None:
    let_go = threading.Event()
    found = lanes.Lanes()
    found.start()
    try:
        began = found.turned_at
        eventually(lambda: found.turned_at > began)
        found._loop.call_soon_threadsafe(let_go.wait)
        stuck = eventually(lambda: found.turned_at if found.turned_at + 1 < time.monotonic() else None)
        let_go.set()
        eventually(lambda: found.turned_at > stuck)
    finally:
        let_go.set()
        found.stop()


def test_no_cookie_and_no_redirect_is_followed(writing: Writing, worker: Worker) -> None:
    with remote(lambda arrival: (200, {"set-cookie": "session=canary"}, b"")) as there:
        worst = to_the_worst(writing)
        writing.await_link(ordered(writing, worst, "asks_twice", {"url": there.url}).id)
        writing.await_link(ordered(writing, worst, "asks_twice", {"url": there.url}).id)
        assert all("cookie" not in arrival.headers for arrival in there.arrived)
    with remote(lambda arrival: OK) as elsewhere:
        with remote(lambda arrival: (307, {"location": elsewhere.url}, b"")) as there:
            command = ordered(writing, to_the_worst(writing), "reads", {"url": there.url})
            writing.await_letter("delivery", command.id)
        assert elsewhere.arrived == []


def test_who_we_are_is_asked_and_told_to_everybody(writing: Writing, worker: Worker, chat_double: Double) -> None:
    chat = to_chat(writing, chat_double, own_accounts=None)
    eventually(lambda: worker._follower.current.accounts.get(chat) == ["B0DOUBLE01", "U0DOUBLE01"])


def test_who_we_are_is_known_once_a_connection_gets_its_token(
    writing: Writing, worker: Worker, chat_double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"signing_secret": {"env": "SECRET"}, "api_url": f"{chat_double.url}/api"}
    section = ConnectionSection(id=new_id("chat"), connector="slack", audience="internal", settings=settings)
    chat = connected(writing, section)
    eventually(lambda: f"connection {chat} has no token" in caplog.text)
    assert chat not in worker._follower.current.accounts
    connected(writing, section.model_copy(update={"settings": {**settings, "token": {"env": "SECRET"}}}))
    eventually(lambda: worker._follower.current.accounts.get(chat) == ["B0DOUBLE01", "U0DOUBLE01"])


def test_a_connector_that_cannot_say_who_we_are_stops_nobody(writing: Writing, worker: Worker) -> None:
    to_the_worst(writing)
    assert ASKED.wait(PATIENCE_SECONDS)
    with remote(lambda arrival: OK) as there:
        writing.await_link(sent(writing, to_receiver(writing, there.url), "x").id)


def test_neither_secrets_nor_content_nor_answers_are_told_anywhere(
    writing: Writing, worker: Worker, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    token, content, answered = ("canary-" + number() for _ in range(3))
    monkeypatch.setenv("CANARY", token)
    caplog.set_level(logging.DEBUG)
    for noisy in ("httpx", "httpcore"):  # as in every process of the hub
        caplog.set_level(logging.WARNING, noisy)

    def answer(arrival: Arrival) -> Answer:
        assert arrival.headers.get("authorization") == f"Bearer {token}"
        body = json.dumps({"ok": False, "error": answered, "needed": answered}).encode()
        return (503, {"x-echo": answered}, body) if len(there.arrived) % 2 else (200, {"x-echo": answered}, body)

    with remote(answer) as there:
        settings = {"signing_secret": {"env": "SECRET"}, "token": {"env": "CANARY"}, "api_url": there.url}
        section = ConnectionSection(id=new_id("chat"), connector="slack", audience="internal", settings=settings)
        chat = connected(writing, section)
        command = ordered(writing, chat, "post", {"channel": "c", "text": content})
        [letter] = writing.await_letter("delivery", command.id)
        bad = ordered(writing, to_the_worst(writing), "bad_header", {"url": there.url})
        assert "check the connection's secret" in writing.await_letter("delivery", bad.id)[0].headers["dl_error"]
    told = caplog.text + str(letter.headers) + generate_latest().decode()
    told += str([record.headers for record in writing.tail.all(lambda record: "ce_id" in record.headers)])
    for canary in (token, content, answered):
        assert canary not in told


def test_calls_that_are_out_are_waited_for_when_delivery_stops_and_what_only_waits_comes_again(alone: Writing) -> None:
    called, go, answer = gated()
    with remote(answer) as there:
        sink = to_receiver(alone, there.url)
        with alone.delivering() as worker:
            out, behind = sent(alone, sink, 1, "same"), sent(alone, sink, 2, "same")
            assert called.wait(PATIENCE_SECONDS)
            eventually(lambda: len(worker.step._running) == 2)  # type: ignore[attr-defined]  # its step is Delivery
            lanes_of = worker.step._lanes  # type: ignore[attr-defined]  # its step is Delivery
            drains = threading.Event()
            really = lanes_of.drain

            def drain(*given: Any) -> Any:
                drains.set()
                return really(*given)

            lanes_of.drain = drain
            worker.loop.stop()
            assert drains.wait(PATIENCE_SECONDS)
            go.set()
        alone.await_link(out.id)
        assert len(alone.links(out.id)) == 1
        assert alone.links(behind.id) == []
        with alone.delivering():
            alone.await_link(behind.id)
        assert [said(arrival) for arrival in there.arrived] == [1, 2]
        assert held(alone, sink) == set()


def held(hub: Writing, connection: str) -> set[tuple[int, int]]:
    """What delivery has not finished of a connection's commands."""
    topic = hub.topics.command(connection).name
    found = hub.kafka.progress(f"{hub.prefix}.delivery", [TopicPartition(topic, n) for n in range(3)])
    return {(partition, at) for (_, partition), progress in found.items() for at in progress.held}


def test_a_call_that_fails_while_delivery_stops_is_not_tried_again_there(alone: Writing) -> None:
    called, go = threading.Event(), threading.Event()

    def answer(arrival: Arrival) -> Answer:
        called.set()
        go.wait(PATIENCE_SECONDS)
        return (503, {}, b"") if len(there.arrived) == 1 else OK

    with remote(answer) as there:
        sink = to_receiver(alone, there.url)
        with alone.delivering() as worker:
            command = sent(alone, sink, 1)
            assert called.wait(PATIENCE_SECONDS)
            worker.loop.stop()
            threading.Timer(0.2, go.set).start()
        assert len(there.arrived) == 1
        assert alone.links(command.id) == []
        with alone.delivering():
            alone.await_link(command.id)
        assert {arrival.headers["webhook-id"] for arrival in there.arrived} == {command.id}


def test_two_workers_share_the_work_and_nothing_is_done_twice_when_one_joins_or_leaves(alone: Writing) -> None:
    with remote(slow) as there:
        sink = to_receiver(alone, there.url)
        with alone.delivering("0"):
            commands = [sent(alone, sink, n) for n in range(150)]
            there.wait(30)
            with alone.delivering("1") as second:
                eventually(lambda: second.loop.assigned)
                commands += [sent(alone, sink, n) for n in range(150, 300)]
                there.wait(200)
            for command in commands:
                alone.await_link(command.id)
        assert Counter(said(arrival) for arrival in there.arrived) == dict.fromkeys(range(300), 1)


def test_nothing_is_called_before_kafka_knows_that_it_may_have_been(alone: Writing) -> None:
    """A worker may die, or its commit fail, at any moment before that: the next one would not look before it writes."""
    handed_over: list[Any] = []
    at_commit: list[int] = []
    failures = 2

    class Failing(TransactionalLoop):
        """A loop whose first commits fail: what they held is unknown to Kafka."""

        def _new_producer(self) -> Producer:
            producer = super()._new_producer()
            commit = producer.commit_transaction

            def commit_transaction(timeout: float) -> None:
                at_commit.append(len(handed_over))
                if len(at_commit) <= failures:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                commit(timeout)

            return cast(Producer, SimpleNamespace(**{
                **{name: getattr(producer, name) for name in dir(producer) if not name.startswith("_")},
                "commit_transaction": commit_transaction,
            }))  # fmt: skip

    with remote(lambda arrival: OK) as there:
        sink = to_receiver(alone, there.url)
        with alone.delivering(loop=Failing) as worker:
            lanes_of = worker.step._lanes  # type: ignore[attr-defined]  # its step is Delivery
            really = lanes_of.submit

            def submit(*given: Any) -> None:
                handed_over.append(given)
                really(*given)

            lanes_of.submit = submit
            alone.await_link(sent(alone, sink, "x").id)
        assert at_commit[: failures + 2] == [*failures * [0], 0, 1]
        assert len(there.arrived) == 1


@pytest.mark.parametrize("commits", [True, False])
def test_transactions_of_unknown_outcome_neither_lose_nor_double_anything(alone: Writing, commits: bool) -> None:
    with remote(lambda arrival: (400, {}, b"") if said(arrival) % 5 == 0 else OK) as there:
        sink = to_receiver(alone, there.url)
        with alone.delivering(loop=doubtful(commits)):
            commands = [sent(alone, sink, n) for n in range(40)]
            for number, command in enumerate(commands):
                if number % 5:
                    alone.await_link(command.id)
                else:
                    alone.await_letter("delivery", command.id)
        assert Counter(said(arrival) for arrival in there.arrived) == dict.fromkeys(range(40), 1)
        assert held(alone, sink) == set()
    told = Counter(command.id for command in commands for _ in alone.links(command.id))
    told += Counter(command.id for command in commands for _ in alone.letters("delivery", command.id))
    assert told == {command.id: 1 for command in commands}
    # What was committed without our being told of it is not counted; nothing is counted twice.
    done, refused = (
        counted("unsilo_deliveries", connection=sink, outcome=how) for how in ("done", "delivery_rejected")
    )
    assert (done <= 32 and refused <= 8) if commits else (done, refused) == (32, 8)


def slow(arrival: Arrival) -> Answer:
    threading.Event().wait(0.02)
    return OK


def test_a_kill_between_call_and_commit_doubles_only_what_the_remote_cannot_tell_and_under_one_key(
    alone: Writing, chat_double: Double, desk_double: Double, receiver_double: Double
) -> None:
    chat, desk = to_chat(alone, chat_double), to_desk(alone, desk_double)
    sink = to_receiver(alone, receiver_double.url)
    made = desk_double.act("ticket", subject="Fire", body="It burns")["ticket"]
    target = Ref(system="zendesk", connection=desk, type="ticket", id=str(made))
    first = alone.start("delivery")
    text = "once " + number()
    doubles = (chat_double, desk_double, receiver_double)
    for double in doubles:
        double.behave(delay_seconds=PATIENCE_SECONDS)
    posted = ordered(alone, chat, "post", {"channel": "support", "text": text})
    written = ordered(alone, desk, "comment", {"body": text}, target=target)
    opened = ordered(alone, desk, "ticket", {"title": text, "body": text})
    told = sent(alone, sink, text)
    eventually(lambda: chat_double.arrived("chat.postMessage") and receiver_double.look("/__messages"))
    eventually(lambda: [call for call in desk_double.arrived("tickets") if call["method"] in ("POST", "PUT")][1:])
    first.send(signal.SIGKILL)
    first.process.wait()
    for double in doubles:
        double.behave(delay_seconds=0)
    second = alone.start("delivery")
    for command in (posted, written, opened, told):
        alone.await_link(command.id)
        assert len(alone.links(command.id)) == 1
    assert second.stop() == 0
    assert [call["body"]["text"] for call in chat_double.arrived("chat.postMessage")].count(text) == 1
    tickets = desk_double.look("/__tickets")
    assert [ticket["subject"] for ticket in tickets].count(text) == 1
    [ticket] = [one for one in tickets if one["id"] == made]
    comments = [event["body"] for audit in ticket["audits"] for event in audit["events"] if event["type"] == "Comment"]
    assert comments.count(text) == 1
    [message] = [one for one in receiver_double.look("/__messages") if one["id"] == told.id]
    assert message["times"] == 2
    assert SECRET not in first.said + second.said
    assert text not in first.said + second.said
