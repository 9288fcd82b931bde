"""Reads a request's body within a limit, before and after its content coding is undone."""

import zlib
from collections.abc import AsyncIterator

MOST_BYTES = 3 * 1024 * 1024
"""What no request may exceed, whoever it claims to be from. A raw record holds it, with its headers."""

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class BodyTooLarge(Exception):
    """The body, or what it unpacks to, exceeds the limit. It was not read further."""


class BodyBroken(Exception):
    """The body is not what its content coding says, or it ends early."""


class CodingUnknown(Exception):
    """The body comes in a content coding that is not understood."""


async def read_body(chunks: AsyncIterator[bytes], limit: int = MOST_BYTES) -> bytes:
    """The bytes of a body; BodyTooLarge as soon as there are more than the limit."""
    parts = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decoded(body: bytes, coding: str | None, limit: int = MOST_BYTES) -> bytes:
    """The body with its content coding undone (RFC 9110 section 8.4.1), never unpacking more than the limit."""
    name = (coding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise CodingUnknown
    unpacker = zlib.decompressobj(bits)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise BodyBroken from error
    if len(plain) > limit:
        raise BodyTooLarge
    if not unpacker.eof or unpacker.unused_data:
        raise BodyBroken
    return plain
