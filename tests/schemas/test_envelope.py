"""The envelope: nothing is lost on the way through Kafka or HTTP, and nothing but a CloudEvent is taken for one."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from unsilo_schemas.envelope import (
    Envelope,
    Headers,
    batched,
    from_batched,
    from_structured,
    is_json,
    timestamp,
)

CORE = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}
LEAST: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/c/helpdesk", "type": "unsilo.x.y.z.v1"}
JSON_TYPES = (None, "application/json", "application/json; charset=utf-8", "text/json", "application/vnd.x+json")
OTHER_TYPES = ("text/plain", "application/octet-stream", "application/xml", "application/jsonl")


names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name != "data" and name not in Envelope.model_fields
)
integers = st.integers(-(2**31), 2**31 - 1)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001  # hypothesis adds the zone
    timezones=st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone),
)
something = st.text(min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def attributes(extension_values: st.SearchStrategy[Any], types: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = st.fixed_dictionaries(
        {"id": something, "source": something, "type": something},
        optional={
            "subject": something,
            "time": moments,
            "recordedtime": moments,
            "datacontenttype": types,
            "dataschema": something,
            "partitionkey": st.text(),
            "authid": st.text(),
            "hops": integers,
            "mappinggen": integers,
        },
    )
    return st.builds(lambda some, more: {**some, **more}, known, st.dictionaries(names, extension_values, max_size=4))


# What a parser may hand over for JSON written by an enemy: any type in any place, NaN, half surrogate pairs.
hostile_text = st.text(st.characters(exclude_categories=()))
hostile_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)
hostile_events = st.dictionaries(
    st.sampled_from([*Envelope.model_fields, "data", "data_base64", "copy", "json"]) | hostile_text, hostile_values
).flatmap(lambda found: st.sampled_from([found, {**LEAST, **found}, {**found, **LEAST}]))


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@given(attributes(st.text(), something))
def test_attributes_survive_kafka_headers(given_attributes: dict[str, Any]) -> None:
    envelope = Envelope(**given_attributes)
    assert Envelope.from_headers(envelope.to_headers()) == envelope
    assert given_attributes.items() <= dict(envelope).items()


@given(attributes(st.text() | integers | st.booleans(), st.sampled_from(JSON_TYPES[1:])), json_values)
def test_attributes_and_json_data_survive_structured_mode(given_attributes: dict[str, Any], value: Any) -> None:
    envelope = Envelope(**{"datacontenttype": "application/json", **given_attributes})
    sent = json.dumps(envelope.structured(json.dumps(value).encode()), allow_nan=False)
    received, data = from_structured(json.loads(sent))
    assert received == envelope
    assert data is not None
    assert json.loads(data) == value


@given(attributes(st.text() | integers | st.booleans(), st.sampled_from(OTHER_TYPES)), st.binary())
def test_attributes_and_other_data_survive_structured_mode(given_attributes: dict[str, Any], data: bytes) -> None:
    envelope = Envelope(**{"datacontenttype": "text/plain", **given_attributes})
    event = envelope.structured(data)
    assert "data" not in event
    assert from_structured(json.loads(json.dumps(event))) == (envelope, data)


def test_the_type_of_the_data_travels_as_content_type() -> None:
    headers = dict(Envelope(**LEAST, datacontenttype="application/json").to_headers())
    assert headers["content-type"] == b"application/json"
    assert "ce_datacontenttype" not in headers


def test_headers_are_utf_8_and_stand_as_they_are() -> None:
    headers = dict(Envelope(**LEAST, subject="ticket/Zoë 🙂 %41").to_headers())
    assert headers["ce_subject"] == "ticket/Zoë 🙂 %41".encode()


def test_reads_no_other_header_and_none_without_value() -> None:
    headers = [(f"ce_{name}", value.encode()) for name, value in LEAST.items()]
    envelope = Envelope.from_headers([*headers, ("traceparent", b"\xff"), ("dl_reason", b"x"), ("ce_subject", None)])
    assert dict(envelope.to_headers()) == dict(headers)


@pytest.mark.parametrize("name", ["comexampleextension1", "copy", "json", "structured", "x" * 40, "7"])
def test_keeps_extension_attributes_that_the_hub_does_not_know(name: str) -> None:
    envelope = Envelope.from_headers([*Envelope(**LEAST).to_headers(), (f"ce_{name}", b"kept")])
    assert dict(envelope.to_headers())[f"ce_{name}"] == b"kept"
    assert from_structured(envelope.structured(None)) == (envelope, None)


@pytest.mark.parametrize("kind", [b"application/cloudevents+json; charset=UTF-8", b"Application/CloudEvents+avro"])
def test_refuses_a_structured_record_though_its_headers_name_the_attributes(kind: bytes) -> None:
    with pytest.raises(ValidationError, match="structured mode"):
        Envelope.from_headers([*Envelope(**LEAST).to_headers(), ("content-type", kind)])


@pytest.mark.parametrize("name", ["", "Upper", "with-hyphen", "with_underscore", "zoë", "data", "new\nline", "x\n"])
def test_refuses_attribute_names_that_cloudevents_does_not_allow(name: str) -> None:
    with pytest.raises(ValidationError):
        Envelope.from_headers([*Envelope(**LEAST).to_headers(), (f"ce_{name}", b"x")])


@pytest.mark.parametrize("name", sorted(set(Envelope.model_fields) - CORE))
def test_our_extension_names_are_at_most_20_lower_case_letters_and_digits(name: str) -> None:
    assert name.isascii()
    assert name.isalnum()
    assert name.islower()
    assert len(name) <= 20


@pytest.mark.parametrize(
    ("given_text", "written"),
    [
        ("2026-03-02T09:14:07Z", "2026-03-02T09:14:07Z"),
        ("2026-03-02T09:14:07.25Z", "2026-03-02T09:14:07.250000Z"),
        ("2026-03-02T09:14:07.123456789Z", "2026-03-02T09:14:07.123456Z"),
        ("2026-03-02T09:14:07.000Z", "2026-03-02T09:14:07Z"),
        ("2026-03-02T10:14:07+01:00", "2026-03-02T09:14:07Z"),
        ("2026-03-01T23:44:07.5-09:30", "2026-03-02T09:14:07.500000Z"),
        ("2026-03-02t09:14:07z", "2026-03-02T09:14:07Z"),
    ],
)
@pytest.mark.parametrize("name", ["time", "recordedtime"])
def test_writes_every_time_in_utc(name: str, given_text: str, written: str) -> None:
    envelope = Envelope.from_headers([*Envelope(**LEAST).to_headers(), (f"ce_{name}", given_text.encode())])
    assert dict(envelope.to_headers())[f"ce_{name}"] == written.encode()
    assert envelope.structured(None)[name] == written
    assert getattr(envelope, name).tzinfo is UTC


@given(moments)
def test_a_time_written_is_the_time_meant(moment: datetime) -> None:
    assert datetime.fromisoformat(timestamp(moment)) == moment
    assert timestamp(moment).endswith("Z")


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-02T09:14:07",  # without zone
        datetime(2026, 3, 2, 9, 14, 7),  # noqa: DTZ001  # that is the point
        "2026-03-02",
        "1772442847",  # seconds or milliseconds?
        1772442847,
        1772442847.5,
        True,
        "2026-03-02T09:14Z",
        "2026-13-02T09:14:07Z",
        "2026-03-02T09:14:07Z\n",
        "0001-01-01T00:00:00+01:00",  # before the first hour that a datetime can hold
        "9999-12-31T23:59:59-01:00",
        "",
        [],
    ],
)
@pytest.mark.parametrize("name", ["time", "recordedtime"])
def test_refuses_a_time_without_zone_or_in_another_notation(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Envelope(**{**LEAST, name: value})
    with pytest.raises(ValidationError, match=name):
        from_structured({**LEAST, name: value})


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_refuses_an_event_without_a_required_attribute(missing: str) -> None:
    present = {name: value for name, value in LEAST.items() if name != missing}
    with pytest.raises(ValidationError, match=missing):
        from_structured(present)
    with pytest.raises(ValidationError, match=missing):
        Envelope.from_headers([(f"ce_{name}", value.encode()) for name, value in present.items()])


@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "datacontenttype", "dataschema"])
def test_refuses_an_empty_attribute_that_must_not_be_empty(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Envelope(**{**LEAST, name: ""})


@pytest.mark.parametrize("version", ["0.3", "1.0.2", "1.1", "1.0\n", 1.0])
def test_refuses_another_version_of_cloudevents(version: Any) -> None:
    with pytest.raises(ValidationError, match="specversion"):
        from_structured({**LEAST, "specversion": version})


def test_integers_and_booleans_keep_their_json_type_and_have_one_spelling_in_headers() -> None:
    event = {**LEAST, "hops": 2, "mappinggen": 7, "comexampleflag": True, "comexampleothervalue": 5}
    envelope, _ = from_structured(event)
    assert envelope.structured(None) == event
    headers = dict(envelope.to_headers())
    assert headers["ce_hops"] == b"2"
    assert headers["ce_comexampleflag"] == b"true"
    assert headers["ce_comexampleothervalue"] == b"5"


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], 1.5, 2**31, -(2**31) - 1, 10**400, float("nan"), "\ud800"])
@pytest.mark.parametrize("name", ["comexamplevalue", "authid", "hops"])
def test_refuses_attributes_of_a_type_that_cloudevents_does_not_have(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        from_structured({**LEAST, name: value})


def test_an_attribute_that_is_null_is_absent() -> None:
    assert from_structured({**LEAST, "subject": None, "time": None, "comexamplevalue": None}) == (
        Envelope(**LEAST),
        None,
    )


def test_an_event_without_data_is_a_tombstone_and_one_with_null_is_not() -> None:
    envelope = Envelope(**LEAST, datacontenttype="application/json")
    assert not {"data", "data_base64"} & set(envelope.structured(None))
    assert from_structured(envelope.structured(None)) == (envelope, None)
    assert envelope.structured(b"null")["data"] is None
    assert from_structured(envelope.structured(b"null")) == (envelope, b"null")


def test_empty_data_of_another_type_than_json_is_no_tombstone() -> None:
    envelope = Envelope(**LEAST, datacontenttype="text/plain")
    assert from_structured(envelope.structured(b"")) == (envelope, b"")


@pytest.mark.parametrize("kind", JSON_TYPES)
def test_data_of_a_json_type_is_json_in_structured_mode(kind: str | None) -> None:
    assert is_json(kind)
    assert Envelope(**LEAST, datacontenttype=kind).structured(b'{"a":[1]}')["data"] == {"a": [1]}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_data_of_another_type_is_base64_in_structured_mode(kind: str) -> None:
    assert not is_json(kind)
    assert Envelope(**LEAST, datacontenttype=kind).structured(b'{"a":1}')["data_base64"] == "eyJhIjoxfQ=="


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"NaN", b"[1e400]", b'"\\ud800"', b"[" * 100_000, b"1" * 5_000], ids=range(8)
)
def test_data_that_claims_to_be_json_and_is_not_survives_as_base64(data: bytes) -> None:
    envelope = Envelope(**LEAST, datacontenttype="application/json")
    event = envelope.structured(data)
    assert "data" not in event
    assert from_structured(event) == (envelope, data)


def test_reads_text_of_another_type_as_the_text_itself() -> None:
    event = {**LEAST, "datacontenttype": "application/xml", "data": '<much wow="xml"/>'}  # the specification's example
    assert from_structured(event)[1] == b'<much wow="xml"/>'


def test_a_json_string_stays_a_json_string() -> None:
    assert from_structured({**LEAST, "data": "Zoë"})[1] == '"Zoë"'.encode()


def test_says_that_data_is_json_where_structured_mode_only_implies_it() -> None:
    assert from_structured({**LEAST, "data": {}})[0].datacontenttype == "application/json"
    assert from_structured({**LEAST, "data_base64": "eA=="})[0].datacontenttype is None
    assert from_structured(LEAST)[0].datacontenttype is None


@pytest.mark.parametrize(
    "payload",
    [
        {"data_base64": "%%%"},
        {"data_base64": "eA"},
        {"data_base64": "eA==\n"},
        {"data_base64": "ë"},
        {"data_base64": 7},
        {"data_base64": ["eA=="]},
        {"data_base64": {}},
        {"data_base64": False},
        {"data_base64": "eA==", "data": "x"},
        {"data": float("nan")},
        {"data": [float("inf")]},
        {"data": "\ud800"},
        {"data": {"\udfff": 1}},
        {"data": deep(100_000)},
        {"datacontenttype": "text/plain", "data": {"a": 1}},
        {"datacontenttype": "text/plain", "data": None},
        {"datacontenttype": "text/plain", "data": "\ud800"},
    ],
    ids=range(17),
)
def test_refuses_data_that_is_not_what_it_is_said_to_be(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="data"):
        from_structured({**LEAST, **payload})


@pytest.mark.parametrize(
    "event", [None, True, 7, "text", [], [LEAST], {}, {"": ""}, {"id": deep(100_000)}], ids=range(9)
)
def test_refuses_what_is_no_event_at_all(event: Any) -> None:
    with pytest.raises(ValidationError):
        from_structured(event)


@given(hostile_values | hostile_events)
@example({**LEAST, "data_base64": "é"})
def test_hostile_events_are_refused_or_can_be_passed_on_and_raise_nothing_else(event: Any) -> None:
    try:
        envelope, data = from_structured(event)
    except ValidationError:
        return
    assert Envelope.from_headers(envelope.to_headers()).id == envelope.id
    assert from_structured(json.loads(json.dumps(envelope.structured(data), allow_nan=False))) == (envelope, data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"ce_{name}" for name in Envelope.model_fields] + ["content-type"]) | st.text(),
            st.none() | st.binary() | st.text().map(str.encode),
        )
    ),
    st.booleans(),
)
def test_hostile_headers_are_refused_or_can_be_passed_on_and_raise_nothing_else(headers: Headers, whole: bool) -> None:
    try:
        envelope = Envelope.from_headers([*headers, *Envelope(**LEAST).to_headers()] if whole else headers)
    except ValidationError:
        return
    assert from_structured(envelope.structured(None)) == (envelope, None)


@pytest.mark.parametrize("name", ["ce_id", "ce_time", "ce_hops", "ce_unknown", "content-type"])
def test_refuses_headers_that_are_not_utf_8(name: str) -> None:
    with pytest.raises(ValidationError):
        Envelope.from_headers([*Envelope(**LEAST).to_headers(), (name, b"\xff\xfe")])


@pytest.mark.parametrize(
    "event", [{**LEAST, "hops": "canary"}, {**LEAST, "time": "canary"}, {**LEAST, "data_base64": "canary!"}]
)
def test_an_error_does_not_show_what_it_refuses(event: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        from_structured(event)
    assert "canary" not in str(refused.value)


def test_an_envelope_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Envelope(**LEAST).id = "2"  # type: ignore[misc]  # mypy knows


def test_a_batch_keeps_its_events_and_their_order() -> None:
    events = [
        (Envelope(**{**LEAST, "id": "1"}, datacontenttype="application/json"), b'{"a":1}'),
        (Envelope(**{**LEAST, "id": "2"}), None),
        (Envelope(**{**LEAST, "id": "3"}, datacontenttype="text/plain"), b"\xff"),
    ]
    assert from_batched(json.loads(json.dumps(batched(events)))) == events
    assert from_batched(batched([])) == []


@pytest.mark.parametrize("events", [None, LEAST, "text", [LEAST, {}], [LEAST, None], [[LEAST]]])
def test_refuses_a_batch_that_holds_anything_but_events(events: Any) -> None:
    with pytest.raises(ValidationError):
        from_batched(events)
