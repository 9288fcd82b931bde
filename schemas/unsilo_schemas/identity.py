"""Ids are derived, not allocated: the same input gives the same id, so replays and re-imports converge."""

import uuid

_ENTITY = uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:entity")
_EVENT = uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:event")
_SEPARATOR = "\x1f"  # ASCII unit separator: JSON strings carry it escaped only, so parts cannot run into each other


def entity_id(connection: str, remote_type: str, remote_id: str, scope: str = "") -> str:
    """The canonical id of a remote object.

    `scope` is whatever the remote id is unique in where that is less than the connection: a Slack channel for a `ts`.
    """
    return str(uuid.uuid5(_ENTITY, _SEPARATOR.join((connection, scope, remote_type, remote_id))))


def event_id(connection: str, event_key: str) -> str:
    """The id of an event, from the key by which its connector tells one change from another."""
    return str(uuid.uuid5(_EVENT, connection + _SEPARATOR + event_key))
