"""The doubles of Slack's and Zendesk's API: started, told to act, asked what arrived, killed and started again."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from ..broker.local import free_ports
from ..errors import UnsiloError
from ..settings import LOCAL
from ..supervisor import launch

_SECRET_VARIABLE = "UNSILO_STORY_SECRET"  # noqa: S105  # a variable's name
_START_SECONDS = 30.0


class DoubleMissing(UnsiloError):
    """A double did not start. The story cannot be told."""


class Double:
    """One stand-in, in a process of its own."""

    def __init__(self, kind: str, secret: str, log: Path, options: Sequence[str] = ()) -> None:
        self._kind = kind
        self._secret = secret
        self._log = log
        self._options = list(options)
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://{LOCAL}:{self._port}"
        self._http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def start(self, hub: str) -> None:
        """Starts it; `hub` is where it sends its webhooks. Returns at once: `await_ready` waits."""
        command = [sys.executable, "-m", "unsilo_services.doubles", self._kind, "--port", str(self._port), "--hub", hub]
        command += ["--secret-env", _SECRET_VARIABLE, "--token-env", _SECRET_VARIABLE, *self._options]
        self._process = launch(command, self._log, {_SECRET_VARIABLE: self._secret})

    def await_ready(self) -> None:
        """Returns when it answers; DoubleMissing if that takes too long."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            try:
                self._http.get("/__arrived")
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise DoubleMissing(f"the double of {self._kind} did not start: see {self._log}")

    def act(self, what: str, **how: Any) -> dict[str, Any]:
        """A person does something there; what it says of it, once its webhooks are answered."""
        answer = self._http.post(f"/__act/{what}", json=how)
        answer.raise_for_status()
        return dict(answer.json())

    def behave(self, **how: Any) -> None:
        """Changes how it answers from now on."""
        self._http.post("/__behave", json=how).raise_for_status()

    def arrived(self, path: str) -> list[dict[str, Any]]:
        """The calls that were made to a path and done, with their bodies."""
        calls = self._http.get("/__arrived").json()
        return [call for call in calls if path in call["path"] and call.get("status") in (200, 201)]

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ends it in order."""
        self._http.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
