"""Keeps processes running: starts them, restarts what dies, stops all of them in order."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .broker import leash

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 30.0  # having run so long, a process that dies is restarted at once again
_STOP_SECONDS = 25.0


@dataclass(slots=True)
class Child:
    """One process that should be running."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause: float = _FIRST_PAUSE


class Supervisor:
    """Used from the main thread, as `launch` wants it."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._say = say
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts a process and keeps it running from now on. Its output goes to `<logs>/<name>.log`."""
        child = Child(name, command, self._logs / f"{name}.log", environment)
        self._children.append(child)
        self._launch(child)

    def watch(self) -> None:
        """Restarts what died, after a pause that grows while it keeps dying. Call it a few times a second."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and (code := child.process.poll()) is not None:
                child.process = None
                child.pause = _FIRST_PAUSE if now - child.started_at > _STEADY_SECONDS else child.pause * 2
                child.pause = min(child.pause, _LONGEST_PAUSE)
                child.restart_at = now + child.pause
                self._say(f"{child.name} {_ending(code)}, starts again in {child.pause:g} s; its log: {child.log}")
            elif child.process is None and now >= child.restart_at:
                try:
                    self._launch(child)
                except OSError as error:  # of which the others, and what they hold, are no reason to end
                    child.pause = min(child.pause * 2, _LONGEST_PAUSE)
                    child.restart_at = now + child.pause
                    self._say(f"{child.name} cannot be started ({error}), is tried again in {child.pause:g} s")

    def stop(self) -> None:
        """Stops all, the first started first: the gateway takes nothing in that nobody would work on."""
        for child in self._children:
            if child.process is None:
                continue
            child.process.terminate()
            try:
                child.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._children.clear()

    def _launch(self, child: Child) -> None:
        child.process = launch(child.command, child.log, child.environment)
        child.started_at = time.monotonic()


def launch(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a process that, on Linux, dies with the thread that started it. Its output is added to the log."""
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", str(leash.__file__), str(os.getpid()), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603  # our own command
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,  # Ctrl-C is for whoever started it, who stops all in order
        )


def service_command(service: str) -> list[str]:
    """How a service is started."""
    return [sys.executable, "-m", f"unsilo_services.{service}"]


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
