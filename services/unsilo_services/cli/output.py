"""What commands print: for people on a terminal, plain lines in a pipe, JSON where it is asked for."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document, instead of text.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line, instead of text.")]

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, nothing: str) -> None:
    """A list of like things: a table on a terminal, tab-separated in a pipe. `nothing` is said where there are none."""
    if as_json:
        show_json(rows)
    elif not rows:
        errors.print(nothing)
    elif not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(_text(value) for value in row.values()) + "\n")
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in rows[0]:
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_text(value) for value in row.values()))
        console.print(table)


def show_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """One thing and what is known of it."""
    if as_json:
        show_json(facts)
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        console.print(f"[bold]{name.replace('_', ' '):{width}}[/]  {_text(value)}" if sys.stdout.isatty()
                      else f"{name.replace('_', ' '):{width}}  {_text(value)}", markup=sys.stdout.isatty())  # fmt: skip


def show_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_lines(lines: Iterable[str]) -> None:
    """Text as it is."""
    for line in lines:
        sys.stdout.write(line + "\n")


def fail(message: str) -> typer.Exit:
    """Says what is wrong, on standard error, and gives the exit to raise."""
    errors.print(message, style="red", markup=False)
    return typer.Exit(1)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
