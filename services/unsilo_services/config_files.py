"""Reads `unsilo.yaml`: one file, several, or a folder of them. Every fault names file, line, field and remedy."""

from collections.abc import Collection, Iterable, Sequence
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
    unsound: set[str] = set()
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
                unsound |= _id_of(item)
                faults += _settings_faults_at_least(document, path, item)
                continue
            if section.id in connections:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every connection has its own"))
            connections[section.id] = section
            faults += _settings_faults(document, path, section)
    configuration = Configuration(hub or HubSection(), connections, declares_hub=hub is not None)
    configuration = _with_flows(documents, configuration, unsound, faults)
    if faults:
        raise ConfigurationRefused(faults)
    return configuration


def _with_flows(
    documents: Iterable[Document], configuration: Configuration, unsound: Collection[str], faults: list[Fault]
) -> Configuration:
    """Adds the flows of all files, each compiled, and run on an example of its events, in sight of the others.

    That they write to connections which are `unsound` is no fault of theirs.
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
                if not _writes_to(section, slip.path, unsound):
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
        faults += _faults(document, path, error, model.model_fields)
        return None


def _settings_faults(document: Document, path: tuple[Step, ...], section: ConnectionSection) -> list[Fault]:
    try:
        connection_of(section)
    except ValidationError as error:
        return _faults(document, (*path, "settings"), error, connector_of(section).settings.model_fields)
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
    found = item.get("id") if isinstance(item, dict) else None
    return {found} if isinstance(found, str) else set()


def _writes_to(flow: FlowSection, path: tuple[Step, ...], unsound: Collection[str]) -> bool:
    """Whether a place in a flow says that it writes to one of those connections."""
    return path[-1] == "deliver" and flow.do[int(path[1])].deliver in unsound


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
