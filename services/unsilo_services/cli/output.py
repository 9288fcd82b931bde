"""What commands say, and where: on standard output what was asked for, on standard error what is about it."""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document, instead of text.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line, instead of text.")]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
PIECE = re.compile(r"(?:`[^`\n]*`|\S)+")  # what no line ends within: a word, or a command that is there to be copied


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        _read_enough()


if sys.stdout is None:  # whoever started this has closed it: nobody reads, and nothing fails for that
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as the process lives

console = _Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """One JSON document."""
    write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def show_json_line(value: Any) -> None:
    """One JSON document on a line of its own, at once."""
    write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")


def write(text: str) -> None:
    """Text as it is, at once. Where nobody reads on, the command ends, as it has done what was wanted of it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _read_enough()


def discard_output() -> None:
    """Has what standard output still holds, and Python would write as it ends, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str, style: str = "") -> None:
    """Something about the answer, or in its place, on standard error: wrapped between words on a terminal."""
    lines: Iterable[str] = text.splitlines()
    if sys.stderr.isatty():
        lines = [part for line in lines for part in wrapped(line, errors.width)]
    errors.print("\n".join(lines), style=style, markup=False)


def fail(message: str) -> typer.Exit:
    """Says what is wrong, on standard error, and gives the exit to raise."""
    tell(message, "red")
    return typer.Exit(1)


def printable(text: str) -> str:
    """Text from outside that can do nothing to a terminal: control characters, but line ends and tabs, by number."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def wrapped(text: str, width: int) -> Iterator[str]:
    """A text in lines of so many columns, or of one piece that is longer."""
    line = ""
    for piece in PIECE.findall(text):
        if line and cell_len(line) + 1 + cell_len(piece) > width:
            yield line
            line = piece
        else:
            line = f"{line} {piece}" if line else piece
    if line:
        yield line


def counted(count: int, one: str, many: str = "") -> str:
    """So many of something: `1 delivery`, `2 deliveries`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def shown(at: datetime | None) -> str:
    """A moment on this machine's clock, to the second."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read_enough() -> NoReturn:
    discard_output()
    raise typer.Exit(0)
