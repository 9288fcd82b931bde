"""Reads `unsilo.yaml`: one file, several, or a folder of them. Every fault names file, line, field and remedy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
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
from .errors import UnsiloError
from .rules import Flow, RuleBroken

SectionT = TypeVar("SectionT", HubSection, ConnectionSection, FlowSection)
Step = str | int
_SECTIONS = ("hub", "connections", "flows")


class _Loader(yaml.SafeLoader):
    """YAML whose only truths are `true` and `false`, as in YAML 1.2: a flow's `on` is a word."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or letter in "tTfF"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file, and what would be right."""

    file: Path
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field or 'file'}: {self.problem}"


class ConfigurationRefused(UnsiloError):
    """Something in the files is wrong, so nothing of them is applied."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)), f"{len(faults)} faults")
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class _Document:
    file: Path
    data: dict[str, Any]
    lines: dict[tuple[Step, ...], int]

    def fault(self, path: tuple[Step, ...], problem: str) -> Fault:
        """A fault at a place, or at the nearest place around it that stands in the file."""
        around = path
        while around and around not in self.lines:
            around = around[:-1]
        return Fault(self.file, self.lines.get(around, 1), ".".join(map(str, path)), problem)


def read(paths: Iterable[Path]) -> Configuration:
    """The configuration that the files declare together; ConfigurationRefused with everything that is wrong."""
    faults: list[Fault] = []
    documents = [found for path in _files(paths, faults) if (found := _parse(path, faults)) is not None]
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
    configuration = Configuration(hub or HubSection(), connections)
    flows = _flows(documents, configuration, faults)
    if faults:
        raise ConfigurationRefused(faults)
    return replace(configuration, flows=flows)


def _flows(documents: Iterable[_Document], configuration: Configuration, faults: list[Fault]) -> dict[str, FlowSection]:
    """The flows of all files, each compiled and run on an example of its events."""
    flows: dict[str, FlowSection] = {}
    for document in documents:
        for number, item in enumerate(_items(document, "flows", faults)):
            path: tuple[Step, ...] = ("flows", number)
            section = _section(document, path, FlowSection, item, faults)
            if section is None:
                continue
            if section.id in flows:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every flow has its own"))
            flows[section.id] = section
            try:
                Flow(section, configuration)
            except RuleBroken as broken:
                faults.append(document.fault((*path, *broken.path), broken.problem))
    return flows


def _files(paths: Iterable[Path], faults: list[Fault]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
            if not found:
                faults.append(Fault(path, 1, "", "has no .yaml file in it"))
            yield from found
        elif path.is_file():
            yield path
        else:
            faults.append(Fault(path, 1, "", "does not exist"))


def _parse(path: Path, faults: list[Fault]) -> _Document | None:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "is not UTF-8"
        faults.append(Fault(path, mark.line + 1 if mark else 1, "", f"is not YAML: {problem}"))
        return None
    if not isinstance(data, dict) or node is None:
        faults.append(Fault(path, 1, "", f"must hold the sections {', '.join(_SECTIONS)}"))
        return None
    document = _Document(path, data, {})
    for where, line, twice in _places(node, ()):
        if twice:
            faults.append(Fault(path, line, ".".join(map(str, where)), "stands here a second time: keep one"))
        document.lines[where] = line
    return document


def _places(node: yaml.Node, path: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], int, bool]]:
    """Every place in a document: its path, its line, and whether its key stood there before."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            yield (*path, name), key.start_mark.line + 1, name in seen
            seen.add(name)
            yield from _places(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*path, number), item.start_mark.line + 1, False
            yield from _places(item, (*path, number))


def _items(document: _Document, section: str, faults: list[Fault]) -> list[Any]:
    items = document.data.get(section) or []
    if not isinstance(items, list):
        faults.append(document.fault((section,), "must be a list"))
        return []
    return items


def _section(
    document: _Document, path: tuple[Step, ...], model: type[SectionT], value: Any, faults: list[Fault]
) -> SectionT | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults += _faults(document, path, error, model.model_fields)
        return None


def _settings_faults(document: _Document, path: tuple[Step, ...], section: ConnectionSection) -> list[Fault]:
    try:
        connection_of(section, placeholder)
    except ValidationError as error:
        return _faults(document, (*path, "settings"), error, connector_of(section).settings.model_fields)
    return []


def _faults(document: _Document, path: tuple[Step, ...], error: ValidationError, known: Iterable[str]) -> list[Fault]:
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
