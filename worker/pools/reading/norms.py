"""What an input's keys have in common, and which line is unlike them (K5a).

If at least nine in ten of the other keys, and at least two, have a digit, or the same groups, a line
without that is probably no key: a title, a sum, a truncated code. If a part of a line has the
shape of the other keys, the rest of the line does not belong to the key.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from worker.pools import codes
from worker.pools.reading.shapes import (
    BETWEEN_GROUPS,
    Groups,
    Shapes,
    Words,
    all_groups,
    could_be_key,
    groups,
    runs,
    words_of,
)
from worker.pools.reading.words import Meaning, meaning_of

ALIKE = 0.9
FEWEST = 2


class Norm:
    """What nine in ten of an input's keys have in common, after all were counted."""

    def __init__(self, shapes: Shapes, *, sample: Iterable[str] = ()) -> None:
        self._shapes = shapes
        self._surrounded = {words for words in shapes.spaced if self._is_surrounded(words)}
        around = [shapes.spaced[words] for words in self._surrounded]
        self._total = shapes.total - sum(alike.count for alike in around)
        self._with_digits = shapes.with_digits - sum(alike.with_digits for alike in around)
        self._groups, self._with_groups = self._usual()
        usual = list(sample)
        self._grows = _grows(usual)
        self._kinds = _kinds([code for code in usual if groups(code) == self._groups])

    def notice(self, code: str) -> str | None:
        """Say what is around a key on its line, in a sentence; None if nothing is."""
        if " " not in code:
            return None
        key = _generated_within(code)
        if key is None and words_of(code) in self._surrounded:
            key = self._key_within(code)
        if key is None:
            return None
        return f"There is more on the line than a key (“{code.replace(key, '…', 1)}”)."

    def unlike(self, code: str) -> str | None:
        """Say how a key is unlike the others, in a sentence; None if it is like them."""
        if not codes.DIGIT.search(code) and self._prevails(self._with_digits):
            reason = "It has no digit, and the other keys have."
        elif self._is_other(shape := groups(code)) and self._prevails(self._with_groups):
            reason = (
                f"Its groups have {_listed(shape)} characters, those of the other keys "
                f"{_listed(self._groups)}."
            )
        elif " " in code and self._kinds and not _fits(code, self._kinds):
            reason = "Its letters and digits are in other places than in the other keys."
        else:
            return None
        return None if codes.is_generated(code) else reason

    def _usual(self) -> tuple[Groups, int]:
        counted = Counter(self._shapes.plain)
        for words, alike in self._shapes.spaced.items():
            if words not in self._surrounded:
                counted[all_groups(words)] += alike.count
        return next(iter(counted.most_common(1)), ((), 0))

    def _prevails(self, count: int) -> bool:
        return count >= FEWEST and count >= ALIKE * (self._total - 1)

    def _is_other(self, shape: Groups) -> bool:
        if shape == self._groups:
            return False
        return not (self._grows and len(shape) > 1 and shape[:-1] == self._groups[:-1])

    def _is_surrounded(self, words: Words) -> bool:
        """Say whether lines with these words have more than a key on them."""
        alike = self._shapes.spaced[words]
        if self._shapes.plain[all_groups(words)]:
            return False
        around = self._shapes.around.get(alike.alone)
        if around and (around.varies or meaning_of(around.text) is Meaning.CODE):
            return True
        within = max((self._others(words[run]) for run in runs(len(words))), default=0)
        return within > 0 and within * 9 >= alike.count

    def _others(self, words: Words) -> int:
        """Count the keys of the input that have the same shape as some words."""
        if not could_be_key(words):
            return 0
        spaced = self._shapes.spaced.get(words)
        return self._shapes.plain[all_groups(words)] + (spaced.count if spaced else 0)

    def _key_within(self, code: str) -> str:
        """Give the words of a line that look most like the key of another line."""
        parts = [part for part in _parts(code) if could_be_key(words_of(part))]
        return max(
            parts,
            key=lambda part: (
                self._others(words_of(part)),
                bool(codes.DIGIT.search(part)),
                -len(part),
            ),
            default=code,
        )


def _parts(code: str) -> list[str]:
    """Give every run of consecutive words of a line."""
    words = code.split()
    return [" ".join(words[run]) for run in runs(len(words))]


def _generated_within(code: str) -> str | None:
    """Give the part of a line that is a generated key; None if there is none, or if it is the whole line."""
    if len(code) <= codes.LENGTH + 1 or codes.is_generated(code):
        return None
    parts = (part for part in _parts(code) if len(codes.canonical(part)) == codes.LENGTH)
    return next(filter(codes.is_generated, parts), None)


def _grows(sample: list[str]) -> bool:
    """Say whether keys end in a growing number without leading zeros, which gets longer."""
    ends = [BETWEEN_GROUPS.split(code)[-1] for code in sample]
    if len({code[: len(code) - len(end)] for code, end in zip(sample, ends, strict=True)}) != 1:
        return False
    if not all(end.isdecimal() and not end.startswith("0") for end in ends):
        return False
    return len(ends) > FEWEST and all(int(one) < int(other) for one, other in pairwise(ends))


def _kinds(sample: list[str]) -> str:
    """Say of each group whether all keys have letters (A) or digits (9) alone there, or neither (?).

    Empty where too few keys are without spaces to tell.
    """
    compact = [code for code in sample if " " not in code]
    if len(compact) < FEWEST or len(compact) < ALIKE * (len(sample) - 1):
        return ""
    kinds = zip(*map(_kinds_of, compact), strict=True)
    return "".join(places[0] if len(set(places)) == 1 else "?" for places in kinds)


def _kinds_of(code: str) -> str:
    parts = BETWEEN_GROUPS.split(code)
    return "".join("9" if p.isdecimal() else "A" if p.isalpha() else "?" for p in parts)


def _fits(code: str, kinds: str) -> bool:
    return all(usual in ("?", kind) for kind, usual in zip(_kinds_of(code), kinds, strict=False))


def _listed(shape: Groups) -> str:
    return "-".join(map(str, shape))
