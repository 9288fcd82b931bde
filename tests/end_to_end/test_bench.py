"""`make bench`, in small: that it runs, loses nothing, and fails where a floor is missed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


def test_each_figure_has_its_method_and_a_floor_that_is_missed_fails_it(tmp_path: Path) -> None:
    figures = tmp_path / "bench.json"
    little = ["--events", "1000", "--requests", "200", "--seconds", "2", "--json", str(figures)]
    ran = subprocess.run(
        [sys.executable, "tests/bench", *little], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    found = json.loads(figures.read_text())
    assert (found["normalizer"]["lost_or_doubled"], found["gateway"]["not_stored"], found["latency"]["lost"]) == (
        0,
        0,
        0,
    )
    assert all(found[part]["method"] for part in ("normalizer", "gateway", "latency"))
    assert (ran.returncode == 1) == ("MISSED" in ran.stdout), ran.stderr
