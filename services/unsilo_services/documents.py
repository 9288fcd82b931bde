"""YAML files as people write them, with the line of everything in them, so that a fault can be found again."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Step = str | int

_MOST_BYTES = 1024 * 1024  # reading YAML takes minutes and gigabytes for ten times as much
_MOST_PLACES = 100_000  # aliases can make a page of text into more than any memory holds
_MOST_LEVELS = 50
_QUOTED = re.compile(r"'[^']{3,}'|\"[^\"]{3,}\"")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REMEDIES = (
    ("tab character", "a tab stands where spaces belong: indent with spaces"),
    ("\\t", "a tab stands where spaces belong: indent with spaces"),
    ("but found '<scalar>'", "a text goes on behind its closing quote: quote the whole text"),
    ("but got '<scalar>'", "a text goes on behind its closing quote: quote the whole text"),
    ("mapping values are not allowed", "a colon where none can be: quote the whole text, or mend the indentation"),
)
"""What the YAML library says, and what to say instead."""
_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset(_TAG + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a file, and what would be right."""

    file: Path
    line: int
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field or 'file'}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Document:
    """One file, read."""

    file: Path
    data: dict[str, Any]
    lines: dict[tuple[Step, ...], int]

    def fault(self, path: tuple[Step, ...], problem: str) -> Fault:
        """A fault at a place, or at the nearest place around it that stands in the file.

        One that is counted and does not stand there is the only one, written without a list.
        """
        while path and path not in self.lines and isinstance(path[-1], int):
            path = path[:-1]
        around = path
        while around and around not in self.lines:
            around = around[:-1]
        return Fault(self.file, self.lines.get(around, 1), ".".join(map(str, path)), problem)


def files(paths: Iterable[Path], faults: list[Fault]) -> Iterator[Path]:
    """The files that are named, and those in folders that are named, each once."""
    seen: set[str] = set()
    for path in paths:
        try:
            found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
            path.stat()
        except FileNotFoundError:
            faults.append(Fault(path, 1, "", "does not exist"))
            continue
        except OSError as error:
            faults.append(Fault(path, 1, "", f"cannot be read: {error.strerror}"))
            continue
        if not found:
            faults.append(Fault(path, 1, "", "has no .yaml file in it"))
        for file in found:
            real = os.path.realpath(file)  # Path.resolve raises where links lead in a circle
            if real not in seen:
                seen.add(real)
                yield file


def parse(file: Path, holds: str, faults: list[Fault]) -> Document | None:
    """A file of sections; None, and why, where it is no YAML or something else than what such a file `holds`."""
    lines: dict[tuple[Step, ...], int] = {}
    try:
        text = _text(file)
        with _told_where(text):
            node = yaml.compose(text, Loader=_Loader)
            for path, line, twice in () if node is None else _Walk().places(node, ()):
                if twice:
                    name = ".".join(map(str, path))
                    faults.append(Fault(file, line, name, "stands here a second time: keep one"))
                lines[path] = line
            data = yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe one
        if not isinstance(data, dict):
            raise _Unreadable(1, f"is empty: {holds}" if data is None else f"has no sections: {holds}")
    except _Unreadable as error:
        faults.append(Fault(file, error.line, "", str(error)))
        return None
    return Document(file, data, lines)


class _Unreadable(Exception):
    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class _Loader(yaml.SafeLoader):
    """YAML with the plain values of YAML 1.2: a flow's `on` is a word, 12:30 and 2026-03-02 are texts, so is 0042."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag in (_TAG + "null", _TAG + "merge")]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _letters in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), list(_letters))


def _text(file: Path) -> str:
    try:
        if file.exists() and not file.is_file() and not file.is_dir():  # a device may never end, a pipe never begin
            raise _Unreadable(1, "is no regular file: write the configuration into one")
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise _Unreadable(1, f"is larger than {_MOST_BYTES // 1024} KiB: share it out over several files")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise _Unreadable(1, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Unreadable(content[: error.start].count(b"\n") + 1, "is not UTF-8: save it as UTF-8") from None


@contextmanager
def _told_where(text: str) -> Iterator[None]:
    """Turns whatever the YAML library raises into _Unreadable."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        line, code = text[: error.position].count("\n") + 1, int(error.character)
        raise _Unreadable(line, f"is not YAML: the character U+{code:04X} is not allowed in it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What it quotes comes from the file, and may be a secret that looks like an alias or a tag.
        said = error.problem or error.context or "unreadable"
        problem = next((remedy for part, remedy in _REMEDIES if part in said), _QUOTED.sub("…", said))
        raise _Unreadable(mark.line + 1 if mark else 1, f"is not YAML: {problem}") from None
    except RecursionError:
        raise _Unreadable(1, f"is nested deeper than {_MOST_LEVELS} levels: write it flatter") from None
    except ValueError:
        raise _Unreadable(1, "holds a number that cannot be read: is it meant to be a text in quotes?") from None


class _Walk:
    """One walk through a document, which ends before what its aliases unfold to fills the memory."""

    def __init__(self) -> None:
        self._left = _MOST_PLACES

    def places(self, node: yaml.Node, path: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], int, bool]]:
        """Every place below a node: its path, its line, and whether its key stood there before."""
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0:
            raise _Unreadable(line, f"unfolds to more than {_MOST_PLACES} values: write out what its aliases stand for")
        if len(path) > _MOST_LEVELS:
            raise _Unreadable(line, f"is nested deeper than {_MOST_LEVELS} levels: write it flatter")
        if node.tag not in _PLAIN:
            raise _Unreadable(line, "has a tag, and none is taken here: write the value plainly")
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            raise _Unreadable(line, "holds half a character, which no text can: write the whole one")
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or _SURROGATE.search(key.value):
                    raise _Unreadable(key.start_mark.line + 1, "is not YAML for us: a key must be a plain word")
                name = str(key.value)
                yield (*path, name), key.start_mark.line + 1, name in seen
                seen.add(name)
                yield from self.places(value, (*path, name))
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield (*path, number), item.start_mark.line + 1, False
                yield from self.places(item, (*path, number))
