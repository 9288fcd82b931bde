"""Which queues there are: every topic that a service works off under the configuration as it is."""

from dataclasses import dataclass

from unsilo_schemas.topics import Topics

from ..configuration import Configuration


@dataclass(frozen=True, slots=True)
class Queue:
    """A topic and the service that works it off. `name` is the topic's, without the prefix."""

    topic: str
    name: str
    group: str


def queues(configuration: Configuration, topics: Topics) -> list[Queue]:
    """The queues of a configuration. What a connection or a flow that was removed has left behind is none."""
    events = [topics.event(kind.entity_type) for flow in configuration.flows.values() for kind in flow.types]
    found = {
        "normalizer": map(topics.raw, configuration.connections),
        "flows": [*events, topics.retry("flows")],
        "delivery": map(topics.command, configuration.writable),
    }
    names = {(topic.name, group) for group, followed in found.items() for topic in followed}
    return [Queue(name, name.removeprefix(f"{topics.prefix}."), group) for name, group in sorted(names)]
