"""The decision: what one raw record becomes. No Kafka is needed to take it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from unsilo_connectors.contract import Connector, Event, MalformedWebhook, Raw
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import CONNECTION, Sample, samples
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.topics import Topics
from unsilo_services.configuration import ConnectionSection
from unsilo_services.dead_letters import DeadLetter
from unsilo_services.gateway.doors import Door, RawRecord, records
from unsilo_services.normalizer.normalize import Mapping as Normalization
from unsilo_services.normalizer.normalize import Published
from unsilo_services.raw_records import HTTP, facts_of

CANARY = "canary-3c6ef372"
TOPICS = Topics("test")
CASES = [
    pytest.param(connector, sample, id=f"{connector.name}-{sample.name}")
    for connector in connectors().values()
    for sample in samples(connector)
    if sample.answer is None
]
CASE = next(sample for sample in samples(connectors()["zendesk"]) if sample.name == "ticket_created")


def stored(connector: Connector[Any, Any], sample: Sample) -> list[RawRecord]:
    """What the gateway leaves of a sample."""
    request = sample.request(connector)
    section = ConnectionSection(id=CONNECTION, connector="zendesk")  # whichever: only its id is looked at
    return records(Door(section, connector, request.connection, "test.raw.sample"), request)


def normalized(connector: Connector[Any, Any], sample: Sample, record: RawRecord) -> list[Published] | None:
    connection = sample.request(connector).connection
    vendor = {name[len(HTTP) :]: value.decode() for name, value in record.headers if name.startswith(HTTP)}
    raw: Raw[Any] = Raw(connection, vendor, record.value, sample.received_at)
    return Normalization(connector, connection, TOPICS, "https://hub.example.org").normalize(
        raw, facts_of(record.headers).trace
    )


@pytest.mark.parametrize(("connector", "sample"), CASES)
def test_a_sample_becomes_the_events_that_it_says(connector: Connector[Any, Any], sample: Sample) -> None:
    found = stored(connector, sample)
    assert len(found) == len(sample.events)
    for record, wanted in zip(found, sample.events, strict=True):
        published = normalized(connector, sample, record) or []
        assert [shown(event) for event in published] == [in_headers(event) for event in wanted]
        for event in published:
            envelope = Envelope.from_headers(event.headers)
            kind = EVENT_TYPES[event.type]
            assert event.topic == TOPICS.event(kind.entity_type).name
            assert event.key.decode() == envelope.partitionkey == record.key.decode()
            assert event.id.hex() == envelope.id.replace("-", "")
            assert envelope.recordedtime == sample.received_at
            assert envelope.source == f"/c/{CONNECTION}"
            assert envelope.dataschema == f"https://hub.example.org/schemas/{kind.name}.json"
            assert (envelope.origin, envelope.via, envelope.hops) == (CONNECTION, CONNECTION, 0)
            assert envelope.correlationid == envelope.id
            assert envelope.mappinggen == connector.generation
            assert envelope.dataclassification == kind.entity_type.classification
            kind.data.model_validate_json(event.value)


def shown(event: Published) -> dict[str, Any]:
    """An event as a sample states it, as far as its headers say that."""
    envelope = Envelope.from_headers(event.headers)
    said = {name: value.decode() for name, value in event.headers}
    found = {"type": envelope.type, "id": envelope.id, "key": event.key.decode(), "time": said["ce_time"]}
    optional = {name: said[f"ce_{name}"] for name in ("sequence", "authtype", "authid") if f"ce_{name}" in said}
    return {**found, **optional, "data": json.loads(event.value)}


def in_headers(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample states, with its actor as the envelope has it."""
    found = dict(event)
    actor = found.pop("actor", None)
    if actor is not None:
        found |= {"authtype": actor.get("kind") or "unknown", "authid": actor["ref"]["id"]}
    return found


def failing(**changed: Any) -> Connector[Any, Any]:
    return replace(connectors()["zendesk"], **changed)


