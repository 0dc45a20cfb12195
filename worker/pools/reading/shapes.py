"""Shapes of keys: what the keys of an input look like, counted (K5a).

A key's shape is the lengths of its groups (`WELCOME-2026-0002` has 7, 4 and 4), and whether it has a
digit. Where there are spaces it matters which groups are in one word: what stands around a key on its
line looks like a part of it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from worker.pools import codes

MOST_SHAPES = 5_000  # that are told apart; an input with more has none in common
BETWEEN_GROUPS = re.compile("[_. -]+")
WORD_OR_NUMBER = re.compile("[A-Za-z_.-]+|[0-9_.-]+")

Groups = tuple[int, ...]
Words = tuple[Groups, ...]


@dataclass
class Spaced:
    """Keys with spaces whose words are alike.

    Attributes:
        count: how many they are.
        with_digits: how many of them have a digit.
        alone: the groups of the one word that could be a key alone, or none.
    """

    count: int = 0
    with_digits: int = 0
    alone: Groups = ()


@dataclass
class Around:
    """What stands around words of the same groups that could be keys alone: one text, or several."""

    text: str = ""
    varies: bool = False


@dataclass
class Shapes:
    """What the keys of an input look like: by their groups those without spaces, by their words the others."""

    plain: Counter[Groups] = field(default_factory=Counter)
    spaced: dict[Words, Spaced] = field(default_factory=dict)
    around: dict[Groups, Around] = field(default_factory=dict)
    total: int = 0
    with_digits: int = 0

    def add(self, code: str) -> None:
        """Count a key."""
        digits = int(codes.DIGIT.search(code) is not None)
        if " " not in code:
            self._add(groups(code), digits, 1)
            return
        alike = self._add_spaced(words_of(code), digits, 1)
        alone, text = around_the_key(code)
        if alone and (alone in self.around or len(self.around) < MOST_SHAPES):
            alike.alone = alone
            around = self.around.setdefault(alone, Around(text))
            around.varies |= text != around.text

    def add_alike(self, example: str, count: int) -> None:
        """Count so many keys of the form of one that has a digit."""
        if count and " " in example:
            self._add_spaced(words_of(example), count, count)
        elif count:
            self._add(groups(example), count, count)

    def _add(self, shape: Groups, with_digits: int, count: int) -> None:
        if shape in self.plain or len(self.plain) < MOST_SHAPES:
            self.plain[shape] += count
        self._count(with_digits, count)

    def _add_spaced(self, words: Words, with_digits: int, count: int) -> Spaced:
        self._count(with_digits, count)
        if words not in self.spaced and len(self.spaced) >= MOST_SHAPES:
            return Spaced()
        alike = self.spaced.setdefault(words, Spaced())
        alike.count += count
        alike.with_digits += with_digits
        return alike

    def _count(self, with_digits: int, count: int) -> None:
        self.total += count
        self.with_digits += with_digits


def groups(code: str) -> Groups:
    """Give the lengths of a key's groups."""
    return tuple(map(len, BETWEEN_GROUPS.split(code)))


def words_of(code: str) -> Words:
    """Give the groups of each word of a key."""
    return tuple(groups(part) for part in parts_of(code))


def parts_of(code: str) -> list[str]:
    """Give the words of a key, without signs at their ends, and without those that are signs alone."""
    return [part for part in (word.strip("_.-") for word in code.split()) if part]


def all_groups(words: Words) -> Groups:
    """Give the groups of some words."""
    return tuple(length for word in words for length in word)


def could_be_key(words: Words) -> bool:
    """Say whether some words are long enough for a key."""
    return sum(all_groups(words)) >= codes.SHORTEST


def runs(whole: int) -> list[slice]:
    """Give every run of some of so many words, all of them aside."""
    starts = ((start, end) for start in range(whole) for end in range(start + 1, whole + 1))
    return [slice(start, end) for start, end in starts if end - start < whole]


def around_the_key(code: str) -> tuple[Groups, str]:
    """Give the groups of the one word that could be a key alone, and the words and numbers around it.

    Both are empty where there is no such word, or several, or something else stands around it.
    """
    parts = parts_of(code)
    alone = [part for part in parts if could_be_key((groups(part),)) and codes.DIGIT.search(part)]
    rest = [part for part in parts if part not in alone]
    if len(alone) != 1 or not all(map(WORD_OR_NUMBER.fullmatch, rest)):
        return (), ""
    return groups(alone[0]), " ".join(rest)
