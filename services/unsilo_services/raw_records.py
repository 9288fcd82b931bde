"""The raw log's records: what the gateway writes beside a body, and how it is read back.

The vendor's own headers travel as `http_<name>`, the hub's facts as `hub_<name>`, the vendor's trace context under its
own names. The record's timestamp is when the gateway had it, to the millisecond.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from unsilo_connectors.contract import Connection, Raw

from .kafka import Message

HTTP = "http_"
DELIVERY = "hub_delivery"
REDRIVE_OF = "dl_redrive_of"
TRACE = ("traceparent", "tracestate")

# Of the transport, not of the vendor: they say nothing about the event.
_DROPPED = frozenset({
    "host", "connection", "content-length", "transfer-encoding", "accept", "accept-encoding", "content-encoding",
    "keep-alive", "te", "trailer", "upgrade", "expect", *TRACE,
})  # fmt: skip


def raw_headers(
    vendor: Mapping[str, str], connector: str, delivery_key: str | None, kind: str = "webhook"
) -> list[tuple[str, bytes]]:
    """The headers of a raw record. The vendor's must be masked already."""
    headers = [("hub_kind", kind.encode()), ("hub_connector", connector.encode())]
    if delivery_key is not None:
        headers.append((DELIVERY, delivery_key.encode()))
    headers += [(name, vendor[name].encode()) for name in TRACE if name in vendor]
    headers += [
        (HTTP + name, value.encode())
        for name, value in vendor.items()
        if name not in _DROPPED and not name.startswith("x-forwarded-")
    ]
    return headers


def read_raw(connection: Connection[Any], message: Message, headers: Iterable[tuple[str, bytes | None]]) -> Raw[Any]:
    """A record as its connector wants it."""
    vendor = {name[5:]: value.decode() for name, value in headers if value is not None and name.startswith(HTTP)}
    return Raw(connection, vendor, message.value() or b"", received_at(message))


def received_at(message: Message) -> datetime:
    """When the gateway had it, to the millisecond."""
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
