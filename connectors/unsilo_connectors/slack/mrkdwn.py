"""Slack's notation of text: three escaped characters, and tokens in angle brackets (Slack: formatting text)."""

import html
import re

_TOKEN = re.compile(r"<([^<>]+)>")
_SCHEMES = ("mailto:", "tel:")  # which nobody reads along with an address


def escape(text: str) -> str:
    """A foreign text as it may stand in a message: it can mention nobody, and hide no address behind a label."""
    return html.escape(text, quote=False)


def plain(text: str) -> str:
    """A message without tokens and escapes. Asterisks and the like stay: they read well, and may be meant."""
    readable = _TOKEN.sub(_read, text)
    return readable.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _read(token: re.Match[str]) -> str:
    target, _, label = token[1].partition("|")
    if target.startswith(("@", "#")):
        return target[0] + (label or target[1:])
    if target.startswith("!"):
        return _command(target[1:], label)
    if not label or target.endswith(label):  # Slack makes a label of its own for what was typed without one
        return label or target.removeprefix(_SCHEMES[0]).removeprefix(_SCHEMES[1])
    return f"{label} ({target})"


def _command(name: str, label: str) -> str:
    """`!here`, `!subteam^S123|@desk`, `!date^1392734382^{date}|18 February`."""
    if name.startswith("date^"):
        return label or name
    return "@" + (label or name.removeprefix("subteam^")).removeprefix("@")
