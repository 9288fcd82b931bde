"""How far a partition has been worked through, where a few records may be held while later ones go on.

The group's committed offset is that of the first unfinished record; which of the later ones are unfinished too travels
in the offset's metadata (Kafka keeps up to 4,096 bytes with each committed offset). So after a restart nothing is done
twice and nothing is left out, without another topic.
"""

from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

METADATA_BYTES = 4096
_MOST_HELD = 1_000_000  # metadata that is not ours must not make us allocate without end


@dataclass(slots=True)
class Progress:
    """One partition: `next` is the first offset never looked at, `held` are those before it that are not finished."""

    next: int = 0
    held: set[int] = field(default_factory=set)
    seen: int = 0
    """Offsets below this one may have been worked on before, by whoever committed more than there is now."""

    def copy(self) -> "Progress":
        """One that can be changed apart from this one."""
        return Progress(self.next, set(self.held), self.seen)

    def again(self, offset: int) -> bool:
        """Whether work on a record may have begun before."""
        return offset in self.held or offset < self.seen

    @classmethod
    def parse(cls, offset: int, metadata: str | None) -> "Progress":
        """From what was committed. Metadata that is not ours is taken as none: then only the offset counts."""
        if offset < 0:
            return cls()
        if not metadata:
            return cls(offset)
        try:
            from_last_to_next, *gaps = _gaps(metadata)
        except ValueError:
            return cls(offset)
        held = list(accumulate(gaps, initial=offset))
        return cls(held[-1] + from_last_to_next, set(held))

    @property
    def offset(self) -> int:
        """What to commit, and where to read on after a restart."""
        return min(self.held, default=self.next)

    @property
    def metadata(self) -> str:
        """What to commit with it: the distance from the last held offset to `next`, then those between the held ones.

        Equal distances in a row are written once, `1*500`: all that waits for a dead remote takes a few bytes. Where
        that is still more than Kafka keeps, `next` is said to be the first one that does not fit: what was finished
        behind it comes again after a restart, which is better than that nothing can be committed any more.
        """
        if not self.held:
            return ""
        held = sorted(self.held)
        runs: list[str] = []
        room = METADATA_BYTES - 24  # for the distance to `next`
        last = held[0]
        for gap, run in groupby(after - before for before, after in pairwise(held)):
            length = len(list(run))
            text = f",{gap}" if length == 1 else f",{gap}*{length}"
            room -= len(text)
            if room < 0:
                return str(gap) + "".join(runs)
            runs.append(text)
            last += gap * length
        return str(self.next - last) + "".join(runs)

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

    def finish(self, *offsets: int) -> None:
        """Records need no more work."""
        self.take(max(offsets))
        if self.held:
            self.held.difference_update(offsets)


def _gaps(metadata: str) -> list[int]:
    """The distances that metadata says; ValueError where it is not ours."""
    gaps: list[int] = []
    for run in metadata.split(","):
        gap, times, length = run.partition("*")
        count = int(length) if times else 1
        if int(gap) < 1 or not 1 <= count <= _MOST_HELD - len(gaps):
            raise ValueError("no distances")
        gaps += [int(gap)] * count
    return gaps
