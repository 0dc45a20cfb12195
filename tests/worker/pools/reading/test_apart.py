"""Workbooks that unpack to far more than they are: refused in a sentence, and nobody else is touched."""

import io
import zipfile
from collections.abc import Callable

import pytest

from tests.worker.pools.reading.inputs import ods
from tests.worker.pools.reading.test_workbooks import ROWS, remade, workbook
from worker import errors
from worker.pools.reading import apart, workbooks
from worker.pools.reading.apart import read  # before conftest.py has workbooks read here
from worker.pools.reading.files import opened

CELL = '<c r="{0}" t="str"><v>AAAA-0001</v></c>'


def far(*places: str) -> bytes:
    """Make an xlsx with a key in its first cell and in others, however far away."""
    rows = "".join(
        f'<row r="{place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}">{CELL.format(place)}</row>'
        for place in places
    )
    return remade(workbook([["AAAA-0001"]]), sheet=("</sheetData>", f"{rows}</sheetData>"))


def repeated(**numbers: int) -> bytes:
    """Make an ods whose one cell is there as often as it is said to be."""
    row, cell = (f'table:number-{what}-repeated="{n}"' for what, n in numbers.items())
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(ods([["A" * 100_000]]))) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            text = old.read(name).decode()
            text = text.replace("<table:table-row>", f"<table:table-row {row}>")
            new.writestr(name, text.replace("<table:table-cell ", f"<table:table-cell {cell} "))
    return made.getvalue()


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "rows far apart": ("xlsx", lambda: far("A1000000000")),
    "columns far apart": ("xlsx", lambda: far("ZZZZZZ2")),
    "a long text a million times": ("ods", lambda: repeated(rows=1_000_000, columns=1)),
    "wide and high": ("ods", lambda: ods([["AAAA-0001"] * 9_000, *[["AAAA-0001"]] * 20_000])),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_workbook_that_unpacks_to_more_than_there_is_room_for_is_refused(bomb):
    kind, content = BOMBS[bomb]
    made = content()

    with pytest.raises(errors.InvalidInputError, match=r"too large|damaged"):
        read(io.BytesIO(made), kind)

    assert len(made) < 5_000_000


def test_a_workbook_is_read_apart_as_it_is_read_here():
    content = workbook([], ROWS, [["AAAA-0009"]])

    there, here = (reading(io.BytesIO(content), "xlsx") for reading in (read, workbooks.read))

    assert (there.sheet, there.others) == (here.sheet, here.others)
    assert list(there.text.blocks()) == list(here.text.blocks())


def test_a_refusal_is_told_in_the_same_sentence():
    with pytest.raises(errors.InvalidInputError, match="There is nothing in the workbook"):
        read(io.BytesIO(workbook([])), "xlsx")


def test_who_reads_knows_no_setting_and_writes_no_more_than_may_be_uploaded(monkeypatch):
    asked = {}

    def run(command, **how):
        asked.update(how, command=command)
        raise apart.subprocess.CalledProcessError(-9, command)

    monkeypatch.setattr(apart.subprocess, "run", run)
    with pytest.raises(errors.InvalidInputError, match="damaged or too large"):
        read(io.BytesIO(b""), "xls")

    assert set(asked["env"]) == {"OPENBLAS_NUM_THREADS", "TMPDIR"}
    assert asked["command"][-1] == str(1 << 30)


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_an_archive_that_says_that_it_is_too_large_is_refused_before_it_is_unpacked(
    monkeypatch, kind
):
    content = workbook(ROWS) if kind == "xlsx" else ods([["AAAA-0001"]])
    monkeypatch.setattr(workbooks, "LARGEST", 10)
    monkeypatch.setattr(workbooks, "LARGEST_SLICED", 10)

    with pytest.raises(errors.InvalidInputError, match="too large; save it as CSV"):
        opened(io.BytesIO(content))


def test_an_archive_of_very_many_parts_is_refused_before_they_are_listed():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:030}", b"")

    with pytest.raises(errors.InvalidInputError, match="damaged"):
        opened(made)
