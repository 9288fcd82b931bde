"""The walk of the connector's guide, from the scaffold to a connector that the suite takes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from .pages import ROOT, page
from .reader import Reader

GUIDE = page("docs/platform/write-a-connector.md")
MOST_LINES = 150


@pytest.fixture
def author(tmp_path: Path) -> Reader:
    """Somebody with a clone: the connectors that their commands see are a copy of the repository's."""
    for folder in ("connectors", "tests/connectors"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Makefile", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return Reader(tmp_path, {"PYTHONPATH": str(tmp_path / "connectors")}, {}, makes=True)


def test_the_walk_arrives_at_a_small_connector_that_the_suite_takes_and_holds_to_its_word(author: Reader) -> None:
    author.follow(GUIDE)
    folder = author.folder / "connectors/unsilo_connectors/acme"
    assert [path.name for path in sorted(folder.glob("samples/*.json"))] == ["case_solved.json", "settings.json"]
    assert '"unsilo.ticket.ticket.resolved.v1"' in (folder / "samples/case_solved.json").read_text()
    assert sum(len(path.read_text().splitlines()) for path in folder.iterdir() if path.is_file()) < MOST_LINES

    webhook = folder / "webhook.py"
    webhook.write_text(webhook.read_text().replace('"resolved"]', '"closed"]'))
    last = next(block for block in reversed(GUIDE.blocks) if "pytest" in block.text)
    suite = replace(last, text=last.text.splitlines()[-1])
    with pytest.raises(AssertionError, match=r"FAILED .*test_becomes_the_expected_events"):
        author.run(suite)
