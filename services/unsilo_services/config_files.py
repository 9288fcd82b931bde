"""Reads `unsilo.yaml`: one file, several, or a folder of them. Every fault names file, line, field and remedy."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from .configuration import (
    Configuration,
    ConnectionSection,
    FlowSection,
    HubSection,
    connection_of,
    connector_of,
    placeholder,
)
from .documents import Document, Fault, Step, files, parse
from .errors import UnsiloError

SectionT = TypeVar("SectionT", HubSection, ConnectionSection, FlowSection)
_SECTIONS = ("hub", "connections", "flows")


class ConfigurationRefused(UnsiloError):
    """Something in the files is wrong, so nothing of them is applied."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)), f"{len(faults)} faults")
        self.faults = tuple(faults)


def read(paths: Iterable[Path]) -> Configuration:
    """The configuration that the files declare together; ConfigurationRefused with everything that is wrong."""
    faults: list[Fault] = []
    documents = [found for file in files(paths, faults) if (found := parse(file, _SECTIONS, faults)) is not None]
    hub: HubSection | None = None
    connections: dict[str, ConnectionSection] = {}
    for document in documents:
        faults += [
            document.fault((name,), f"is no section: there are {', '.join(_SECTIONS)}")
            for name in document.data
            if name not in _SECTIONS
        ]
        if document.data.get("hub") is not None:
            if hub is not None:
                faults.append(document.fault(("hub",), "stands in another file already: keep one"))
            hub = _section(document, ("hub",), HubSection, document.data["hub"], faults) or hub
        for number, item in enumerate(_items(document, "connections", faults)):
            path: tuple[Step, ...] = ("connections", number)
            section = _section(document, path, ConnectionSection, item, faults)
            if section is None:
                continue
            if section.id in connections:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every connection has its own"))
            connections[section.id] = section
            faults += _settings_faults(document, path, section)
    configuration = Configuration(hub or HubSection(), connections, declares_hub=hub is not None)
    configuration = _with_flows(documents, configuration, faults)
    if faults:
        raise ConfigurationRefused(faults)
    return configuration


def _with_flows(documents: Iterable[Document], configuration: Configuration, faults: list[Fault]) -> Configuration:
    """Adds the flows of all files, each compiled, and run on an example of its events, in sight of the others."""
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
            faults.append(document.fault((*path, *broken.path), broken.problem))
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
        faults += _faults(document, path, error, model.model_fields)
        return None


def _settings_faults(document: Document, path: tuple[Step, ...], section: ConnectionSection) -> list[Fault]:
    try:
        connection_of(section, placeholder)
    except ValidationError as error:
        return _faults(document, (*path, "settings"), error, connector_of(section).settings.model_fields)
    return []


def _faults(document: Document, path: tuple[Step, ...], error: ValidationError, known: Iterable[str]) -> list[Fault]:
    """Pydantic's findings as faults. The value found is never shown: it may be a secret."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        place = (*path, *(step for step in item["loc"] if step != "function-before"))
        if item["type"] == "extra_forbidden":
            problem = f"is not known here: there are {', '.join(known)}"
        elif item["type"] == "missing":
            problem = "is missing"
        else:
            problem = item["msg"].removeprefix("Value error, ")
        found.append(document.fault(place, problem))
    return found
