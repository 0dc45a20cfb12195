"""docs/asvs.md has every requirement of ASVS 5.0.0's levels 1 and 2 once, and names tests that there are."""

import re
from collections import Counter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
TABLE = (HOUSE / "docs" / "asvs.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d", line)
]
STATES = {"met", "not met", "n/a"}

# The requirements of levels 1 and 2, by section: how many there are, or which where level 3 has some between.
SECTIONS: dict[str, int | list[int]] = {
    "1.1": 2,
    "1.2": 9,
    "1.3": 11,
    "1.4": 3,
    "1.5": 2,
    "2.1": 3,
    "2.2": 3,
    "2.3": 4,
    "2.4": 1,
    "3.2": 2,
    "3.3": 4,
    "3.4": 6,
    "3.5": 5,
    "3.7": 2,
    "4.1": 3,
    "4.2": 1,
    "4.3": 2,
    "4.4": 4,
    "5.1": 1,
    "5.2": 3,
    "5.3": 2,
    "5.4": 3,
    "6.1": 3,
    "6.2": 12,
    "6.3": 4,
    "6.4": 4,
    "6.5": 5,
    "6.6": 3,
    "6.8": 4,
    "7.1": 3,
    "7.2": 4,
    "7.3": 2,
    "7.4": 5,
    "7.5": 2,
    "7.6": 2,
    "8.1": 2,
    "8.2": 3,
    "8.3": 1,
    "8.4": 1,
    "9.1": 3,
    "9.2": 4,
    "10.1": 2,
    "10.2": 2,
    "10.3": 4,
    "10.4": 11,
    "10.5": 5,
    "10.6": 2,
    "10.7": 3,
    "11.1": 2,
    "11.2": 3,
    "11.3": 3,
    "11.4": 4,
    "11.5": 1,
    "11.6": 1,
    "12.1": 3,
    "12.2": 2,
    "12.3": 4,
    "13.1": 1,
    "13.2": 5,
    "13.3": 2,
    "13.4": 5,
    "14.1": 2,
    "14.2": 4,
    "14.3": 3,
    "15.1": 3,
    "15.2": 3,
    "15.3": 7,
    "16.1": 1,
    "16.2": 5,
    "16.3": 4,
    "16.4": 3,
    "16.5": 3,
    "17.1": 1,
    "17.2": 4,
    "17.3": 2,
}


def numbers() -> list[str]:
    """List the numbers of all requirements."""
    return [
        f"{section}.{number}"
        for section, there in SECTIONS.items()
        for number in (range(1, there + 1) if isinstance(there, int) else there)
    ]


def named(text: str = TABLE) -> list[tuple[str, str]]:
    """The tests that the table names, each by its file and its own name."""
    found: list[tuple[str, str]] = []
    file = ""
    for path, name in re.findall(r"`((?:\w+/)*test_\w+\.py|…)::(\w+)`", text):
        file = file if path == "…" else path
        found.append((file, name))
    return found


@pytest.mark.parametrize(("file", "name"), sorted(set(named())))
def test_a_test_that_the_table_names_is_there(file, name):
    source = (HOUSE / "tests" / file).read_text()

    assert re.search(rf"^def {name}\(", source, re.MULTILINE)


def test_nothing_else_is_named_as_a_test():
    marked = re.findall(r"`[^`]*test_[^`]*`", TABLE)

    assert len(marked) == len(named())


def test_every_requirement_stands_once_in_its_order():
    assert Counter(row[0] for row in ROWS) == Counter(numbers())
    assert [row[0] for row in ROWS] == numbers()
    assert len(ROWS) == 253


def test_every_row_is_met_not_met_or_not_applicable():
    assert [row for row in ROWS if len(row) != 4 or row[2] not in STATES or not row[1]] == []


def test_what_is_met_names_a_test_or_a_document_and_what_is_not_says_why():
    bare = [row[0] for row in ROWS if row[2] == "met" and not _shown(row[3])]
    silent = [row[0] for row in ROWS if row[2] != "met" and len(row[3].split()) < 2]

    assert (bare, silent) == ([], [])


def _shown(by: str) -> bool:
    """Say whether it names a test, or documents that there are."""
    documents = re.findall(r"((?:docs/)?[\w-]+\.(?:md|sql))", by)
    return bool(named(by)) or (
        bool(documents) and all((HOUSE / document).is_file() for document in documents)
    )


@pytest.mark.parametrize(
    ("document", "part"), sorted(set(re.findall(r"((?:docs/)?[\w-]+\.md) \(([^)]+)\)", TABLE)))
)
def test_a_part_of_a_document_that_the_table_names_is_there(document, part):
    text = (HOUSE / document).read_text().lower()
    named_there = [*re.findall(r"^#+ (.+)$", text, re.MULTILINE), *re.findall(r"`(\w+)`", text)]

    assert part.lower().strip("`") in named_there or part in text


def test_every_chapter_is_there():
    assert re.findall(r"^## V(\d+) ", TABLE, re.MULTILINE) == [str(n) for n in range(1, 18)]
