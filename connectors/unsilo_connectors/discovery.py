"""Every folder here is a connector: its name is the folder's, and there is nowhere else to register it."""

import importlib
import logging
import pkgutil
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import unsilo_connectors

from .contract import Connector

log = logging.getLogger(__name__)


@cache
def connectors() -> dict[str, Connector[Any, Any]]:
    """Every connector by name. One that cannot be loaded is `broken`, and harms none of the others."""
    return {name: found for name, found in _folders().items() if isinstance(found, Connector)}


def broken() -> dict[str, str]:
    """The folders whose connector cannot be loaded, and why, in a line."""
    return {name: found for name, found in _folders().items() if isinstance(found, str)}


def load(name: str) -> Connector[Any, Any]:
    """The connector of one folder; ModuleNotFoundError without such a folder, TypeError if it holds no connector."""
    found = getattr(importlib.import_module(f"unsilo_connectors.{name}"), "connector", None)
    if not isinstance(found, Connector) or found.name != name:
        raise TypeError(f"connectors/unsilo_connectors/{name} must define `connector`, a Connector named {name!r}")
    return found


def line_of(error: BaseException, name: str) -> str:
    """The file and line in a connector's folder that an error came through last; empty where it came through none."""
    steps = [step for step in traceback.extract_tb(error.__traceback__) if Path(step.filename).parent.name == name]
    return f"{Path(steps[-1].filename).name}:{steps[-1].lineno}" if steps else ""


def in_a_line(error: BaseException, name: str) -> str:
    """An error of a connector's author, with its place and its message."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    return ": ".join(filter(None, (line_of(error, name), type(error).__name__, str(error))))


@cache
def _folders() -> dict[str, Connector[Any, Any] | str]:
    found: dict[str, Connector[Any, Any] | str] = {}
    for module in pkgutil.iter_modules(unsilo_connectors.__path__):
        if module.ispkg:
            try:
                found[module.name] = load(module.name)
            except Exception as error:
                found[module.name] = in_a_line(error, module.name)
                log.error("connector %s cannot be loaded: %s", module.name, found[module.name])
    return found
