"""Searches the hub's topics for what became of something: deliveries, events, commands, answers, letters, notes.

Event, command and answer name each other. Raw records do not: they carry the key of what they are about, and which
events one becomes is found by mapping it again. When an event was published the ledger says, since an event's own
record bears the time of its delivery.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_json
from unsilo_connectors.samples import samples, translated
from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.identity import entity_id, event_id
from unsilo_schemas.link import LINK
from unsilo_schemas.topics import CONSUMERS

from ..audit import REDRIVEN, SUPPRESSED
from ..configuration import connection_of, connector_of
from ..kafka import Message, TopicPartition, header_of, headers_of, recorded_at
from ..progress import Progress
from ..raw_records import read_raw
from .audit_trail import Noted, delays, noted
from .hub import Hub, Place, Read, json_value, named, place_of
from .letters import Letter, letter_of
from .output import fail
from .partitions import partition_of_key

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ID_BYTES = 16  # of an event in the ledger
_CLOCKS_DIFFER = timedelta(minutes=1)  # between the processes that wrote a record and what it follows from


@dataclass(frozen=True, slots=True)
class Reference:
    """What is looked for: an object by its remote id in some connections, or anything by an id of the hub's own."""

    text: str
    connections: frozenset[str] = frozenset()
    remote_id: str | None = None

    @classmethod
    def parse(cls, hub: Hub, text: str) -> "Reference":
        """From what was typed; ends the command where that names nothing."""
        if _UUID.fullmatch(text):
            return cls(text.lower())
        where, colon, remote_id = text.partition(":")
        known = hub.configuration.connections
        names = {where} & known.keys() or {name for name, item in known.items() if item.connector == where}
        if not colon or not remote_id:
            raise fail(f"{text!r} is no reference: write CONNECTION:REMOTE-ID, such as helpdesk:5158, or an id")
        if not names:
            there = ", ".join(sorted(known)) or "none"
            raise fail(f"{where!r} is neither a connection nor a connector of one: there are {there}")
        return cls(text, frozenset(names), remote_id)

    def names(self, refs: Iterable[Mapping[str, Any]] | None) -> bool:
        """Whether one of an entity's references is meant."""
        return self.remote_id is not None and any(
            ref.get("connection") in self.connections and ref.get("id") == self.remote_id for ref in refs or ()
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as a search sees it. Of most records little is looked at, so nothing is decoded before."""

    message: Message

    @property
    def place(self) -> Place:
        return place_of(self.message)

    @property
    def at(self) -> datetime:
        return recorded_at(self.message)

    @property
    def key(self) -> str:
        return (self.message.key() or b"").decode("utf-8", "backslashreplace")

    @property
    def value(self) -> bytes:
        return self.message.value() or b""

    @property
    def id(self) -> str:
        return self.header("ce_id")

    @property
    def causation(self) -> str:
        return self.header("ce_causationid")

    @property
    def connection(self) -> str:
        return self.header("ce_connection")

    @property
    def about(self) -> str:
        """The canonical id of its entity."""
        return self.header("ce_subject").rpartition("/")[2]

    @property
    def ids(self) -> tuple[str, str, str]:
        """What it may be found by."""
        return self.key, self.about, self.id

    def header(self, name: str) -> str:
        """A header as text; empty where there is none."""
        return header_of(self.message, name) or ""

    def json(self) -> Mapping[str, Any]:
        """Its value; empty where that is no JSON object."""
        value = json_value(self.message)
        return value if isinstance(value, dict) else {}

    def entity(self) -> Mapping[str, Any]:
        """The entity of an event."""
        found = self.json().get("entity")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A raw record, and the events that it becomes as the mapping is now; `waits` until the normalizer has had it."""

    record: Record
    events: Sequence[str]
    waits: bool


@dataclass(slots=True)
class Findings:
    """What a search has found."""

    deliveries: list[Delivery] = field(default_factory=list)
    events: dict[str, Record] = field(default_factory=dict)
    published: dict[str, datetime] = field(default_factory=dict)
    """When the events were."""
    commands: dict[str, Record] = field(default_factory=dict)
    put_back: list[Record] = field(default_factory=list)
    """Records of commands that stand on their topic once more since a redrive."""
    links: dict[str, Record] = field(default_factory=dict)
    """The answers, by command."""
    echoes: dict[str, str] = field(default_factory=dict)
    """The events that tell of what a command wrote."""
    letters: list[tuple[Record, Letter]] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    delays: Mapping[str, Noted] = field(default_factory=dict)
    """Why commands wait, by connection."""
    waiting: set[Place] = field(default_factory=set)
    """Events that flows, and commands that delivery, is not done with."""
    left_out: set[str] = field(default_factory=set)
    """Events beyond the number that was asked for, older than the rest."""
    read: list[Read] = field(default_factory=list)


class Search:
    """Follows a reference: what is about it, the commands that came of that, what these came from and led to."""

    def __init__(self, hub: Hub, reference: Reference, since: datetime, most: int) -> None:
        self._hub = hub
        self._reference = reference
        self._since = since
        self._most = most
        self._link_topic = hub.topics.event(LINK).name
        self._event_topics = sorted({hub.topics.event(kind).name for kind in ENTITY_TYPES} - {self._link_topic})
        self._ids = {reference.text} if reference.remote_id is None else self._possible_ids()
        self._mention = to_json(reference.remote_id or "")[1:-1]  # as it stands in an event
        self._found = Findings()

    def run(self) -> Findings:
        """All of it, in a few passes over the topics."""
        self._find_direct()
        self._find_commands()
        if self._found.commands:
            self._find_answers()
        self._find_deliveries()
        self._find_letters()
        self._find_published()
        self._find_waiting()
        notes = noted(self._hub, self._since, SUPPRESSED, REDRIVEN)
        letters = {named(letter.place) for _, letter in self._found.letters}
        self._found.notes = [
            note
            for note in notes
            if note.facts.get("event") in self._found.events or note.facts.get("letter") in letters
        ]
        return self._found

    def _possible_ids(self) -> set[str]:
        """Canonical ids that the object may have, so that what never became an event is found by its key."""
        found = set()
        for name in self._reference.connections:
            types = {kind.name for kind in ENTITY_TYPES}
            for sample in samples(connector_of(self._hub.configuration.connections[name])):
                for events in sample.events:
                    types.update(ref["type"] for event in events for ref in event["data"]["entity"]["refs"])
            found |= {entity_id(name, kind, self._reference.remote_id or "") for kind in types}
        return found

    def _find_direct(self) -> None:
        found = self._found

        def take(record: Record) -> None:
            if record.place[0] != self._link_topic:
                if self._is_meant(record):
                    found.events[record.id] = record
            elif self._is_meant_by_link(record):
                found.links[record.causation] = record

        self._scan([*self._event_topics, self._link_topic], take)
        for record in sorted(found.events.values(), key=lambda record: record.at)[: -self._most]:
            found.left_out.add(record.id)
            del found.events[record.id]

    def _is_meant(self, record: Record) -> bool:
        if not self._ids.isdisjoint(record.ids):
            return True
        if self._mention not in record.value or record.connection not in self._reference.connections:
            return False
        if self._reference.names(record.entity().get("refs")):
            self._ids.add(record.about)  # from here on, what belongs to it is meant as well
            return True
        return False

    def _is_meant_by_link(self, record: Record) -> bool:
        if not self._ids.isdisjoint((*record.ids, record.causation)):
            return True
        entity = record.entity()
        ends = [entity.get("left", {}), entity.get("right", {}), *entity.get("wrote", ())]
        return any(end.get("id") in self._ids or self._reference.names([end.get("ref", {})]) for end in ends)

    def _find_commands(self) -> None:
        found = self._found

        def take(record: Record) -> None:
            if record.causation in found.events or record.id in found.links or record.id in self._ids:
                if record.id in found.commands:
                    found.put_back.append(found.commands[record.id])
                found.commands[record.id] = record

        self._scan([self._hub.topics.command(name).name for name in self._hub.configuration.connections], take)

    def _find_answers(self) -> None:
        """The answers to the commands, what these follow from, and the events that told of what was written."""
        found = self._found
        causes = {command.causation for command in found.commands.values()}
        written: dict[str, str] = {}

        def take_link(record: Record) -> None:
            if record.causation in found.commands:
                found.links[record.causation] = record
                written.update((str(item.get("id")), record.causation) for item in record.entity().get("wrote", ()))

        def take(record: Record) -> None:
            if record.id in causes:
                found.events.setdefault(record.id, record)
            elif record.about in written and record.id not in found.events:
                found.events[record.id] = record
                found.echoes[record.id] = written[record.about]

        self._scan([self._link_topic], take_link)
        self._scan(self._event_topics, take)

    def _find_deliveries(self) -> None:
        """By key: the deliveries that the events came from, and those about the object that became none."""
        keys = {name: set(self._ids) for name in self._reference.connections}
        for event in self._found.events.values():
            keys.setdefault(event.connection, set()).add(event.key)
        for name, wanted in keys.items():
            if name in self._hub.configuration.connections:
                self._found.deliveries += self._deliveries(name, wanted)

    def _deliveries(self, name: str, keys: Collection[str]) -> list[Delivery]:
        topic = self._hub.topics.raw(name).name
        count = self._hub.partitions.get(topic, 0)
        wanted = {partition_of_key(key.encode(), count) for key in keys} if count else set()
        records: list[Record] = []

        def take(message: Message) -> None:
            record = Record(message)
            if record.key in keys:
                records.append(record)

        read = self._hub.read([topic], self._since, take, only=lambda _, partition: partition in wanted)
        self._found.read.append(read)
        progress = self._progress("normalizer", {record.place[:2] for record in records})
        found = []
        for record in records:
            events = self._becomes(name, record.message)
            if events and self._found.left_out.issuperset(events):
                continue
            if record.key in self._ids or any(id in self._found.events for id in events):
                waits = progress[record.place[:2]].wants(record.place[2])
                found.append(Delivery(record, events, waits))
        return found

    def _becomes(self, name: str, message: Message) -> list[str]:
        """The ids of the events of a raw record; none where it cannot be mapped, or is ignored."""
        section = self._hub.configuration.connections[name]
        try:
            raw = read_raw(connection_of(section), message, headers_of(message))
            return [event_id(name, event.key) for event in translated(connector_of(section), raw)]
        except Exception:  # whatever is wrong with it, the normalizer has found it too: there is a letter
            return []

    def _find_letters(self) -> None:
        found = self._found
        deliveries = {delivery.record.place for delivery in found.deliveries}

        def take(message: Message) -> None:
            record, letter = Record(message), letter_of(self._hub, message)
            if letter.origin in deliveries or record.id in found.events or record.id in found.commands:
                found.letters.append((record, letter))

        dead = [self._hub.topics.dead(consumer).name for consumer in CONSUMERS]
        found.read.append(self._hub.read(dead, self._since, take))

    def _find_published(self) -> None:
        places = {"/".join(map(str, delivery.record.place[:2])).encode() for delivery in self._found.deliveries}
        wanted = {bytes.fromhex(id.replace("-", "")): id for id in self._found.events if _UUID.fullmatch(id)}
        if not places or not wanted:
            return

        def take(message: Message) -> None:
            if message.key() in places:
                value = message.value() or b""
                for start in range(0, len(value), _ID_BYTES):
                    id = wanted.get(value[start : start + _ID_BYTES])
                    if id is not None:
                        self._found.published[id] = recorded_at(message)

        begin = min(event.at for event in self._found.events.values()) - _CLOCKS_DIFFER
        self._found.read.append(self._hub.read([self._hub.topics.ledger().name], begin, take))

    def _find_waiting(self) -> None:
        for service, records in (("flows", self._found.events), ("delivery", self._found.commands)):
            places = [record.place for record in records.values()]
            progress = self._progress(service, {place[:2] for place in places})
            if service == "flows":  # where it has never run, nothing waits for it
                places = [place for place in places if progress[place[:2]].next]
            if service == "delivery" and places:
                self._found.delays = delays(self._hub)
            self._found.waiting |= {place for place in places if progress[place[:2]].wants(place[2])}

    def _progress(self, service: str, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], Progress]:
        """How far a service has come."""
        group = self._hub.topics.group(service)
        return self._hub.kafka.progress(group, [TopicPartition(*place) for place in partitions])

    def _scan(self, topics: Iterable[str], take: Callable[[Record], None]) -> None:
        self._found.read.append(self._hub.read(topics, self._since, lambda message: take(Record(message))))
