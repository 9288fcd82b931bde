"""Whether the services have taken a configuration over: it is applied when they read what it names."""

import time
from collections.abc import Callable, Iterable

from unsilo_schemas.topics import Topics

from .config_topic import from_entries, load
from .configuration import Configuration
from .kafka import Kafka

_PAUSE_SECONDS = 0.1
_NOTICED_SECONDS = 3.0


def await_followed(
    kafka: Kafka, topics: Topics, configuration: Configuration, seconds: float, absent_is_fine: bool = True
) -> list[str]:
    """Waits until everything is followed; what a service does not do by then, and what to do about it.

    One that nobody runs counts only where it must be there.
    """

    def not_followed() -> list[str]:
        found = (_lacks(kafka, topics, *each, absent_is_fine) for each in _wanted(topics, configuration).items())
        return [lack for lack in found if lack]

    return _what_stays(not_followed, seconds)


def not_read(kafka: Kafka, topics: Topics, connections: Iterable[str]) -> list[str]:
    """Connections that the running normalizer does not read, though they are configured; none where nobody runs one.

    Nor are there any while its workers share them out anew. They have some seconds to begin with that.
    """
    wanted = sorted(connections)

    def unread() -> list[str]:
        group = kafka.group(topics.group("normalizer"))
        known = group.members and group.settled
        return [name for name in wanted if known and topics.raw(name).name not in group.topics]

    return _what_stays(unread, _NOTICED_SECONDS)


def unknown_accounts(kafka: Kafka, topics: Topics) -> list[str]:
    """Connections that are written to, and where nobody has told yet under which ids the hub acts."""
    current = from_entries(load(kafka, topics.config()))
    return sorted(current.targets - set(current.accounts))


def _lacks(kafka: Kafka, topics: Topics, service: str, wanted: set[str], absent_is_fine: bool) -> str | None:
    group = kafka.group(topics.group(service))
    if not group.members:
        return None if absent_is_fine else f"{service} does not run: start it"
    unread = ", ".join(sorted(wanted - group.topics))
    if not unread:
        return None
    if not group.settled:
        return f"{service} shares its work out anew and does not read {unread} yet: look again with `unsilo doctor`"
    return f"{service} does not read {unread}: start the services anew where a connector is new; or see its log"


def _what_stays(find: Callable[[], list[str]], seconds: float) -> list[str]:
    """What is found, until that is nothing any more, or for so many seconds."""
    end = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)
    return found


def _wanted(topics: Topics, configuration: Configuration) -> dict[str, set[str]]:
    """The topics that follow from a configuration. Flows reads all events, whatever is configured."""
    return {
        "normalizer": {topics.raw(name).name for name in configuration.connections},
        "flows": set(),
        "delivery": {topics.command(name).name for name in configuration.writable},
    }
