"""What holds for every connector, because it is one: a new folder gets all of these by existing."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from unsilo_connectors.contract import Connector, MalformedWebhook, UntrustedWebhook, WebhookRequest
from unsilo_connectors.discovery import connectors
from unsilo_connectors.masking import MASK, masked_headers
from unsilo_connectors.samples import Sample, rendered, samples, stored, translated
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import vocabulary
from unsilo_schemas.link import LINK
from unsilo_schemas.writer import SchemaViolation, writer

ALL = sorted(connectors())
CASES = [(name, sample) for name in ALL for sample in samples(connectors()[name]) if sample.recorded]
SIGNED_CASES = pytest.mark.parametrize(
    ("connector", "sample"),
    [pytest.param(connectors()[name], sample, id=f"{name}-{sample.name}") for name, sample in CASES],
)
EACH = pytest.mark.parametrize("connector", [pytest.param(connectors()[name], id=name) for name in ALL])
CANARY = "canary-d41d8cd98f"


def parts(connector: Connector[Any, Any], sample: Sample) -> Iterator[list[dict[str, Any]]]:
    for raw in stored(connector, sample.request(connector)):
        yield [rendered(event) for event in translated(connector, raw)]


def resigned(connector: Connector[Any, Any], request: WebhookRequest[Any], body: bytes) -> WebhookRequest[Any]:
    signed = connector.sign(body, request.connection.settings, request.received_at)
    return replace(request, body=body, headers={**request.headers, **signed})


@EACH
def test_has_samples_and_a_guide(connector: Connector[Any, Any]) -> None:
    found = samples(connector)
    assert found
    assert (found[0].path.parent.parent / "README.md").is_file()


@EACH
def test_has_recorded_every_sample(connector: Connector[Any, Any]) -> None:
    left = [sample.path for sample in samples(connector) if not sample.recorded]
    assert not left, (
        f"complete them, and read their events: .venv/bin/python -m unsilo_connectors.record {connector.name}"
    )


@EACH
def test_names_its_samples_as_every_other_does(connector: Connector[Any, Any]) -> None:
    assert not [sample.name for sample in samples(connector) if not re.fullmatch(r"[a-z0-9_]+", sample.name)]


@SIGNED_CASES
def test_trusts_its_own_sample(connector: Connector[Any, Any], sample: Sample) -> None:
    connector.verify(sample.request(connector))


@SIGNED_CASES
def test_trusts_what_it_signs_itself(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    connector.verify(resigned(connector, request, sample.body))


@SIGNED_CASES
def test_refuses_another_secret(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    fields = {name for name, field in connector.settings.model_fields.items() if "Secret" in repr(field.annotation)}
    assert fields, "a connector without a secret would trust anybody"

    def another(value: Any) -> Any:
        other = "whsec_" + "b3RoZXI=" * 4 if str(_shown(value)).startswith("whsec_") else "another secret"
        return (SecretStr(other),) if isinstance(value, tuple) else SecretStr(other)

    settings = request.connection.settings.model_copy(
        update={name: another(getattr(request.connection.settings, name)) for name in fields}
    )
    with pytest.raises(UntrustedWebhook):
        connector.verify(replace(request, connection=replace(request.connection, settings=settings)))


@SIGNED_CASES
def test_refuses_an_unsigned_request(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    proofs = set(connector.sign(sample.body, request.connection.settings, request.received_at))
    for proof in proofs:
        headers = {name: value for name, value in request.headers.items() if name != proof}
        with pytest.raises(UntrustedWebhook):
            connector.verify(replace(request, headers=headers))


@SIGNED_CASES
def test_refuses_a_tampered_sample_where_the_body_is_signed(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    if signs_body(connector, request):
        for body in (request.body + b" ", request.body[:-1], b""):
            with pytest.raises(UntrustedWebhook):
                connector.verify(replace(request, body=body))


@SIGNED_CASES
def test_refuses_a_replay_where_the_time_is_signed(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    if signs_time(connector, request):
        for late in (timedelta(hours=1), timedelta(hours=-1)):
            with pytest.raises(UntrustedWebhook) as refusal:
                connector.verify(replace(request, received_at=request.received_at + late))
            assert refusal.value.skew_seconds == pytest.approx(late.total_seconds(), abs=300)


@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("bamboohr", timedelta(minutes=155)),  # five tries, each twice as long after the one before
        ("pipedrive", timedelta(seconds=183)),
        ("slack", timedelta(minutes=6)),
        ("standardwebhooks", timedelta(hours=75)),  # what the specification suggests
        ("zendesk", timedelta(minutes=5)),
    ],
)
def test_knows_a_delivery_as_long_as_its_sender_repeats_it(name: str, at_least: timedelta) -> None:
    assert connectors()[name].sender.retry_horizon >= at_least


@SIGNED_CASES
def test_becomes_the_expected_events(connector: Connector[Any, Any], sample: Sample) -> None:
    if sample.answer is None:
        assert list(parts(connector, sample)) == sample.events
    else:
        assert sample.events == []


@SIGNED_CASES
def test_answers_a_handshake_and_nothing_else(connector: Connector[Any, Any], sample: Sample) -> None:
    raw = stored(connector, sample.request(connector))[0]
    answer = connector.handshake(connector.decode(raw), raw)
    assert (answer.body.decode() if answer else None) == sample.answer


@SIGNED_CASES
def test_keys_the_record_as_its_events_are_keyed(connector: Connector[Any, Any], sample: Sample) -> None:
    if sample.answer is None:
        for raw, events in zip(stored(connector, sample.request(connector)), sample.events, strict=True):
            assert {event["key"] for event in events} <= {connector.aggregate(connector.decode(raw), raw)}


@SIGNED_CASES
def test_gives_every_event_an_id_of_its_own_and_the_same_twice(connector: Connector[Any, Any], sample: Sample) -> None:
    if sample.answer is None:
        ids = [event["id"] for events in parts(connector, sample) for event in events]
        assert len(ids) == len(set(ids))
        assert ids == [event["id"] for events in parts(connector, sample) for event in events]


@EACH
def test_declares_every_vendor_event_once(connector: Connector[Any, Any]) -> None:
    assert connector.events
    assert not connector.ignored & set(connector.events)


@EACH
def test_shows_by_sample_what_each_mapping_says(connector: Connector[Any, Any]) -> None:
    seen = set()
    for sample in samples(connector):
        if sample.answer is None:
            for raw in stored(connector, sample.request(connector)):
                seen.add(connector.event_type(connector.decode(raw), raw))
    assert set(connector.events) <= seen, f"no sample: {sorted(set(connector.events) - seen)}"


@EACH
def test_says_only_what_the_schemas_know(connector: Connector[Any, Any]) -> None:
    said = {event["type"] for sample in samples(connector) for events in sample.events for event in events}
    assert said <= set(EVENT_TYPES)


def test_no_event_type_waits_for_somebody_to_tell_it() -> None:
    by_the_hub = {event.name for event in LINK.events.values()}
    told = {
        event["type"]
        for each in connectors().values()
        for found in samples(each)
        for events in found.events
        for event in events
    }
    assert EVENT_TYPES.keys() - told == by_the_hub


@EACH
def test_says_only_words_that_the_schemas_declare(connector: Connector[Any, Any]) -> None:
    """Another one is declared first, where the field is: in `schemas/unsilo_schemas/`."""
    undeclared = []
    for sample in samples(connector):
        for event in (event for events in sample.events for event in events):
            entity, previous = event["data"]["entity"], event["data"].get("previous", {})
            for name, words in vocabulary(EVENT_TYPES[event["type"]].entity_type.model).items():
                said = [found["category"] for found in (entity.get(name), previous.get(f"/{name}")) if found]
                undeclared += [f"{sample.name}: {name} {word!r}" for word in said if word not in (None, *words)]
    assert not undeclared


@SIGNED_CASES
def test_calls_broken_bodies_malformed_and_raises_nothing_else(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    for body in broken(sample.body):
        try:
            for raw in stored(connector, replace(request, body=body)):
                payload = connector.decode(raw)
                connector.aggregate(payload, raw)
                connector.delivery_key(payload, raw)
                translate = connector.events.get(connector.event_type(payload, raw))
                if translate is not None:
                    for event in translate(payload, raw):
                        writer(event.type.data).check(event.data)
        except (MalformedWebhook, SchemaViolation) as error:
            assert CANARY not in str(error)


@EACH
def test_names_the_settings_that_only_writing_takes(connector: Connector[Any, Any]) -> None:
    assert connector.outgoing <= set(connector.settings.model_fields)
    assert not connector.outgoing or connector.actions


@SIGNED_CASES
def test_leaves_no_secret_in_what_is_stored(connector: Connector[Any, Any], sample: Sample) -> None:
    request = sample.request(connector)
    headers = {**request.headers, **dict.fromkeys(connector.secrets.headers, CANARY), "authorization": CANARY}
    assert CANARY not in str(masked_headers(headers, connector.secrets))
    for name in connector.secrets.fields:
        body = planted(request.body, name)
        assert CANARY.encode() in body
        for raw in stored(connector, replace(request, body=body)):
            assert CANARY.encode() not in raw.body
            assert MASK.encode() in raw.body


@SIGNED_CASES
def test_shows_no_secret_in_its_settings(connector: Connector[Any, Any], sample: Sample) -> None:
    secrets = [value["sample"] for value in sample.settings.values() if isinstance(value, dict) and "sample" in value]
    assert secrets
    assert not any(secret in repr(sample.request(connector)) for secret in secrets)


def signs_body(connector: Connector[Any, Any], request: WebhookRequest[Any]) -> bool:
    settings, moment = request.connection.settings, request.received_at
    return connector.sign(b"one", settings, moment) != connector.sign(b"two", settings, moment)


def signs_time(connector: Connector[Any, Any], request: WebhookRequest[Any]) -> bool:
    settings, moment = request.connection.settings, request.received_at
    return connector.sign(b"", settings, moment) != connector.sign(b"", settings, moment + timedelta(hours=1))


def planted(body: bytes, field: str) -> bytes:
    try:
        return json.dumps({**json.loads(body), field: CANARY}).encode()
    except ValueError:
        return body + f"&{field}={CANARY}".encode()


def broken(body: bytes) -> Iterator[bytes]:
    """Cut short, emptied, of another shape, and with each top-level value replaced by something hostile."""
    yield from (b"", b"null", b"[]", b"{}", b'"text"', b"\xff\xfe", body[: len(body) // 2], b"[" * 100_000)
    try:
        document = json.loads(body)
    except ValueError:
        return
    if isinstance(document, dict):
        for name in document:
            for value in (None, CANARY, 10**30, [], {}, [CANARY], {"": CANARY}, True):
                yield json.dumps({**document, name: value}).encode()
        for name, inner in document.items():
            if isinstance(inner, dict):
                for key in inner:
                    for value in (None, CANARY, -1, [], {}, [CANARY], {"": CANARY}):
                        yield json.dumps({**document, name: {**inner, key: value}}).encode()


def _shown(value: Any) -> Any:
    one = value[0] if isinstance(value, tuple) else value
    return one.get_secret_value()
