"""Flows as they are written, made ready to run: which events, under which condition, which commands.

Conditions are CEL (cel.dev), texts are templates (texts.py). Both are pure: what they see is the event and nothing
else, and neither can reach the process they run in.
"""

import re
from collections.abc import Callable, Iterator, Mapping
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
from .configuration import Configuration, FlowSection, StepSection, connector_of, whole_name
from .expressions import cel
from .texts import Environment, Text, TextBroken, TextFailed
from .two_way import loop_through

Path = tuple[str | int, ...]
Twins = Callable[[str, str], Mapping[str, Any] | None]
"""The reference of an object's copy in a connection, by the object's canonical id; None where it has none.

May raise what the caller of `Flow.intents` wants to hear of.
"""

_LONGEST_CONDITION = 4000  # characters; CEL's parser panics on lines without end
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RuleBroken(Exception):
    """A flow cannot be run as it is written. `path` is the place below the flow, the message what would be right."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem


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
        self.id = section.id
        self.types = tuple(_types(section))
        self.has_targets = any(step.to is not None for step in section.do)
        self._condition = None if section.when is None else _condition(section.when)
        self._steps = [_step(number, step, configuration) for number, step in enumerate(section.do)]
        for event in self.types:
            self._try_out(event, configuration)

    def holds(self, seen: Seen) -> bool:
        """Whether the condition is true of an event. One that names a field which the event lacks is not."""
        if self._condition is None:
            return True
        try:
            return _evaluated(self._condition, seen.context) is True
        except _ConditionFailed:
            return False

    def intents(self, seen: Seen, twins: Twins) -> Iterator[tuple[int, Intent]]:
        """The commands for an event, each with its place in the flow; none where what it is about has no copy there.

        Raises TextFailed, and what `twins` raises.
        """
        for number, step in enumerate(self._steps):
            target = None
            if step.to is not None:
                about = _object_id(seen.context["entity"].get(step.to))
                target = None if about is None else twins(about, step.connection)
                if target is None or target.get("type") != step.action.target_type:
                    continue
            arguments = step.arguments(seen)
            try:
                step.checked(arguments)
            except ValidationError as error:
                raise TextFailed(_fault(error, step.action)) from None
            yield number, Intent(step.connection, step.name, arguments, target)

    def _try_out(self, event: EventType, configuration: Configuration) -> None:
        """Runs the flow on an example that has every field: what fails there is a slip of the pen."""
        seen = Seen(context_of(event.name, example(event)))
        if self._condition is not None:
            try:
                answer = _evaluated(self._condition, seen.context)
            except _ConditionFailed as error:
                raise RuleBroken(("when",), f"fails on an example of {event.name}: {error}") from None
            if not isinstance(answer, bool):
                raise RuleBroken(("when",), f"must be true or false, and is a {type(answer).__name__} here")
        for number, step in enumerate(self._steps):
            where: Path = ("do", number)
            if step.to is not None and _object_id(seen.context["entity"].get(step.to)) is None:
                known = [name for name, value in seen.context["entity"].items() if _object_id(value) is not None]
                raise RuleBroken((*where, "to"), f"names no object of {event.name}: take one of {', '.join(known)}")
            try:
                arguments = step.arguments(seen)
            except TextFailed as error:
                raise RuleBroken((*where, "with"), f"fails on an example of {event.name}: {error}") from None
            try:
                checked = step.checked(arguments)
            except ValidationError as error:
                place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
                raise RuleBroken((*where, "with", *place), _fault(error, step.action, with_place=False)) from None
            if not may_write(configuration.connections[step.connection], step.action, checked):
                raise RuleBroken((*where, "deliver"), CLOSED)


def context_of(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What conditions and texts see: `entity`, `changed`, `previous`, `complete` and `type`."""
    return {"previous": {}, **data, "type": type}


class _ConditionFailed(Exception):
    """A condition has no answer for an event."""


def _types(section: FlowSection) -> Iterator[EventType]:
    for number, full in enumerate(map(whole_name, section.on)):
        if full not in EVENT_TYPES:
            near = ", ".join(get_close_matches(full, EVENT_TYPES, 5, 0.7))
            shown = f"near it: {near}" if near else "`unsilo schemas list` shows them"
            raise RuleBroken(("on", number), f"is no event type; {shown}")
        yield EVENT_TYPES[full]


def _condition(text: str) -> cel.Program:
    if len(text) > _LONGEST_CONDITION:
        raise RuleBroken(("when",), f"has more than {_LONGEST_CONDITION} characters")
    try:
        return cel.compile(text)
    except ValueError as error:
        raise RuleBroken(("when",), f"is no CEL expression: {_first(error)}") from None


def _evaluated(condition: cel.Program, context: Mapping[str, Any]) -> Any:
    try:
        return condition.execute(dict(context))
    except KeyError as error:
        raise _ConditionFailed(f"there is no field {error}: write has(…) && … where it may be absent") from None
    except Exception as error:
        raise _ConditionFailed(_first(error)) from None
    except BaseException as error:  # a panic in the library, which says that it is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _ConditionFailed("cannot be evaluated") from None


def _step(number: int, step: StepSection, configuration: Configuration) -> _Step:
    where: Path = ("do", number)
    section = configuration.connections.get(step.deliver)
    if section is None:
        known = ", ".join(sorted(configuration.connections))
        raise RuleBroken((*where, "deliver"), f"is no connection: there are {known or 'none'}")
    connector: Connector[Any, Any] = connector_of(section)
    if step.action not in connector.actions:
        known = ", ".join(connector.actions) or "none: it only listens"
        raise RuleBroken((*where, "action"), f"is no action of {connector.name}: there are {known}")
    if (loop := loop_through(step.deliver, configuration)) is not None:
        raise RuleBroken((*where, "deliver"), loop)
    action = connector.actions[step.action]
    if action.target_type is not None and step.to is None:
        raise RuleBroken((*where, "to"), f"is missing: name the field whose copy is the {action.target_type} to act on")
    if action.target_type is None and step.to is not None:
        raise RuleBroken((*where, "to"), "is not wanted: this action makes something new")
    texts = _texts(step.arguments, Environment(connector.escape), (*where, "with"))
    return _Step(step.deliver, step.action, action, step.to, texts)


def _texts(value: Any, environment: Environment, path: Path) -> Any:
    if isinstance(value, str):
        try:
            return Text(value, environment)
        except TextBroken as error:
            raise RuleBroken(path, str(error)) from None
    if isinstance(value, dict):
        return {name: _texts(item, environment, (*path, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_texts(item, environment, (*path, number)) for number, item in enumerate(value)]
    return value


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


def _fault(error: ValidationError, action: Action, with_place: bool = True) -> str:
    """The first of what an action does not take, without the value."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = f"{'.'.join(map(str, found['loc']))}: " if with_place and found["loc"] else ""
    if found["type"] == "extra_forbidden":
        return f"{place}is not taken by this action: there are {', '.join(action.arguments.model_fields)}"
    return f"{place}{'is missing' if found['type'] == 'missing' else found['msg']}"


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
