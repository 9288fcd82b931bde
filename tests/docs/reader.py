"""Somebody who follows the documents to the letter, in a folder of their own."""

import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .pages import ROOT, Block, Page

BLOCK_SECONDS = 60.0
ADDRESS = "http://"  # what a program says once it can be reached

_PRELUDE = """
set -euo pipefail
make() { command make --old-file .venv/.synced %s "$@"; }  # the environment is the one that the tests run in
"""
_MAKES = _PRELUDE % ""
_TRIES_MAKE = _PRELUDE % f"--dry-run -C {ROOT}"  # its verbs run tests and more: that they exist has to do


class Reader:
    """Writes the files that a page asks for and runs its commands, in their order.

    `addresses` says which of the ports that the pages name are others here, so that two readers do not meet. Only one
    who `makes` has a clone to make something in.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], addresses: Mapping[str, str], makes: bool = False
    ) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")}
        if "UNSILO_CACHE" in os.environ:
            self.environment["UNSILO_CACHE"] = os.environ["UNSILO_CACHE"]
        self.environment |= environment
        self._addresses = addresses
        self._prelude = _MAKES if makes else _TRIES_MAKE
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    def follow(self, page: Page) -> None:
        """Does what a page says; AssertionError at the first block that does not work."""
        for block in page.blocks:
            self.take(block)

    def take(self, block: Block) -> None:
        """Runs a block, or writes it where its first line says, or passes over it."""
        if block.language == "sh":
            self.run(block)
        elif block.file_name is not None:
            path = self.folder / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(block.text), encoding="utf-8")

    def run(self, block: Block) -> None:
        """Runs a block as its first line says."""
        text = self._here(block.text)
        wanted = block.said("until")
        if "keeps-running" in block.words:
            text = re.sub(r"(unsilo up.*)", r"\1 --ephemeral", text)
            program = Program(self._command(text), self.folder, self.environment)
            self._running.callback(program.interrupt)
            self._note(program.await_text(ADDRESS, block.place))
        elif wanted is not None:
            program = Program(self._command(text), self.folder, self.environment)
            try:
                program.await_text(wanted, block.place)
            finally:
                code = program.interrupt()
            assert code in (0, 130, -signal.SIGINT), f"{block.place}: Ctrl-C ends it with {code}\n{program.output}"
            assert "Traceback" not in program.output, f"{block.place}:\n{program.output}"
        else:
            command = self._command(text)
            ran = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=BLOCK_SECONDS
            )
            assert ran.returncode == 0, f"{block.place}: exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"

    def _command(self, text: str) -> Sequence[str]:
        return ("bash", "-c", self._prelude + text)

    def _here(self, text: str) -> str:
        for named, address in self._addresses.items():
            text = text.replace(named, address)
        return text

    def _note(self, output: str) -> None:
        """What `unsilo up` says of Kafka is what the pages call KAFKA."""
        if said := re.search(r"^Kafka +(\S+)$", output, re.MULTILINE):
            self.environment["KAFKA"] = said[1]


class Program:
    """One that runs until it is interrupted."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.output = ""
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def await_text(self, wanted: str, place: str) -> str:
        """All that it has said once it has said this; AssertionError if it ends or takes too long."""
        end = time.monotonic() + BLOCK_SECONDS
        while wanted not in self.output:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{place}: does not say {wanted!r} in time\n{self.output}") from None
            assert line is not None, f"{place}: ends without saying {wanted!r}\n{self.output}"
            self.output += line
        return self.output

    def interrupt(self) -> int:
        """Ctrl-C, to all of it; its exit code."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            code = self._process.wait(BLOCK_SECONDS)
        finally:
            self._kill()
        self._thread.join(BLOCK_SECONDS)
        while not self._lines.empty():
            self.output += self._lines.get() or ""
        return code

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
