"""Flows as they are written, made ready to run: which events, under which condition, which commands.

Conditions are CEL (cel.dev), texts are templates (texts.py). Both are pure: what they see is the event and nothing
else, and neither can reach the process they run in.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from .texts import Environment, Text, TextBroken, TextFailed, first_line
from .two_way import loop_through

Path = tuple[str | int, ...]
Twins = Callable[[str, str], Mapping[str, Any] | None]
"""The reference of an object's copy in a connection, by the object's canonical id; None where it has none.

May raise what the caller of `Flow.intents` wants to hear of.
"""

_LONGEST_CONDITION = 4000  # characters; CEL's parser panics on lines without end
_MOST_WORK = 15_000_000  # steps of one condition with one event, a second or two at the worst
_MOST_LISTS = 2  # gone through inside each other
_THROUGH_LISTS = frozenset({"all", "exists", "exists_one", "existsOne", "filter"})
_READS = frozenset({"entity", "changed", "previous", "+", "matches"})  # what may take time by the size of the event
_CEL = re.compile(
    r"""
    //[^\n]*
    | [bB]?[rR] (?: "{3}[\s\S]*?"{3} | '{3}[\s\S]*?'{3} | "[^"]*" | '[^']*' )
    | [bB]?     (?: "{3}(?:\\[\s\S]|[^\\])*?"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3}
                  | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | (?P<word> \w+ | [=!<>&|]+ | [^\w\s] )
    """,
    re.VERBOSE,
)
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
        found: dict[Path, RuleBroken] = {}
        for slip in slips:  # every event type may show the same one
            found.setdefault(slip.path, slip)
        if found:
            first, *others = found.values()
            first.others = tuple(others)
            raise first

    def holds(self, seen: Seen) -> bool:
        """Whether the condition is true of an event. One that names a field which the event lacks is not.

        Raises TextFailed where the event is too large to find out.
        """
        if self._condition is None:
            return True
        try:
            return self._condition.of(seen.context) is True
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
            except _ConditionFailed as error:
                yield RuleBroken(("when",), f"fails on an example of {event.name}: {error}")
            except TextFailed:
                yield RuleBroken(("when",), f"goes through lists that are too long, even in an example of {event.name}")
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


class _ConditionFailed(Exception):
    """A condition has no answer for an event."""


class _Condition:
    """A condition, ready to be asked of events, and how much there is to do in it.

    CEL cannot be stopped once it runs, and the process waits for it. So what it may come to is reckoned beforehand, by
    the lists that the condition goes through: what stands inside one is done once for each item, inside two once for
    each pair.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError, and RuleBroken."""
        self._program = cel.compile(text)
        self._steps = [0] * (_MOST_LISTS + 1)  # by how many lists they are inside of
        self._reads = [0] * (_MOST_LISTS + 1)
        self._most_written = 1  # items that a list in the condition itself may have
        words = ["", *(found["word"] or "''" for found in _CEL.finditer(text) if not found[0].startswith("//"))]
        inside: list[bool] = []  # for each open bracket, whether it goes through a list
        for number, word in enumerate(words):
            depth = sum(inside)
            self._steps[depth] += 1
            self._reads[depth] += word in _READS
            self._most_written += word in (",", "+")
            if word in ("(", "[", "{"):
                called = words[number - 1] if word == "(" and words[number - 2] == "." else ""
                if called == "map":
                    raise RuleBroken(("when",), "has map: exists, all and filter ask about items as they are")
                if called in _THROUGH_LISTS and depth == _MOST_LISTS:
                    raise RuleBroken(("when",), f"goes through more than {_MOST_LISTS} lists inside each other")
                inside.append(called in _THROUGH_LISTS)
                if called == "filter":
                    self._reads[depth + 1] += 1  # with each item that it takes it copies those that it has
            elif word in (")", "]", "}"):
                inside.pop()

    def of(self, context: Mapping[str, Any]) -> Any:
        """What it comes to with an event. Raises _ConditionFailed, and TextFailed."""
        if any(self._steps[1:]):
            longest, listed, size = _extent(context)
            items = max(longest, self._most_written)
            work = 0
            for lists in range(1, _MOST_LISTS + 1):
                work += items ** (lists - 1) * (items + listed) * self._steps[lists]
                work += items**lists * size * self._reads[lists]
            if work > _MOST_WORK:
                raise TextFailed("when: goes through lists that are too long in so large an event")
        return _evaluated(self._program, context)


def _extent(context: Mapping[str, Any]) -> tuple[int, int, int]:
    """The longest list in an event, how much all lists hold, and how much there is in all."""
    longest = listed = size = 0
    waiting: list[tuple[Any, bool]] = [(context, False)]
    while waiting:
        value, in_list = waiting.pop()
        weight = 1 + len(value) // 250 if isinstance(value, str) else 1  # characters are gone through that much faster
        size += weight
        listed += weight if in_list else 0
        if isinstance(value, Mapping | list):
            longest = max(longest, len(value))
        if isinstance(value, Mapping):
            waiting.extend((item, in_list) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            waiting.extend((item, True) for item in value)
    return longest, listed, size


def _slips_of_types(section: FlowSection) -> Iterator[RuleBroken]:
    for number, full in enumerate(map(whole_name, section.on)):
        if full not in EVENT_TYPES:
            near = ", ".join(get_close_matches(full, EVENT_TYPES, 5, 0.7))
            shown = f"near it: {near}" if near else "`unsilo schemas list` shows them"
            yield RuleBroken(("on", number), f"is no event type; {shown}")


def _condition(text: str | None, slips: list[RuleBroken]) -> _Condition | None:
    if text is None:
        return None
    if len(text) > _LONGEST_CONDITION:
        slips.append(RuleBroken(("when",), f"has more than {_LONGEST_CONDITION} characters"))
        return None
    try:
        return _Condition(text)
    except RuleBroken as slip:
        slips.append(slip)
        return None
    except ValueError as error:
        assigns = any(part["word"] == "=" for part in _CEL.finditer(text))
        said = "== compares, = does nothing" if assigns else first_line(error)
        slips.append(RuleBroken(("when",), f"is no CEL expression: {said}"))
        return None


def _evaluated(condition: cel.Program, context: Mapping[str, Any]) -> Any:
    try:
        return condition.execute(dict(context))
    except KeyError as error:
        raise _ConditionFailed(f"there is no field {error}: write has(…) && … where it may be absent") from None
    except Exception as error:
        raise _ConditionFailed(first_line(error)) from None
    except BaseException as error:  # a panic in the library, which says that it is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _ConditionFailed("cannot be evaluated") from None


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
