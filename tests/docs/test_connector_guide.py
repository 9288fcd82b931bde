"""The walk of the connector's guide, from the scaffold to a connector that the suite takes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from .pages import ROOT, Block, page
from .reader import Reader

GUIDE = page("docs/platform/write-a-connector.md")
MOST_LINES = 150
ACME = "connectors/unsilo_connectors/acme"
SAMPLE = f"{ACME}/samples/ticket_created.json"
SUITE = "tests/connectors/test_every_connector.py"


@pytest.fixture
def author(tmp_path: Path) -> Reader:
    """Somebody with a clone, whose commands see its connectors and not the repository's."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    return Reader(clone, {"PYTHONPATH": str(clone / "connectors")}, {}, makes=True)


def shell(command: str) -> Block:
    return Block(GUIDE.path, 0, "sh", (), command)


def test_the_walk_arrives_at_a_small_connector_that_the_suite_takes_and_holds_to_its_word(author: Reader) -> None:
    author.follow(GUIDE)
    folder = author.folder / ACME
    assert [path.name for path in sorted(folder.glob("samples/*.json"))] == ["case_solved.json", "settings.json"]
    assert '"unsilo.ticket.ticket.resolved.v1"' in (folder / "samples/case_solved.json").read_text()
    assert sum(len(path.read_text().splitlines()) for path in folder.iterdir() if path.is_file()) < MOST_LINES

    webhook = folder / "webhook.py"
    [shown] = [block.text for block in GUIDE.blocks if block.file_name == f"{ACME}/webhook.py"]
    assert webhook.read_text() == shown, "the guide does not write as `make format` does"
    author.run(shell(".venv/bin/pytest -q tests/docs/test_documents.py"))

    webhook.write_text(webhook.read_text().replace('"resolved"]', '"closed"]'))
    last = next(block for block in reversed(GUIDE.blocks) if "pytest" in block.text)
    suite = replace(last, text=last.text.splitlines()[-1])
    with pytest.raises(AssertionError, match=r"FAILED .*test_becomes_the_expected_events"):
        author.run(suite)


def test_an_author_is_told_in_a_sentence_what_is_left_to_do(author: Reader) -> None:
    author.run(shell("make connector NAME=acme"))
    sample, webhook = author.folder / SAMPLE, author.folder / ACME / "webhook.py"
    unsigned = {name: value for name, value in json.loads(sample.read_text()).items() if name != "events"}
    sample.write_text(json.dumps(unsigned))
    with pytest.raises(AssertionError) as failed:
        author.run(shell(f".venv/bin/pytest -q {SUITE} -k 'recorded or slack'"))
    assert "1 failed" in str(failed.value)
    assert "python -m unsilo_connectors.record acme" in str(failed.value)

    webhook.write_text(webhook.read_text().replace('TICKET["created"]', 'TICKET["opened"]'))
    with pytest.raises(AssertionError, match=r"acme cannot map ticket_created: webhook.py:\d+: KeyError: .* created"):
        record(author)
    webhook.write_text(webhook.read_text().replace('"ticket.created": created', '"ticket.made": created'))
    with pytest.raises(AssertionError, match=r"acme cannot map .*acme declares no event type 'ticket.created'"):
        record(author)
    webhook.write_text("def created(:")
    with pytest.raises(AssertionError, match=r"acme cannot be loaded: webhook.py:1: SyntaxError: invalid syntax"):
        record(author)
    with pytest.raises(AssertionError, match=r"'acme' is there, and is shown once it can be loaded: webhook.py:1"):
        author.run(shell(".venv/bin/unsilo connectors show acme"))
    webhook.write_text("nonsense")
    with pytest.raises(AssertionError, match=r"acme cannot be loaded: webhook.py:1: NameError"):
        record(author)


def record(author: Reader) -> None:
    try:
        author.run(shell(".venv/bin/python -m unsilo_connectors.record acme"))
    except AssertionError as error:
        assert "Traceback" not in str(error)
        raise
