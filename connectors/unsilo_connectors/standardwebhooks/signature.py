"""The proof of Standard Webhooks (spec/standard-webhooks.md, "Signature scheme"): `v1` is symmetric, `v1a` is Ed25519.

Which of them it is follows from the secret: `whsec_` signs and checks `v1`, `whsk_` signs `v1a` and `whpk_` checks it.
Entries of any other version are passed over.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr

from ..contract import MalformedWebhook, UntrustedWebhook, UnusableSecret
from ..payloads import epoch
from ..signatures import check_age

_PREFIXES = ("webhook-", "svix-")  # Svix, where the scheme comes from, keeps its own names
MESSAGE_ID = tuple(prefix + "id" for prefix in _PREFIXES)
"""Headers one of which says what the sender calls a message."""
_SHARED, _PUBLIC, _PRIVATE = "whsec_", "whpk_", "whsk_"  # what a secret or a key begins with
_SYMMETRIC, _ASYMMETRIC = "v1,", "v1a,"
_MOST_ENTRIES = 8  # rotation takes two; more than these would only be work for us
_FEWEST_BYTES = 16  # the specification asks for 24; with fewer than these, anybody can try them all
_SEED_BYTES = 32  # a private key may be written with its public one behind it


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
    entries = [entry for entry in given.split(" ") if entry.startswith((_SYMMETRIC, _ASYMMETRIC))][:_MOST_ENTRIES]
    if not entries:
        raise UntrustedWebhook("signature_malformed")
    content = _content(message_id, sent_at, body)
    matches = [_fits(secret, content, entry) for secret in secrets for entry in entries]  # every one: no early exit
    if not any(matches):
        raise UntrustedWebhook("signature_wrong")
    try:
        attempted_at = epoch(sent_at)
    except MalformedWebhook:
        raise UntrustedWebhook("timestamp_malformed") from None
    check_age(attempted_at, received_at)


def signature(secret: SecretStr, message_id: str, sent_at: str, body: bytes) -> str:
    """One entry of the signature header. Raises UnusableSecret."""
    content = _content(message_id, sent_at, body)
    text = secret.get_secret_value()
    if text.startswith(_PUBLIC):
        raise UnusableSecret("a public key checks signatures and makes none")
    if text.startswith(_PRIVATE):
        try:
            key = Ed25519PrivateKey.from_private_bytes(_key(text, _PRIVATE)[:_SEED_BYTES])
        except ValueError:
            raise UnusableSecret("a private key has 32 bytes, or 64 with its public one") from None
        return _ASYMMETRIC + base64.b64encode(key.sign(content)).decode()
    return _SYMMETRIC + base64.b64encode(hmac.digest(_key(text, _SHARED), content, hashlib.sha256)).decode()


def _fits(secret: SecretStr, content: bytes, entry: str) -> bool:
    """Whether an entry was made with a secret, or with the private key behind a public one."""
    text = secret.get_secret_value()
    version, _, given = entry.partition(",")
    try:
        if text.startswith(_PUBLIC):
            public = Ed25519PublicKey.from_public_bytes(_key(text, _PUBLIC))
            public.verify(base64.b64decode(given) if version + "," == _ASYMMETRIC else b"", content)
            return True
        made = base64.b64encode(hmac.digest(_key(text, _SHARED), content, hashlib.sha256)).decode()
    except (UnusableSecret, InvalidSignature, ValueError):
        return False
    return hmac.compare_digest((_SYMMETRIC + made).encode(), entry.encode("utf-8", "surrogateescape"))


def _key(text: str, prefix: str) -> bytes:
    """The bytes of a secret or key. Raises UnusableSecret where they prove nothing."""
    encoded = text.removeprefix(prefix)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4))  # some senders show it without padding
    except ValueError:
        raise UnusableSecret(f"it is not `{prefix}` and base64") from None
    if len(key) < _FEWEST_BYTES:
        raise UnusableSecret(f"there are fewer than {_FEWEST_BYTES} bytes behind its `{prefix}`")
    return key


def _content(message_id: str, sent_at: str, body: bytes) -> bytes:
    return f"{message_id}.{sent_at}.".encode("utf-8", "surrogateescape") + body


def _prefix(headers: Mapping[str, str]) -> str:
    return next((prefix for prefix in _PREFIXES if prefix + "signature" in headers), _PREFIXES[0])
