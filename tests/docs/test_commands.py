"""Every command of the documents that can be run is run, as a reader would, on the hub that the first page starts."""

import json
import urllib.request
from pathlib import Path

import pytest

from .pages import ROOT, Block, page, pages
from .reader import Reader, free_port

TUTORIAL = "docs/platform/configure.md"
GUIDE = "docs/platform/write-a-connector.md"


@pytest.mark.kafka
def test_the_commands_of_every_page_work(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name in (".venv", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    gateway, wall = free_port(), free_port()
    addresses = {"localhost:8080": f"localhost:{gateway}", "localhost:9000": f"localhost:{wall}", "9000": str(wall)}
    with Reader(tmp_path, {"UNSILO_GATEWAY_PORT": str(gateway)}, addresses) as reader:
        reader.follow(page(TUTORIAL))  # what comes later needs its hub
        assert told_on_the_wall(wall) == ["ticket.opened"]
        for other in pages():
            if other.name not in (TUTORIAL, GUIDE):
                with subtests.test(page=other.name):
                    reader.follow(other)


def told_on_the_wall(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__messages", timeout=5) as answer:
        return [message["type"] for message in json.load(answer)]


@pytest.mark.parametrize(
    ("first_line", "said"),
    [
        ("sh", "exit code 3"),
        ("sh until=yes", "ends without saying 'yes'"),
        ("sh keeps-running", "ends without saying 'http://'"),
    ],
)
def test_a_command_that_fails_is_told_with_its_place(tmp_path: Path, first_line: str, said: str) -> None:
    language, *words = first_line.split()
    broken = Block(ROOT / "README.md", 7, language, tuple(words), "echo no; exit 3\n")
    with Reader(tmp_path, {}, {}) as reader, pytest.raises(AssertionError, match=f"README.md:7: {said}"):
        reader.run(broken)
