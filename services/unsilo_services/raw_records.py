"""The raw log's records: what the gateway writes beside a body, and how it is read back.

The vendor's own headers travel as `http_<name>`, the hub's facts as `hub_<name>`, the vendor's trace context under its
own names. The record's timestamp is when the gateway had it, to the millisecond.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from unsilo_connectors.contract import Connection, Raw

from .kafka import Headers, Message

HTTP = "http_"
CONNECTOR = "hub_connector"
DELIVERY = "hub_delivery"
TRACE = ("traceparent", "tracestate")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_TRACESTATE = re.compile(r"[\t\x20-\x7e]{1,512}")  # as long as everybody has to pass on

# Of the transport, not of the vendor: they say nothing about the event.
_DROPPED = frozenset({
    "host", "connection", "content-length", "transfer-encoding", "accept", "accept-encoding", "content-encoding",
    "keep-alive", "te", "trailer", "upgrade", "expect", *TRACE,
})  # fmt: skip


def raw_headers(
    vendor: Mapping[str, str], connector: str, delivery_key: str | None, kind: str = "webhook"
) -> list[tuple[str, bytes]]:
    """The headers of a raw record. The vendor's must be masked already."""
    headers = [("hub_kind", kind.encode()), (CONNECTOR, connector.encode())]
    if delivery_key is not None:
        headers.append((DELIVERY, delivery_key.encode()))
    if _TRACEPARENT.fullmatch(vendor.get("traceparent", "")):  # W3C Trace Context: any other is passed over
        headers.append(("traceparent", vendor["traceparent"].encode()))
        if _TRACESTATE.fullmatch(vendor.get("tracestate", "")):
            headers.append(("tracestate", vendor["tracestate"].encode()))
    headers += [
        (HTTP + name, value.encode())
        for name, value in vendor.items()
        if name not in _DROPPED and not name.startswith("x-forwarded-")
    ]
    return headers


class Facts(NamedTuple):
    """What the hub wrote on a raw record, but for the vendor's own headers."""

    connector: bytes | None
    """By which it was taken in."""
    delivery: bytes | None
    """The vendor's number of the delivery, if it has one."""
    trace: list[tuple[str, bytes]]
    """The vendor's trace context, as an event carries it."""


def facts_of(headers: Headers) -> Facts:
    """The hub's facts of a raw record."""
    connector: bytes | None = None
    delivery: bytes | None = None
    trace: list[tuple[str, bytes]] = []
    for name, value in headers:
        if name.startswith(HTTP):  # the hub's own come first
            break
        if name == CONNECTOR:
            connector = value
        elif name == DELIVERY:
            delivery = value
        elif name in TRACE and value is not None:
            trace.append(("ce_" + name, value))
    return Facts(connector, delivery, trace)


def read_raw(connection: Connection[Any], message: Message, headers: Headers) -> Raw[Any]:
    """A record as its connector wants it."""
    return Raw(connection, _VendorHeaders(headers), message.value() or b"", received_at(message))


class _VendorHeaders(Mapping[str, str]):
    """The vendor's headers of a record, decoded only when asked for: most mappings look at none of them.

    Of two with one name the first counts.
    """

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        wanted = HTTP + name
        for header, value in self._headers:
            if header == wanted and value is not None:
                return value.decode()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        found = {name for name, value in self._headers if name.startswith(HTTP) and value is not None}
        return (name.removeprefix(HTTP) for name in found)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def received_at(message: Message) -> datetime:
    """When the gateway had it, to the millisecond."""
    return _moment(message.timestamp()[1])


@lru_cache(maxsize=1024)  # when much comes, much comes in the same millisecond
def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
