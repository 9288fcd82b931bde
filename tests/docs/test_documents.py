"""What the documents say is so: links lead somewhere, commands exist, examples hold, generated parts are current."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from unsilo_services.cli.app import app
from unsilo_services.config_files import read
from unsilo_services.configuration import ConnectionSection, FlowSection, HubSection, StepSection

from .generate import renewed
from .pages import ROOT, Block, Page, blocks, page, pages

EACH = pytest.mark.parametrize("page", [pytest.param(found, id=found.name) for found in pages()])
GUIDE = "docs/platform/write-a-connector.md"  # its connector exists only on its own walk, which another test takes
CONFIGURED = [block for block in blocks("yaml") if block.page != ROOT / GUIDE]
PATH = re.compile(r"[\w.-]+(/[\w.-]+)+\.(py|md|toml|ya?ml|json|sh)")
VERBS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@EACH
def test_every_link_leads_somewhere(page: Page) -> None:
    lost = [link for link in page.links if not link.startswith(("https://", "http://")) and not leads(page, link)]
    assert not lost


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        here = ahead.pop()
        if here not in reached and here.suffix == ".md":
            reached.add(here)
            ahead += [
                (here.parent / link.partition("#")[0]).resolve() for link in Page(here).links if "://" not in link
            ]
    assert not {page.path for page in pages()} - reached


@EACH
def test_every_path_in_the_text_exists(page: Page) -> None:
    written = [block.file_name for block in page.blocks if block.file_name]
    named = [span for span in page.spans if PATH.fullmatch(span) and not any(name.endswith(span) for name in written)]
    assert not [path for path in named if not any((home / path).exists() for home in homes(page))]


@EACH
def test_every_command_in_the_text_exists(page: Page) -> None:
    assert not [f"{place}: {fault}" for place, line in command_lines(page) if (fault := wrong_in(line))]


@EACH
def test_every_block_that_is_not_run_says_why(page: Page) -> None:
    shells = [block for block in page.blocks if block.language in ("console", "bash", "shell", "zsh")]
    assert not [block.place for block in shells if block.language != "console" or not block.said("not-run")]


@EACH
def test_what_follows_from_code_is_current(page: Page) -> None:
    assert page.text == renewed(page), "write it anew: make docs"


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in CONFIGURED])
def test_every_configuration_passes_the_check(block: Block, tmp_path: Path) -> None:
    read(files_of(block, tmp_path))


def test_the_reference_of_the_configuration_has_every_field_and_no_other() -> None:
    text = page("docs/platform/configure.md").text
    told = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    sections = (ConnectionSection, FlowSection, StepSection)
    known = {field.alias or name for section in sections for name, field in section.model_fields.items()}
    assert told == known
    assert all(f"`{name}`" in text for name in HubSection.model_fields)


def leads(page: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    return target.exists() and (not anchor or (target.suffix == ".md" and anchor in Page(target).anchors))


def homes(page: Page) -> Iterator[Path]:
    """The folders from which a path in a text may be meant."""
    yield from (ROOT, page.path.parent, ROOT / "services/unsilo_services", ROOT / "connectors/unsilo_connectors")


def command_lines(page: Page) -> Iterator[tuple[str, str]]:
    """What a page shows of commands, in blocks and in its text."""
    for block in page.blocks:
        if block.language in ("sh", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                yield block.place, line
    for span in page.spans:
        yield page.name, span


def wrong_in(line: str) -> str | None:
    """What a command line of ours asks for that there is not; None for any other program's."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    match words:
        case [program, *rest] if program.removeprefix(".venv/bin/") == "unsilo":
            return unknown_to_unsilo(rest)
        case ["make", verb, *_] if verb not in VERBS:
            return f"make has no verb {verb}"
    return None


def unknown_to_unsilo(words: list[str]) -> str | None:
    command: Any = typer.main.get_command(app)
    for word in words:
        if word in ("|", "&&", ">", ";"):
            return None
        inner = getattr(command, "commands", None)
        if word.startswith("-"):
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            if word.partition("=")[0] not in known:
                return f"{command.name} has no {word}"
        elif inner is not None:
            if word not in inner:
                return f"{command.name} has no {word}"
            command = inner[word]
    return None


def files_of(block: Block, folder: Path) -> list[Path]:
    """The files that make a block's example whole.

    A block without connections stands beside those of the last file above it; a connector's guide shows settings alone
    where the rest goes without saying.
    """
    here = folder / "here.yaml"
    here.write_text(block.text, encoding="utf-8")
    content = yaml.safe_load(block.text)
    if "settings" in content:
        connection = {"id": "example", "connector": block.page.parent.name, "settings": content["settings"]}
        here.write_text(yaml.safe_dump({"connections": [connection]}), encoding="utf-8")
    elif "connections" not in content:
        files = [other for other in CONFIGURED if other.page == block.page and other.file_name]
        beside = max((other for other in files if other.line < block.line), key=lambda other: other.line)
        (folder / "above.yaml").write_text(beside.text.partition("flows:")[0], encoding="utf-8")
        return [here, folder / "above.yaml"]
    return [here]
