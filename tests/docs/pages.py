"""The documents as a test sees them: Markdown's blocks and links, and what a block's first line says of it.

A block's language says what becomes of it here. `sh` is run, in the order of the page; with `keeps-running` it goes on
in the background once it has said an address, with `until=TEXT` it is interrupted once it has said that. `console` is
not run and says why: `console not-run="needs Docker"`. A word that is a file's name has the block written there first.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
_FILE_NAME = re.compile(r"[\w./-]+\.(ya?ml|json|py|md)")
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    line: int  # of its first line of text
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """Where the reader is asked to put it."""
        return next((word for word in self.words if _FILE_NAME.fullmatch(word)), None)

    def said(self, name: str) -> str | None:
        """What stands behind `name=` in its first line."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(name + "=")), None)


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        found = []
        for token in self._tokens:
            if token.type == "fence" and token.map is not None:
                language, *words = shlex.split(token.info) or [""]
                found.append(Block(self.path, token.map[0] + 2, language, tuple(words), token.content))
        return found

    @cached_property
    def links(self) -> list[str]:
        """Where its links and images lead, as they are written."""
        inline = [child for token in self._tokens for child in token.children or ()]
        targets = [token.attrs.get("href", token.attrs.get("src")) for token in inline]
        return [str(target) for target in targets if target is not None]

    @cached_property
    def spans(self) -> list[str]:
        """What stands between backticks in its text."""
        return [
            child.content for token in self._tokens for child in token.children or () if child.type == "code_inline"
        ]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may have behind its `#`: GitHub's names for the headings."""
        titles = (
            after.content
            for token, after in zip(self._tokens, self._tokens[1:], strict=False)
            if token.type == "heading_open"
        )
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    @cached_property
    def _tokens(self) -> list[Token]:
        return _PARSER.parse(self.text)


@cache
def pages() -> list[Page]:
    """Every document of the repository, README first."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [Page(path) for path in (*found, *sorted(ROOT.glob("connectors/unsilo_connectors/*/README.md")))]


def page(name: str) -> Page:
    """One document, by its path."""
    return next(page for page in pages() if page.name == name)


def blocks(*languages: str) -> Iterator[Block]:
    """The blocks of all documents in one of these languages."""
    yield from (block for page in pages() for block in page.blocks if block.language in languages)
