"""What `make run` tells comes true, and where it does not, that is said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.running import eventually, wait_for_end

pytestmark = pytest.mark.kafka

# The joiner's delivery is one that nobody welcomes: then an act cannot come true, and one delivery becomes nothing.
_WITHOUT_JOINER = """
import sys
from unsilo_services.story import acts, app

acts._SECONDS = 2.0
acts._joiner = lambda *names: b'{"type": "company.updated", "data": {"companyId": "1"}}'
sys.exit(f"did not come true: {'; '.join(app.run(True, lambda: True))}")
"""


UNSILO = str(Path(sys.executable).parent / "unsilo")
KEPT = {name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In a folder of its own, and at none of the ports that a hub here may have."""
    return subprocess.run([*command], cwd=folder, env=KEPT, capture_output=True, text=True, timeout=180)


def test_the_story_comes_true_and_accounts_for_everything(tmp_path: Path) -> None:
    told = run(tmp_path, UNSILO, "story", "--once")
    assert told.returncode == 0, told.stdout + told.stderr
    last = told.stdout.rstrip().splitlines()[-1]
    counts = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", last)}
    assert counts == {"received": 19, "published": 18, "delivered": 9, "refused": 1, "lost": 0, "doubled": 0}
    assert all(len(line) <= 80 for line in told.stdout.splitlines()), told.stdout


def test_what_does_not_come_true_is_named_and_counted(tmp_path: Path) -> None:
    told = run(tmp_path, sys.executable, "-c", _WITHOUT_JOINER)
    assert told.returncode == 1, told.stdout + told.stderr
    assert "welcomes her" in told.stderr
    assert "nothing lost" in told.stderr
    assert "lost 1" in told.stdout.rstrip().splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_story_takes_its_doubles_along(tmp_path: Path) -> None:
    environment = {**KEPT, "UNSILO_KAFKA_BOOTSTRAP": "127.0.0.1:1"}  # where it waits in vain, and starts nothing else
    with subprocess.Popen([UNSILO, "story"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as story:
        started = Path(f"/proc/{story.pid}/task/{story.pid}/children")
        doubles = eventually(lambda: found if len(found := started.read_text().split()) == 2 else None, "two doubles")
        story.kill()
    for double in doubles:
        wait_for_end(int(double))
