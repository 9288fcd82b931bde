"""Lists and facts as commands print them: a table on a terminal, plain lines in a pipe, JSON where it is asked for."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from .output import PIECE, console, printable, show_json, shown, tell, wrapped, write

_GAP = "  "
_ROOM_FOR_TEXT = 24  # columns; with fewer, a text is put beneath its row
_LEAST_TEXT = 10


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, nothing: str, spare: Sequence[str] = ()) -> None:
    """A list of like things: a table on a terminal, tab-separated in a pipe, below a line of names in both.

    `nothing` is said where there are none. A table that is too wide does without its `spare` columns.
    """
    if as_json:
        show_json(rows)
    elif not rows:
        tell(nothing)
    elif not sys.stdout.isatty():
        write("\t".join(map(_title, rows[0])) + "\n")
        write("".join("\t".join(map(_text, row.values())) + "\n" for row in rows))
    else:
        _show_table(rows, spare)


def _show_table(rows: Sequence[Mapping[str, Any]], spare: Sequence[str]) -> None:
    """Rows in aligned columns, without those that are empty throughout. Nothing is cut, and no word is folded.

    The last column is wrapped between words. What has no room beside the others goes beneath them.
    """
    columns = {
        name: [_title(name), *(cell_text(row[name]) for row in rows)]
        for name in rows[0]
        if any(_text(row[name]) for row in rows)
    }
    for name in spare:
        if not _fits(list(columns.values())):
            columns.pop(name, None)
    beside = list(columns)
    while len(beside) > 1 and not _fits([columns[name] for name in beside]):
        beside.pop()
    widths = [max(map(cell_len, columns[name])) for name in beside]
    numbers = [all(isinstance(row[name], int | float | None) for row in rows) for name in beside]
    beneath = [name for name in columns if name not in beside]
    room = console.width - sum(width + len(_GAP) for width in widths)
    for number in range(len(rows) + 1):
        cells = [
            _padded(columns[name][number], width, right)
            for name, width, right in zip(beside, widths, numbers, strict=True)
        ]
        rest = [columns[name][number] for name in beneath]
        if rest and cell_len(rest[0]) <= room:
            cells.append(rest.pop(0))
        _print_beside([(cell, "" if number else "bold") for cell in cells])
        for text in rest if number else ():
            for line in wrapped(text, console.width - 2 * len(_GAP)):
                _print_line(Text(2 * _GAP + line))


def show_facts(facts: Mapping[str, Any], as_json: bool, verbatim: bool = False) -> None:
    """One thing and what is known of it; what is empty is left out of a text.

    The names are ours, and get blanks for underscores, unless `verbatim`.
    """
    if as_json:
        show_json(facts)
        return
    texts = {name if verbatim else _title(name): _text(value) for name, value in facts.items()}
    show_grid([((name, "bold"), (text, "")) for name, text in texts.items() if text])


def show_grid(rows: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Aligned texts, each with its style: on a terminal the last is wrapped, in a pipe each row is one line."""
    if not rows:
        return
    widths = [max(cell_len(printable(row[column][0])) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        *front, (last, style) = [(printable(text), style) for text, style in row]
        cells = [(_padded(text, width), style) for (text, style), width in zip(front, widths, strict=True)]
        if sys.stdout.isatty():
            _print_beside([*cells, (last, style)])
        else:
            write(_GAP.join([*(text for text, _ in cells), last]).rstrip() + "\n")


def show_line(cells: Sequence[Any], widths: Sequence[int]) -> None:
    """A row of a list that is still being written: its last cell is cut on a terminal, so that it is one line there."""
    if not sys.stdout.isatty():
        write("\t".join(map(_text, cells)) + "\n")
        return
    *front, last = map(cell_text, cells)
    start = "".join(_padded(cell, width) + _GAP for cell, width in zip(front, widths, strict=True))
    text = Text(last)
    text.truncate(max(_LEAST_TEXT, console.width - cell_len(start)), overflow="ellipsis")
    _print_line(Text(start).append_text(text))


def show_names(names: Sequence[str], nothing: str) -> None:
    """Names alone: as many beside each other as a terminal has room for, one a line in a pipe."""
    if not names:
        tell(nothing)
    elif not sys.stdout.isatty():
        write("".join(f"{name}\n" for name in names))
    else:
        width = max(map(cell_len, names)) + len(_GAP)
        lines = -(-len(names) // max(1, (console.width + len(_GAP)) // width))
        for number in range(lines):
            _print_line(Text("".join(_padded(name, width) for name in names[number::lines])))


def cell_text(value: Any) -> str:
    """A cell of a table: a moment without its year, and without its date where that is today's."""
    if isinstance(value, datetime):
        today = value.astimezone().date() == datetime.now().astimezone().date()
        return f"{value.astimezone():{'%H:%M:%S' if today else '%m-%d %H:%M:%S'}}"
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.1f}"
    text = shown(value) if isinstance(value, datetime) else "" if value is None else str(value)
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _title(name: str) -> str:
    return name.replace("_", " ")


def _fits(columns: Sequence[Sequence[str]]) -> bool:
    """Whether columns have room beside each other, of the last only as much as a text needs to be read."""
    *front, last = columns
    piece = max(cell_len(piece) for cell in last for piece in PIECE.findall(cell))
    needed = min(max(map(cell_len, last)), max(piece, _ROOM_FOR_TEXT))
    return sum(max(map(cell_len, column)) + len(_GAP) for column in front) + needed <= console.width


def _padded(text: str, width: int, right: bool = False) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _print_beside(cells: Sequence[tuple[str, str]]) -> None:
    """Padded cells, each with its style, the last wrapped within its column."""
    *front, (last, style) = cells
    start = Text()
    for text, its_style in front:
        start.append(text, its_style).append(_GAP)
    room = console.width - start.cell_len
    for line in [last] if cell_len(last) <= room else list(wrapped(last, room)):
        _print_line(start.append(line, style))
        start = Text(" " * sum(cell_len(text) + len(_GAP) for text, _ in front))


def _print_line(line: Text) -> None:
    """A line that a terminal breaks, if it is too long, so that it is copied whole."""
    line.rstrip()
    console.print(line, soft_wrap=True)
