"""What the story prints: a heading for each act, one aligned line for each hop, never wider than 80 columns."""

import sys
import time

WIDTH = 80
_GREEN, _RED, _BOLD, _DIM, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Lines:
    """Prints, in colour where somebody looks on."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self._began = time.monotonic()

    def act(self, title: str) -> None:
        """A new act begins; the hops' times count from here."""
        self._say(f"\n{title}", _BOLD)
        self._began = time.monotonic()

    def hop(self, at: float, where: str, what: str, detail: str = "") -> None:
        """Something was seen; `at` is on the monotonic clock."""
        milliseconds = (at - self._began) * 1000
        self._say(_fit(f"{milliseconds:7.0f} ms  {where:<11.11} {what:<28.28} {detail}"))

    def came_true(self, what: str) -> None:
        """What the act was about has happened."""
        self._say(_fit(f"       ok   {what}"), _GREEN)

    def did_not(self, what: str) -> None:
        """What the act was about has not happened."""
        self._say(_fit(f"   FAILED   {what}"), _RED)

    def note(self, text: str) -> None:
        """A remark."""
        self._say(_fit(text), _DIM)

    def plain(self, text: str) -> None:
        """A line as it is."""
        self._say(text)

    def _say(self, text: str, colour: str = "") -> None:
        sys.stdout.write(f"{colour}{text}{_PLAIN}\n" if colour and self._colour else f"{text}\n")
        sys.stdout.flush()


def _fit(text: str) -> str:
    line = " ".join(text.splitlines()).rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
