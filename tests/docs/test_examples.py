"""What the consumer's examples claim beyond that they run."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from unsilo_connectors.discovery import load
from unsilo_connectors.samples import samples

from .pages import ROOT

EXAMPLES = ROOT / "docs/consumer/examples"
KEEP = EXAMPLES / "keep_tickets.py"
Told = tuple[dict[str, str], dict[str, Any]]


def test_the_table_is_the_same_in_whatever_order_and_however_often_events_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list(told("ticket_created", "ticket_assigned", "ticket_tags_changed", "ticket_solved"))
    orders = permutations([*events, events[0]])
    tables = [kept(order, tmp_path / str(number), monkeypatch) for number, order in enumerate(orders)]
    assert tables[0]
    assert all(table == tables[0] for table in tables)


@pytest.mark.parametrize(
    "program", [pytest.param(path, id=path.name) for path in EXAMPLES.glob("*.py") if '"KAFKA"' in path.read_text()]
)
def test_a_program_without_an_address_says_in_one_line_what_it_needs(program: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KAFKA"}
    ran = subprocess.run([sys.executable, program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "set KAFKA to the address of the hub's Kafka\n")


def told(*cases: str) -> Iterator[Told]:
    """Events of Zendesk's samples, cut down to a few fields each, so that each tells another part of one ticket."""
    found = {sample.name: sample for sample in samples(load("zendesk"))}
    for number, case in enumerate(cases):
        event = found[case].events[0][0]
        entity = {"id": "ticket", "number": case, f"told_by_{number % 2}": case}
        headers = {"ce_type": event["type"], "ce_id": event["id"], "ce_time": f"2026-03-0{number + 1}T09:00:00.5Z"}
        yield headers, {**event["data"], "entity": entity}


def kept(events: tuple[Told, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    folder.mkdir()
    monkeypatch.chdir(folder)
    example = runpy.run_path(str(KEEP))
    for headers, data in events:
        example["keep"](headers, data)
    rows = example["table"].execute("SELECT id, fields FROM ticket").fetchall()
    example["table"].close()
    return {id: json.loads(fields) for id, fields in rows}
