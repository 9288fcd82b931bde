"""Which queues there are: every topic that a service works off under the configuration as it is."""

import logging
from dataclasses import dataclass

from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.topics import Topics

from ..configuration import Configuration, connector_of
from ..rules import Flow, RuleBroken

log = logging.getLogger(__name__)

GROUPS = ("normalizer", "flows", "delivery")
"""The services that work queues off. A service's consumer group is the topic prefix and its name."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A topic and the service that works it off. `name` is the topic's, without the prefix."""

    topic: str
    name: str
    group: str


def queues(configuration: Configuration, topics: Topics) -> list[Queue]:
    """The queues of a configuration. What a connection or a flow that was removed has left behind is none."""
    raw = [topics.raw(name) for name in configuration.connections]
    events = [topics.event(EVENT_TYPES[name].entity_type) for name in _routed(configuration)]
    commands = [
        topics.command(name) for name, section in configuration.connections.items() if connector_of(section).actions
    ]
    found = {
        "normalizer": raw,
        "flows": [*events, topics.retry("flows")],
        "delivery": commands,
    }
    names = {(topic.name, group) for group, followed in found.items() for topic in followed}
    return [Queue(name, name.removeprefix(f"{topics.prefix}."), group) for name, group in sorted(names)]


def _routed(configuration: Configuration) -> set[str]:
    """The event types that flows wait for. One that cannot be run waits for none; flows says so in its log."""
    found: set[str] = set()
    for section in configuration.flows.values():
        try:
            found.update(kind.name for kind in Flow(section, configuration).types)
        except RuleBroken:
            log.debug("flow %s does nothing", section.id)
    return found
