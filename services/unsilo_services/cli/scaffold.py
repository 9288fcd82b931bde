"""`unsilo connectors new`: a connector to start from, small and whole, whose suite passes at once."""

import importlib
import keyword
import re
import shutil
from pathlib import Path
from string import Template
from typing import Annotated

import typer
import unsilo_connectors

from .output import AsJson, console, fail, show_json

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 30
_TEMPLATES = Path(__file__).parent / "new_connector"
_FILES = {
    "init.txt": "__init__.py",
    "webhook.txt": "webhook.py",
    "readme.txt": "README.md",
    "settings.txt": "samples/settings.json",
    "sample.txt": "samples/ticket_created.json",
}
_CASE = "ticket_created"


def new_connector(
    name: Annotated[str, typer.Argument(help="Its name, and its folder's: lower-case letters, digits, underscores.")],
    as_json: AsJson = False,
) -> None:
    """Start a new connector: a folder with a signature check, one event and one signed sample, for you to change.

    Example: unsilo connectors new acme
    """
    folder = _free_folder(name)
    try:
        _write(folder, name)
        _sign(name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    suite = f".venv/bin/pytest tests/connectors/test_every_connector.py -k {name}"
    if as_json:
        show_json({"name": name, "folder": str(shown), "suite": suite})
        return
    console.print(f"{shown} is a connector with one signed sample. Run its suite:\n    {suite}", markup=False)
    console.print(
        "Next:\n"
        f"  1. {shown}/webhook.py: say how the sender proves itself, and what its events mean.\n"
        f"  2. {shown}/samples: put a recorded body into a case of its own, then\n"
        f"     .venv/bin/python -m unsilo_connectors.record {name} signs it and adds its events: read them.\n"
        f"  3. {shown}/README.md: what to click at the other end.\n"
        "  4. `make docs format`, so that the pages name it, then `make check test`.",
        markup=False,
    )


def _free_folder(name: str) -> Path:
    """Where the connector goes; ends the command where it cannot be."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME or keyword.iskeyword(name):
        raise fail(f"{name!r} is no name: use lower-case letters, digits, underscores; at most {_LONGEST_NAME}")
    home = Path(unsilo_connectors.__file__).parent
    if not (home.parent / "pyproject.toml").is_file():
        raise fail("the connectors were installed without their sources: do this in a clone of the repository")
    folder = home / name
    left = {path.name for path in folder.iterdir()} - {"__pycache__"} if folder.exists() else set()
    if left or (home / f"{name}.py").exists():
        raise fail(f"{name!r} is taken: see {folder}, or choose another name")
    return folder


def _write(folder: Path, name: str) -> None:
    words = name.split("_")
    texts = {
        "name": name,
        "connection": name.replace("_", "-"),
        "title": " ".join(words).capitalize(),
        "prefix": "".join(word.capitalize() for word in words),
        "constant": name.upper(),
    }
    for template, target in _FILES.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(texts)
        path.write_text(text, encoding="utf-8")


def _sign(name: str) -> None:
    """Completes the sample, by the connector's own account of itself."""
    from unsilo_connectors.record import record

    importlib.invalidate_caches()
    record(name, [_CASE])
