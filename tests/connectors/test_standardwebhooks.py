"""Standard Webhooks: agreement with the official library, and the rule by which a payload names objects."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from unsilo_connectors.contract import (
    Connection,
    MalformedWebhook,
    Raw,
    UntrustedWebhook,
    UnusableSecret,
    WebhookRequest,
)
from unsilo_connectors.samples import samples, translated
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.standardwebhooks import connector
from unsilo_schemas.writer import SchemaViolation

from tests.connectors.reading import entity_of

SECRET = "whsec_dW5zaWxvLXNhbXBsZS1zZWNyZXQsIHB1Ymxpc2hlZDogaXQgcHJvdGVjdHMgbm90aGluZw=="
OTHER = "whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgcHVibGlzaGVk"
NOW = datetime(2026, 3, 4, 10, 21, 9, tzinfo=UTC)
BODY = '{"type":"contact.created","timestamp":"2026-03-04T10:21:07Z","data":{"text":"Zoë \\u00eb \\/"}}\n'.encode()
TYPES = {"deal.won": "unsilo.crm.opportunity.won.v1", "reply.added": "unsilo.ticket.comment.added.v1"}


def request(headers: Mapping[str, str], secret: Any = None, at: datetime = NOW) -> WebhookRequest[Any]:
    settings = connector.settings.model_validate({"secret": secret or Resolved(SECRET), "types": TYPES})
    return WebhookRequest(Connection("sample", "standardwebhooks", settings), headers, BODY, at)


def signed(secret: str = SECRET, at: datetime = NOW, prefix: str = "webhook-") -> dict[str, str]:
    signature = standardwebhooks.Webhook(secret).sign("msg_1", at, BODY.decode())
    return {
        f"{prefix}id": "msg_1",
        f"{prefix}timestamp": str(int(at.timestamp())),
        f"{prefix}signature": signature,
    }


def events(data: Any, kind: str = "deal.won") -> list[Any]:
    body = json.dumps({"type": kind, "timestamp": "2026-03-04T10:21:07Z", "data": data}).encode()
    raw = Raw(request({}).connection, {"webhook-id": "msg_1"}, body, NOW)
    return translated(connector, raw)


def deal(**fields: Any) -> dict[str, Any]:
    return {"entity": {"refs": [{"type": "deal", "id": "7"}], **fields}}


def test_the_official_library_trusts_what_we_sign() -> None:
    now = datetime.now(UTC)
    headers = dict(connector.sign(BODY, request({}).connection.settings, now))
    assert standardwebhooks.Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)


def test_trusts_what_the_official_library_signs() -> None:
    connector.verify(request(signed()))


def test_trusts_svix_headers() -> None:
    connector.verify(request(signed(prefix="svix-")))
    raw = Raw(request({}).connection, signed(prefix="svix-"), BODY, NOW)
    assert connector.delivery_key(connector.decode(raw), raw) == "msg_1"


def test_does_not_mix_the_two_sets_of_headers() -> None:
    headers = signed(prefix="svix-") | {"webhook-signature": signed()["webhook-signature"]}
    with pytest.raises(UntrustedWebhook, match="signature_missing"):
        connector.verify(request(headers))


@pytest.mark.parametrize("sender", [SECRET, OTHER])
def test_trusts_either_of_two_active_secrets(sender: str) -> None:
    connector.verify(request(signed(sender), secret=[Resolved(SECRET), Resolved(OTHER)]))


def test_finds_the_signature_that_fits_among_several_and_passes_over_unknown_versions() -> None:
    headers = signed()
    others = f"v3,AAAA v1a,AAAA v1,{'A' * 43}= v2 {signed(OTHER)['webhook-signature']}"
    connector.verify(request(headers | {"webhook-signature": f"{others} {headers['webhook-signature']}"}))


@pytest.mark.parametrize("given", ["v1b,AAAA", "v2,AAAA", "AAAA", " "])
def test_refuses_a_header_without_a_known_version(given: str) -> None:
    with pytest.raises(UntrustedWebhook, match="signature_malformed"):
        connector.verify(request(signed() | {"webhook-signature": given}))


PAIR = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a pair that protects nothing").digest())
PUBLIC = "whpk_" + base64.b64encode(PAIR.public_key().public_bytes_raw()).decode()


def with_key(
    content: bytes = b"msg_1.%d." % NOW.timestamp() + BODY,
    secret: str = PUBLIC,
    before: str = "",
    version: str = "v1a,",
) -> None:
    """Takes in what is signed with the private key."""
    entry = version + base64.b64encode(PAIR.sign(content)).decode()
    connector.verify(request(signed() | {"webhook-signature": before + entry}, Resolved(secret)))


def test_trusts_who_holds_the_private_key_of_a_public_one() -> None:
    with_key()
    with_key(before="v1a,AAAA v1,AAAA ")


@pytest.mark.parametrize(
    "changed",
    [
        {"content": b"msg_2.%d." % NOW.timestamp() + BODY},
        {"content": BODY},
        {"secret": "whpk_" + base64.b64encode(bytes(32)).decode()},
        {"secret": "whpk_AAAA"},
        {"secret": "whpk_"},
        {"secret": SECRET},
        {"before": "v1a,AAAA " * 8},
        {"version": "v1,"},
    ],
)
def test_refuses_what_another_key_signed_or_another_message(changed: dict[str, Any]) -> None:
    with pytest.raises(UntrustedWebhook, match="signature_wrong"):
        with_key(**changed)


def test_a_public_key_is_no_secret_that_anybody_could_sign_with() -> None:
    known_to_all = PUBLIC.removeprefix("whpk_")
    headers = signed("whsec_" + known_to_all)
    for given in (headers["webhook-signature"], headers["webhook-signature"].replace("v1,", "v1a,")):
        with pytest.raises(UntrustedWebhook, match="signature_wrong"):
            connector.verify(request(headers | {"webhook-signature": given}, Resolved(PUBLIC)))
    with pytest.raises(UnusableSecret, match="public"):
        connector.sign(BODY, request({}, Resolved(PUBLIC)).connection.settings, NOW)


def test_a_connection_may_send_only() -> None:
    known = {"url": "https://kettle.example/in", "sending_secret": Resolved(SECRET)}
    settings = connector.settings.model_validate(known)
    with pytest.raises(UntrustedWebhook, match="secret_missing"):
        connector.verify(replace(request(signed()), connection=Connection("sample", "standardwebhooks", settings)))
    with pytest.raises(UnusableSecret):
        connector.sign(BODY, settings, NOW)


@pytest.mark.parametrize("settings", [{}, {"types": TYPES, "url": "https://kettle.example/in"}])
def test_settings_by_which_nothing_would_happen_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="without `secret`"):
        connector.settings.model_validate(settings)


@pytest.mark.parametrize("ours", ["unsilo.link.link.asserted.v1", "unsilo.crm.deal.won.v1"])
def test_a_sender_cannot_say_what_only_the_hub_says(ours: str) -> None:
    with pytest.raises(ValidationError, match="hub"):
        connector.settings.model_validate({"secret": Resolved(SECRET), "types": {"x": ours}})


def test_refuses_a_signature_under_another_version_name() -> None:
    signature = signed()["webhook-signature"].replace("v1,", "v2,") + " v1,AAAA"
    with pytest.raises(UntrustedWebhook, match="signature_wrong"):
        connector.verify(request(signed() | {"webhook-signature": signature}))


@pytest.mark.parametrize(("late", "reason"), [(300, None), (301, "too_old"), (-300, None), (-301, "too_far_ahead")])
def test_tolerates_five_minutes_in_both_directions(late: int, reason: str | None) -> None:
    delivery = request(signed(), at=NOW + timedelta(seconds=late))
    if reason is None:
        connector.verify(delivery)
    else:
        with pytest.raises(UntrustedWebhook, match=reason):
            connector.verify(delivery)


def test_refuses_a_signed_time_that_is_none() -> None:
    headers = signed() | {"webhook-timestamp": "yesterday"}
    mac = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), b"msg_1.yesterday." + BODY, hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    with pytest.raises(UntrustedWebhook, match="timestamp_malformed"):
        connector.verify(request(headers | {"webhook-signature": signature}))


def test_takes_a_secret_without_padding() -> None:
    connector.verify(request(signed(), secret=Resolved(SECRET.rstrip("="))))


@pytest.mark.parametrize("secret", ["unresolved", "whsec_=", "é"])
def test_trusts_nobody_with_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(UntrustedWebhook):
        connector.verify(request(signed(), secret=Resolved(secret)))


def test_trusts_nobody_with_an_empty_key_though_anybody_can_sign_with_it() -> None:
    mac = hmac.digest(b"", b"msg_1." + signed()["webhook-timestamp"].encode() + b"." + BODY, hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    with pytest.raises(UntrustedWebhook):
        connector.verify(request(signed() | {"webhook-signature": signature}, secret=Resolved("whsec_")))


def test_refuses_a_type_that_the_hub_does_not_have() -> None:
    with pytest.raises(ValidationError, match=r"crm\.deal\.won is no event type"):
        connector.settings.model_validate({"secret": Resolved(SECRET), "types": {"deal.won": "crm.deal.won"}})


def test_refuses_a_type_that_is_mapped_and_ignored() -> None:
    with pytest.raises(ValidationError, match=r"deal\.won: both mapped and ignored"):
        connector.settings.model_validate({"secret": Resolved(SECRET), "types": TYPES, "ignored": ["deal.won"]})


def test_leaves_a_type_that_no_setting_names_undeclared() -> None:
    with pytest.raises(KeyError, match=r"deal\.lost"):
        events(deal(), kind="deal.lost")


@pytest.mark.parametrize("kind", ["settings.types", "settings.ignored"])
def test_a_sender_cannot_name_what_stands_for_the_settings(kind: str) -> None:
    with pytest.raises(MalformedWebhook):
        events(deal(), kind=kind)


def test_one_object_has_one_id_as_entity_and_as_reference() -> None:
    (event,) = events(deal(merged_into={"type": "deal", "id": "7"}))
    assert entity_of(event).merged_into.id == entity_of(event).id


def test_a_scope_tells_objects_of_the_same_number_apart() -> None:
    scoped = {"entity": {"refs": [{"type": "deal", "id": "7", "scope": "north"}]}}
    assert entity_of(events(scoped)[0]).id != entity_of(events(deal())[0]).id


def test_keeps_a_reference_that_is_null() -> None:
    (event,) = events(deal(account=None))
    assert entity_of(event).account is None
    assert "account" in entity_of(event).model_fields_set


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (None, "data"),
        ({}, "entity"),
        ({"entity": {"refs": []}}, "entity.refs"),
        ({"entity": {"refs": [{"type": "deal", "id": 7}]}}, "entity.refs.0.id"),
        ({"entity": {"refs": [{"type": "deal", "id": "7", "scope": None}]}}, "entity.refs.0.scope"),
        (deal(id="canary"), "entity.id"),
        (deal(account="canary"), "entity.account"),
        (deal(contacts=[{"type": "contact"}]), "entity.contacts.0.id"),
        (deal(amount={"amount": 12.5, "currency": "EUR"}), "entity.amount.amount"),
        (deal(canary="x"), "entity: .*canary"),
        (deal(closed_at="2026-03-04T10:21:07"), "entity.closed_at"),
        ({**deal(), "changed": ["status"]}, "changed"),
        ({**deal(), "previous": {"/account": "canary"}}, "previous./account"),
        ({**deal(), "previous": ["canary"]}, "previous"),
        ({**deal(), "actor": "canary"}, "actor"),
        ({**deal(), "actor": {"id": "u", "kind": "canary"}}, "kind: Not one of its values$"),
        ({**deal(), "extra": 1}, "data: .*extra"),
    ],
)
def test_says_where_data_does_not_fit(data: Any, place: str) -> None:
    with pytest.raises((MalformedWebhook, SchemaViolation), match=f"^{place}"):
        events(data)


def test_a_comment_must_say_whose_it_is() -> None:
    reply = {"entity": {"refs": [{"type": "reply", "id": "3"}]}}
    raw = Raw(request({}).connection, {"webhook-id": "msg_1"}, _message("reply.added", reply), NOW)
    with pytest.raises(MalformedWebhook, match=r"^entity\.ticket"):
        connector.aggregate(connector.decode(raw), raw)


def test_a_message_that_becomes_no_event_has_a_key_all_the_same() -> None:
    raw = Raw(request({}).connection, {"webhook-id": "msg_1"}, _message("deal.viewed", None), NOW)
    assert connector.aggregate(connector.decode(raw), raw)


def test_the_same_message_is_the_same_event_whatever_its_attempt() -> None:
    sample = next(sample for sample in samples(connector) if sample.name == "deal_won")
    first = sample.request(connector)
    again = replace(first, headers={**first.headers, "webhook-timestamp": "1772622000"})
    keys = {event.key for one in (first, again) for event in translated(connector, one.part(one.body))}
    assert keys == {sample.headers["webhook-id"]}


def _message(kind: str, data: Any) -> bytes:
    return json.dumps({"type": kind, "timestamp": "2026-03-04T10:21:07Z", "data": data}).encode()
