"""Blocks of an input's keys: those that can be added in columns, the others line by line."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.pools.reading.owners import NOBODY, Owner


class Line(NamedTuple):
    """A key of an input that is refused.

    `part` tells the keys of one line apart, from 1. `unlike` says that the reason holds for a new key
    only: a known one is never unlike the others.
    """

    number: int
    part: int
    code: str
    reason: str
    unlike: bool = False


@dataclass
class Keys:
    """A block of an input's keys, in the order of its lines.

    `parts` tells the keys of one line apart; None says that each line has one. `owners` has the owner of
    each key; it is empty where no key has one.
    """

    numbers: list[int]
    codes: list[str]
    parts: list[int] | None = None
    owners: list[Owner] = field(default_factory=list)
    refused: list[Line] = field(default_factory=list)

    def __len__(self) -> int:
        """Say how many keys there are, those included that are refused."""
        return len(self.codes) + len(self.refused)

    @property
    def last_line(self) -> int:
        """The number of the last line of the block."""
        return max(self.numbers[-1:] + [line.number for line in self.refused[-1:]], default=0)

    def all_parts(self) -> list[int]:
        """Give each key's part of its line."""
        return self.parts or [1] * len(self.codes)

    def all_owners(self) -> list[Owner]:
        """Give each key's owner."""
        return self.owners or [NOBODY] * len(self.codes)

    def add(self, number: int, part: int, code: str, owner: Owner) -> None:
        """Put a key behind the others, of a block that has parts and owners."""
        self.numbers.append(number)
        self.codes.append(code)
        self.owners.append(owner)
        if self.parts is not None:
            self.parts.append(part)

    def pieces(self, size: int) -> Iterator["Keys"]:
        """Give the block in pieces of about so many keys; a line is in one piece."""
        start, refused = 0, 0
        while start < len(self.codes) or refused < len(self.refused):
            end = self._line_end(start + size)
            until = len(self.refused)
            if end < len(self.codes):
                until = bisect_left(self.refused, (self.numbers[end - 1] + 1,))
            yield self._piece(slice(start, end), self.refused[refused:until])
            start, refused = end, until

    def _line_end(self, place: int) -> int:
        while 0 < place < len(self.numbers) and self.numbers[place] == self.numbers[place - 1]:
            place += 1
        return min(place, len(self.numbers))

    def _piece(self, some: slice, refused: list[Line]) -> "Keys":
        parts = self.parts[some] if self.parts else None
        return Keys(self.numbers[some], self.codes[some], parts, self.owners[some], refused)


def joined(blocks: Iterable[Keys]) -> Keys:
    """Put blocks that follow one another together."""
    blocks = list(blocks)
    if len(blocks) == 1:
        return blocks[0]
    some_owned = any(block.owners for block in blocks)
    return Keys(
        [number for block in blocks for number in block.numbers],
        [code for block in blocks for code in block.codes],
        [part for block in blocks for part in block.all_parts()],
        [owner for block in blocks for owner in block.all_owners()] if some_owned else [],
        [line for block in blocks for line in block.refused],
    )


def in_chunks(blocks: Iterable[Keys], size: int) -> Iterator[Keys]:
    """Give the keys of some blocks in chunks of about so many."""
    waiting: list[Keys] = []
    for block in blocks:
        for piece in block.pieces(size):
            waiting.append(piece)
            if sum(map(len, waiting)) >= size:
                yield joined(waiting)
                waiting = []
    if any(map(len, waiting)):
        yield joined(waiting)
