"""Whether the services have taken a configuration over: it is applied when they read what it names."""

import time

from unsilo_schemas.entity import EventType
from unsilo_schemas.topics import Topics

from .config_topic import from_entries, load
from .configuration import Configuration, connector_of
from .kafka import Kafka
from .rules import Flow

_PAUSE_SECONDS = 0.1


def not_followed(kafka: Kafka, topics: Topics, configuration: Configuration, absent_is_fine: bool) -> list[str]:
    """What a service should do and does not yet. One that nobody runs counts only where it must be there."""
    missing = []
    for service, wanted in _wanted(topics, configuration).items():
        members = kafka.members(f"{topics.prefix}.{service}")
        read = {topic for member in members for topic, _ in member}
        if not members and not absent_is_fine:
            missing.append(f"{service} does not run")
        elif members and not wanted <= read:
            missing.append(f"{service} does not read {', '.join(sorted(wanted - read))}")
    return missing


def unknown_accounts(kafka: Kafka, topics: Topics) -> list[str]:
    """Connections that are written to, and where nobody has told yet under which ids the hub acts."""
    current = from_entries(load(kafka, topics.config()))
    written_to = {step.deliver for flow in current.flows.values() for step in flow.do}
    return sorted(written_to - set(current.accounts))


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
    sections = configuration.connections.values()
    kinds: list[EventType] = [
        kind for section in configuration.flows.values() for kind in Flow(section, configuration).types
    ]
    return {
        "normalizer": {topics.raw(section.id).name for section in sections},
        "flows": {topics.event(kind.entity_type).name for kind in kinds},
        "delivery": {topics.command(section.id).name for section in sections if connector_of(section).actions},
    }
