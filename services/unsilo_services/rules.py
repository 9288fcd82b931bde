"""Flows as they are written, made ready to run: which events, under which condition, which commands.

Conditions and texts are pure: what they see is the event and nothing else, and neither can reach the process they run
in.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from unsilo_connectors.actions import Action
from unsilo_connectors.contract import Connector, as_is
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import EventType
from unsilo_schemas.example import example

from .audience import CLOSED, may_write
from .conditions import Condition, ConditionBroken, ConditionFailed, ConditionUnanswered
from .configuration import Configuration, FlowSection, StepSection, connector_of, whole_name
from .texts import Environment, Text, TextBroken, TextFailed
from .two_way import loop_through

Path = tuple[str | int, ...]
Twins = Callable[[str, str], Mapping[str, Any] | None]
"""The reference of an object's copy in a connection, by the object's canonical id; None where it has none.

May raise what the caller of `Flow.intents` wants to hear of.
"""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RuleBroken(Exception):
    """A flow cannot be run as it is written. `path` is the place below the flow, the message what would be right.

    `others` is what else is wrong with it, as far as that can be seen before the first is mended.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem
        self.others: tuple[RuleBroken, ...] = ()


class RuleFailed(Exception):
    """A flow cannot be done with this event. The message names a field, and never holds a value."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What flows see of an event: its `context`, and how bodies of its own system are read as plain text."""

    context: Mapping[str, Any]
    plain: Callable[[str], str] = as_is


@dataclass(frozen=True, slots=True)
class Intent:
    """One command that a flow wants, before anything is known of stories and echoes."""

    connection: str
    action: str
    arguments: dict[str, Any]
    target: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Step:
    connection: str
    name: str
    action: Action
    to: str | None
    texts: Any  # the arguments, each text a template

    def arguments(self, seen: Seen) -> dict[str, Any]:
        """The arguments that an event makes. Raises TextFailed."""
        return {name: _written(value, name, seen) for name, value in self.texts.items()}

    def checked(self, arguments: dict[str, Any]) -> Any:
        """The arguments as the action takes them; ValidationError."""
        return self.action.arguments.model_validate(arguments)


class Flow:
    """One flow of the configuration, compiled."""

    def __init__(self, section: FlowSection, configuration: Configuration) -> None:
        """Raises RuleBroken."""
        slips: list[RuleBroken] = []
        self.id = section.id
        self.types = section.types
        slips += _slips_of_types(section)
        self.has_targets = any(step.to is not None for step in section.do)
        self._condition = _condition(section.when, slips)
        steps = [_step(number, step, configuration, slips) for number, step in enumerate(section.do)]
        self._steps = [step for step in steps if step is not None]
        for event in self.types:
            slips += self._slips_on(event, steps, configuration)
        slips += self._slips_of_fields(steps)
        found: dict[Path, RuleBroken] = {}
        for slip in slips:  # every event type may show the same one
            found.setdefault(slip.path, slip)
        if found:
            first, *others = found.values()
            first.others = tuple(others)
            raise first

    def holds(self, seen: Seen) -> bool:
        """Whether the condition is true of an event. One that names a field which the event lacks is not.

        Raises RuleFailed where the event is too large to find out.
        """
        try:
            return self._condition is None or self._condition.of(seen.context) is True
        except ConditionUnanswered:
            return False
        except ConditionFailed as error:
            raise RuleFailed(f"when: {error}") from None

    def intents(self, seen: Seen, twins: Twins) -> Iterator[tuple[int, Intent]]:
        """The commands for an event, each with its place in the flow; none where what it is about has no copy there.

        Raises RuleFailed, and what `twins` raises.
        """
        for number, step in enumerate(self._steps):
            target = None
            if step.to is not None:
                about = _object_id(seen.context["entity"].get(step.to))
                target = None if about is None else twins(about, step.connection)
                if target is None or target.get("type") != step.action.target_type:
                    continue
            try:
                arguments = step.arguments(seen)
                step.checked(arguments)
            except TextFailed as error:
                raise RuleFailed(str(error)) from None
            except ValidationError as error:
                raise RuleFailed(_fault(error, step.action)) from None
            yield number, Intent(step.connection, step.name, arguments, target)

    def _slips_of_fields(self, steps: Iterable[_Step | None]) -> Iterator[RuleBroken]:
        """A field that none of the event types has is misspelt, also behind a condition that no example meets."""
        contexts = [context_of(event.name, example(event)) for event in self.types]
        asking: list[tuple[Path, Condition | Text]] = [] if self._condition is None else [(("when",), self._condition)]
        for number, step in enumerate(steps):
            asking += [(("do", number, "with"), text) for text in _held(step.texts if step else None)]
        for path, one in asking:
            for way in one.asked_for:
                if contexts and not any(_leads(context, way) for context in contexts):
                    yield RuleBroken(path, f"asks for {'.'.join(way)}, which none of its events ever has")

    def _slips_on(
        self, event: EventType, steps: Iterable[_Step | None], configuration: Configuration
    ) -> Iterator[RuleBroken]:
        """Runs the flow on an example that has every field: what fails there is a slip of the pen."""
        seen = Seen(context_of(event.name, example(event)))
        if self._condition is not None:
            try:
                answer = self._condition.of(seen.context)
                if not isinstance(answer, bool):
                    yield RuleBroken(("when",), f"must be true or false, and is a {type(answer).__name__} here")
            except (ConditionFailed, ConditionUnanswered) as error:
                yield RuleBroken(("when",), f"fails on an example of {event.name}: {error}")
        for number, step in enumerate(steps):
            if step is None:
                continue
            where: Path = ("do", number)
            if step.to is not None and _object_id(seen.context["entity"].get(step.to)) is None:
                known = [name for name, value in seen.context["entity"].items() if _object_id(value) is not None]
                yield RuleBroken((*where, "to"), f"names no object of {event.name}: take one of {', '.join(known)}")
            try:
                checked = step.checked(step.arguments(seen))
            except TextFailed as error:
                yield RuleBroken((*where, "with"), f"fails on an example of {event.name}: {error}")
            except ValidationError as error:
                for place, problem in _faults(error, step.action):
                    yield RuleBroken((*where, "with", *place), problem)
            else:
                if not may_write(configuration.connections[step.connection], step.action, checked):
                    yield RuleBroken((*where, "deliver"), CLOSED)


