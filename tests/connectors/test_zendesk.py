"""What is special to Zendesk: its signature, its two kinds of bodies, and bodies that administrators write."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from unsilo_connectors.contract import Connection, Event, MalformedWebhook, Raw, UntrustedWebhook, WebhookRequest
from unsilo_connectors.samples import TEXT_SECRET, rendered, samples, stored, translated
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.zendesk import connector
from unsilo_connectors.zendesk.settings import Template, ZendeskSettings

from tests.connectors.reading import entity_of

NOW = datetime(2025, 9, 3, 8, 15, 11, tzinfo=UTC)
SAMPLES = {sample.name: sample for sample in samples(connector)}
SIGNATURE, TIMESTAMP = "x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"
INVOCATION = "x-zendesk-webhook-invocation-id"
CANARY = "canary-d41d8cd98f"


def connection(**settings: Any) -> Connection[ZendeskSettings]:
    secret = {"signing_secret": Resolved(TEXT_SECRET)}
    return Connection("support", "zendesk", ZendeskSettings.model_validate({**secret, **settings}))


def raw(body: Any, headers: dict[str, str] | None = None, **settings: Any) -> Raw[ZendeskSettings]:
    return Raw(connection(**settings), headers or {}, json.dumps(body).encode(), NOW)


def events(body: Any, headers: dict[str, str] | None = None, **settings: Any) -> list[Event]:
    return translated(connector, raw(body, headers, **settings))


def one(body: Any, headers: dict[str, str] | None = None, **settings: Any) -> Event:
    (event,) = events(body, headers, **settings)
    return event


def body_of(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(SAMPLES[name].body)
    return body


def status_change(previous: str, current: str, id: str = "e1") -> dict[str, Any]:
    body = body_of("ticket_status_open_to_pending")
    detail = {**body["detail"], "status": current}
    return {**body, "id": id, "detail": detail, "event": {"previous": previous, "current": current}}


def signed(timestamp: str, secret: str = TEXT_SECRET, body: bytes = b'{"a": 1}') -> WebhookRequest[ZendeskSettings]:
    digest = hmac.new(secret.encode(), timestamp.encode() + body, hashlib.sha256).digest()
    headers = {TIMESTAMP: timestamp, SIGNATURE: base64.b64encode(digest).decode()}
    return WebhookRequest(connection(), headers, body, NOW)


@pytest.mark.parametrize("timestamp", ["2025-09-03T08:15:10Z", "2025-09-03T08:15:10.123Z", "2025-09-03T10:15:10+02:00"])
def test_signs_the_text_of_the_time_header_as_it_is(timestamp: str) -> None:
    connector.verify(signed(timestamp))


def test_accepts_either_of_two_secrets() -> None:
    both = connection(signing_secret=[Resolved("the events webhook's"), Resolved("the triggers webhook's")])
    for secret in ("the events webhook's", "the triggers webhook's"):
        connector.verify(replace(signed("2025-09-03T08:15:10Z", secret), connection=both))
    with pytest.raises(UntrustedWebhook):
        connector.verify(replace(signed("2025-09-03T08:15:10Z", "a third one's"), connection=both))


def test_refuses_a_signed_time_that_is_none() -> None:
    with pytest.raises(UntrustedWebhook, match="timestamp_malformed"):
        connector.verify(signed("yesterday"))


@pytest.mark.parametrize("age", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_takes_five_minutes_and_not_a_second_more(age: timedelta) -> None:
    sent = signed("2025-09-03T08:15:11Z")
    connector.verify(replace(sent, received_at=NOW + age))
    with pytest.raises(UntrustedWebhook):
        connector.verify(replace(sent, received_at=NOW + age * (301 / 300)))


def test_gives_one_entity_for_an_id_as_text_and_as_number() -> None:
    text = body_of("ticket_created")
    number = {**text, "detail": {**text["detail"], "id": int(text["detail"]["id"])}}
    trigger = {"ticket": {"id": int(text["detail"]["id"])}}
    assert entity_of(one(text)).id == entity_of(one(number)).id == entity_of(one(trigger)).id
    assert entity_of(one(number)).refs[0].id == "4821"


@pytest.mark.parametrize("id", [True, 1.5, 10**30, [], None, "", "0", 0])
def test_takes_nothing_else_for_an_id(id: Any) -> None:
    body = body_of("ticket_created")
    with pytest.raises(MalformedWebhook, match=r"^id: "):
        events({**body, "detail": {**body["detail"], "id": id}})


def test_tells_open_pending_open_as_three_events() -> None:
    steps = [("OPEN", "PENDING"), ("PENDING", "OPEN"), ("OPEN", "PENDING")]
    keys = {one(status_change(before, after, f"e{number}")).key for number, (before, after) in enumerate(steps)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("previous", "current", "verb", "category"),
    [
        ("NEW", "OPEN", "status_changed", "open"),
        ("open", "pending", "status_changed", "waiting_on_requester"),
        ("OPEN", "HOLD", "status_changed", "on_hold"),
        ("OPEN", "NEW", "status_changed", "new"),
        ("HOLD", "SOLVED", "resolved", "resolved"),
        ("SOLVED", "CLOSED", "closed", "closed"),
        ("SOLVED", "HOLD", "reopened", "on_hold"),
        ("Closed", "Open", "reopened", "open"),
        ("SOLVED", "DELETED", "status_changed", None),
        ("DELETED", "OPEN", "status_changed", "open"),
    ],
)
def test_says_what_a_status_means(previous: str, current: str, verb: str, category: str | None) -> None:
    event = rendered(one(status_change(previous, current)))
    assert event["type"] == f"unsilo.ticket.ticket.{verb}.v1"
    assert event["data"]["entity"]["status"] == {"category": category, "raw": current}
    assert event["data"]["previous"]["/status"]["raw"] == previous


def test_believes_the_change_rather_than_the_object_beside_it() -> None:
    late = status_change("OPEN", "PENDING")
    late["detail"]["status"] = "SOLVED"
    event = rendered(one(late))
    assert event["type"] == "unsilo.ticket.ticket.status_changed.v1"
    assert event["data"]["entity"]["status"]["raw"] == "PENDING"


def test_keeps_absent_null_and_empty_apart() -> None:
    body = body_of("ticket_created")
    detail = {"id": "4821", "external_id": "", "subject": None}
    entity = rendered(one({**body, "detail": detail}))["data"]["entity"]
    assert entity["external_id"] == ""
    assert entity["title"] is None
    assert not {"description", "status", "assignees", "tags", "custom"} & set(entity)


def test_takes_an_event_type_spelt_with_a_slash_as_in_the_vendors_list() -> None:
    body = body_of("user_identity_created")
    slashed = {**body, "type": body["type"].replace("type:", "type/")}
    assert rendered(one(slashed)) == rendered(one(body))


def test_links_to_the_object_only_where_the_subdomain_is_known() -> None:
    body = body_of("ticket_created")
    assert entity_of(one(body)).refs[0].url is None
    assert entity_of(one(body, subdomain="example")).refs[0].url == "https://example.zendesk.com/agent/tickets/4821"


def test_keys_a_trigger_by_the_call_which_its_retries_share() -> None:
    body = {"ticket": {"id": "1", "status": "Open"}}
    first, retry, other = (one(body, {INVOCATION: number}) for number in ("01A", "01A", "01B"))
    assert first.key == retry.key != other.key


def test_keys_a_trigger_by_its_own_key_before_all_else_and_by_its_bytes_after_all_else() -> None:
    own = {"key": "1-2025", "ticket": {"id": "1"}}
    assert one(own, {INVOCATION: "01A"}).key == one(own, {INVOCATION: "01B"}).key
    bare = {"ticket": {"id": "1"}}
    assert one(bare).key == one(bare).key != one({"ticket": {"id": "1", "status": "Open"}}).key


def test_offers_the_call_as_delivery_key() -> None:
    delivered = raw(body_of("ticket_created"), {INVOCATION: "01A"})
    assert connector.delivery_key(connector.decode(delivered), delivered) == "01A"
    unnumbered = raw(body_of("ticket_created"))
    assert connector.delivery_key(connector.decode(unnumbered), unnumbered) is None


@pytest.mark.parametrize("word", ["resovled", 7, ["resolved"], True])
def test_declares_no_trigger_with_a_word_that_nobody_explained(word: Any) -> None:
    unknown = raw({"event": word, "ticket": {"id": "1"}})
    kind = connector.event_type(connector.decode(unknown), unknown)
    assert kind not in connector.events
    assert kind not in connector.ignored


def test_takes_a_type_of_the_administrators_own_for_a_trigger() -> None:
    assert one({"type": "Incident", "ticket": {"id": "1"}}).type.verb == "updated"


@pytest.mark.parametrize("template", [{"titel": "a"}, {"title": ""}, {"title": "a..b"}, {"ticket": None}])
def test_refuses_a_template_that_cannot_work(template: dict[str, str | None]) -> None:
    with pytest.raises(ValidationError):
        Template.model_validate(template)


def test_leaves_out_a_field_whose_path_is_null() -> None:
    body = {"ticket": {"id": "1", "status": "not ours", "subject": "Hello"}}
    entity = rendered(one(body, template={"status": None}))["data"]["entity"]
    assert "status" not in entity
    assert entity["title"] == "Hello"


def test_recommends_the_template_that_its_defaults_describe() -> None:
    shown = set(paths_of(json.loads(recommended_template())))
    optional = {"key", "ticket.problem_id", "ticket.merged_into", "ticket.custom_fields", "comment.html_body"}
    assert set(Template().model_dump().values()) - shown == optional
    assert shown <= set(Template().model_dump().values())


def test_understands_the_recommended_template_with_every_placeholder_empty() -> None:
    empty = json.loads(re.sub(r"{{.*?}}", "", recommended_template()))
    entity = rendered(one({**empty, "ticket": {**empty["ticket"], "id": "1"}}))["data"]["entity"]
    assert entity["status"] is entity["priority"] is entity["account"] is entity["due_at"] is None
    assert entity["assignees"] == entity["tags"] == []
    assert entity["title"] == ""


@pytest.mark.parametrize("name", list(SAMPLES))
def test_raises_nothing_but_malformed_whatever_stands_wherever(name: str) -> None:
    sample = SAMPLES[name]
    request = sample.request(connector)
    for body in hostile(json.loads(sample.body)):
        try:
            for part in stored(connector, replace(request, body=json.dumps(body).encode())):
                payload = connector.decode(part)
                connector.aggregate(payload, part)
                translate = connector.events.get(connector.event_type(payload, part))
                for event in translate(payload, part) if translate else ():
                    rendered(event)
        except MalformedWebhook as error:
            assert CANARY not in str(error)


def recommended_template() -> str:
    guide = SAMPLES["trigger_thin"].path.parent.parent / "README.md"
    (template,) = re.findall(r"```json\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    return str(template)


def paths_of(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths_of(inner, f"{path}.{name}" if path else name)
    else:
        yield path


def hostile(value: Any) -> Iterator[Any]:
    """The value with each of its parts, at any depth, replaced by each of the wrong things or left out."""
    yield from (None, True, 0, -(10**30), 1.5, CANARY, "", "0001-01-01T00:00:00+05:00", [], [CANARY], {}, {"": CANARY})
    if isinstance(value, dict):
        for name, inner in value.items():
            yield {key: kept for key, kept in value.items() if key != name}
            for wrong in hostile(inner):
                yield {**value, name: wrong}
    if isinstance(value, list) and value:
        for wrong in hostile(value[0]):
            yield [wrong, *value[1:]]
