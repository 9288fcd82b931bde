"""What commands print: for people on a terminal, plain lines in a pipe, JSON where it is asked for."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document, instead of text.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line, instead of text.")]

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
errors = Console(stderr=True, highlight=False, soft_wrap=True)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, nothing: str) -> None:
    """A list of like things: a table on a terminal, tab-separated in a pipe. `nothing` is said where there are none."""
    if as_json:
        show_json(rows)
    elif not rows:
        errors.print(nothing, markup=False)
    elif not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(_text(value) for value in row.values()) + "\n")
    else:
        show_table(rows)


def show_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows in aligned columns, without those that are empty throughout."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [name for name in rows[0] if any(_text(row[name]) for row in rows)]
    for name in names:
        number = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(name.replace("_", " "), overflow="fold", justify="right" if number else "left")
    for row in rows:
        table.add_row(*(Text(_text(row[name])) for name in names))
    console.print(table)


def show_facts(facts: Mapping[str, Any], as_json: bool, verbatim: bool = False) -> None:
    """One thing and what is known of it. The names are ours, and get blanks for underscores, unless `verbatim`."""
    if as_json:
        show_json(facts)
        return
    show_grid(
        [((name if verbatim else name.replace("_", " "), "bold"), (_text(value), "")) for name, value in facts.items()]
    )


def show_grid(rows: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Aligned texts, each with its style: wrapped inside their columns on a terminal, one line a row in a pipe."""
    if not rows:
        return
    if sys.stdout.isatty():
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        for row in rows:
            grid.add_row(*(Text(printable(text), style) for text, style in row))
        console.print(grid)
        return
    widths = [max(len(row[column][0]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        *front, (last, _) = row
        cells = [text.ljust(width) for (text, _), width in zip(front, widths, strict=True)]
        sys.stdout.write(printable("  ".join([*cells, last])).rstrip() + "\n")


def show_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_json_line(value: Any) -> None:
    """One JSON document on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def fail(message: str) -> typer.Exit:
    """Says what is wrong, on standard error, and gives the exit to raise."""
    errors.print(message, style="red", markup=False)
    return typer.Exit(1)


def printable(text: str) -> str:
    """Text from outside that can do nothing to a terminal: control characters, but line ends and tabs, by number."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.1f}"
    text = "" if value is None else str(value)
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
