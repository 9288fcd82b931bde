"""Slack: what the hub writes there, by driving the actions without a network."""

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
from unsilo_connectors.samples import samples, stored, translated
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack import connector

KEY = "c1f6b0b2-6f0e-5f8c-9d8e-0a6f3f0f7c11"
NOW = datetime(2025, 3, 10, 9, 24, 20, tzinfo=UTC)
CHANNEL, ROOT, OURS = "C05QN3YV8GF", "1741598412.450219", "1741598660.330019"
TOKEN = "xoxb-canary-token"
SETTINGS = connector.settings.model_validate({"signing_secret": Resolved("s"), "token": Resolved(TOKEN)})
HERE: Connection[Any] = Connection("chat", "slack", SETTINGS)
WRITTEN = [Written("message", OURS, CHANNEL)]

NAMES = ("error", "ts", "channel", "messages", "channels", "response_metadata", "bot_id", "user_id")
INNER = st.sampled_from(["ts", "metadata", "event_payload", "unsilo_key", "next_cursor", "id", "name"]) | st.text()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([KEY, OURS, "named"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=3),
    max_leaves=12,
)
GOOD = st.fixed_dictionaries({"ok": st.just(True)}, optional=dict.fromkeys(NAMES, LEAVES | JSON))
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000)
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "x-other"]), st.text() | st.just("9" * 5000), max_size=1)
ANSWERS = GOOD.map(lambda value: Response(200, {}, json.dumps(value).encode())) | st.builds(
    Response, st.sampled_from([200, 302, 404, 429, 503]) | st.integers(100, 599), HEADERS, BODIES
)


def command(action: str, repeated: bool = False, here: Connection[Any] = HERE, **arguments: str) -> Command[Any, Any]:
    target = Target("message", ROOT, CHANNEL) if action == "reply" else None
    given = connector.actions[action].arguments.model_validate(
        {"text": "Solved", **({"channel": CHANNEL} if action == "post" else {}), **arguments}
    )
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


def method(call: Call) -> str:
    return urlsplit(call.url).path.removeprefix("/api/")


def body(call: Call) -> Any:
    return json.loads(call.body or b"null")


POSTED = answer({"ok": True, "channel": CHANNEL, "ts": OURS, "message": {"text": "Solved"}})
MARK = {"event_type": "unsilo_delivery", "event_payload": {"unsilo_key": KEY}}


def page(*messages: Mapping[str, Any], cursor: str = "", listed: str = "messages") -> Response:
    return answer({"ok": True, listed: list(messages), "response_metadata": {"next_cursor": cursor}})


