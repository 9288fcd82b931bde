"""Checks of what the hub stands on: the Kafka cluster, its topics, this machine's disk."""

import shutil
import socket
import struct
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ..configuration import declared
from ..kafka import REQUEST_SECONDS
from .examination import Examination, Finding
from .output import counted

_FEW_BYTES = 2 * 1024**3
_FEW_PERCENT = 5
_SAFE_COPIES = 3
_FETCH = 1  # API key
_FETCH_SINCE_4_0 = 4  # the oldest version of it that Kafka 4.0 still speaks (KIP-896)
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Length, API key, version, correlation id, no client id."""
_SOCKET_SECONDS = 5.0


def cluster(examination: Examination) -> Iterator[Finding]:
    """Old brokers, and topics with fewer copies than there could be, or fewer in sync than there should be."""
    hub = examination.hub
    metadata = hub.kafka.admin.list_topics(timeout=REQUEST_SECONDS)
    for broker in metadata.brokers.values():
        encrypted = "SSL" in hub.kafka.options.get("security.protocol", "").upper()
        if not encrypted and is_old(str(broker.host), broker.port):
            yield Finding(
                "look",
                f"the broker at {broker.host}:{broker.port} is older than Kafka 4.0",
                "the hub is tested on Kafka 4.3 only: update it",
            )
    own = {name: topic for name, topic in metadata.topics.items() if name.startswith(hub.topics.prefix + ".")}
    partitions = [part for topic in own.values() for part in topic.partitions.values()]
    behind = sum(len(part.isrs) < _copies(part) for part in partitions)
    if behind:
        yield Finding(
            "wrong",
            f"{behind} partitions have copies that are not in sync",
            "a broker is down or slow: bring it back before another one fails",
        )
    possible = min(_SAFE_COPIES, len(metadata.brokers))
    thin = [name for name, topic in own.items() if any(_copies(part) < possible for part in topic.partitions.values())]
    if thin:
        yield Finding(
            "look",
            f"{counted(len(thin), 'topic')} with fewer than {possible} copies, {thin[0]} for one",
            "set UNSILO_REPLICATION_FACTOR for topics to come, and add copies with kafka-reassign-partitions.sh",
        )


def is_old(host: str, port: int) -> bool:
    """Whether a broker is older than Kafka 4.0. One that cannot be asked in the clear is not said to be."""
    try:
        with socket.create_connection((host, port), _SOCKET_SECONDS) as link, link.makefile("rb") as answers:
            link.sendall(_API_VERSIONS)
            (length,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(length)
        _correlation, error, count = struct.unpack_from(">ihi", answer)
        versions = {key: oldest for key, oldest, _ in struct.iter_unpack(">hhh", answer[10 : 10 + 6 * count])}
    except (OSError, struct.error):
        return False
    return bool(error == 0 and versions.get(_FETCH, _FETCH_SINCE_4_0) < _FETCH_SINCE_4_0)


def _copies(partition: Any) -> int:
    """How many a partition has, as confluent_kafka's metadata (untyped) tells it."""
    return len(partition.replicas)


def topics(examination: Examination) -> Iterator[Finding]:
    """Topics that are missing, or not as they should be."""
    hub = examination.hub
    drifts = hub.kafka.drift(declared(hub.configuration, hub.topics))
    missing = [drift.topic for drift in drifts if drift.setting == "partitions" and drift.found == "0"]
    if missing:
        yield Finding(
            "wrong",
            f"{counted(len(missing), 'missing topic')}, {missing[0]} for one",
            "`unsilo apply` creates them, and so does a service that starts or misses one",
        )
    there = sorted((drift for drift in drifts if drift.topic not in missing), key=lambda drift: drift.topic)
    for topic, found in groupby(there, key=lambda drift: drift.topic):
        settings = list(found)
        differs = ", ".join(f"{drift.setting} is {drift.found}, not {drift.wanted}" for drift in settings)
        remedy = "set it right with kafka-configs.sh --alter"
        if any(drift.setting == "partitions" for drift in settings):
            remedy = "the number of partitions cannot be mended in place: let a topic of another name take over"
        yield Finding("wrong", f"{topic}: {differs}", remedy)


def disk(examination: Examination) -> Iterator[Finding]:
    """Too little room where caches, and the local Kafka, keep their data."""
    folder = examination.hub.settings.data.absolute()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    percent = 100 * usage.free / usage.total
    if usage.free < _FEW_BYTES or percent < _FEW_PERCENT:
        yield Finding(
            "wrong",
            f"{usage.free / 1024**3:.1f} GiB ({percent:.0f} %) are free at {folder}",
            "make room, or set UNSILO_DATA to a folder elsewhere: a full disk stops Kafka",
        )
