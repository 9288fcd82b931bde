"""Every folder here is a connector: its name is the folder's, and there is nowhere else to register it."""

import importlib
import pkgutil
from functools import cache
from typing import Any

import unsilo_connectors

from .contract import Connector


@cache
def connectors() -> dict[str, Connector[Any, Any]]:
    """Every connector by name. A folder without one fails here, at start, and not at its first event."""
    return {
        module.name: load(module.name) for module in pkgutil.iter_modules(unsilo_connectors.__path__) if module.ispkg
    }


def load(name: str) -> Connector[Any, Any]:
    """The connector of one folder; ModuleNotFoundError without such a folder, TypeError if it holds no connector."""
    found = getattr(importlib.import_module(f"unsilo_connectors.{name}"), "connector", None)
    if not isinstance(found, Connector) or found.name != name:
        raise TypeError(f"connectors/unsilo_connectors/{name} must define `connector`, a Connector named {name!r}")
    return found
