"""What a search has found, told in order: each delivery, and all that followed from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from unsilo_schemas.topics import owner_of

from ..configuration import short_name
from ..dead_letters import REDRIVE_OF
from ..raw_records import CONNECTOR
from .audit_trail import Noted
from .hub import Place, named
from .letters import Letter
from .trail import Delivery, Findings, Record

_ORDER = ("redriven", "raw", "event", "suppressed", "command", "answer", "waits", "dead")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. Without a time where nobody noted that."""

    kind: str
    at: datetime
    connection: str
    what: str
    place: Place | None = None
    id: str | None = None


@dataclass(slots=True)
class Story:
    """A delivery and all that followed from it."""

    id: str
    steps: list[Step] = field(default_factory=list)

    @property
    def began_at(self) -> datetime:
        return self.steps[0].at


def told(found: Findings) -> list[Story]:
    """The stories, in the order in which they began."""
    stories: dict[str, Story] = {}
    for root, step in _steps(found):
        stories.setdefault(root, Story(root)).steps.append(step)
    for story in stories.values():
        story.steps.sort(key=_turn)
    return sorted(stories.values(), key=lambda story: story.began_at)


def _turn(step: Step) -> tuple[int, int]:
    """Where a step stands in its story: by the millisecond, which is all that Kafka keeps of a time."""
    return int(step.at.timestamp() * 1000), _ORDER.index(step.kind)


def _steps(found: Findings) -> Iterator[tuple[str, Step]]:
    """Every step, with the story that it belongs to: named by the event that it began with, or by the delivery."""
    roots: dict[Place, str] = {}
    dead = {letter.origin for _, letter in found.letters}
    published: set[str] = set()
    for delivery in sorted(found.deliveries, key=lambda item: item.record.place):
        record = delivery.record
        ours = [id for id in delivery.events if id in found.events]
        roots[record.place] = _root(found, ours[0]) if ours else named(record.place)
        again = record.place not in dead and published.issuperset(ours)  # what it told may lie further back
        yield roots[record.place], _delivered(delivery, record.place in dead, again)
        if record.place not in dead:
            published.update(ours)
    for event in found.events.values():
        root = _root(found, event.id)
        at = found.published.get(event.id, event.at)
        yield root, Step("event", at, event.connection, _type(event), event.place, event.id)
        if event.place in found.waiting:
            yield root, Step("waits", at, event.connection, "for flows, or there for the answer to another command")
    for command in found.put_back:
        yield _root_of_command(found, command), _given(command)
    for command in found.commands.values():
        yield from ((_root_of_command(found, command), step) for step in _commanded(found, command))
    letters: dict[str, str] = {}
    for record, letter in found.letters:
        root = letters[named(letter.place)] = _root_of_letter(found, roots, record, letter)
        yield root, _died(letter)
    for note in found.notes:
        letter_id = str(note.facts.get("letter"))
        if letter_id in letters:
            yield letters[letter_id], Step("redriven", note.at, note.connection or "", f"to {note.facts.get('to')}")
        else:
            yield _root(found, str(note.facts.get("event"))), _suppressed(note)


def _root(found: Findings, event: str) -> str:
    """The event that an event's story began with: its own, unless it told of what a command wrote."""
    command = found.echoes.get(event)
    return event if command is None else _root_of_command(found, found.commands[command])


def _root_of_command(found: Findings, command: Record) -> str:
    return command.causation or command.id


def _root_of_letter(found: Findings, roots: Mapping[Place, str], record: Record, letter: Letter) -> str:
    if record.id in found.commands:
        return _root_of_command(found, found.commands[record.id])
    return roots.get(letter.origin) or _root(found, record.id)


def _delivered(delivery: Delivery, dead: bool, again: bool) -> Step:
    record = delivery.record
    what = record.header(CONNECTOR)
    if record.header(REDRIVE_OF):
        what += ", put back"
    if delivery.waits:
        what += ", waits for the normalizer"
    elif not dead and not delivery.events:
        what += ", of a kind that is ignored"
    elif again:
        what += ", the same once more: dropped"
    return Step("raw", record.at, owner_of(record.place[0]), what, record.place)


def _given(command: Record) -> Step:
    data = command.json()
    what = f"{data.get('action', '')} (flow {data.get('flow', '')})"
    if command.header(REDRIVE_OF):
        what += ", put back"
    return Step("command", command.at, command.connection, what, command.place, command.id)


def _commanded(found: Findings, command: Record) -> Iterator[Step]:
    yield _given(command)
    link = found.links.get(command.id)
    if link is not None:
        yield Step("answer", link.at, link.connection, written(link.entity()), link.place, link.id)
    elif command.place in found.waiting:
        note = found.delays.get(command.connection)
        why = "for delivery, or behind another command" if note is None else str(note.facts["why"])
        yield Step("waits", command.at if note is None else note.at, command.connection, why)


def written(link: Mapping[str, Any]) -> str:
    """What a link says that a write made or changed."""
    said = []
    for item in link.get("wrote", ()):
        ref, fields = item.get("ref", {}), item.get("fields")
        done = "made" if fields is None else f"changed {', '.join(fields)} of"
        said.append(f"{done} {ref.get('type', '')} {ref.get('id', '')}")
    return "; ".join(said)


def _died(letter: Letter) -> Step:
    flow = "" if letter.flow is None else f"flow {letter.flow}: "
    what = f"{letter.reason}: {flow}{letter.error}"
    return Step("dead", letter.died_at, letter.connection, what, letter.place, letter.id)


def _suppressed(note: Noted) -> Step:
    flow = note.facts.get("flow")
    what = str(note.facts.get("why") or note.facts.get("outcome") or "")
    return Step("suppressed", note.at, note.connection or "", what if flow is None else f"flow {flow}: {what}")


def _type(event: Record) -> str:
    said = short_name(event.header("ce_type"))
    return f"{said}, thin" if event.json().get("complete") is False else said
