"""Pipedrive: two versions of one notice, and how its values become ours."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from unsilo_connectors.contract import Connection, Event, MalformedWebhook, Raw, UntrustedWebhook
from unsilo_connectors.pipedrive import connector
from unsilo_connectors.samples import samples, translated
from unsilo_connectors.secrets import Resolved
from unsilo_schemas.writer import SchemaViolation

from tests.connectors.reading import entity_of

NOW = datetime(2026, 3, 2, 9, 12, 42, tzinfo=UTC)
SAMPLES = {sample.name: sample for sample in samples(connector)}


def raw(body: dict[str, Any]) -> Raw[Any]:
    settings = connector.settings.model_validate({"username": "hub", "password": Resolved("a")})
    return Raw(Connection("sample", "pipedrive", settings), {}, json.dumps(body).encode(), NOW)


def body(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAMPLES[name].body)
    return found


def event(name: str, **parts: dict[str, Any]) -> Event:
    """The event of a sample with some fields of its parts replaced."""
    document = body(name)
    for part, fields in parts.items():
        document[part] = {**(document[part] or {}), **fields}
    (one,) = translated(connector, raw(document))
    return one


def changed(data: dict[str, Any], previous: dict[str, Any], **meta: Any) -> Event:
    return event("deal_stage_changed", data={**data}, previous={"stage_id": 3, **previous}, meta=meta)


@pytest.mark.parametrize("password", ["a", "b"])
def test_trusts_either_of_two_active_passwords(password: str) -> None:
    sample = SAMPLES["deal_created"]
    settings = connector.settings.model_validate({"username": "hub", "password": [Resolved("a"), Resolved("b")]})
    request = sample.request(connector)
    header = "Basic " + base64.b64encode(f"hub:{password}".encode()).decode()
    connection = replace(request.connection, settings=settings)
    connector.verify(replace(request, connection=connection, headers={"authorization": header}))
    with pytest.raises(UntrustedWebhook):
        wrong = "Basic " + base64.b64encode(f"hub2:{password}".encode()).decode()
        connector.verify(replace(request, connection=connection, headers={"authorization": wrong}))


def test_a_retry_is_the_same_event() -> None:
    assert event("deal_won", meta={"attempt": 4}).key == event("deal_won").key
    again = {**body("deal_won_v1"), "retry": 3}
    assert translated(connector, raw(again))[0].key == event("deal_won_v1").key


def test_events_about_users_are_told_apart_though_all_bear_the_id_of_the_user() -> None:
    later = event("user_deactivated", meta={"timestamp": 1772182801})
    assert len({event("user_created").key, event("user_deactivated").key, later.key}) == 3


@pytest.mark.parametrize("name", ["user_deactivated", "user_updated_v1"])
@pytest.mark.parametrize("part", ["data", "previous"])
def test_two_changes_within_a_second_are_two_events_and_a_retry_is_none(name: str, part: str) -> None:
    document = body(name)
    document["meta"].pop("timestamp_micro", None)
    place = part if "data" in document or part == "previous" else "current"
    inner = document[place][0] if isinstance(document[place], list) else document[place]
    other = {**document, place: {**inner, "phone": "+45 33 55 00 20"}}
    retried = {**document, "retry": 1, "meta": {**document["meta"], "attempt": 2}}
    retried = {name: retried[name] for name in reversed(retried)}
    first, second, again = (translated(connector, raw(each))[0].key for each in (document, other, retried))
    assert first == again != second


def test_what_tells_a_change_by_the_millisecond_is_its_key() -> None:
    one = event("user_deactivated", meta={"timestamp": "2026-02-27T09:00:00.000Z"})
    assert one.key == "7011924/user/30077/change/2026-02-27T09:00:00.000Z"
    assert event("user_updated_v1").key == "7011924/user/30077/updated/" + str(
        body("user_updated_v1")["meta"]["timestamp_micro"]
    )


def test_version_1_tells_changes_of_one_second_apart() -> None:
    later = event("deal_won_v1", meta={"timestamp_micro": 1776183729600124})
    assert later.key != event("deal_won_v1").key


def test_version_1_does_without_microseconds() -> None:
    document = body("deal_won_v1")
    del document["meta"]["timestamp_micro"]
    (one,) = translated(connector, raw(document))
    assert one.time == datetime(2026, 4, 14, 16, 22, 9, tzinfo=UTC)
    assert "/1776183729/" in one.key


def test_an_object_has_one_id_in_both_versions_and_another_in_another_company() -> None:
    same = event("deal_won"), event("deal_won_v1"), event("deal_won", data={"id": "318"})
    ids = {each.entity["id"] for each in same}
    assert len(ids) == 1
    assert event("deal_won", meta={"company_id": "1"}).entity["id"] not in ids


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, "0"),
        (0.1, "0.1"),
        (18250.1, "18250.1"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (10**25 + 1, "10000000000000000000000001"),
        ("99.90", "99.90"),
    ],
)
def test_money_is_the_text_that_was_written(value: Any, amount: str) -> None:
    entity: Any = entity_of(event("deal_created", data={"value": value}))
    assert entity.amount.amount == amount


def test_money_that_is_null_stays_null() -> None:
    entity: Any = entity_of(event("deal_created", data={"value": None}))
    assert entity.amount is None
    assert "amount" in entity.model_fields_set


@pytest.mark.parametrize("value", [True, "much", [1], {"amount": 1}])
def test_money_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises((MalformedWebhook, SchemaViolation)):
        event("deal_created", data={"value": value})


def test_a_change_of_currency_alone_changes_the_amount() -> None:
    one = changed({"value": 10, "currency": "EUR"}, {"currency": "USD"})
    assert "/amount" in one.changed
    assert one.previous is not None
    assert one.previous["/amount"] == {"amount": "10", "currency": "USD"}


@pytest.mark.parametrize(
    ("data", "previous", "meta", "verb"),
    [
        ({}, {}, {}, "updated"),
        ({"stage_id": 4}, {}, {}, "stage_changed"),
        ({"stage_id": 4, "status": "won"}, {"status": "open"}, {}, "won"),
        ({"status": "lost"}, {"status": "open"}, {}, "lost"),
        ({"status": "lost"}, {"status": "won"}, {}, "lost"),
        ({"status": "open"}, {"status": "lost"}, {}, "reopened"),
        ({"status": "open"}, {"status": "deleted"}, {}, "updated"),
        ({"status": "won"}, {}, {}, "updated"),
        ({"status": "paused"}, {"status": "open"}, {}, "updated"),
        ({"status": "won"}, {"status": "open"}, {"merged_from_id": "9"}, "won"),
    ],
)
def test_says_the_verb_that_stands_furthest_right(
    data: dict[str, Any], previous: dict[str, Any], meta: dict[str, Any], verb: str
) -> None:
    assert changed(data, previous, **meta).type.verb == verb


def test_a_deal_that_comes_in_won_is_won() -> None:
    assert event("deal_created", data={"status": "won", "won_time": "2026-03-02T09:12:40Z"}).type.verb == "won"


@pytest.mark.parametrize(
    ("data", "closed_at"),
    [
        ({"status": "won", "won_time": "2026-03-02T09:12:40Z"}, datetime(2026, 3, 2, 9, 12, 40, tzinfo=UTC)),
        ({"status": "won", "won_time": "2026-03-02T09:12:40Z", "close_time": None},
         datetime(2026, 3, 2, 9, 12, 40, tzinfo=UTC)),
        ({"status": "lost", "lost_time": None, "close_time": None}, None),
        ({"status": "won", "close_time": "2026-03-02T09:12:40Z"}, datetime(2026, 3, 2, 9, 12, 40, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_says_when_a_deal_was_closed_by_whichever_time_is_sent(
    data: dict[str, Any], closed_at: datetime | None
) -> None:
    entity: Any = entity_of(event("deal_created", data=data))
    assert entity.closed_at == closed_at


def test_keeps_a_status_that_it_does_not_know() -> None:
    entity: Any = entity_of(event("deal_created", data={"status": "paused"}))
    assert entity.status.category is None
    assert entity.status.raw == "paused"


def test_says_nothing_of_what_was_not_sent() -> None:
    document = body("deal_created")
    document["data"] = {"id": 318}
    (one,) = translated(connector, raw(document))
    assert entity_of(one).model_fields_set == {"id", "refs"}


def test_a_deletion_needs_no_state() -> None:
    document = {**body("deal_deleted"), "previous": None}
    (one,) = translated(connector, raw(document))
    assert one.type.verb == "deleted"
    assert one.complete  # there is nothing left to ask for
    assert entity_of(one).deleted_at == one.time


def test_a_deletion_changes_when_it_was_and_where_the_object_went() -> None:
    assert event("deal_deleted").changed == ["/deleted_at"]
    assert event("deal_deleted").previous is None
    assert event("deal_merged_into_another").changed == ["/deleted_at", "/merged_into"]
    assert event("deal_merged_into_another").type.verb == "merged"
    assert event("user_deleted").changed == ["/deleted_at"]


def test_version_1_lists_only_what_differs_and_version_2_what_it_sends() -> None:
    assert set(event("person_restored_v1").changed) == {"/remote_updated_at", "/deleted_at"}
    assert set(event("person_updated").changed) == {"/name", "/family_name", "/account", "/phones"}


def test_an_empty_address_is_none() -> None:
    entity: Any = entity_of(event("person_restored_v1"))
    assert entity.phones == []


@pytest.mark.parametrize(
    ("label", "tags"), [("24,25", ["24", "25"]), (14, ["14"]), ("", []), (None, None), ([7], ["7"])]
)
def test_reads_labels_however_they_are_written(label: Any, tags: Any) -> None:
    assert entity_of(event("organization_created", data={"label": label})).tags == tags


@pytest.mark.parametrize(
    ("due_time", "duration", "ended_at"),
    [
        ("13:30", "00:45", timedelta(minutes=45)),
        ("13:30:00", "26:00:00", timedelta(hours=26)),
        ({"value": "13:30:00", "timezone_id": None}, {"value": "00:45:00"}, timedelta(minutes=45)),
        ("13:30", None, None),
        ("13:30", "", None),
    ],
)
def test_an_activity_ends_after_its_duration(due_time: Any, duration: Any, ended_at: timedelta | None) -> None:
    entity: Any = entity_of(event("activity_recorded", data={"due_time": due_time, "duration": duration}))
    start = datetime(2026, 3, 10, 13, 30, tzinfo=UTC)
    assert entity.started_at == start
    assert entity.ended_at == (None if ended_at is None else start + ended_at)


def test_an_activity_without_a_time_of_day_has_a_day_only() -> None:
    entity: Any = entity_of(event("activity_recorded", data={"due_time": None}))
    assert entity.started_at is None
    assert entity.ended_at is None
    assert entity.due_on.isoformat() == "2026-03-10"


def test_an_activity_is_completed_once() -> None:
    again = event("activity_completed", data={"subject": "Walk"}, previous={"done": True, "subject": "Walk through"})
    assert again.type.verb == "updated"


@pytest.mark.parametrize("text", ["2026-01-14", "0000-00-00 00:00:00", "soon", "2026-01-14T00:00:00+0100"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((MalformedWebhook, SchemaViolation)):
        event("deal_created", data={"add_time": text})


def test_takes_an_id_that_is_wrapped_with_its_name() -> None:
    entity: Any = entity_of(event("deal_won_v1", current={"org_id": {"value": 57, "name": "Tarnholm Rowing Club"}}))
    plain: Any = entity_of(event("deal_won_v1"))
    assert entity.account.id == plain.account.id


def test_an_act_without_a_user_has_no_actor() -> None:
    assert event("deal_won", meta={"user_id": None}).actor is None


def test_knows_a_person_only_where_the_change_was_made_in_the_app() -> None:
    by_app, by_api = event("deal_won").actor, event("deal_updated_by_api").actor
    assert by_app is not None
    assert by_api is not None
    assert (by_app["kind"], "kind" in by_api, by_api["ref"]["id"]) == ("human", False, "30077")


def test_a_type_that_nobody_knows_is_left_undeclared() -> None:
    with pytest.raises(KeyError, match=r"change\.spaceship"):
        event("deal_won", meta={"entity": "spaceship"})
