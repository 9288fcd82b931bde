"""The proof of Standard Webhooks, symmetric scheme `v1` (spec/standard-webhooks.md, "Signature scheme").

Ed25519 signatures (`v1a`) are passed over like any version that we do not know: no library that checks them is among
the hub's dependencies.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product

from pydantic import SecretStr

from ..contract import MalformedWebhook, UntrustedWebhook
from ..payloads import epoch
from ..signatures import check_age

_PREFIXES = ("webhook-", "svix-")  # Svix, where the scheme comes from, keeps its own names
_SECRET = "whsec_"  # noqa: S105  # what a secret begins with
_VERSION = "v1,"


def delivery_id(headers: Mapping[str, str]) -> str | None:
    """What the sender calls this message, the same over all its retries."""
    return headers.get(_prefix(headers) + "id")


def check(headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr], received_at: datetime) -> None:
    """Refuses unless one of the signatures given fits one of the active secrets, and the attempt is five minutes old
    at most (the reference libraries' tolerance, in both directions)."""
    prefix = _prefix(headers)
    message_id, given = headers.get(prefix + "id"), headers.get(prefix + "signature")
    if not message_id or not given:
        raise UntrustedWebhook("signature_missing")
    sent_at = headers.get(prefix + "timestamp")
    if not sent_at:
        raise UntrustedWebhook("timestamp_missing")
    signatures = [entry.encode("utf-8", "surrogateescape") for entry in given.split(" ") if entry.startswith(_VERSION)]
    if not signatures:
        raise UntrustedWebhook("signature_malformed")
    expected = [signature(secret, message_id, sent_at, body).encode() for secret in secrets]
    matches = [
        hmac.compare_digest(one, other) for one, other in product(expected, signatures)
    ]  # every one: no early exit
    if not any(matches):
        raise UntrustedWebhook("signature_wrong")
    try:
        attempted_at = epoch(sent_at)
    except MalformedWebhook:
        raise UntrustedWebhook("timestamp_malformed") from None
    check_age(attempted_at, received_at)


def signature(secret: SecretStr, message_id: str, sent_at: str, body: bytes) -> str:
    """One entry of the signature header. Refuses everything with a secret that is not `whsec_` and base64."""
    text = secret.get_secret_value().removeprefix(_SECRET)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4))  # some senders show it without padding
    except (binascii.Error, ValueError):
        raise UntrustedWebhook("signature_wrong") from None
    if not key:  # anybody can sign with an empty key
        raise UntrustedWebhook("signature_wrong")
    content = f"{message_id}.{sent_at}.".encode("utf-8", "surrogateescape") + body
    return _VERSION + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _prefix(headers: Mapping[str, str]) -> str:
    return next((prefix for prefix in _PREFIXES if prefix + "signature" in headers), _PREFIXES[0])
