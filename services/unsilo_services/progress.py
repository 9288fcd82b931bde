"""How far a partition has been worked through, where a few records may be held while later ones go on.

The group's committed offset is that of the first unfinished record; which of the later ones are unfinished too travels
in the offset's metadata (Kafka keeps up to 4,096 bytes with each committed offset). So after a restart nothing is done
twice and nothing is left out, without another topic.
"""

from dataclasses import dataclass, field
from itertools import pairwise

METADATA_BYTES = 4096


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
            gaps = [int(gap) for gap in metadata.split(",")] if metadata else []
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
        """What to commit with it: the distance from the last held offset to `next`, then between the held ones."""
        if not self.held:
            return ""
        held = sorted(self.held)
        gaps = [self.next - held[-1], *(after - before for before, after in pairwise(held))]
        return ",".join(map(str, gaps))

    @property
    def full(self) -> bool:
        """Whether no more may be held: what is to be committed would not fit."""
        return len(self.metadata) > METADATA_BYTES - 32

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
