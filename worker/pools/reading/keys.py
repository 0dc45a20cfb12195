"""Keys out of a table: every line judged, in blocks, in constant memory.

An input is read twice: once to see what its keys look like, then to judge each. Most lines of most
inputs have one and the same form, and are told at one look.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

from worker import errors
from worker.languages.characters import visible
from worker.pools.codes import LENGTH
from worker.pools.reading import people, states
from worker.pools.reading.blocks import Keys, Line
from worker.pools.reading.cells import unquoted
from worker.pools.reading.judging import UNCLOSED, Judge, Verdict, candidates, refused
from worker.pools.reading.layouts import Layout
from worker.pools.reading.norms import Norm
from worker.pools.reading.owners import NOBODY, Owner, Owners
from worker.pools.reading.read_as import ReadAs
from worker.pools.reading.records import ADDRESS, Rows
from worker.pools.reading.shapes import Shapes, could_be_key, groups, runs, words_of
from worker.pools.reading.texts import Text, Typed
from worker.pools.reading.words import Meaning

T = TypeVar("T")

SHORTEST_DATE_PART = 2
SYMBOL = re.compile("[A-Za-z0-9]")

Matches = Callable[[str], re.Match[str] | None]


def _nothing(_: str) -> None:
    """Match nothing."""


@dataclass
class KeyReader:
    """Reads the keys of one input."""

    text: Text | Typed
    layout: Layout
    read_as: ReadAs

    def __post_init__(self) -> None:
        self._places = self.layout.places[Meaning.CODE]
        self._sample = self._sampled()
        self._form = _form(self._sample)
        self._owners = Owners(self.layout, common=self.read_as.labels)
        self._used = any(meaning in self.layout.places for meaning in (Meaning.STATE, Meaning.USES))
        self._again = (
            [unquoted(visible(cell)) for cell in self.layout.heading.cells]
            if self.layout.heading
            else []
        )

    def survey(self) -> Norm:
        """See what the keys of the whole input look like.

        Raises:
            InvalidInputError: a column that is not read holds e-mail addresses.
        """
        shapes = Shapes()
        for rows in self.layout.rows(self.text):
            self._refuse_addresses(rows)
            cells = [cell for place in self._places for cell in rows.column(place)]
            slow = cells
            if self._form:
                slow = [cells[place] for place in self._form.others(cells)]
                shapes.add_alike(self._form.example, len(cells) - len(slow))
            for cell in filter(None, slow):
                for code in candidates(cell):
                    shapes.add(code)
        return Norm(shapes, sample=self._sample)

    def blocks(self, norm: Norm) -> Iterator[Keys]:
        """Give the keys, judged by what all of them look like."""
        judge = Judge(norm, self.read_as.any_shape, self.text.encoding)
        form = self._form if self._form and self._form.is_like(norm) else None
        matches = form.matches if form else _nothing
        alone = not self._owners.known and not self._used and len(self._places) == 1
        for rows in self.layout.rows(self.text):
            if form and alone:
                yield self._judged_at_once(rows, judge, form)
            else:
                yield self._judged(rows, judge, matches)

    def _judged_at_once(self, rows: Rows, judge: Judge, form: "Form") -> Keys:
        """Take the cells of the usual form as they are, and judge the others."""
        cells = rows.column(self._places[0])
        others = form.others(cells)
        if not others and not rows.unclosed:
            return Keys(list(rows.numbers), cells)
        judged = self._judged(rows.some(others), judge, _nothing)
        usual = Keys(_between(others, rows.numbers), _between(others, cells))
        return _merged(usual, judged)

    def _judged(self, rows: Rows, judge: Judge, matches: Matches) -> Keys:
        """Judge rows one by one."""
        keys = Keys([], [], [])
        for number, row in zip(rows.numbers, rows.cells, strict=True):
            self._judge_row(number, row, judge, matches, keys)
        if not any(map(any, keys.owners)):
            keys.owners = []
        if max(keys.parts or [1]) == 1:
            keys.parts = None
        keys.refused += [
            Line(number, 1, *refused(line, UNCLOSED)) for number, line in rows.unclosed
        ]
        keys.refused.sort()
        return keys

    def _judge_row(
        self, number: int, row: list[str], judge: Judge, matches: Matches, keys: Keys
    ) -> None:
        """Judge each key on a row, or the row where something else on it speaks against them."""
        verdicts = self._verdicts(row, judge, matches)
        if not verdicts:
            return
        owner = NOBODY
        try:
            owner = self._owner(row) if self._owners.known else NOBODY
            self._refuse_used(row)
        except people.NotKeptError as error:
            verdicts = [v if v.reason else refused(v.code, str(error)) for v in verdicts]
        for part, verdict in enumerate(verdicts, 1):
            if verdict.reason:
                keys.refused.append(Line(number, part, *verdict))
            else:
                keys.add(number, part, verdict.code, owner)

    def _owner(self, row: list[str]) -> Owner:
        """Give whom a row's keys are for; NotKeptError where a reference would be lost."""
        owner = self._owners.of(row)
        if owner.reference and not owner.recipient:
            raise people.NotKeptError(
                "It has a reference and no recipient; give one, or leave it away."
            )
        return owner

    def _verdicts(self, row: list[str], judge: Judge, matches: Matches) -> list[Verdict]:
        """Judge what stands in the keys' columns; gives nothing for a row that is blank, or a heading."""
        cells = [row[place].strip() for place in self._places if place < len(row)]
        if len(cells) == 1 and matches(cells[0]):
            return [Verdict(cells[0])]
        filled = [cell for cell in cells if cell]
        if not filled and not any(map(str.strip, row)):
            return []
        if self._again and [unquoted(visible(cell)) for cell in row] == self._again:
            return []
        return [verdict for cell in filled or [""] for verdict in judge.verdicts(cell)]

    def _refuse_used(self, row: list[str]) -> None:
        """Raise NotKeptError where a row's state or count of uses says that its keys were used."""
        if not self._used:
            return
        state, uses = (self._owners.cell(row, m) for m in (Meaning.STATE, Meaning.USES))
        if not states.says_unused(state):
            raise people.NotKeptError(f"Its state is “{state}”; only unused keys can be added.")
        if not states.says_no_uses(uses):
            column = self.layout.names(self.layout.places[Meaning.USES])
            raise people.NotKeptError(f"It was used already: “{column}” is “{uses}”.")

    def _refuse_addresses(self, rows: Rows) -> None:
        """Refuse a column of addresses that nobody reads: whose keys are they?"""
        for place in self.layout.unclear:
            cells = (row[place] for row in rows.cells if place < len(row) and "@" in row[place])
            if any(ADDRESS.fullmatch(cell.strip()) for cell in cells):
                raise errors.InvalidInputError(
                    unclear(self.layout.name(place), "e-mail addresses", "recipient"),
                    field="column",
                )

    def _sampled(self) -> list[str]:
        rows = [row.cells for row in self.layout.sample]
        cells = (row[place] for row in rows for place in self._places if place < len(row))
        return [code for cell in cells for code in candidates(cell)]


