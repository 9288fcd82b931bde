"""Two Kafka requests, spoken by hand: enough to know that a broker answers, which one, and that groups can begin."""

import socket
import struct

METADATA = struct.pack(">hhihi", 3, 2, 0, -1, 0)
"""API key, version, correlation id, no client id; no topics."""
FIND_COORDINATOR = [struct.pack(">hhihh6sb", 10, 1, 0, -1, 6, b"unsilo", kind) for kind in (0, 1)]
"""The same, for the coordinator of a group and of a transactional id of that name."""
TIMEOUT_SECONDS = 5.0


def cluster_at(host: str, port: int) -> str | None:
    """The id of the cluster that has a broker at this address; None if none answers there."""
    try:
        return _cluster(_ask(host, port, METADATA))
    except (OSError, ValueError, struct.error):
        return None


def coordinates(host: str, port: int) -> bool:
    """Whether the broker has coordinators. Asking makes a new broker create their topics: the first consumer to ask
    would wait three seconds for its second try."""
    try:
        return all(struct.unpack_from(">h", _ask(host, port, request), 8) == (0,) for request in FIND_COORDINATOR)
    except (OSError, ValueError, struct.error):
        return False


def _ask(host: str, port: int, request: bytes) -> bytes:
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", answers.read(4))
        return answers.read(length)


def _cluster(metadata: bytes) -> str | None:
    _correlation, brokers = struct.unpack_from(">ii", metadata)
    position = 8
    for _ in range(brokers):
        _host, position = _text(metadata, position + 4)
        _rack, position = _text(metadata, position + 4)
    cluster, _ = _text(metadata, position)
    return cluster if brokers > 0 else None


def _text(answer: bytes, position: int) -> tuple[str | None, int]:
    """A string with its length before it (-1: null), and the position after it."""
    (length,) = struct.unpack_from(">h", answer, position)
    start, end = position + 2, position + 2 + max(length, 0)
    return (answer[start:end].decode() if length >= 0 else None), end
