"""Reads `unsilo.yaml`: one file, several, or a folder of them. Every fault names file, line, field and remedy."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from .configuration import (
    Configuration,
    ConnectionId,
    ConnectionSection,
    FlowSection,
    HubSection,
    StepSection,
    connection_of,
    connector_of,
)
from .documents import Document, Fault, Step, files, parse
from .errors import UnsiloError

SectionT = TypeVar("SectionT", HubSection, ConnectionSection, FlowSection)
_ID = TypeAdapter[str](ConnectionId)
_SECTIONS = ("hub", "connections", "flows")
_HOLDS = "write `connections:`, and `hub:` and `flows:` where they are wanted"


class ConfigurationRefused(UnsiloError):
    """Something in the files is wrong, so nothing of them is applied."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)), f"{len(faults)} faults")
        self.faults = tuple(faults)


def read(paths: Iterable[Path]) -> Configuration:
    """The configuration that the files declare together; ConfigurationRefused with everything that is wrong."""
    faults: list[Fault] = []
    documents = [found for file in files(paths, faults) if (found := parse(file, _HOLDS, faults)) is not None]
    hub: HubSection | None = None
    connections: dict[str, ConnectionSection] = {}
    unsound: set[str] = set()
    unnamed = bool(faults)  # a connection whose id is not known: any that a flow writes to may be that one
    for document in documents:
        for name in document.data:
            if name not in _SECTIONS:
                faults.append(document.fault((name,), f"is no section: {_choice(name, _SECTIONS)}"))
                unnamed = True
        if document.data.get("hub") is not None:
            if hub is not None:
                faults.append(document.fault(("hub",), "stands in another file already: keep one"))
            hub = _section(document, ("hub",), HubSection, document.data["hub"], faults) or hub
        for number, item in enumerate(_items(document, "connections", faults)):
            path: tuple[Step, ...] = ("connections", number)
            section = _section(document, path, ConnectionSection, item, faults)
            if section is None:
                known = _id_of(item)
                unsound |= known
                unnamed |= not known
                faults += _settings_faults_at_least(document, path, item)
                continue
            if section.id in connections:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every connection has its own"))
                unnamed = True
            connections[section.id] = section
            faults += _settings_faults(document, path, section)
    configuration = Configuration(hub or HubSection(), connections, declares_hub=hub is not None)
    configuration = _with_flows(documents, configuration, None if unnamed else unsound, faults)
    if faults:
        raise ConfigurationRefused(faults)
    return configuration


def _with_flows(
    documents: Iterable[Document], configuration: Configuration, unsound: Collection[str] | None, faults: list[Fault]
) -> Configuration:
    """Adds the flows of all files, each compiled, and run on an example of its events, in sight of the others.

    That they write to connections which are `unsound` is no fault of theirs; None: that may be any that is not there.
    """
    flows: dict[str, FlowSection] = {}
    found: list[tuple[Document, tuple[Step, ...], FlowSection]] = []
    for document in documents:
        for number, item in enumerate(_items(document, "flows", faults)):
            path: tuple[Step, ...] = ("flows", number)
            section = _section(document, path, FlowSection, item, faults)
            if section is None:
                continue
            if section.id in flows:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every flow has its own"))
            flows[section.id] = section
            found.append((document, path, section))
    configuration = replace(configuration, flows=flows)
    if found:
        from .rules import Flow, RuleBroken  # CEL's package brings a terminal toolkit: commands start without it
    for document, path, section in found:
        try:
            Flow(section, configuration)
        except RuleBroken as broken:
            for slip in (broken, *broken.others):
                target = section.do[int(slip.path[1])].deliver if slip.path[-1] == "deliver" else None
                absent = target is not None and target not in configuration.connections
                if not (absent and (unsound is None or target in unsound)):
                    faults.append(document.fault((*path, *slip.path), slip.problem))
    return configuration


def _items(document: Document, section: str, faults: list[Fault]) -> list[Any]:
    items = document.data.get(section)
    if items is None:
        return []
    if not isinstance(items, list):
        faults.append(document.fault((section,), "must be a list"))
        return []
    return items


def _section(
    document: Document, path: tuple[Step, ...], model: type[SectionT], value: Any, faults: list[Fault]
) -> SectionT | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults += _faults(document, path, error, model)
        return None


def _settings_faults(document: Document, path: tuple[Step, ...], section: ConnectionSection) -> list[Fault]:
    try:
        connection_of(section)
    except ValidationError as error:
        return _faults(document, (*path, "settings"), error, connector_of(section).settings)
    return []


def _settings_faults_at_least(document: Document, path: tuple[Step, ...], item: Any) -> list[Fault]:
    """The faults of a connection's settings, where something else is wrong with it."""
    if not isinstance(item, dict):
        return []
    try:
        section = ConnectionSection.model_validate({
            "id": "any", "connector": item.get("connector"), "settings": item.get("settings", {})
        })  # fmt: skip
    except ValidationError:
        return []
    return _settings_faults(document, path, section)


def _id_of(item: Any) -> set[str]:
    """The id of a connection, if it has one that can stay."""
    try:
        return {_ID.validate_python(item["id"])}
    except (TypeError, LookupError, ValidationError):
        return set()


def _faults(document: Document, path: tuple[Step, ...], error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Pydantic's findings as faults. The value found is never shown: it may be a secret."""
    items = error.errors(include_url=False, include_input=False)
    unknown = {item["loc"] for item in items if item["type"] == "extra_forbidden"}
    found = []
    for item in items:
        around, name = item["loc"][:-1], str((item["loc"] or ("",))[-1])
        known = _fields(model, around)
        if item["type"] == "extra_forbidden":
            problem = f"is not known here: {_choice(name, known)}" if known else "is not known here"
        elif item["type"] == "missing":
            if any(place[:-1] == around and name in _near(place[-1], known) for place in unknown):
                continue  # it is there, misspelt
            problem = "is missing"
        elif item["type"] == "too_short" and any(
            other["loc"][: len(item["loc"])] == item["loc"] != other["loc"] for other in items
        ):
            continue  # the faulty items were not counted
        else:
            problem = item["msg"].removeprefix("Value error, ")
        place = (*path, *(step for step in item["loc"] if step != "function-before"))
        found.append(document.fault(place, problem))
    return found


def _fields(model: type[BaseModel], around: tuple[Step, ...]) -> list[str]:
    """The fields at a place below a model, as they are written; none where they are not known."""
    if around and model is not FlowSection:
        return []
    found = StepSection.model_fields if around else model.model_fields
    return [field.alias or name for name, field in found.items()]


def _near(name: Step, known: Iterable[str]) -> list[str]:
    return get_close_matches(str(name), list(known), 1)


def _choice(name: Step, known: Iterable[str]) -> str:
    near = _near(name, known)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
