"""The parts of the documents that follow from code: between `<!-- begin: NAME -->` and `<!-- end -->`.

`make docs` writes them anew; a test says when that is due.
"""

import inspect
import re
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import typer
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from unsilo_connectors.discovery import connectors
from unsilo_connectors.samples import samples
from unsilo_schemas.catalogue import ENTITY_TYPES
from unsilo_schemas.entity import Entity, EntityType, EventData, vocabulary
from unsilo_schemas.envelope import Envelope
from unsilo_schemas.jsonschema import file_name
from unsilo_schemas.topics import Topic, Topics
from unsilo_services.cli.app import app
from unsilo_services.gateway import answers
from unsilo_services.metrics import REQUESTS, VALUES

from .pages import ROOT, Page, pages

_PART = re.compile(r"(<!-- begin: (?P<name>[^\n]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SYSTEM = "CONNECTION"


def renewed(page: Page) -> str:
    """The page with every part that follows from code as the code is now; KeyError for a part nobody makes."""

    def part(match: re.Match[str]) -> str:
        name, _, argument = match["name"].partition(" ")
        maker = PARTS[name]
        lines = maker(argument) if argument else maker()
        return match[1] + "\n".join(["", *lines, "", ""]) + match[3]

    return _PART.sub(part, page.text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def event_topics() -> Iterator[str]:
    """The topics that anybody may read, and what is on each."""
    by_topic: defaultdict[str, list[EntityType]] = defaultdict(list)
    for kind in ENTITY_TYPES:
        by_topic[Topics().event(kind).name].append(kind)
    topics = {topic.name: topic for topic in Topics().fixed()}
    yield from table(
        ("Topic", "Tells of", "Key", "Partitions", "Kept", "Data"),
        (
            (f"`{name}`", _listed(kind.name for kind in kinds), *_shape(topics[name]), _classes(kinds))
            for name, kinds in by_topic.items()
        ),
    )


def own_topics() -> Iterator[str]:
    """The topics by which the hub's services meet."""
    names = Topics()
    kept_by = {
        names.ledger: [names.ledger()],
        names.dead: [topic for topic in names.fixed() if ".dead." in topic.name],
        names.retry: [topic for topic in names.fixed() if ".retry." in topic.name],
        names.audit: [names.audit()],
        names.config: [names.config()],
        names.raw: [names.raw(_SYSTEM.lower())],
        names.command: [names.command(_SYSTEM.lower())],
    }
    yield from table(
        ("Topic", "Holds", "Key", "Partitions", "Kept", "Record up to"),
        (
            (
                f"`{topic.name.replace(_SYSTEM.lower(), _SYSTEM)}`",
                _sentence(made.__doc__),
                *_shape(topic),
                _size(topic.max_bytes),
            )
            for made, topics in kept_by.items()
            for topic in topics
        ),
    )


def envelope() -> Iterator[str]:
    """The attributes of an event."""
    required = {name for name, field in Envelope.model_fields.items() if field.is_required()} | {"specversion"}
    yield from table(
        ("Header", "Is", "What it says"),
        (
            (
                "`content-type`" if name == "datacontenttype" else f"`ce_{name}`",
                "always" if name in required else "",
                field.description or _CLOUDEVENTS.get(name, ""),
            )
            for name, field in Envelope.model_fields.items()
        ),
    )


def data() -> Iterator[str]:
    """What every event's value is made of."""
    yield from _fields(EventData[Entity])
    yield ""
    yield "Every `entity` may have:"
    yield ""
    yield from _fields(Entity)


def event_types() -> Iterator[str]:
    """Every event type by entity: its topic, its fields, and which connectors say it."""
    said = _said_by()
    for kind in ENTITY_TYPES:
        yield from ("", f"## {kind.domain}.{kind.name}", "")
        key = "its own id" if kind.key == "id" else f"`entity.{kind.key}`"
        yield (
            f"On `{Topics().event(kind).name}`, keyed by {key}; {_classes([kind])}. "
            f"In a connector: `{_constant(kind)}[VERB]`, from `{kind.model.__module__}`."
        )
        yield ""
        yield from table(
            ("Event type", "Said by"),
            (
                (f"[`{event.name}`](../../schemas/json/{file_name(event)})", _listed(sorted(said[event.name])))
                for event in kind.events.values()
            ),
        )
        yield ""
        yield from _fields(kind.model, without=Entity)


def commands() -> Iterator[str]:
    """Every command of the command line."""
    yield from _commands(typer.main.get_command(app), ("unsilo",))


def statuses() -> Iterator[str]:
    """Every status that the gateway answers with."""
    problems = [value for value in vars(answers).values() if isinstance(value, answers.Problem)]
    rows = [
        ("202", answers.STORED, "Verified and stored: Kafka has it with acks=all.", ""),
        ("200", answers.HANDSHAKE, "The sender only asked whether we are there, and proved itself.", ""),
        *(
            (str(found.status), found.name, found.title, f"{found.retry_after} s" if found.retry_after else "")
            for found in sorted(problems, key=lambda problem: problem.status)
        ),
    ]
    yield from table(
        ("Status", "Problem", "Means", "`Retry-After`"),
        ((status, f"`{name}`", means, wait) for status, name, means, wait in rows),
    )


def refusals() -> Iterator[str]:
    """What a request is counted as, and noted with on the audit topic: the reason behind its status."""
    meanings = VALUES[REQUESTS]["outcome"]
    yield from table(("Reason", "Status and meaning"), ((f"`{name}`", means) for name, means in meanings.items()))


def senders() -> Iterator[str]:
    """How each vendor delivers, as its connector declares it."""
    yield from table(
        ("Connector", "Waits for an answer", "The same may come again for", "When we fail or refuse"),
        (
            (
                f"[{name}](../../connectors/unsilo_connectors/{name}/README.md)",
                _duration(connector.sender.deadline),
                _duration(connector.sender.retry_horizon),
                connector.sender.on_failure,
            )
            for name, connector in connectors().items()
        ),
    )


def connector_pages() -> Iterator[str]:
    """A link to each connector's page."""
    yield _listed(f"[{name}](../../connectors/unsilo_connectors/{name}/README.md)" for name in connectors())


def example(path: str) -> Iterator[str]:
    """A file of the repository, as a block that can be copied."""
    yield f"```{path.rpartition('.')[2].replace('py', 'python')}"
    yield from (ROOT / path).read_text(encoding="utf-8").rstrip().splitlines()
    yield "```"


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "event-topics": event_topics,
    "own-topics": own_topics,
    "envelope": envelope,
    "data": data,
    "event-types": event_types,
    "commands": commands,
    "statuses": statuses,
    "refusals": refusals,
    "senders": senders,
    "connector-pages": connector_pages,
    "example": example,
}

_CLOUDEVENTS = {
    "specversion": "`1.0`",
    "id": "the event's id: the same for the same change, however often it is told",
    "type": "[event type](#event-types)",
    "datacontenttype": "`application/json`",
    "dataschema": "address of the type's JSON Schema at the hub's gateway",
    "traceparent": "the vendor's trace context, where it sent one",
    "tracestate": "likewise",
    "dataclassification": "`internal` or `confidential`",
    "dataregulation": "`GDPR` where personal data is to be expected",
    "connection": "id of the connection",
}


def _shape(topic: Topic) -> tuple[str, str, str]:
    kept = "the latest of each key" if topic.retention is None else _duration(topic.retention)
    return topic.key, str(topic.partitions), kept


def _classes(kinds: Iterable[EntityType]) -> str:
    said = dict.fromkeys(text for kind in kinds for text in (kind.classification, kind.regulation) if text)
    return ", ".join(said)


def _constant(kind: EntityType) -> str:
    """The name that an entity type has in its module."""
    return next(name for name, value in vars(sys.modules[kind.model.__module__]).items() if value is kind)


def _said_by() -> defaultdict[str, set[str]]:
    """The connectors whose samples show an event type."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, connector in connectors().items():
        for sample in samples(connector):
            for events in sample.events:
                for event in events:
                    found[event["type"]].add(name)
    found["unsilo.link.link.asserted.v1"].add("the hub itself")
    return found


def _fields(model: type[BaseModel], without: type[BaseModel] | None = None) -> Iterator[str]:
    left_out = set() if without is None else set(without.model_fields)
    coded = vocabulary(model) if issubclass(model, Entity) else {}
    yield from table(
        ("Field", "Is", ""),
        (
            (f"`{name}`", _said(field.annotation), _noted(field, coded.get(name, ())))
            for name, field in model.model_fields.items()
            if name not in left_out
        ),
    )


def _noted(field: FieldInfo, words: Iterable[str]) -> str:
    return field.description or _listed(f"`{word}`" for word in words) or ("required" if field.is_required() else "")


def _said(annotation: Any) -> str:
    """A type in words; that a field may be null or absent goes without saying."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _listed((_said(one) for one in arguments if one is not type(None)), " or ")
    if origin is typing.Literal:
        return _listed((f"`{value}`" for value in arguments), " or ")
    if origin is typing.Annotated:
        return _said(arguments[0])
    if origin is list:
        return f"list of {_said(arguments[0])}"
    if origin is dict:
        return "object"
    if isinstance(annotation, type) and issubclass(annotation, Entity):
        return "object"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"object ({_listed(f'`{name}`' for name in annotation.model_fields)})"
    return _WORDS[annotation]


_WORDS: dict[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    datetime: "time",
    date: "day",
    JsonValue: "any JSON value",
}


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if len(path) > 1 and not inner:
        yield from ("", f"## `{' '.join(path)}`", "")
        yield from _paragraphs(command.help)
        rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            yield ""
            yield from table(("", "", "Default"), rows)
    for name, found in inner.items():
        yield from _commands(found, (*path, name))


def _paragraphs(text: str) -> Iterator[str]:
    """A command's help; its example as a line of its own."""
    said, _, shown = inspect.cleandoc(text).partition("Example: ")
    yield re.sub(r"\n(?!\n)(?<!\n\n)", " ", said).strip()
    if shown:
        yield from ("", f"Example: `{' '.join(shown.split())}`")


def _parameter(parameter: Any) -> tuple[str, str, str]:
    names = " ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`" + ("" if parameter.required else ", may be left out")
    default = parameter.default
    unsaid = default in (None, False, ()) or callable(default)
    shown = ", ".join(map(str, default)) if isinstance(default, list) else str(default)
    return names, getattr(parameter, "help", None) or "", "" if unsaid else f"`{shown}`"


def _sentence(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n")[0]


def _listed(items: Iterable[str], by: str = ", ") -> str:
    return by.join(items)


def _size(count: int) -> str:
    return f"{count // 1024 // 1024} MiB"


def _duration(time: timedelta) -> str:
    for seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if time.total_seconds() >= 2 * seconds or time.total_seconds() == seconds:
            return f"{time.total_seconds() / seconds:g} {unit}"
    return f"{time.total_seconds():g} s"


if __name__ == "__main__":
    for found in pages():
        if (text := renewed(found)) != found.text:
            found.path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{found.name}\n")
