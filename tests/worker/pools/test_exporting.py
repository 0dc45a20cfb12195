"""The export as people's programs take it: CSV, CSV for Excel, and a workbook (K9)."""

import io
import threading
import zipfile
from collections.abc import Iterator
from typing import NoReturn
from xml.etree import ElementTree

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from tests import world as worlds
from tests.conftest import Addresses
from tests.world import OPERATOR, World
from webhook import create_app
from webhook.http import files
from worker import cli, errors
from worker.database import connections
from worker.database.connections import Login
from worker.demo import world as demo
from worker.pools import distributions, exporting
from worker.tenancy import organizations, tokens
from worker.tenancy.actors import Role

FORMULA = "=1+1; or, so"
LATE = 0.3  # seconds that a thread is behind, unless the reader goes first


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
        ('a"; filename="b.exe', "csv", "a ; filename= b.exe.csv"),
        ("Keys \u202egnp.exe", "xlsx", "Keys gnp.exe.xlsx"),  # shown as Keys xslx.exe.png
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


@pytest.fixture
def reader_left() -> Iterator[threading.Event]:
    """Have whatever reads ahead reach the database only once its reader left, or much later."""
    left = threading.Event()

    def wait(*_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            left.wait(LATE)

    event.listen(Engine, "before_cursor_execute", wait)
    yield left
    event.remove(Engine, "before_cursor_execute", wait)


def read_the_first_codes(world: World) -> None:
    assert len(list(demo.codes(world.pool, 2))) == 2


def fill_the_disk(world: World) -> None:
    def refuse(blocks: Iterator[bytes], **_: object) -> NoReturn:
        assert next(blocks)
        assert next(blocks)
        raise errors.InvalidInputError("keys.csv cannot be written: no space left on device.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.cli.keys.deliver", refuse)
        assert cli.answer(["keys", "export", world.pool]) == cli.NOT_DONE


def hang_up_on_the_web(world: World) -> None:
    with connections.session() as opened:
        made = tokens.add(opened, actor=OPERATOR, name="export", role=Role.OPERATOR)
    with connections.session(Login.WEB) as opened:
        known = tokens.authenticate(opened, made["token"], client="192.0.2.1")
    with create_app().test_request_context():
        answer = files.table("keys.csv", exporting.export, actor=known.actor, pool=world.pool)
        blocks = iter(answer.response)
        assert next(blocks)
        assert next(blocks)
        answer.response.close()


@pytest.mark.parametrize("stop", [read_the_first_codes, fill_the_disk, hang_up_on_the_web])
def test_an_export_that_is_not_read_to_its_end_leaves_its_connection_idle(world, reader_left, stop):
    stop(world)
    reader_left.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join()

    for login in (Login.OWNER, Login.WEB):
        for pooled in connections.engine(login).pool._pool.queue:
            assert pooled.dbapi_connection.info.transaction_status is TransactionStatus.IDLE