class Form(NamedTuple):
    """The form that most keys of an input have: told by a pattern that nothing else has."""

    matches: Matches
    in_a_row: re.Pattern[str]
    example: str

    def others(self, cells: list[str]) -> list[int]:
        """Give the places of the cells that have not this form: many are told at one look."""
        text = "\n".join(cells) + "\n"
        if text.count("\n") != len(cells):
            return [place for place, cell in enumerate(cells) if not self.matches(cell)]
        others: list[int] = []
        behind, place = 0, 0
        for start, end in chain(
            map(re.Match.span, self.in_a_row.finditer(text)), [(len(text), len(text))]
        ):
            first = place + text.count("\n", behind, start)
            others += range(place, first)
            behind, place = end, first + text.count("\n", start, end)
        return others

    def is_like(self, norm: Norm) -> bool:
        """Say whether keys of this form are like the others."""
        return not norm.unlike(self.example) and not norm.notice(self.example)


def _form(sample: list[str]) -> Form | None:
    """Find the form of most of some keys; None where each key of it has to be looked at for itself."""
    counted = Counter(SYMBOL.sub("x", code) for code in sample)
    form, count = next(iter(counted.most_common(1)), ("", 0))
    if 2 * count <= len(sample) or "." in form or _could_be_date(form) or _could_hold_key(form):
        return None
    pattern = re.sub("x+", lambda run: f"[A-Za-z0-9]{{{len(run[0])}}}", form)
    with_digit = f"(?=[A-Za-z_ -]*[0-9]){pattern}"
    matches = re.compile(with_digit).fullmatch
    in_a_row = re.compile(f"(?m:^)(?:{with_digit}\n)+")
    example = next((code for code in sample if matches(code)), None)
    return Form(matches, in_a_row, example) if example else None


def _could_be_date(form: str) -> bool:
    return len(groups(form)) == 3 and min(groups(form)) <= SHORTEST_DATE_PART


def _could_hold_key(form: str) -> bool:
    """Say whether some words of a form could be a key alone, of any kind or a generated one."""
    words = words_of(form)
    parts = [words[run] for run in runs(len(words))]
    return any(could_be_key(part) and len(part) == 1 for part in parts) or any(
        sum(map(sum, part)) == LENGTH for part in parts
    )


def _between(places: list[int], values: Sequence[T]) -> list[T]:
    """Give the values that are in none of some places."""
    starts, ends = [0, *(place + 1 for place in places)], [*places, len(values)]
    return [value for s, e in zip(starts, ends, strict=True) for value in values[s:e]]


def _merged(keys: Keys, judged: Keys) -> Keys:
    """Put keys that were judged one by one among the others, in the order of their lines."""
    keys.refused = judged.refused
    if judged.codes:
        numbers, found = [*keys.numbers, *judged.numbers], [*keys.codes, *judged.codes]
        parts = keys.all_parts() + judged.all_parts()
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        keys.numbers, keys.codes = [numbers[n] for n in order], [found[n] for n in order]
        keys.parts = [parts[n] for n in order] if max(parts) > 1 else None
    return keys


def unclear(column: str, holds: str, meaning: str) -> str:
    """Ask the caller for what a column means."""
    return (
        f"The column “{column}” holds {holds}, and is not read; say what it is (column "
        f"{meaning}={column}), or that it is to be left (ignore {column})."
    )
