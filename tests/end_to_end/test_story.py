"""What `make run` tells comes true, and where it does not, that is said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

# The joiner's delivery is one that nobody welcomes: then an act cannot come true, and one delivery becomes nothing.
_WITHOUT_JOINER = """
import sys
from unsilo_services.story import acts, app

acts._SECONDS = 2.0
acts._joiner = lambda *names: b'{"type": "company.updated", "data": {"companyId": "1"}}'
sys.exit(f"did not come true: {'; '.join(app.run(True, lambda: True))}")
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In a folder of its own, and at none of the ports that a hub here may have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNSILO_")}
    return subprocess.run([*command], cwd=folder, env=kept, capture_output=True, text=True, timeout=180)


def test_the_story_comes_true_and_accounts_for_everything(tmp_path: Path) -> None:
    told = run(tmp_path, str(Path(sys.executable).parent / "unsilo"), "story", "--once")
    assert told.returncode == 0, told.stdout + told.stderr
    last = told.stdout.rstrip().splitlines()[-1]
    counts = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", last)}
    assert counts == {"received": 20, "published": 19, "delivered": 9, "refused": 1, "lost": 0, "doubled": 0}
    assert all(len(line) <= 80 for line in told.stdout.splitlines()), told.stdout


def test_what_does_not_come_true_is_named_and_counted(tmp_path: Path) -> None:
    told = run(tmp_path, sys.executable, "-c", _WITHOUT_JOINER)
    assert told.returncode == 1, told.stdout + told.stderr
    assert "welcomes her" in told.stderr
    assert "nothing lost" in told.stderr
    assert "lost 1" in told.stdout.rstrip().splitlines()[-1]
