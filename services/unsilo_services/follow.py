"""Whether the services have taken a configuration over: it is applied when they read what it names."""

import time
from collections.abc import Iterable

from unsilo_schemas.topics import Topics

from .config_topic import from_entries, load
from .configuration import Configuration
from .kafka import Kafka

_PAUSE_SECONDS = 0.1
_SETTLED_SECONDS = 3.0


def not_followed(kafka: Kafka, topics: Topics, configuration: Configuration, absent_is_fine: bool) -> list[str]:
    """What a service should do and does not yet. One that nobody runs counts only where it must be there."""
    missing = []
    for service, wanted in _wanted(topics, configuration).items():
        members = kafka.members(topics.group(service))
        read = {topic for member in members for topic, _ in member}
        if not members and not absent_is_fine:
            missing.append(f"{service} does not run")
        elif members and not wanted <= read:
            missing.append(f"{service} does not read {', '.join(sorted(wanted - read))}")
    return missing


def not_taken(kafka: Kafka, topics: Topics, connections: Iterable[str]) -> list[str]:
    """Connections that the running normalizer does not read, though they are configured; none where nobody runs one.

    Its workers may be sharing them out anew, so it is asked again for some seconds.
    """
    wanted = sorted(connections)
    end = time.monotonic() + _SETTLED_SECONDS
    while True:
        members = kafka.members(topics.group("normalizer"))
        read = {topic for member in members for topic, _ in member}
        missing = [name for name in wanted if members and topics.raw(name).name not in read]
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(_PAUSE_SECONDS)


def unknown_accounts(kafka: Kafka, topics: Topics) -> list[str]:
    """Connections that are written to, and where nobody has told yet under which ids the hub acts."""
    current = from_entries(load(kafka, topics.config()))
    return sorted(current.targets - set(current.accounts))


def await_followed(
    kafka: Kafka, topics: Topics, configuration: Configuration, seconds: float, absent_is_fine: bool = True
) -> list[str]:
    """Waits until everything is followed; what is not, if that takes longer."""
    end = time.monotonic() + seconds
    while True:
        missing = not_followed(kafka, topics, configuration, absent_is_fine)
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(_PAUSE_SECONDS)


def _wanted(topics: Topics, configuration: Configuration) -> dict[str, set[str]]:
    """The topics that follow from a configuration. Flows reads all events, whatever is configured."""
    return {
        "normalizer": {topics.raw(name).name for name in configuration.connections},
        "flows": set(),
        "delivery": {topics.command(name).name for name in configuration.writable},
    }
