"""How far a partition has been worked through, where a few records may be held while later ones go on.

The group's committed offset is that of the first unfinished record; which of the later ones are unfinished too travels
in the offset's metadata (Kafka keeps up to 4,096 bytes with each committed offset). So after a restart nothing is done
twice and nothing is left out, without another topic.
"""

from dataclasses import dataclass, field
from itertools import groupby, pairwise

_MOST_HELD = 100_000  # in one run: metadata that is not ours must not make us allocate without end


@dataclass(slots=True)
class Progress:
    """One partition: `next` is the first offset never looked at, `held` are those before it that are not finished."""

    next: int = 0
    held: set[int] = field(default_factory=set)

    @classmethod
    def parse(cls, offset: int, metadata: str | None) -> "Progress":
        """From what was committed. Metadata that is not ours is taken as none: then only the offset counts."""
        if offset < 0:
            return cls()
        try:
            gaps = [gap for run in metadata.split(",") for gap in _gaps(run)] if metadata else []
        except ValueError:
            gaps = []
        if not gaps:
            return cls(offset)
        held = {offset}
        for gap in gaps[1:]:
            held.add(offset := offset + gap)
        return cls(max(held) + gaps[0], held)

    @property
    def offset(self) -> int:
        """What to commit, and where to read on after a restart."""
        return min(self.held, default=self.next)

    @property
    def metadata(self) -> str:
        """What to commit with it: the distance from the last held offset to `next`, then those between the held ones.

        Equal distances in a row are written once, `1*500`: all that waits for a dead remote takes a few bytes.
        """
        if not self.held:
            return ""
        held = sorted(self.held)
        gaps = [self.next - held[-1], *(after - before for before, after in pairwise(held))]
        runs = [(gap, len(list(run))) for gap, run in groupby(gaps)]
        return ",".join(str(gap) if length == 1 else f"{gap}*{length}" for gap, length in runs)

    def wants(self, offset: int) -> bool:
        """Whether a record that is read again after a restart is still to be done."""
        return offset >= self.next or offset in self.held

    def take(self, offset: int) -> None:
        """A record was looked at, and is finished unless it is held."""
        self.next = max(self.next, offset + 1)

    def hold(self, offset: int) -> None:
        """A record was looked at and has to wait."""
        self.take(offset)
        self.held.add(offset)

    def finish(self, offset: int) -> None:
        """A record needs no more work."""
        self.take(offset)
        self.held.discard(offset)


def _gaps(run: str) -> list[int]:
    gap, _, length = run.partition("*")
    return [int(gap)] * min(int(length or 1), _MOST_HELD)
