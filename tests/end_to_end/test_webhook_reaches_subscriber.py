"""The first steps with a hub, typed as in the README: up, send, tail; a connection more; stop; and all still there."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from unsilo_services.broker.local import LocalKafka, free_ports

from tests.services.running import SECRETS, eventually

pytestmark = pytest.mark.kafka

UNSILO = [str(Path(sys.executable).parent / "unsilo")]
FILE = """\
connections:
  - {id: helpdesk, connector: zendesk, settings: {signing_secret: {env: SECRET}}}
"""
MORE = "  - {id: crm, connector: pipedrive, settings: {username: hub, password: {env: SECRET}}}\n"


class Folder:
    """A folder with an unsilo.yaml in it, and whoever types commands there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (port,) = free_ports(1)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")}
        self.environment = {**kept, **SECRETS, "UNSILO_GATEWAY_PORT": str(port)}
        (path / "unsilo.yaml").write_text(FILE)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*UNSILO, *words], cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def events(self) -> list[dict[str, Any]]:
        ran = self.run("tail", "--once", "--json", "--since", "1h")
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """`unsilo up` until the block ends; then nothing of it is left."""
        output = self.path / "up.log"
        with output.open("w") as log:
            process = subprocess.Popen(
                [*UNSILO, "up", "-f", "unsilo.yaml"], cwd=self.path, env=self.environment, stdout=log, stderr=log
            )
        try:
            eventually(lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, "the hub")
            assert process.poll() is None, output.read_text()
            children = descendants(process.pid)
            assert len(children) >= 5
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, output.read_text()
            assert "Traceback" not in output.read_text()
            eventually(lambda: not any(map(alive, children)), "its processes to be gone")
        finally:
            process.kill()
            process.wait()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def test_a_webhook_reaches_whoever_listens(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.up():
        sent = folder.run("send", "helpdesk", "ticket_created")
        assert (sent.returncode, sent.stdout.split()[0]) == (0, "202"), sent.stderr
        (event,) = eventually(folder.events, "the event")
        assert event["type"] == "unsilo.ticket.ticket.created.v1"
        assert event["connection"] == "helpdesk"
        assert event["data"]["entity"]["refs"][0]["system"] == "zendesk"

        (tmp_path / "unsilo.yaml").write_text(FILE + MORE)
        applied = folder.run("apply")
        assert applied.returncode == 0, applied.stderr
        assert folder.run("send", "crm", "deal_won").returncode == 0
        eventually(lambda: len(folder.events()) == 2, "the event of the connection that was added")
        assert re.search(r"helpdesk\s+zendesk", folder.run("connections", "list").stdout)

    refused = folder.run("send", "helpdesk", "ticket_created")
    assert refused.returncode == 1
    assert "unsilo up" in refused.stderr

    with folder.up() as hub:
        assert len(folder.events()) == 2
        for pid in descendants(hub.pid):
            if b"unsilo_services.normalizer" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
        assert folder.run("send", "helpdesk", "ticket_created").returncode == 0
        assert folder.run("send", "crm", "deal_merged_with_another").returncode == 0
        events = eventually(lambda: found if len(found := folder.events()) > 2 else None, "a third event")
        assert len(events) == 3, "a delivery that was sent again is no new event"


def test_what_is_wrong_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "unsilo.yaml").write_text(FILE.replace("zendesk", "zendesc"))
    wrong = folder.run("up", "-f", "unsilo.yaml")
    assert wrong.returncode == 1
    assert "unsilo.yaml:2: connections.0.connector" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    with LocalKafka(tmp_path / ".unsilo" / "kafka"):  # its folder is free again
        pass


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