def context_of(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What conditions and texts see: `entity`, `changed`, `previous`, `complete` and `type`."""
    return {"previous": {}, **data, "type": type}


def _leads(context: Any, way: Sequence[str]) -> bool:
    """Whether a way may lead to a field: below what holds names of the source's own, any does."""
    for step in way:
        if step in ("custom", "previous") or not isinstance(context, Mapping):
            return True
        if step not in context:
            return False
        context = context[step]
    return True


def _slips_of_types(section: FlowSection) -> Iterator[RuleBroken]:
    for number, full in enumerate(map(whole_name, section.on)):
        if full not in EVENT_TYPES:
            near = ", ".join(get_close_matches(full, EVENT_TYPES, 5, 0.7))
            shown = f"near it: {near}" if near else "`unsilo schemas list` shows them"
            yield RuleBroken(("on", number), f"is no event type; {shown}")


def _condition(text: str | None, slips: list[RuleBroken]) -> Condition | None:
    try:
        return None if text is None else Condition(text)
    except ConditionBroken as broken:
        slips.append(RuleBroken(("when",), str(broken)))
        return None


def _step(number: int, step: StepSection, configuration: Configuration, slips: list[RuleBroken]) -> _Step | None:
    """A step that can be tried out; None where it cannot, for slips that are added to the others."""
    where: Path = ("do", number)
    found: list[RuleBroken] = []
    section = configuration.connections.get(step.deliver)
    connector: Connector[Any, Any] | None = None if section is None else connector_of(section)
    action = None if connector is None else connector.actions.get(step.action)
    if connector is None:
        known = ", ".join(sorted(configuration.connections))
        found.append(RuleBroken((*where, "deliver"), f"is no connection: there are {known or 'none'}"))
    elif (loop := loop_through(step.deliver, configuration)) is not None:
        found.append(RuleBroken((*where, "deliver"), loop))
    if connector is not None and action is None:
        known = ", ".join(connector.actions) or "none: it only listens"
        found.append(RuleBroken((*where, "action"), f"is no action of {connector.name}: there are {known}"))
    if action is not None and action.target_type is not None and step.to is None:
        wanted = f"is missing: name the field whose copy is the {action.target_type} to act on"
        found.append(RuleBroken((*where, "to"), wanted))
    if action is not None and action.target_type is None and step.to is not None:
        found.append(RuleBroken((*where, "to"), "is not wanted: this action makes something new"))
    environment = Environment(as_is if connector is None else connector.escape)
    texts = _texts(step.arguments, environment, (*where, "with"), found)
    slips += found
    return None if action is None or found else _Step(step.deliver, step.action, action, step.to, texts)


def _texts(value: Any, environment: Environment, path: Path, slips: list[RuleBroken]) -> Any:
    if isinstance(value, str):
        try:
            return Text(value, environment)
        except TextBroken as error:
            slips.append(RuleBroken(path, str(error)))
    if isinstance(value, dict):
        return {name: _texts(item, environment, (*path, name), slips) for name, item in value.items()}
    if isinstance(value, list):
        return [_texts(item, environment, (*path, number), slips) for number, item in enumerate(value)]
    return value


def _held(value: Any) -> Iterator[Text]:
    """The texts among arguments."""
    if isinstance(value, Text):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _held(item)


def _written(value: Any, field: str, seen: Seen) -> Any:
    if isinstance(value, Text):
        try:
            return value.of(seen.context, seen.plain)
        except TextFailed as error:
            raise TextFailed(f"{field}: {error}") from None
    if isinstance(value, dict):
        return {name: _written(item, f"{field}.{name}", seen) for name, item in value.items()}
    if isinstance(value, list):
        return [_written(item, f"{field}.{number}", seen) for number, item in enumerate(value)]
    return value


def _object_id(value: Any) -> str | None:
    """The canonical id of the object that a field names."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _fault(error: ValidationError, action: Action) -> str:
    """The first of what an action does not take, without the value."""
    place, problem = next(_faults(error, action))
    return f"{'.'.join(map(str, place))}: {problem}" if place else problem


def _faults(error: ValidationError, action: Action) -> Iterator[tuple[Path, str]]:
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        if found["type"] == "extra_forbidden":
            yield found["loc"], f"is not taken by this action: there are {', '.join(action.arguments.model_fields)}"
        else:
            yield found["loc"], "is missing" if found["type"] == "missing" else found["msg"]
