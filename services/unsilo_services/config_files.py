"""Reads `unsilo.yaml`: one file, several, or a folder of them. Every fault names file, line, field and remedy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from .configuration import (
    Configuration,
    ConnectionSection,
    HubSection,
    connection_of,
    connector_of,
    placeholder,
)
from .errors import UnsiloError

SectionT = TypeVar("SectionT", HubSection, ConnectionSection)
Step = str | int
_SECTIONS = ("hub", "connections")


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
        for number, item in enumerate(_items(document, faults)):
            path: tuple[Step, ...] = ("connections", number)
            section = _section(document, path, ConnectionSection, item, faults)
            if section is None:
                continue
            if section.id in connections:
                faults.append(document.fault((*path, "id"), f"{section.id} is taken: every connection has its own"))
            connections[section.id] = section
            faults += _settings_faults(document, path, section)
    if faults:
        raise ConfigurationRefused(faults)
    return Configuration(hub or HubSection(), connections)


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
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
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


def _items(document: _Document, faults: list[Fault]) -> list[Any]:
    items = document.data.get("connections") or []
    if not isinstance(items, list):
        faults.append(document.fault(("connections",), "must be a list"))
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