def letter_of(connector: Connector[Any, Any]) -> DeadLetter:
    good = connectors()["zendesk"]
    with pytest.raises(DeadLetter) as letter:
        normalized(connector, CASE, stored(good, CASE)[0])
    return letter.value


def raises(error: Exception) -> Any:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [KeyError(CANARY), ValueError(CANARY), RecursionError(CANARY), AssertionError(CANARY)]
)
@pytest.mark.parametrize("function", ["decode", "event_type"])
def test_a_connector_that_fails_makes_a_letter_without_its_words(function: str, error: Exception) -> None:
    letter = letter_of(failing(**{function: raises(error)}))
    assert letter.reason == "payload_malformed"
    assert type(error).__name__ in letter.error
    assert CANARY not in letter.error


def events_of(change: Mapping[str, Any]) -> Connector[Any, Any]:
    """Zendesk's connector, whose events of this sample are changed."""
    good = connectors()["zendesk"]
    kind = json.loads(CASE.body)["type"]

    def translate(payload: Any, raw: Raw[Any]) -> Iterator[Event]:
        for event in good.events[kind](payload, raw):
            yield event._replace(**change)
        if change.get("then") is not None:
            raise KeyError(CANARY)

    return failing(events={kind: translate})


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": "\ud800"},
        {"actor": {"ref": {"connection": "c", "id": CANARY * 200_000}}},
        {"key": 7},
        {"previous": {"/title": object()}},
        {"time": None},
        {"actor": CANARY},
        {"entity": None},
        {"changed": 5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_event_that_cannot_be_written_makes_a_letter(change: Mapping[str, Any]) -> None:
    letter = letter_of(events_of(change))
    assert CANARY not in letter.error


def test_an_actor_whose_kind_is_null_is_of_an_unknown_one() -> None:
    actor = {"ref": {"connection": "c", "id": "1"}, "kind": None}
    (event,) = normalized(events_of({"actor": actor}), CASE, stored(connectors()["zendesk"], CASE)[0]) or []
    assert dict(event.headers)["ce_authtype"] == b"unknown"


def test_an_event_that_fails_takes_the_others_of_its_record_with_it() -> None:
    good = connectors()["zendesk"]
    kind = json.loads(CASE.body)["type"]

    def translate(payload: Any, raw: Raw[Any]) -> Iterator[Event]:
        yield from good.events[kind](payload, raw)
        raise MalformedWebhook("second: missing")

    letter = letter_of(failing(events={kind: translate}))
    assert (letter.reason, letter.error, letter.stage) == ("payload_malformed", "second: missing", "decode")


def test_a_type_that_nobody_declared_is_named_as_that_and_an_ignored_one_is_nothing() -> None:
    assert letter_of(failing(event_type=lambda *_: "x")).reason == "source_unmapped"
    ignoring = failing(event_type=lambda *_: "x", ignored=frozenset({"x"}))
    assert normalized(ignoring, CASE, stored(connectors()["zendesk"], CASE)[0]) is None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("issues.pinned", "the type issues.pinned"),
        ("zen:event-type:ticket/x_1", "the type zen:event-type:ticket/x_1"),
        ("x" * 81, "the type " + "x" * 80),
        ("", "a type that is not shown"),
        ("ines@acme.example", "a type that is not shown"),
        ("two words", "a type that is not shown"),
        ("pinned\n", "a type that is not shown"),
        ("\x1b[31m", "a type that is not shown"),
        ("gärt", "a type that is not shown"),
    ],
)
def test_a_type_that_nobody_declared_is_shown_where_it_is_a_plain_word(kind: str, said: str) -> None:
    assert letter_of(failing(event_type=lambda *_: kind)).error == f"zendesk does not declare {said}"


def test_the_same_record_always_becomes_the_same_bytes() -> None:
    connector = connectors()["zendesk"]
    (record,) = stored(connector, CASE)
    assert normalized(connector, CASE, record) == normalized(connector, CASE, record)
    assert isinstance(CASE.received_at, datetime)
