"""Ids are derived, not allocated: the same input gives the same id, so replays and re-imports converge."""

import hashlib
import uuid

_SEPARATOR = "\x1f"  # ASCII unit separator
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

# A started hash is copied for each id: deriving them is a large part of mapping an event, and this is thrice as fast
# as `uuid.uuid5`, whose results it gives.
_ENTITY = hashlib.sha1(uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:entity").bytes, usedforsecurity=False)
_EVENT = hashlib.sha1(uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:event").bytes, usedforsecurity=False)


def entity_id(connection: str, remote_type: str, remote_id: str, scope: str = "") -> str:
    """The canonical id of a remote object.

    `scope` is whatever the remote id is unique in where that is less than the connection: a Slack channel for a `ts`.
    """
    parts = (connection, scope, remote_type, remote_id)
    name = _SEPARATOR.join(parts)
    if name.count(_SEPARATOR) >= len(parts):  # lengths keep the parts of a forger from running into each other
        name = _SEPARATOR + _SEPARATOR.join(f"{len(part)}:{part}" for part in parts)
    return _uuid5(_ENTITY, name)


def event_id(connection: str, event_key: str) -> str:
    """The id of an event, from the key by which its connector tells one change from another."""
    return _uuid5(_EVENT, connection + _SEPARATOR + event_key)


def _uuid5(namespace: "hashlib._Hash", name: str) -> str:
    """RFC 9562 section 5.5."""
    digest = namespace.copy()
    digest.update(name.encode("utf-8", "surrogatepass"))
    text = digest.hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
