"""Flows as they are written, made ready to run: which events, under which condition, which commands.

Conditions are CEL (cel.dev), texts are Jinja2 in its sandbox. Both are pure: what they see is the event and nothing
else, and neither can reach the process they run in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cel
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import ValidationError
from unsilo_connectors.actions import Action
from unsilo_connectors.contract import Connector
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import EventType
from unsilo_schemas.example import example

from .configuration import Configuration, ConnectionSection, FlowSection, connector_of

CLOSED = "is not marked `audience: internal`, and nothing is written to others without consent and approval"
Path = tuple[str | int, ...]
Twins = Callable[[str, str], Mapping[str, Any] | None]
"""The reference of an object's copy in a connection, by the object's canonical id; None where it has none."""

MOST_TEXT = 100_000  # characters that a text may grow to; vendors take far less


class RuleBroken(Exception):
    """A flow cannot be run as it is written. `path` is the place below the flow, the message what would be right."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem


class TextFailed(Exception):
    """A text could not be made of this event. The event becomes a dead letter of flows; the message holds no value."""


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
    action: str
    to: str | None
    texts: Any  # the arguments, each text a template


class Flow:
    """One flow of the configuration, compiled."""

    def __init__(self, section: FlowSection, configuration: Configuration) -> None:
        """Raises RuleBroken."""
        self.id = section.id
        self.types = tuple(_types(section))
        self._condition = None if section.when is None else _condition(section.when)
        self._steps = [_step(number, step, configuration) for number, step in enumerate(section.do)]
        for event in self.types:
            self._try_out(event, section, configuration)

    def holds(self, context: Mapping[str, Any]) -> bool:
        """Whether the condition is true of an event. One that names a field which the event lacks is not."""
        if self._condition is None:
            return True
        try:
            return self._condition.execute(dict(context)) is True
        except (KeyError, TypeError, RuntimeError, ValueError):
            return False

    def intents(self, context: Mapping[str, Any], twins: Twins) -> Iterator[tuple[int, Intent]]:
        """The commands for an event, each with its place in the flow; none where what it is about has no copy there.

        Raises TextFailed.
        """
        for number, step in enumerate(self._steps):
            target = None
            if step.to is not None:
                about = context["entity"].get(step.to)
                target = twins(about, step.connection) if isinstance(about, str) else None
                if target is None:
                    continue
            yield number, Intent(step.connection, step.action, _written(step.texts, context), target)

    def _try_out(self, event: EventType, section: FlowSection, configuration: Configuration) -> None:
        """Runs the flow on an example that has every field: what fails there is a slip of the pen."""
        context = context_of(event.name, example(event))
        if self._condition is not None:
            try:
                answer = self._condition.execute(context)
            except (KeyError, TypeError, RuntimeError, ValueError) as error:
                raise RuleBroken(("when",), f"fails on an example of {event.name}: {_first(error)}") from None
            if not isinstance(answer, bool):
                raise RuleBroken(("when",), "must be true or false")
        for number, step in enumerate(self._steps):
            where: Path = ("do", number)
            if step.to is not None and step.to not in event.entity_type.model.model_fields:
                known = ", ".join(_id_fields(event))
                raise RuleBroken((*where, "to"), f"is no field of {event.name}: take one of {known}")
            try:
                arguments = _written(step.texts, context)
            except TextFailed as error:
                raise RuleBroken((*where, "with"), f"fails on an example of {event.name}: {error}") from None
            action = action_of(configuration, step.connection, step.action)
            try:
                checked = action.arguments.model_validate(arguments)
            except ValidationError as error:
                fault = error.errors(include_url=False, include_input=False)[0]
                raise RuleBroken((*where, "with", *fault["loc"]), _say(fault["type"], fault["msg"], action)) from None
            if not may_write(configuration.connections[step.connection], action, checked):
                raise RuleBroken((*where, "deliver"), CLOSED)


