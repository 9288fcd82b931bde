"""Proofs of a sender that several systems share. All of them compare in constant time, over the bytes as received."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from .contract import UntrustedWebhook

TOLERANCE = timedelta(minutes=5)


def hmac_hex(secret: SecretStr, message: bytes) -> bytes:
    """HMAC-SHA256 in lower-case hexadecimal, the secret used as text."""
    return hmac.digest(secret.get_secret_value().encode(), message, hashlib.sha256).hex().encode()


def hmac_base64(secret: SecretStr, message: bytes) -> bytes:
    """HMAC-SHA256 in base64, the secret used as text."""
    return base64.b64encode(hmac.digest(secret.get_secret_value().encode(), message, hashlib.sha256))


def check_signature(
    given: str | None,
    message: bytes,
    secrets: Sequence[SecretStr],
    sign: Callable[[SecretStr, bytes], bytes] = hmac_hex,
    prefix: str = "",
) -> None:
    """Refuses unless one of the active secrets signs the message so. `prefix` is a fixed text before the signature."""
    if not given:
        raise UntrustedWebhook("signature_missing")
    if not given.startswith(prefix):
        raise UntrustedWebhook("signature_malformed")
    text = given[len(prefix) :].encode("utf-8", "surrogateescape")
    matches = [hmac.compare_digest(sign(secret, message), text) for secret in secrets]  # every one: no early exit
    if not any(matches):
        raise UntrustedWebhook("signature_wrong")


def check_age(sent_at: datetime, received_at: datetime, tolerance: timedelta = TOLERANCE) -> None:
    """Refuses a request whose own time is further from ours than the tolerance, in either direction."""
    skew = received_at - sent_at
    if skew > tolerance:
        raise UntrustedWebhook("too_old", skew.total_seconds())
    if -skew > tolerance:
        raise UntrustedWebhook("too_far_ahead", skew.total_seconds())


def check_basic(given: str | None, username: str, passwords: Sequence[SecretStr]) -> None:
    """Refuses unless the Authorization header is HTTP basic (RFC 7617) with this name and an active password."""
    if not given:
        raise UntrustedWebhook("credentials_missing")
    scheme, _, encoded = given.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise UntrustedWebhook("credentials_wrong") from None
    matches = [
        hmac.compare_digest(pair, f"{username}:{password.get_secret_value()}".encode()) for password in passwords
    ]
    if scheme.lower() != "basic" or not any(matches):
        raise UntrustedWebhook("credentials_wrong")
