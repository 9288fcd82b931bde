"""Takes the secrets that travel inside a delivery out of it, before anything is stored."""

import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache

from .contract import Secrets

MASK = "[masked]"
_SECRET = re.compile(  # `x-our-key` as well: an administrator names such a header as they like
    r"(.*[-_])?(authorization|auth|cookie|key|apikey|token|secret|password|passwd|credentials?|session(id)?)([-_].*)?"
)
_NO_SECRET = frozenset({"idempotency-key"})


def masked_headers(headers: Mapping[str, str], secrets: Secrets, also: Collection[str] = ()) -> dict[str, str]:
    """The headers, with the value of each secret one replaced. `also` names further ones, in lower case."""
    return {
        name: MASK if name in secrets.headers or name in also or is_secret(name) else value
        for name, value in headers.items()
    }


@lru_cache(maxsize=4096)
def is_secret(header: str) -> bool:
    """Whether a header is masked whoever sends it, by its name in lower case."""
    return header not in _NO_SECRET and _SECRET.fullmatch(header) is not None


def masked_body(body: bytes, secrets: Secrets) -> bytes:
    """The body, with the value of each secret field replaced and every other byte as it came.

    Works on the text, not on a parsed and rewritten copy, so that numbers, escapes and spacing stay what they were, and
    so that a body too broken to parse is masked as well. A field of that name is masked at any depth.
    """
    is_json = body.lstrip()[:1] in (b"{", b"[")  # where `&` is a sign like any other, as in the query of a link
    for pattern in _patterns(tuple(secrets.fields), is_json):
        body = pattern.sub(lambda match: match[1] + MASK.encode() + match[2], body)
    return body


@cache
def _patterns(fields: tuple[str, ...], is_json: bool) -> list[re.Pattern[bytes]]:
    found = []
    for name in fields:
        escaped = re.escape(name.encode())
        found.append(re.compile(rb'("' + escaped + rb'"\s*:\s*")(?:[^"\\]|\\.)*("|$)', re.DOTALL))
        if not is_json:
            found.append(re.compile(rb"((?:^|&)" + escaped + rb"=)[^&]*()"))
    return found
