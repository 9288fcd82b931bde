"""What holds for Slack alone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from unsilo_connectors.contract import Connection, MalformedWebhook, Raw, UntrustedWebhook, WebhookRequest
from unsilo_connectors.masking import MASK, masked_body
from unsilo_connectors.samples import Sample, rendered, samples, stored, translated
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack import connector

SAMPLES = {sample.name: sample for sample in samples(connector)}
HOSTILE: tuple[Any, ...] = (None, True, 0, -1, 10**30, 1.5, "", "canary-77", "1e9.5", [], ["canary-77"], {}, {"": 1})


def stored_sample(name: str) -> tuple[Sample, Raw[Any]]:
    sample = SAMPLES[name]
    return sample, stored(connector, sample.request(connector))[0]


def altered(name: str, direct_messages: bool = False, **event: Any) -> Raw[Any]:
    """A sample with other values in its event; an ellipsis takes one out."""
    sample, raw = stored_sample(name)
    body = json.loads(sample.body)
    body["event"] = {key: value for key, value in {**body["event"], **event}.items() if value is not ...}
    settings = raw.connection.settings.model_copy(update={"direct_messages": direct_messages})
    return raw._replace(body=json.dumps(body).encode(), connection=replace(raw.connection, settings=settings))


def event_of(raw: Raw[Any]) -> dict[str, Any]:
    (event,) = translated(connector, raw)
    return rendered(event)


def kind_of(raw: Raw[Any]) -> str:
    return connector.event_type(connector.decode(raw), raw)


def entity_of(raw: Raw[Any]) -> dict[str, Any]:
    entity: dict[str, Any] = event_of(raw)["data"]["entity"]
    return entity


def test_signs_as_slacks_documentation_does() -> None:
    settings = connector.settings.model_validate({"signing_secret": Resolved("8f742231b10e8888abcd99yyyzzz85a5")})
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signed = connector.sign(body, settings, datetime.fromtimestamp(1531420618, UTC))
    assert signed["x-slack-signature"] == "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


@pytest.mark.parametrize("sent", ["-1741598412", "1741598412.0", " 1741598412", "١٧٤١٥٩٨٤١٢", "1" * 5000, "1_0"])
def test_refuses_a_time_that_is_no_plain_number(sent: str) -> None:
    request = SAMPLES["message"].request(connector)
    with pytest.raises(UntrustedWebhook, match="timestamp_malformed"):
        connector.verify(replace(request, headers={**request.headers, "x-slack-request-timestamp": sent}))


def test_takes_a_signature_by_either_of_two_secrets() -> None:
    request = SAMPLES["message"].request(connector)
    other = Resolved("the one before")
    both = connector.settings.model_validate(
        {"signing_secret": [other, request.connection.settings.signing_secret[0]], "direct_messages": False}
    )
    connection: Connection[Any] = replace(request.connection, settings=both)
    connector.verify(replace(request, connection=connection))
    late = WebhookRequest(connection, {**request.headers}, request.body + b" ", request.received_at)
    with pytest.raises(UntrustedWebhook, match="signature_wrong"):
        connector.verify(late)


def test_calls_a_challenge_that_is_no_text_malformed() -> None:
    sample, raw = stored_sample("url_verification")
    for challenge in (None, 7, {"a": 1}, ""):
        body = json.dumps({**json.loads(sample.body), "challenge": challenge}).encode()
        with pytest.raises(MalformedWebhook):
            connector.handshake(connector.decode(raw._replace(body=body)), raw)


@pytest.mark.parametrize("name", ["bot_access_token", "action_token"])
def test_masks_the_tokens_that_some_events_carry_inside(name: str) -> None:
    body = json.dumps({"event": {"type": "function_executed", "inputs": {name: "xwfp-canary"}}}).encode()
    masked = masked_body(body, connector.secrets)
    assert b"canary" not in masked
    assert MASK.encode() in masked


@pytest.mark.parametrize("channel_type", ["im", "mpim", "app_home"])
@pytest.mark.parametrize("subtype", [..., "file_share", "message_changed", "message_deleted", "bot_message"])
def test_keeps_direct_messages_closed_whatever_happens_to_them(channel_type: str, subtype: Any) -> None:
    raw = altered("message_direct_closed", channel_type=channel_type, subtype=subtype)
    assert kind_of(raw) == f"message.{channel_type}"
    assert translated(connector, raw) == []


@pytest.mark.parametrize("channel_type", ["im", "mpim", "app_home"])
def test_maps_direct_messages_where_they_are_opened(channel_type: str) -> None:
    raw = altered("message_direct_closed", direct_messages=True, channel_type=channel_type)
    assert event_of(raw)["type"] == "unsilo.social.post.published.v1"


def test_takes_a_message_for_direct_by_its_channel_where_the_kind_is_not_sent() -> None:
    assert kind_of(altered("message_direct_closed", channel_type=...)) == "message.im"
    assert kind_of(altered("message", channel_type=...)) == "message"


@pytest.mark.parametrize("opened", [False, True])
def test_declares_nothing_about_kinds_of_channel_that_nobody_knows(opened: bool) -> None:
    kind = kind_of(altered("message", direct_messages=opened, channel_type="seance"))
    assert kind not in connector.events
    assert kind not in connector.ignored


def test_keeps_reactions_in_direct_messages_closed_with_them() -> None:
    item = {"type": "message", "channel": "D05R0AZKL7V", "ts": "1741599000.000004"}
    for name in ("reaction_added", "reaction_removed"):
        assert translated(connector, altered(name, item=item)) == []
        assert event_of(altered(name, direct_messages=True, item=item))["data"]["entity"]["emoji"]


def test_gives_a_message_one_id_from_publication_to_deletion() -> None:
    posts = ("message", "message_changed", "message_changed_to_tombstone", "message_deleted_tombstone")
    assert len({entity_of(stored_sample(name)[1])["id"] for name in posts}) == 1
    replies = ("message_reply", "message_deleted_reply")
    assert len({entity_of(stored_sample(name)[1])["id"] for name in replies}) == 1
    assert entity_of(stored_sample("reaction_added")[1])["target"] == entity_of(stored_sample("message")[1])["id"]


def test_gives_the_same_ts_in_two_channels_two_ids() -> None:
    there = altered("message", channel="C0ELSEWHERE")
    assert entity_of(there)["id"] != entity_of(stored_sample("message")[1])["id"]


@pytest.mark.parametrize("ts", [1741598412.450219, 1741598412, None, ""])
def test_calls_a_ts_that_is_no_text_malformed(ts: Any) -> None:
    with pytest.raises(MalformedWebhook):
        translated(connector, altered("message", ts=ts, event_ts=ts))


@pytest.mark.parametrize("ts", [1741599100.083113, 1741599100, True, ["1741599100.083113"]])
def test_calls_a_time_of_an_event_that_is_no_text_malformed(ts: Any) -> None:
    with pytest.raises(MalformedWebhook):
        translated(connector, altered("reaction_added", event_ts=ts))


def test_knows_the_first_message_of_a_thread_for_a_post() -> None:
    ts = json.loads(SAMPLES["message"].body)["event"]["ts"]
    event = event_of(altered("message", thread_ts=ts))
    assert event["type"] == "unsilo.social.post.published.v1"
    assert event["data"]["entity"]["thread"] == event["data"]["entity"]["id"]
    assert "in_reply_to" not in event["data"]["entity"]


def changes(message: dict[str, Any], previous: dict[str, Any] | None) -> list[dict[str, Any]]:
    base = {"type": "message", "user": "U05QKA7LD3B", "ts": "1741598412.450219", "text": "same"}
    before: Any = ... if previous is None else {**base, **previous}
    raw = altered("message_changed", message={**base, **message}, previous_message=before)
    return [rendered(event) for event in translated(connector, raw)]


EDIT = {"user": "U05QKA7LD3B", "ts": "1741598800.000000"}


@pytest.mark.parametrize(
    "message",
    [
        {"attachments": [{"id": 1, "title": "a link unfurled"}]},
        {"blocks": [{"type": "section"}]},
        {"reply_count": 1, "thread_ts": "1741598412.450219"},
        {"pinned_to": ["C05QN3YV8GF"]},
        {"subtype": "thread_broadcast"},
        {"edited": {}},
    ],
)
def test_makes_no_event_of_a_change_to_nothing_that_a_post_has(message: dict[str, Any]) -> None:
    assert changes(message, {}) == []


def test_makes_no_event_of_a_change_to_what_slack_itself_wrote() -> None:
    assert changes({"subtype": "huddle_thread", "text": "ended"}, {"subtype": "huddle_thread", "text": "began"}) == []


def test_tells_of_an_edit_that_left_the_text_alone_without_claiming_the_text() -> None:
    (event,) = changes({"edited": EDIT, "blocks": [{"type": "divider"}]}, {})
    assert event["data"]["changed"] == ["/edited_at"]
    assert "previous" not in event["data"]


def test_claims_no_particular_change_where_slack_does_not_say_what_was_before() -> None:
    (event,) = changes({"edited": EDIT, "text": "new"}, None)
    assert event["type"] == "unsilo.social.post.edited.v1"
    assert event["data"]["changed"] == []
    assert "previous" not in event["data"]


def test_takes_files_that_an_edited_message_lists_no_longer_for_removed() -> None:
    (event,) = changes({"edited": EDIT}, {"files": [{"id": "F1", "name": "a.txt"}]})
    assert event["data"]["changed"] == ["/attachments", "/edited_at"]
    assert event["data"]["entity"]["attachments"] == []


def test_names_the_editor_by_the_id_that_an_app_knows_itself_by() -> None:
    app = {"bot_id": "B06ABQ0N2WW", "user": "U06AB9C1VTQ"}
    for by in ("B06ABQ0N2WW", "U06AB9C1VTQ"):
        (event,) = changes({**app, "edited": {**EDIT, "user": by}}, app)
        assert event["actor"]["ref"]["id"] == "B06ABQ0N2WW"
    (streamed,) = changes({**app, "text": "same, and more"}, app)
    assert streamed["actor"]["ref"]["id"] == "B06ABQ0N2WW"


def test_names_no_editor_where_only_an_earlier_edit_names_one() -> None:
    (event,) = changes({"edited": EDIT}, {"edited": EDIT, "files": [{"id": "F1"}]})
    assert "actor" not in event


def test_repeats_nothing_of_what_was_deleted() -> None:
    for name in ("message_changed_to_tombstone", "message_deleted", "message_deleted_reply"):
        event = event_of(stored_sample(name)[1])
        assert "body" not in event["data"]["entity"]
        assert "attachments" not in event["data"]["entity"]
        assert "previous" not in event["data"]
        assert "actor" not in event


def test_makes_no_event_of_a_tombstone_that_stays_one_or_of_a_deleted_note() -> None:
    tombstone = {"subtype": "tombstone", "ts": "1741598412.450219", "text": "This message was deleted."}
    assert translated(connector, altered("message_changed", message=tombstone, previous_message=tombstone)) == []
    note = {"subtype": "channel_join", "ts": "1741598412.450219", "text": "has joined"}
    assert translated(connector, altered("message_deleted", previous_message=note)) == []


def test_finds_each_user_mentioned_once_and_no_escaped_mention() -> None:
    text = "<@U1> <@W2|wen> <@U1> &lt;@U3&gt; <#C4|ovens> <!subteam^S5|@all> <!here> <@U6 <@> a@U7"
    assert [mention["id"] for mention in entity_of(altered("message", text=text))["mentions"]] == ["U1", "W2"]


def test_tells_absent_null_and_empty_text_apart() -> None:
    assert "body" not in entity_of(altered("message", text=...))
    assert entity_of(altered("message", text=None))["body"] is None
    assert entity_of(altered("message", text=""))["body"] == ""


def test_takes_an_app_that_writes_as_a_person_for_the_app() -> None:
    event = event_of(altered("message", bot_id="B06ABQ0N2WW"))
    assert event["actor"] == {"ref": {"connection": "sample", "id": "B06ABQ0N2WW"}, "kind": "bot"}
    assert event_of(altered("message", bot_id=None))["actor"]["kind"] == "human"


def test_takes_time_from_the_envelope_where_the_event_has_none() -> None:
    assert event_of(altered("channel_archive", event_ts=...))["time"] == "2025-03-10T09:33:40Z"


def test_keys_every_event_by_the_same_id_over_retries() -> None:
    _, raw = stored_sample("message_reply")
    payload = connector.decode(raw)
    assert connector.delivery_key(payload, raw) == json.loads(raw.body)["event_id"]
    assert translated(connector, raw)[0].key == json.loads(raw.body)["event_id"]


@pytest.mark.parametrize(
    ("user", "external"),
    [
        ({"team_id": "T05QK8R2M1A"}, False),
        ({"team_id": "T0ANOTHER00"}, True),
        ({"team_id": "T05QK8R2M1A", "is_stranger": True}, True),
        ({}, None),
    ],
)
def test_tells_members_of_other_workspaces(user: dict[str, Any], external: bool | None) -> None:
    assert entity_of(altered("user_change", user={"id": "U1", **user})).get("external") is external


def test_does_not_guess_who_is_external_inside_an_enterprise_grid() -> None:
    sample, raw = stored_sample("user_change_other_workspace")
    body = json.loads(sample.body)
    body["authorizations"][0]["enterprise_id"] = "E06GRID"
    assert "external" not in entity_of(raw._replace(body=json.dumps(body).encode()))


def test_tells_absent_null_and_empty_addresses_apart() -> None:
    def emails(**profile: Any) -> Any:
        return entity_of(altered("user_change", user={"id": "U1", "profile": profile})).get("emails", "absent")

    assert emails() == "absent"
    assert emails(email=None) is None
    assert emails(email="") == []
    assert emails(email="a@b.example") == [{"value": "a@b.example", "primary": True}]


def test_knows_slackbot_for_a_bot_although_slack_does_not_say_so() -> None:
    assert entity_of(altered("user_change", user={"id": "USLACKBOT", "is_bot": False}))["kind"] == "bot"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_survives_any_value_in_any_place(name: str) -> None:
    sample, raw = stored_sample(name)
    for body in everywhere(json.loads(sample.body)):
        record = raw._replace(body=json.dumps(body).encode())
        try:
            payload = connector.decode(record)
            connector.handshake(payload, record)
            key = connector.aggregate(payload, record)
            mapping = connector.events.get(connector.event_type(payload, record))
            for event in mapping(payload, record) if mapping else ():
                assert rendered(event)["key"] == key
        except MalformedWebhook as error:
            assert "canary" not in str(error)


def everywhere(value: Any) -> Iterator[Any]:
    """The value with each of its parts, at any depth, taken out or replaced by something hostile."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: other for key, other in value.items() if key != name}
            for other in (*HOSTILE, *everywhere(inner)):
                yield {**value, name: other}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for other in (*HOSTILE, *everywhere(inner)):
                yield [*value[:index], other, *value[index + 1 :]]
