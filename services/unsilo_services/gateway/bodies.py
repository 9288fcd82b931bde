"""Reads a request's body within a limit, before and after its content coding is undone."""

import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from .limits import network

MOST_BYTES = 3 * 1024 * 1024
"""What no request may exceed, whoever it claims to be from. A raw record holds it, with its headers."""
ROOM_BYTES = 256 * 1024 * 1024
_SENDERS = 8  # that it takes at least to fill the room

_GZIP_BITS = 31
_WINDOW_BITS = {"gzip": _GZIP_BITS, "x-gzip": _GZIP_BITS, "deflate": 15}
_MOST_MEMBERS = 128  # writers in blocks make one for each 64 KiB; all that follows is copied for each of them


class BodyTooLarge(Exception):
    """The body, or what it unpacks to, exceeds the limit, or has too many members. It was not read further."""


class BodyBroken(Exception):
    """The body is not what its content coding says, or it ends early."""


class CodingUnknown(Exception):
    """The body comes in a content coding that is not understood."""


class NoRoom(Exception):
    """The bodies of all requests together, or of one address, fill the memory that they may have.

    The sender is told to try it again.
    """


class Room:
    """How much memory the bodies of all requests that are under way may take together, and those of one address."""

    def __init__(self, most_bytes: int = ROOM_BYTES, most_of_one: int = ROOM_BYTES // _SENDERS) -> None:
        self._left = most_bytes
        self._most_of_one = most_of_one
        self._taken: Counter[str] = Counter()  # by network

    @contextmanager
    def share(self, address: str) -> Iterator[Callable[[int], None]]:
        """What one request may take from: called with a number of bytes, it raises NoRoom where there are none left."""
        origin = network(address)
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._left or size > self._most_of_one - self._taken[origin]:
                raise NoRoom
            self._left -= size
            self._taken[origin] += size
            taken += size

        try:
            yield take
        finally:
            self._left += taken
            self._taken[origin] -= taken
            if not self._taken[origin]:
                del self._taken[origin]


async def read_body(chunks: AsyncIterator[bytes], take: Callable[[int], None], limit: int = MOST_BYTES) -> bytes:
    """The bytes of a body; BodyTooLarge as soon as there are more than the limit, and what `take` raises."""
    parts = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        take(len(chunk))
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decoded(body: bytes, coding: str | None, limit: int = MOST_BYTES) -> bytes:
    """The body with its content coding undone (RFC 9110 section 8.4.1), never unpacking more than the limit.

    Gzip may come in several members, which are one body (RFC 1952 section 2.2): the limit is of all of them together.
    """
    name = (coding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise CodingUnknown
    plain, rest = _unpacked(body, bits, limit)
    if not rest:
        return plain
    if bits != _GZIP_BITS:
        raise BodyBroken
    members, size = [plain], len(plain)
    while rest:
        if len(members) == _MOST_MEMBERS:
            raise BodyTooLarge
        plain, rest = _unpacked(rest, bits, limit - size)
        members.append(plain)
        size += len(plain)
    return b"".join(members)


def _unpacked(packed: bytes, bits: int, limit: int) -> tuple[bytes, bytes]:
    """One stream, or one member of gzip, and what comes behind it."""
    unpacker = zlib.decompressobj(bits)
    try:
        plain = unpacker.decompress(packed, limit + 1)
    except zlib.error as error:
        raise BodyBroken from error
    if len(plain) > limit:
        raise BodyTooLarge
    if not unpacker.eof:
        raise BodyBroken
    return plain, unpacker.unused_data
