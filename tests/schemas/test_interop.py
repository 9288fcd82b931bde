"""We and the official `cloudevents` SDK read each other: Kafka binary mode, HTTP structured and HTTP batched.

The second half names what the SDK (2.2) does wrong, and shows that the envelope does not. Two things follow for
consumers: one that writes with the SDK cannot write a tombstone or data that is a list or a string, and one that reads
with it must not trust `time` where the event has none.
"""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings import http, kafka
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.bindings.kafka import KafkaMessage
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unsilo_schemas.envelope import BATCHED, STRUCTURED, Envelope, batched, from_batched, from_structured

LEAST: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/c/helpdesk", "type": "unsilo.x.y.z.v1"}
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


something = st.text(min_size=1)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001  # hypothesis adds the zone
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))]),
)
texts = st.fixed_dictionaries(
    {"specversion": st.just("1.0"), "id": something, "source": something, "type": something, "time": moments},
    optional={
        "subject": something,
        "dataschema": something,
        "datacontenttype": st.sampled_from(["application/json", "application/vnd.unsilo+json"]),
        "partitionkey": something,
        "dataclassification": something,
        "comexampleextension1": st.text(),
    },
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


def as_kafka(envelope: Envelope, value: bytes) -> KafkaMessage:
    key = None if envelope.partitionkey is None else envelope.partitionkey.encode()
    return KafkaMessage(headers=dict(envelope.to_headers()), key=key, value=value)


def as_http(envelope: Envelope, data: bytes | None) -> HTTPMessage:
    return HTTPMessage({"content-type": STRUCTURED}, json.dumps(envelope.structured(data)).encode())


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(texts, objects)
def test_the_sdk_reads_what_we_put_on_kafka_and_we_read_it_back(attributes: dict[str, Any], data: Any) -> None:
    envelope = Envelope(**attributes)
    theirs = kafka.from_kafka_event(as_kafka(envelope, to_json(data)))
    assert theirs.get_attributes() == attributes
    assert theirs.get_data() == data
    message = kafka.to_binary_event(theirs)
    assert Envelope.from_headers(list(message.headers.items())) == envelope
    assert json.loads(message.value) == data


@given(texts, objects)
def test_we_read_what_the_sdk_puts_on_kafka_and_it_reads_it_back(attributes: dict[str, Any], data: Any) -> None:
    message = kafka.to_binary_event(CloudEvent(dict(attributes), data))
    envelope = Envelope.from_headers(list(message.headers.items()))
    assert envelope == Envelope(**attributes)
    theirs = kafka.from_binary_event(KafkaMessage(dict(envelope.to_headers()), message.key, message.value))
    assert theirs.get_attributes() == attributes
    assert theirs.get_data() == data


@given(texts, st.integers(-(2**31), 2**31 - 1), json_values)
def test_the_sdk_reads_what_we_send_structured_and_we_read_it_back(
    attributes: dict[str, Any], hops: int, data: Any
) -> None:
    envelope = Envelope(**{"datacontenttype": "application/json", **attributes}, hops=hops)
    theirs = http.from_http_event(as_http(envelope, to_json(data)))
    assert theirs.get_attributes() == {"datacontenttype": "application/json", **attributes, "hops": hops}
    assert theirs.get_data() == data
    received, back = from_structured(json.loads(http.to_structured_event(theirs).body))
    assert received == envelope
    if data is not None:  # see test_the_sdk_takes_null_for_no_data
        assert back is not None
        assert json.loads(back) == data


@given(texts, objects | st.text())
def test_we_read_what_the_sdk_sends_structured_and_it_reads_it_back(attributes: dict[str, Any], data: Any) -> None:
    sent = {"datacontenttype": "application/json", **attributes}
    envelope, value = from_structured(json.loads(http.to_structured_event(CloudEvent(dict(sent), data)).body))
    assert envelope == Envelope(**sent)
    assert value is not None
    assert json.loads(value) == data
    assert http.from_http_event(as_http(envelope, value)).get_data() == data


@pytest.mark.parametrize(
    ("kind", "data"), [("application/octet-stream", b"\x00\xff"), ("image/png", b""), ("text/plain", b"caf\xc3\xa9")]
)
def test_data_that_is_not_json_passes_structured_mode_in_both_directions(kind: str, data: bytes) -> None:
    envelope = Envelope(**LEAST, time=NOON, datacontenttype=kind)
    theirs = http.from_http_event(as_http(envelope, data))
    assert theirs.get_data() == data
    assert from_structured(json.loads(http.to_structured_event(theirs).body)) == (envelope, data)


def test_text_that_the_sdk_sends_as_text_arrives_as_text() -> None:
    theirs = CloudEvent({**LEAST, "datacontenttype": "text/plain"}, "Zoë said: no")
    assert from_structured(json.loads(http.to_structured_event(theirs).body))[1] == "Zoë said: no".encode()


def test_bytes_that_the_sdk_sends_as_base64_are_read_though_they_are_json() -> None:
    theirs = CloudEvent({**LEAST, "datacontenttype": "application/json"}, b'{"a":1}')
    event = json.loads(http.to_structured_event(theirs).body)
    assert "data_base64" in event
    assert from_structured(event)[1] == b'{"a":1}'


@given(st.lists(st.tuples(texts, objects), max_size=4))
def test_a_batch_holds_what_the_sdk_reads_and_writes_one_by_one(given_events: list[tuple[dict[str, Any], Any]]) -> None:
    events = [
        (Envelope(**{"datacontenttype": "application/json", **attributes}), to_json(data))
        for attributes, data in given_events
    ]
    theirs = [JSONFormat().read(None, to_json(event)) for event in batched(events)]
    assert [event.get_data() for event in theirs] == [data for _, data in given_events]
    back = from_batched([json.loads(JSONFormat().write(event)) for event in theirs])
    assert [envelope for envelope, _ in back] == [envelope for envelope, _ in events]
    assert [json.loads(value or b"null") for _, value in back] == [data for _, data in given_events]


# What the SDK does wrong. A test that fails here is good news: the fault is mended, and its sentence can go.


def test_the_sdk_has_no_batched_mode() -> None:
    batch = to_json(batched([(Envelope(**LEAST), None)]))
    with pytest.raises(AttributeError):
        http.from_http_event(HTTPMessage({"content-type": BATCHED}, batch))
    assert from_batched(json.loads(batch)) == [(Envelope(**LEAST), None)]


def test_the_sdk_writes_an_empty_value_where_a_tombstone_is_meant() -> None:
    """An event without data is a record without value (Kafka binding, section 3.2.2). Compaction keeps an empty one."""
    assert kafka.to_binary_event(CloudEvent(dict(LEAST), None)).value == b""
    assert from_structured(Envelope(**LEAST).structured(None))[1] is None


def test_the_sdk_takes_null_for_no_data() -> None:
    envelope = Envelope(**LEAST, time=NOON, datacontenttype="application/json")
    theirs = http.from_http_event(as_http(envelope, b"null"))
    assert "data" not in json.loads(http.to_structured_event(theirs).body)
    assert from_structured(envelope.structured(b"null")) == (envelope, b"null")


@pytest.mark.parametrize(
    ("data", "spoilt"), [(b'["a"]', b"['a']"), (b'"text"', b"text"), (b"true", b"True"), (b"null", b"")]
)
def test_the_sdk_spoils_json_on_kafka_that_is_no_object(data: bytes, spoilt: bytes) -> None:
    envelope = Envelope(**LEAST, datacontenttype="application/json")
    assert kafka.to_binary_event(kafka.from_binary_event(as_kafka(envelope, data))).value == spoilt
    assert from_structured(envelope.structured(data)) == (envelope, data)


def test_the_sdk_passes_broken_json_on_as_text() -> None:
    envelope = Envelope(**LEAST, datacontenttype="application/json")
    assert kafka.from_binary_event(as_kafka(envelope, b'{"a":')).get_data() == '{"a":'
    assert "data_base64" in envelope.structured(b'{"a":')


@pytest.mark.parametrize("kind", ["Application/JSON", "model/gltf+json", "application/json ; charset=utf-8"])
def test_the_sdk_does_not_know_every_json_type(kind: str) -> None:
    envelope = Envelope(**LEAST, datacontenttype=kind)
    assert kafka.from_binary_event(as_kafka(envelope, b'{"a":1}')).get_data() == '{"a":1}'
    assert envelope.structured(b'{"a":1}')["data"] == {"a": 1}


def test_the_sdk_puts_the_record_key_in_the_place_of_the_partition_key() -> None:
    """A mapping of keys must not change the event (Kafka binding, section 3.1)."""
    envelope = Envelope(**LEAST, partitionkey="as sent")
    message = KafkaMessage(dict(envelope.to_headers()), b"another", b"")
    assert kafka.from_binary_event(message).get_extension("partitionkey") == "another"
    assert Envelope.from_headers(list(message.headers.items())).partitionkey == "as sent"


def test_the_sdk_takes_a_structured_record_for_a_binary_one() -> None:
    """The content type tells the modes apart, and `ce_` headers may stand beside either (Kafka binding, section 3)."""
    envelope = Envelope(**LEAST)
    headers = {**dict(envelope.to_headers()), "content-type": STRUCTURED.encode()}
    theirs = kafka.from_kafka_event(KafkaMessage(headers, None, to_json(envelope.structured(b'{"a":1}'))))
    assert theirs.get_data() != {"a": 1}
    with pytest.raises(ValidationError, match="structured mode"):
        Envelope.from_headers(list(headers.items()))


def test_the_sdk_cannot_read_a_record_whose_key_is_no_text() -> None:
    message = KafkaMessage(dict(Envelope(**LEAST).to_headers()), b"\xff", b"")
    with pytest.raises(UnicodeDecodeError):
        kafka.from_binary_event(message)
    assert Envelope.from_headers(list(message.headers.items())) == Envelope(**LEAST)


def test_the_sdk_invents_a_time_for_an_event_that_has_none() -> None:
    theirs = kafka.from_binary_event(as_kafka(Envelope(**LEAST), b"{}"))
    assert theirs.get_time() is not None
    assert Envelope.from_headers(Envelope(**LEAST).to_headers()).time is None


@pytest.mark.parametrize("missing", ["id", "specversion"])
def test_the_sdk_invents_required_attributes(missing: str) -> None:
    event = {name: value for name, value in LEAST.items() if name != missing}
    assert JSONFormat().read(None, to_json(event)).get_attributes()[missing]
    with pytest.raises(ValidationError, match=missing):
        from_structured(event)


def test_the_sdk_reads_the_times_of_extensions_as_text() -> None:
    attributes = {**LEAST, "time": NOON, "recordedtime": NOON}
    theirs = kafka.from_binary_event(kafka.to_binary_event(CloudEvent(dict(attributes))))
    assert theirs.get_extension("recordedtime") == "2026-03-02T12:00:00Z"
    assert Envelope.from_headers(Envelope(**attributes).to_headers()).recordedtime == NOON


def test_the_sdk_writes_the_times_of_extensions_without_zone() -> None:
    naive = NOON.replace(tzinfo=None)
    headers = kafka.to_binary_event(CloudEvent({**LEAST, "time": NOON, "recordedtime": naive})).headers
    assert headers["ce_recordedtime"] == b"2026-03-02T12:00:00"
    with pytest.raises(ValidationError, match="recordedtime"):
        Envelope.from_headers(list(headers.items()))


def test_the_sdk_reads_times_that_rfc_3339_does_not_allow() -> None:
    event = {**LEAST, "time": "20260302T12Z"}
    assert JSONFormat().read(None, to_json(event)).get_time() == NOON
    with pytest.raises(ValidationError, match="time"):
        from_structured(event)


@pytest.mark.parametrize(("name", "error"), [("subject", CloudEventValidationError), ("time", TypeError)])
def test_the_sdk_refuses_attributes_that_are_null(name: str, error: type[Exception]) -> None:
    event = {**LEAST, name: None}
    with pytest.raises(error):
        JSONFormat().read(None, to_json(event))
    assert from_structured(event) == (Envelope(**LEAST), None)


def test_the_sdk_stumbles_over_a_header_without_value() -> None:
    headers: list[tuple[str, bytes | None]] = [*Envelope(**LEAST).to_headers(), ("ce_subject", None)]
    with pytest.raises(AttributeError):
        kafka.from_binary_event(KafkaMessage(dict(headers), None, b""))  # type: ignore[arg-type]  # Kafka allows it
    assert Envelope.from_headers(headers) == Envelope(**LEAST)


def test_the_sdk_spells_booleans_as_python_does() -> None:
    attributes = {**LEAST, "comexampleflag": True}
    assert kafka.to_binary_event(CloudEvent(dict(attributes))).headers["ce_comexampleflag"] == b"True"
    assert dict(Envelope(**attributes).to_headers())["ce_comexampleflag"] == b"true"


def test_the_sdk_reads_base64_that_is_none() -> None:
    event = {**LEAST, "datacontenttype": "image/png", "data_base64": "%e!A=="}
    assert JSONFormat().read(None, to_json(event)).get_data() == b"x"
    with pytest.raises(ValidationError, match="data_base64"):
        from_structured(event)
