"""Zendesk: what the hub writes there, by driving the actions without a network."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from unsilo_connectors.actions import Call, Command, Postponed, Refused, Response, Steps, Target, Written
from unsilo_connectors.contract import Connection
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.zendesk import connector

KEY = "c1f6b0b2-6f0e-5f8c-9d8e-0a6f3f0f7c11"
NOW = datetime(2025, 9, 3, 8, 15, 9, tzinfo=UTC)
TOKEN = "canary-token"
SETTINGS = connector.settings.model_validate(
    {
        "signing_secret": Resolved("s"),
        "subdomain": "fjordlicht",
        "email": "hub@fjordlicht.example",
        "token": Resolved(TOKEN),
    }
)
HERE: Connection[Any] = Connection("support", "zendesk", SETTINGS)
API = "https://fjordlicht.zendesk.com/api/v2/"
PAGE = "https://fjordlicht.zendesk.com/agent/tickets/4821"
MARKED = {"custom": {"unsilo_key": KEY}, "system": {"client": "python-httpx"}}

COMMENT = {"id": 17204601124881, "type": "Comment", "public": False, "body": "Said in #ovens"}
OPENED = {"id": 2, "type": "Change", "field_name": "status", "previous_value": "new", "value": "open"}
ESCALATED = {"id": 3, "type": "Change", "field_name": "priority", "value": "high", "via": {"channel": "rule"}}
AUDIT = {"id": 1, "ticket_id": 4821, "metadata": MARKED, "events": [COMMENT, OPENED]}

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([KEY, 4821, "4821"])
INNER = st.sampled_from(
    [
        "id",
        "events",
        "type",
        "field_name",
        "via",
        "channel",
        "metadata",
        "custom",
        "unsilo_key",
        "external_id",
        "has_more",
    ]
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=4), max_leaves=14
)
EVENTS = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["Comment", "Change"]), "id": LEAVES,
                                             "field_name": LEAVES, "via": JSON})  # fmt: skip
AUDITS = st.fixed_dictionaries(
    {"metadata": st.just(MARKED) | JSON}, optional={"events": st.lists(EVENTS | JSON, max_size=3) | JSON}
)
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "audit": AUDITS | JSON,
        "audits": st.lists(AUDITS | JSON, max_size=2) | JSON,
        "ticket": JSON,
        "tickets": st.lists(JSON, max_size=2) | JSON,
        "user": JSON,
        "meta": JSON,
    },
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "ratelimit-remaining", "ratelimit-reset", "x-rate-limit-remaining"]),
    st.text() | st.sampled_from(["0", "9" * 5000, "41"]),
    max_size=4,
)
ANSWERS = GOOD.map(lambda value: Response(200, {}, json.dumps(value).encode())) | st.builds(
    Response, st.sampled_from([200, 302, 404, 409, 422, 429, 503]) | st.integers(100, 599), HEADERS, BODIES
)


def command(action: str, repeated: bool = False, here: Connection[Any] = HERE, **arguments: Any) -> Command[Any, Any]:
    title = {"title": "Oven 3 is cold"} if action == "ticket" else {}
    target = Target("ticket", "4821") if action == "comment" else None
    given = connector.actions[action].arguments.model_validate({"body": "Said in #ovens", **title, **arguments})
    return Command(here, KEY, given, NOW, NOW, target, repeated)


def perform(action: str, **about: Any) -> Steps:
    return connector.actions[action].perform(command(action, **about))


def answer(body: Mapping[str, Any], status: int = 200, **headers: str) -> Response:
    return Response(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )


def play(steps: Steps, *answers: Response) -> tuple[list[Call], Sequence[Written]]:
    """The calls that were made, and what came of them, once every answer was taken."""
    calls = [next(steps)]
    try:
        for one in answers:
            calls.append(steps.send(one))
    except StopIteration as end:
        assert len(calls) == len(answers)
        return calls, list(end.value)
    raise AssertionError(f"wants a call more: {calls[-1]}")


def query(call: Call) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(call.url).query).items()}


def body(call: Call) -> Any:
    return json.loads(call.body or b"null")


def audits(*found: Mapping[str, Any], cursor: str | None = None) -> Response:
    return answer({"audits": list(found), "meta": {"has_more": cursor is not None, "after_cursor": cursor}})


def test_comments_on_a_ticket_among_agents_unless_told_otherwise() -> None:
    calls, written = play(perform("comment"), answer({"ticket": {"id": 4821}, "audit": AUDIT}))
    assert written == [
        Written("comment", "17204601124881"),
        Written("ticket", "4821", url=PAGE, fields=("/status",)),
    ]
    assert (calls[0].method, calls[0].url) == ("PUT", API + "tickets/4821.json")
    assert body(calls[0])["ticket"] == {
        "comment": {"body": "Said in #ovens", "public": False},
        "metadata": {"unsilo_key": KEY},
    }
    assert body(next(perform("comment", public=True)))["ticket"]["comment"]["public"] is True


def test_says_which_actions_only_colleagues_see() -> None:
    for name, action in connector.actions.items():
        assert action.internal(command(name).arguments)
        assert not action.internal(command(name, public=True).arguments)


def test_gives_the_agents_credentials() -> None:
    sent = next(perform("comment")).headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == f"hub@fjordlicht.example/token:{TOKEN}"


def test_tells_apart_what_a_trigger_did_in_the_same_update() -> None:
    by_rule = {"id": 9, "type": "Comment", "via": {"channel": "rule"}}
    audit = {**AUDIT, "events": [by_rule, COMMENT, ESCALATED]}
    _, written = play(perform("comment"), answer({"audit": audit}))
    assert written == [Written("comment", "17204601124881"), Written("ticket", "4821", url=PAGE, fields=())]


def test_names_the_fields_that_changed_as_events_do() -> None:
    names = ["assignee_id", "custom_status_id", "360001234", "tags", "satisfaction_probability", None, 7]
    changes = [{"type": "Change", "field_name": name} for name in names]
    _, written = play(perform("comment"), answer({"audit": {**AUDIT, "events": [COMMENT, *changes]}}))
    assert written[1].fields == ("/assignees", "/custom/custom_status", "/custom/360001234", "/tags")


@pytest.mark.parametrize("target", [None, Target("ticket", ""), Target("ticket", "1/../2"), Target("ticket", "\u0661")])
def test_refuses_to_comment_on_what_is_no_ticket(target: Target | None) -> None:
    with pytest.raises(Refused, match="no ticket"):
        next(connector.actions["comment"].perform(replace(command("comment"), target=target)))


def test_finds_the_comment_of_an_earlier_attempt_and_writes_none() -> None:
    other = {"id": 5, "metadata": {"custom": {"unsilo_key": "another"}}, "events": [{"type": "Comment", "id": 6}]}
    calls, written = play(perform("comment", repeated=True), audits(other, {}, cursor="n=xt"), audits(AUDIT))
    assert written[0] == Written("comment", "17204601124881")
    assert written[1].fields == ("/status",)
    assert [call.method for call in calls] == ["GET", "GET"]
    assert calls[0].url.startswith(API + "tickets/4821/audits.json?")
    assert query(calls[1]) == {"page[size]": "100", "page[after]": "n=xt"}


def test_comments_again_where_no_earlier_attempt_has() -> None:
    calls, _ = play(perform("comment", repeated=True), audits(), answer({"audit": AUDIT}))
    assert [call.method for call in calls] == ["GET", "PUT"]


def test_refuses_rather_than_to_comment_twice_where_the_ticket_has_too_many_audits() -> None:
    with pytest.raises(Refused, match="may have this already"):
        play(perform("comment", repeated=True), *[audits({}, cursor="more")] * 10)


def test_creates_a_ticket_that_is_known_by_the_key() -> None:
    calls, written = play(
        perform("ticket", priority="urgent", kind="incident", tags=["oven"]),
        answer({"ticket": {"id": 4821}, "audit": AUDIT}, 201),
    )
    assert written == [Written("ticket", "4821", url=PAGE), Written("comment", "17204601124881")]
    assert (calls[0].method, calls[0].url) == ("POST", API + "tickets.json")
    assert calls[0].headers["idempotency-key"] == KEY
    assert body(calls[0])["ticket"] == {
        "subject": "Oven 3 is cold",
        "comment": {"body": "Said in #ovens", "public": False},
        "external_id": KEY,
        "metadata": {"unsilo_key": KEY},
        "priority": "urgent",
        "type": "incident",
        "tags": ["oven"],
    }


def test_leaves_to_zendesk_what_a_new_ticket_is_not_told() -> None:
    assert set(body(next(perform("ticket")))["ticket"]) == {"subject", "comment", "external_id", "metadata"}
    with pytest.raises(ValidationError):
        command("ticket", priority="asap")


def test_finds_the_ticket_of_an_earlier_attempt_after_the_idempotency_key_is_forgotten() -> None:
    listed = answer({"tickets": [{"id": 1, "external_id": None}, {"id": 4821, "external_id": KEY}]})
    calls, written = play(perform("ticket", repeated=True), listed, audits(AUDIT))
    assert written == [Written("ticket", "4821", url=PAGE), Written("comment", "17204601124881")]
    assert query(calls[0]) == {"external_id": KEY}
    calls, _ = play(
        perform("ticket", repeated=True), answer({"tickets": []}), answer({"ticket": {"id": 1}, "audit": AUDIT})
    )
    assert calls[1].headers["idempotency-key"] == KEY


@pytest.mark.parametrize(
    ("status", "consequence"),
    [
        *((status, Refused) for status in (301, 400, 401, 403, 404, 422)),
        *((status, Postponed) for status in (409, 429, 500, 503)),
    ],
)
def test_knows_by_the_status_whether_to_try_again(status: int, consequence: type[Exception]) -> None:
    with pytest.raises(consequence, match=str(status)):
        play(perform("comment"), answer({"error": "canary"}, status))


def test_waits_with_the_whole_account_as_long_as_zendesk_asks() -> None:
    with pytest.raises(Postponed) as postponed:
        play(perform("comment"), answer({}, 429, retry_after="37"))
    assert postponed.value.retry_after == timedelta(seconds=37)
    assert postponed.value.whole_connection


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "41"}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "41"}, 41),
        ({"x-rate-limit-remaining": "0"}, 60),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "soon"}, 60),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "9" * 5000}, 3600),
    ],
)
def test_is_quiet_when_nothing_is_left_of_the_minute(headers: dict[str, str], seconds: int | None) -> None:
    assert connector.pause(Response(200, headers, b"")) == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("without", ["subdomain", "email", "token"])
def test_writes_nothing_without_credentials_and_names_the_settings(without: str) -> None:
    mute = replace(HERE, settings=SETTINGS.model_copy(update={without: None}))
    for action in connector.actions:
        with pytest.raises(Refused, match=f"`{without}`"):
            next(perform(action, here=mute))


def test_knows_itself_by_the_agents_id() -> None:
    asking = connector.whoami(HERE)
    assert next(asking).url == API + "users/me.json"
    with pytest.raises(StopIteration) as end:
        asking.send(answer({"user": {"id": 17204399901777, "name": "Unsilo"}}))
    assert end.value.value == ("17204399901777",)
    mute = replace(HERE, settings=SETTINGS.model_copy(update={"token": None}))
    assert list(connector.whoami(mute)) == []


def test_is_not_content_to_be_anonymous() -> None:
    asking = connector.whoami(HERE)
    next(asking)
    with pytest.raises(Refused, match="nobody"):
        asking.send(answer({"user": {"id": None, "name": "Anonymous user"}}))


def test_calls_another_address_where_the_settings_say_so() -> None:
    elsewhere = replace(HERE, settings=SETTINGS.model_copy(update={"url": "http://127.0.0.1:9102"}))
    assert next(perform("comment", here=elsewhere)).url == "http://127.0.0.1:9102/api/v2/tickets/4821.json"


def test_shows_the_token_to_nobody() -> None:
    encoded = next(perform("comment")).headers["authorization"].removeprefix("Basic ")
    shown = [repr(next(perform("ticket"))), repr(SETTINGS), repr(command("comment"))]
    for refusal in (answer({"error": TOKEN}, 422), answer({}, 401), Response(200, {}, TOKEN.encode())):
        with pytest.raises((Refused, Postponed)) as failed:
            play(perform("comment"), refusal)
        shown.append(repr(failed.value))
    assert not any(TOKEN in text or encoded in text for text in shown)


@settings(max_examples=300)
@given(st.sampled_from(["comment", "ticket"]), st.booleans(), st.lists(ANSWERS, min_size=1, max_size=3))
def test_ends_well_or_with_a_known_consequence_whatever_is_answered(
    action: str, repeated: bool, answers: list[Response]
) -> None:
    expect_known_end(perform(action, repeated=repeated), cycle(answers))
    expect_known_end(connector.whoami(HERE), cycle(answers))
    for one in answers:
        connector.pause(one)


def expect_known_end(steps: Any, answers: Iterator[Response]) -> None:
    try:
        next(steps)
        for one in answers:
            steps.send(one)
    except (Refused, Postponed) as failed:
        assert len(str(failed)) < 200
    except StopIteration as end:
        assert end.value