def context_of(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What conditions and texts see: `entity`, `changed`, `previous`, `complete` and `type`."""
    return {"previous": {}, **data, "type": type}


def action_of(configuration: Configuration, connection: str, action: str) -> Action:
    """An action of a connection's connector; KeyError where there is none."""
    return connector_of(configuration.connections[connection]).actions[action]


def may_write(connection: ConnectionSection, action: Action, arguments: Any) -> bool:
    """Whether what is written stays among colleagues: until consent and approval exist, nothing else is written."""
    return connection.audience == "internal" or action.internal(arguments)


def _types(section: FlowSection) -> Iterator[EventType]:
    for number, name in enumerate(section.on):
        full = name if name.startswith("unsilo.") else f"unsilo.{name}.v1"
        if full not in EVENT_TYPES:
            close = [other for other in EVENT_TYPES if name.rpartition(".")[0] in other][:5]
            raise RuleBroken(("on", number), f"is no event type; near it: {', '.join(close) or 'unsilo schemas list'}")
        yield EVENT_TYPES[full]


def _condition(text: str) -> cel.Program:
    try:
        return cel.compile(text)
    except ValueError as error:
        raise RuleBroken(("when",), f"is no CEL expression: {_first(error)}") from None


def _step(number: int, step: Any, configuration: Configuration) -> _Step:
    where: Path = ("do", number)
    section = configuration.connections.get(step.deliver)
    if section is None:
        known = ", ".join(sorted(configuration.connections))
        raise RuleBroken((*where, "deliver"), f"is no connection: there are {known or 'none'}")
    connector = connector_of(section)
    if step.action not in connector.actions:
        known = ", ".join(connector.actions) or "none: it only listens"
        raise RuleBroken((*where, "action"), f"is no action of {connector.name}: there are {known}")
    action = connector.actions[step.action]
    if action.target_type is not None and step.to is None:
        raise RuleBroken((*where, "to"), f"is missing: name the field whose copy is the {action.target_type} to act on")
    if action.target_type is None and step.to is not None:
        raise RuleBroken((*where, "to"), "is not wanted: this action makes something new")
    return _Step(
        step.deliver, step.action, step.to, _templates(step.arguments, _environment(connector), (*where, "with"))
    )


def _environment(connector: Connector[Any, Any]) -> ImmutableSandboxedEnvironment:
    """What comes from an event is escaped for the system that it goes to; what the flow's author wrote is not."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, finalize=lambda value: connector.escape(_shown(value))
    )
    environment.globals.clear()
    return environment


def _templates(value: Any, environment: ImmutableSandboxedEnvironment, path: Path) -> Any:
    if isinstance(value, str):
        try:
            return environment.from_string(value)
        except TemplateError as error:
            raise RuleBroken(path, f"is no template: {_first(error)}") from None
    if isinstance(value, dict):
        return {name: _templates(item, environment, (*path, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_templates(item, environment, (*path, number)) for number, item in enumerate(value)]
    return value


def _written(value: Any, context: Mapping[str, Any]) -> Any:
    if isinstance(value, Template):
        try:
            text = value.render(context)
        except Exception as error:  # whatever a template does is the template's fault
            raise TextFailed(type(error).__name__ if not isinstance(error, TemplateError) else _first(error)) from None
        if len(text) > MOST_TEXT:
            raise TextFailed(f"the text has more than {MOST_TEXT} characters")
        return text
    if isinstance(value, dict):
        return {name: _written(item, context) for name, item in value.items()}
    if isinstance(value, list):
        return [_written(item, context) for item in value]
    return value


def _id_fields(event: EventType) -> Sequence[str]:
    fields = event.entity_type.model.model_fields
    return [name for name in fields if name in ("id", "thread", "in_reply_to", "target", "ticket", "space")]


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _say(kind: str, message: str, action: Action) -> str:
    if kind == "extra_forbidden":
        return f"is not taken by this action: there are {', '.join(action.arguments.model_fields)}"
    return "is missing" if kind == "missing" else message


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
