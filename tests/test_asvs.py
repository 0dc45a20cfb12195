"""docs/asvs.md names tests that there are, and says of everything how it stands."""

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
TABLE = (HOUSE / "docs" / "asvs.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d", line)
]
STATES = {"met", "by design", "partly", "not met", "n/a", "by the operator", "see V10"}


def named() -> list[tuple[str, str | None]]:
    """The files that the table names, and of each the test, if it names one."""
    found: list[tuple[str, str | None]] = []
    file = ""
    for path, name in re.findall(r"`([\w/]*test_\w+\.py|…)(?:::(test_\w+))?`", TABLE):
        file = file if path == "…" else path
        found.append((file, name or None))
    return found


@pytest.mark.parametrize(("file", "name"), named())
def test_a_test_that_the_table_names_is_there(file, name):
    source = (HOUSE / "tests" / file).read_text()

    assert name is None or f"def {name}(" in source


def test_every_row_says_how_it_stands_and_by_what():
    assert {state for _, _, state, _ in ROWS} <= STATES
    assert [row for row in ROWS if row[2] in ("met", "partly", "not met") and not row[3]] == []


def test_every_chapter_is_there():
    assert re.findall(r"^## V(\d+) ", TABLE, re.MULTILINE) == [str(n) for n in range(1, 18)]
