"""`unsilo connections`: the systems that this hub is connected to, and how each is doing."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from unsilo_connectors.contract import nobody
from unsilo_connectors.samples import translated

from ..configuration import (
    ConnectionSection,
    SecretUnavailable,
    connection_of,
    connector_of,
    from_environment,
)
from ..follow import not_read
from ..kafka import Message, TopicPartition, headers_of
from ..raw_records import read_raw, received_at
from .audit_trail import Noted, delays, refusals
from .hub import Hub
from .letters import Wanted, letters
from .moments import moment
from .output import AsJson, console, show_json, shown
from .own_accounts import cannot_ask
from .queues import gateway_address
from .tables import show_facts, show_rows

connections_app = typer.Typer(no_args_is_help=True, help="The systems that this hub is connected to.")

_LOOKED_AT = 50  # of a partition's newest deliveries, for one that became an event
_REFUSALS = 5


@connections_app.command("list")
def list_connections(as_json: AsJson = False) -> None:
    """List the connections, the address to paste at each vendor, and whether their secrets are there.

    Example: unsilo connections list
    """
    hub = Hub.reach()
    ignored = not_read(hub.kafka, hub.topics, hub.configuration.connections)
    rows = [
        {"id": name, "connector": section.connector, "url": _url(hub, name), "state": _state(section, ignored)}
        for name, section in sorted(hub.configuration.connections.items())
    ]
    show_rows(rows, as_json, "no connections yet: declare some in unsilo.yaml and run `unsilo apply`")


@connections_app.command("show")
def show_connection(
    name: Annotated[str, typer.Argument(help="Its id, as in unsilo.yaml.")],
    since: Annotated[str, typer.Option(help="Look back so far at refusals and dead letters.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Show one connection: the address to paste at the vendor, what came of late, what was refused, and why.

    Example: unsilo connections show helpdesk
    """
    start = moment(since)
    hub = Hub.reach()
    section = hub.connection(name)
    refused = refusals(hub, start, name)
    dead = letters(hub, Wanted(connection=name, since=start))
    delivery, event = _latest(hub, section)
    sender = connector_of(section).sender
    facts = {
        "id": name,
        "connector": section.connector,
        "url": _url(hub, name),
        "state": _state(section, not_read(hub.kafka, hub.topics, [name])),
        "last_delivery": _when(delivery, as_json),
        "last_event": None if event is None else f"{_when(event[0], as_json)} {event[1]}",
        "refused": len(refused),
        "dead_letters": sum(letter.redriven_at is None for letter in dead),
        "writes": _writes(hub, section),
        "own_accounts": _accounts(hub, section),
        "answers_within": f"{sender.deadline.total_seconds():.0f} s",
        "when_we_fail": sender.on_failure,
        "rate_per_minute": section.rate_per_minute,
        "max_body_bytes": section.max_body_bytes or sender.max_body_bytes,
        "raw_topic": hub.topics.raw(name).name,
    }
    latest = [_refusal(note) for note in refused[-_REFUSALS:]]
    if as_json:
        show_json({**facts, "since": start, "refusals": latest})
        return
    facts["refused"] = f"{facts['refused']} since {shown(start)}"
    facts["dead_letters"] = f"{facts['dead_letters']} since {shown(start)}"
    if facts["last_event"] is None:
        facts["last_event"] = "never" if delivery is None else "none of the newest deliveries became one"
    show_facts({**facts, "last_delivery": facts["last_delivery"] or "never"}, False)
    if latest:
        console.print()
        show_rows(latest, False, "")


def _url(hub: Hub, name: str) -> str:
    found = hub.configuration
    given = found.declares_hub or "public_url" in hub.settings.model_fields_set
    return f"{found.hub.public_url if given else gateway_address(hub)}/in/{name}"


def _state(section: ConnectionSection, ignored: Collection[str]) -> str:
    """Whether the running services know it, and its secrets are there, where this command runs."""
    if section.id in ignored:
        return "not followed by the running services: start them anew"
    try:
        connection_of(section, from_environment)
    except SecretUnavailable as error:
        return f"shut here: {error}"
    except ValidationError:
        return "shut: its settings do not hold, `unsilo check` says where"
    return "open"


def _writes(hub: Hub, section: ConnectionSection) -> str:
    """How it goes with what is written there."""
    if not connector_of(section).actions:
        return "none: it is only listened to"
    note = delays(hub).get(section.id)
    return (
        "nothing waits for a second attempt"
        if note is None
        else f"wait, as seen at {shown(note.at)}: {note.facts['why']}"
    )


def _accounts(hub: Hub, section: ConnectionSection) -> list[str] | str:
    """Under which ids the hub acts there."""
    if not connector_of(section).actions:
        return "none: it is only listened to"
    known = hub.configuration.accounts.get(section.id)
    if known or section.own_accounts is not None:
        return list(known or ()) or "none: `own_accounts` in unsilo.yaml is empty"
    if connector_of(section).whoami is nobody:
        return "none: it has no accounts, unless `own_accounts` in unsilo.yaml names some"
    return cannot_ask(section) or "not known yet: delivery asks for them"


def _latest(hub: Hub, section: ConnectionSection) -> tuple[datetime | None, tuple[datetime, str] | None]:
    """When the last delivery came, and the last one that the normalizer made an event of, with its type."""
    topic = hub.topics.raw(section.id).name
    places = hub.places([topic])
    done = hub.kafka.committed(hub.topics.group("normalizer"), places) if places else {}
    newest = _newest(hub, places)
    events: dict[str, tuple[datetime, str]] = {}  # by the event's key: what comes again is no new event
    for message in newest:
        if (message.offset() or 0) < done[topic, message.partition() or 0]:
            for key, kind in _becomes(section, message):
                events.setdefault(key, (received_at(message), kind))
    delivered = received_at(newest[-1]) if newest else None
    return delivered, max(events.values(), default=None)


def _newest(hub: Hub, places: Sequence[TopicPartition]) -> list[Message]:
    """The newest records of a topic, the newest last."""
    ends = hub.kafka.end_offsets(places, committed=True) if places else {}
    wanted = [(*place, offset) for place, end in ends.items() for offset in range(max(0, end - _LOOKED_AT), end)]
    return sorted(hub.at(wanted), key=received_at)


def _becomes(section: ConnectionSection, message: Message) -> list[tuple[str, str]]:
    """Keys and types of the events that a delivery becomes."""
    try:
        raw = read_raw(connection_of(section), message, headers_of(message))
        return [(event.key, event.type.name) for event in translated(connector_of(section), raw)]
    except Exception:  # whatever is wrong with it, the normalizer has found it too: there is a letter
        return []


def _when(at: datetime | None, as_json: bool) -> str | None:
    return None if at is None else at.isoformat() if as_json else shown(at)


def _refusal(note: Noted) -> dict[str, Any]:
    return {
        "at": note.at,
        "reason": note.facts.get("reason"),
        "status": note.facts.get("status"),
        "clock": note.skew,
        "address": note.facts.get("address"),
    }