def test_posts_with_the_key_as_metadata_and_names_the_message_by_the_answers_channel() -> None:
    calls, written = play(perform("post", channel="wins"), POSTED)
    assert written == WRITTEN
    assert (calls[0].method, calls[0].url) == ("POST", "https://slack.com/api/chat.postMessage")
    assert calls[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert body(calls[0]) == {"channel": "wins", "text": "Solved", "metadata": MARK}


def test_leaves_the_marker_where_the_connector_reads_it() -> None:
    [sample] = [sample for sample in samples(connector) if sample.name == "message_by_this_app"]
    received = json.loads(sample.body)
    received["event"]["metadata"] = body(next(perform("post")))["metadata"]
    raw = stored(connector, sample.request(connector))[0]._replace(body=json.dumps(received).encode())
    [event] = translated(connector, raw)
    assert event.entity["marker"] == KEY


def test_replies_in_the_thread_of_the_message() -> None:
    calls, written = play(perform("reply"), POSTED)
    assert written == WRITTEN
    assert body(calls[0]) == {"channel": CHANNEL, "text": "Solved", "metadata": MARK, "thread_ts": ROOT}


@pytest.mark.parametrize("target", [None, Target("message", ROOT)])
def test_refuses_to_reply_to_nothing(target: Target | None) -> None:
    with pytest.raises(Refused, match="no message"):
        next(connector.actions["reply"].perform(replace(command("reply"), target=target)))


def test_finds_what_an_earlier_attempt_posted_and_posts_nothing() -> None:
    other = {"ts": "1.000001", "text": "x", "metadata": {"event_type": "e", "event_payload": {"unsilo_key": "another"}}}
    ours = {"ts": OURS, "text": "Solved", "metadata": MARK}
    calls, written = play(perform("post", repeated=True), page(other, {"ts": "1.000002"}, cursor="next="), page(ours))
    assert written == WRITTEN
    assert [method(call) for call in calls] == ["conversations.history"] * 2
    asked = query(calls[0])
    assert asked["include_all_metadata"] == "true"
    assert "cursor" not in asked
    assert datetime.fromtimestamp(float(asked["oldest"]), UTC) == NOW - timedelta(minutes=5)  # when it was issued
    assert query(calls[1])["cursor"] == "next="


def test_posts_again_what_no_earlier_attempt_has_posted() -> None:
    calls, written = play(perform("post", repeated=True), page(), POSTED)
    assert written == WRITTEN
    assert [method(call) for call in calls] == ["conversations.history", "chat.postMessage"]


def test_looks_for_an_earlier_reply_in_its_thread() -> None:
    calls, written = play(perform("reply", repeated=True), page({"ts": ROOT}, {"ts": OURS, "metadata": MARK}))
    assert written == WRITTEN
    assert method(calls[0]) == "conversations.replies"
    assert query(calls[0])["ts"] == ROOT


def test_learns_the_id_of_a_channel_given_by_name_before_it_reads_its_history() -> None:
    listed = page({"id": "C1ZZZZZZ", "name": "other"}, {"id": CHANNEL, "name": "wins"}, listed="channels")
    calls, _ = play(perform("post", repeated=True, channel="#wins"), listed, page(), POSTED)
    assert [method(call) for call in calls] == ["conversations.list", "conversations.history", "chat.postMessage"]
    assert query(calls[1])["channel"] == CHANNEL
    with pytest.raises(Refused, match="channel_not_found"):
        play(perform("post", repeated=True, channel="none"), page(listed="channels"))


def test_refuses_rather_than_to_post_twice_where_the_history_is_too_long() -> None:
    with pytest.raises(Refused, match="may have this message already"):
        play(perform("post", repeated=True), *[page({"ts": "1.000001"}, cursor="more")] * 10)


@pytest.mark.parametrize(
    ("error", "consequence"),
    [
        ("channel_not_found", Refused),
        ("not_in_channel", Refused),
        ("is_archived", Refused),
        ("msg_too_long", Refused),
        ("invalid_auth", Refused),
        ("token_revoked", Refused),
        ("missing_scope", Refused),
        ("an_error_of_next_year", Refused),
        ("internal_error", Postponed),
        ("service_unavailable", Postponed),
        ("request_timeout", Postponed),
        ("fatal_error", Postponed),
        ("team_added_to_org", Postponed),
        ("rate_limited", Postponed),
        ("ratelimited", Postponed),
    ],
)
def test_knows_by_the_error_in_an_ok_answer_whether_to_try_again(error: str, consequence: type[Exception]) -> None:
    with pytest.raises(consequence, match=error):
        play(perform("post"), answer({"ok": False, "error": error}))


def test_waits_with_all_messages_as_long_as_slack_asks() -> None:
    for too_fast in (
        answer({"ok": False, "error": "ratelimited"}, 429, retry_after="7"),
        answer({"ok": False, "error": "ratelimited"}, 200, retry_after="7"),
    ):
        with pytest.raises(Postponed) as postponed:
            play(perform("post"), too_fast)
        assert postponed.value.retry_after == timedelta(seconds=7)
        assert postponed.value.whole_connection


@pytest.mark.parametrize("error", ["Canary says <b>", "x" * 200, 7, None, ["canary"], {"canary": 1}])
def test_repeats_nothing_but_a_word_of_an_answer(error: Any) -> None:
    with pytest.raises(Refused, match="no reason given") as refused:
        play(perform("post"), answer({"ok": False, "error": error}))
    assert "anary" not in str(refused.value)


@pytest.mark.parametrize(
    "said", [{}, {"ts": OURS}, {"ts": 1741598660.33, "channel": CHANNEL}, {"ts": "", "channel": ""}]
)
def test_does_not_know_what_it_did_unless_the_answer_names_it(said: dict[str, Any]) -> None:
    with pytest.raises(Postponed):
        play(perform("post"), answer({"ok": True, **said}))


def test_writes_nothing_without_a_token_and_names_the_setting() -> None:
    mute = replace(HERE, settings=SETTINGS.model_copy(update={"token": None}))
    with pytest.raises(Refused, match="`token`"):
        next(perform("post", here=mute))
    assert list(connector.whoami(mute)) == []


def test_knows_itself_by_bot_and_by_user() -> None:
    asking = connector.whoami(HERE)
    assert method(next(asking)) == "auth.test"
    with pytest.raises(StopIteration) as end:
        asking.send(
            answer({"ok": True, "url": "https://x.slack.com/", "user_id": "U06AB9C1VTQ", "bot_id": "B06ABQ0N2WW"})
        )
    assert end.value.value == ("B06ABQ0N2WW", "U06AB9C1VTQ")


def test_calls_another_slack_where_the_settings_say_so() -> None:
    elsewhere = replace(HERE, settings=SETTINGS.model_copy(update={"api_url": "http://127.0.0.1:9101/api"}))
    assert next(perform("post", here=elsewhere)).url == "http://127.0.0.1:9101/api/chat.postMessage"
    with pytest.raises(ValidationError):
        connector.settings.model_validate({"signing_secret": Resolved("s"), "api_url": "https://slack.com/api/"})


def test_shows_the_token_to_nobody() -> None:
    steps = perform("post", repeated=True)
    call = next(steps)
    shown = [repr(call), repr(SETTINGS), repr(command("post"))]
    for refusal in (answer({"ok": False, "error": TOKEN}), answer({}, 401), Response(200, {}, TOKEN.encode())):
        with pytest.raises((Refused, Postponed)) as failed:
            play(perform("post"), refusal)
        shown.append(repr(failed.value))
    assert not any(TOKEN in text for text in shown)


@settings(max_examples=300)
@given(st.sampled_from(["post", "reply", "named"]), st.booleans(), st.lists(ANSWERS, min_size=1, max_size=4))
def test_ends_well_or_with_a_known_consequence_whatever_is_answered(
    action: str, repeated: bool, answers: list[Response]
) -> None:
    steps = (
        perform("post", repeated=repeated, channel="named") if action == "named" else perform(action, repeated=repeated)
    )
    expect_known_end(steps, cycle(answers))
    expect_known_end(connector.whoami(HERE), cycle(answers))


def expect_known_end(steps: Any, answers: Iterator[Response]) -> None:
    try:
        next(steps)
        for one in answers:
            steps.send(one)
    except (Refused, Postponed) as failed:
        assert len(str(failed)) < 200
    except StopIteration as end:
        assert end.value


def test_escapes_the_three_characters_that_slack_reads() -> None:
    assert connector.escape("<!channel> & <http://x|y> \"'") == "&lt;!channel&gt; &amp; &lt;http://x|y&gt; \"'"


@given(st.text())
def test_reads_an_escaped_text_as_what_it_was(text: str) -> None:
    assert connector.plain(connector.escape(text)) == text


@pytest.mark.parametrize(
    ("mrkdwn", "plain"),
    [
        ("ask <@U05QKA7LD3B> or <@U05QKA7LD3B|Nora>", "ask @U05QKA7LD3B or @Nora"),
        (
            "in <#C05QN3YV8GF|ovens> and <#C05QN3YV8GF|> and <#C05QN3YV8GF>",
            "in #ovens and #C05QN3YV8GF and #C05QN3YV8GF",
        ),
        ("<!here> <!channel|channel> <!subteam^S1|@desk> <!subteam^S1>", "@here @channel @desk @S1"),
        ("<!date^1392734382^{date}|18 February>", "18 February"),
        ("<https://desk.example/4711|ticket 4711>", "ticket 4711 (https://desk.example/4711)"),
        ("<https://desk.example/4711> <http://desk.example|desk.example>", "https://desk.example/4711 desk.example"),
        ("<mailto:nora@desk.example|nora@desk.example> <tel:+47112>", "nora@desk.example +47112"),
        ("*bold* _it_ ~no~ `a &lt; b &amp;&amp; c`", "*bold* _it_ ~no~ `a < b && c`"),
        ("&amp;lt; stays an entity", "&lt; stays an entity"),
        ("a <> b", "a <> b"),
    ],
)
def test_reads_slacks_notation_as_plain_text(mrkdwn: str, plain: str) -> None:
    assert connector.plain(mrkdwn) == plain
