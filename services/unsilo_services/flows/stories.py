"""Loop safety, as decisions: is an event an echo of what the hub wrote, whose story does it belong to, may it go on?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unsilo_schemas.link import Story

ECHO_WINDOW_MS = 10_000
"""How long after an event its link may still arrive, and how long after a write the vendor may still speak of it."""

PATIENCE_MS = 300_000
"""How long after an event its link is waited for while commands are under way that may have caused it."""

HOP_CEILING = 8

_STORY_MS = 86_400_000
"""How long after a write somebody else's act under our account is taken for what follows from it."""

CREATIONS = frozenset({"created", "added", "published", "recorded"})
_DELETION = "/deleted_at"

Verdict = Literal["echo", "wait", "near_miss"]


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the hub to an object, some time between its command and its link.

    `fields` are what it touched; None says that it created the object.
    """

    from_ms: int
    until_ms: int
    fields: frozenset[str] | None
    story: Story


@dataclass(frozen=True, slots=True)
class Act:
    """What is known of an event when it is asked whose doing it is. `marked`: the object bears a mark of the hub's."""

    verb: str
    changed: Sequence[str]
    actor: str | None
    recorded_ms: int
    marked: bool = False


def suspected(act: Act, accounts: Sequence[str] | None, written_to: bool) -> bool:
    """Whether the hub itself may have caused an event: its own account acted, or nobody can tell who did.

    Where nobody can tell, only in a system that the hub writes to. `accounts` is None while nobody has told the hub who
    it is there.
    """
    if accounts is None or act.actor is None:
        return written_to
    return act.actor in accounts


def judge(act: Act, writes: Sequence[Write], now_ms: int, unsettled: bool) -> Verdict:
    """What a suspected event is: an echo if a write covers it, to be waited for while one may still be told of.

    `unsettled` says that commands to its system are under way which were there before it.
    """
    if any(_covers(write, act) for write in writes):
        return "echo"
    waited = now_ms - act.recorded_ms
    if waited < ECHO_WINDOW_MS or (unsettled and waited < PATIENCE_MS):
        return "wait"
    return "echo" if act.marked else "near_miss"


def continued(act: Act, writes: Sequence[Write], connection: str) -> Story | None:
    """The story that somebody else's act under our account goes on with: that of the last write, one hop further.

    None where that was so long ago that nothing follows from it any more.
    """
    if not writes or act.recorded_ms - writes[-1].until_ms > _STORY_MS:
        return None
    last = writes[-1].story
    via = [*last.via, connection] if connection not in last.via else last.via
    return Story(correlationid=last.correlationid, hops=last.hops + 1, via=via)


def barred(story: Story, connection: str) -> str | None:
    """Why a story may not be written into a connection; None if it may."""
    if connection in story.via:
        return "the story has been there"
    return "the story has gone too far" if story.hops >= HOP_CEILING else None


def onward(story: Story, connection: str) -> Story:
    """The story once it is written into a connection."""
    return Story(correlationid=story.correlationid, hops=story.hops + 1, via=[*story.via, connection])


def _covers(write: Write, act: Act) -> bool:
    if act.verb in CREATIONS:
        return write.fields is None
    if not write.from_ms - ECHO_WINDOW_MS <= act.recorded_ms <= write.until_ms + ECHO_WINDOW_MS:
        return False
    if act.verb == "deleted":  # which the source may tell without saying what changed
        return write.fields is not None and _DELETION in write.fields
    return write.fields is None or set(act.changed) <= write.fields
