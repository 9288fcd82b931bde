"""`make bench`, in small: it runs, loses nothing, and fails where a floor is missed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


def test_a_figure_has_its_method_and_a_floor_that_is_missed_fails_the_bench(tmp_path: Path) -> None:
    figures = tmp_path / "bench.json"
    little = ["--only", "latency", "--seconds", "1", "--json", str(figures)]
    ran = subprocess.run(
        [sys.executable, "tests/bench", *little], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    found = json.loads(figures.read_text())["latency"]
    assert (found["events"], found["lost"]) == (450, 0)
    assert found["method"]
    assert (ran.returncode == 1) == ("MISSED" in ran.stdout), ran.stderr
