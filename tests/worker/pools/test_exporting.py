"""The export as people's programs take it: CSV, CSV for Excel, and a workbook (K9)."""

import io
import zipfile
from xml.etree import ElementTree

import pytest

from tests import world as worlds
from tests.conftest import Addresses
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections
from worker.pools import distributions, exporting
from worker.tenancy import organizations

FORMULA = "=1+1; or, so"


@pytest.fixture
def world(fresh_database: Addresses) -> World:
    """A pool whose owner writes German, with a key for a recipient who looks like a formula."""
    with connections.session() as opened:
        made = worlds.build(opened)
        organizations.edit(opened, actor=OPERATOR, organization=str(made.parent), locale="de")
        made.keys(3)
        distributions.distribute(
            opened, actor=OPERATOR, pool=made.pool, recipient=FORMULA, reference="Ä-1"
        )
        return made


def exported(world: World, format: str) -> bytes:
    with connections.session(snapshot=True) as opened:
        return b"".join(exporting.export(opened, actor=OPERATOR, pool=world.pool, format=format))


def sheets(book: bytes) -> list[list[list[str]]]:
    """Read the rows of each sheet of a workbook, whose cells hold their text themselves."""
    with zipfile.ZipFile(io.BytesIO(book)) as opened:
        parts = sorted(name for name in opened.namelist() if "/worksheets/sheet" in name)
        trees = [ElementTree.fromstring(opened.read(name)) for name in parts]  # noqa: S314  # our own
    rows = [[list(row) for row in tree.iterfind(".//{*}row")] for tree in trees]
    return [[["".join(cell.itertext()) for cell in row] for row in sheet] for sheet in rows]


def test_excels_csv_has_a_mark_and_the_separator_of_the_owners_language(world):
    mark, lines = exported(world, "excel")[:3], exported(world, "excel").decode("utf-8-sig")

    header, first, *_ = lines.splitlines()
    assert mark == b"\xef\xbb\xbf"
    assert header == exporting.HEADER.strip().replace(",", ";")
    assert first.split(";", 2)[2].startswith('"\'=1+1; or, so";Ä-1;')


def test_excels_csv_keeps_the_comma_where_a_point_marks_decimals(world):
    with connections.session() as opened:
        organizations.edit(opened, actor=OPERATOR, organization=str(world.parent), locale="en")

    assert exported(world, "excel").decode("utf-8-sig") == exported(world, "csv").decode()


def test_a_workbook_holds_the_same_cells_as_text_and_needs_no_guard(world):
    [[header, first, *others]] = sheets(exported(world, "xlsx"))

    assert header == exporting.HEADER.strip().split(",")
    assert first[1:4] == ["issued", FORMULA, "Ä-1"]
    assert [row[1] for row in others] == ["issued", "issued"]


def test_a_workbook_has_another_sheet_where_one_is_full(world, monkeypatch):
    monkeypatch.setattr(exporting, "SHEET", 3)

    assert [len(sheet) for sheet in sheets(exported(world, "xlsx"))] == [3, 1]


@pytest.mark.parametrize(
    ("pool", "format", "name"),
    [
        ("Herbst 2026", "csv", "Herbst 2026.csv"),
        ("Q1/Q2: <new>", "xlsx", "Q1 Q2 new.xlsx"),
        ("春", "excel", "春.csv"),
        ("...", "csv", "keys.csv"),
    ],
)
def test_the_file_is_named_after_its_pool(session, pool, format, name):
    made = worlds.build(session, name=None)
    made.session.execute(worlds.text("UPDATE pool SET name = :name"), {"name": pool})

    assert exporting.file(session, actor=OPERATOR, pool=made.pool, format=format).name == name


def test_another_format_is_refused_naming_those_there_are(session):
    made = worlds.build(session)

    with pytest.raises(errors.InvalidInputError, match="csv, excel, xlsx") as refused:
        exporting.file(session, actor=OPERATOR, pool=made.pool, format="pdf")

    assert refused.value.field == "format"
