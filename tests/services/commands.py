"""Commands as if they were typed beside a hub, run in this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from unsilo_services.cli.app import main

from tests.services.running import Hub


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Unsilo = Callable[..., Ran]


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Unsilo:
    """Runs a command: `unsilo(hub, "dead", "list")`; further environment variables by their names."""

    def run(hub: Hub | None, *words: str, **environment: str) -> Ran:
        for name, value in {**({} if hub is None else hub.environment), **environment}.items():
            if name.startswith("UNSILO_") or name in environment or name == "SECRET":
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["unsilo", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run
