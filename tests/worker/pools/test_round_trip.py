"""Export, import, export: the same to the byte, whatever people call recipients and orders (K9, K5)."""

import csv
import io
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import Addresses
from tests.world import OPERATOR
from worker import errors
from worker.database import connections
from worker.pools import distributions, exporting, keys
from worker.pools.reading import ReadAs
from worker.tenancy import organizations

KEPT = ("code", "state", "recipient", "reference", "labels")
AS_THEY_ARE = ReadAs.of(any_shape=True)

SIGNS = "=+-@'\"`,;|\t\r\n .:/\\#%&*()[]{}<>^~_$!?"
UNSEEN = "\u00ad\u200b\u200f\u2060\ufeff\u00a0\u3000\u2028"
WIDE = "＝＋－＠＇＂，；｜１Ａａ．　"
OTHERS = "äßÉłçИЖ漢字ｶﾞé①㎏🎓\u0301\u05d0\u0600"
CHARACTERS = st.one_of(
    st.sampled_from("aZ09" + SIGNS + UNSEEN + WIDE + OTHERS),
    st.characters(exclude_categories=["Cs"]),
)
BEGINNINGS = st.sampled_from(
    [
        "",
        "=",
        "+",
        "-",
        "@",
        "'",
        "'=",
        "''-1",
        "\t=",
        '="',
        '"',
        "＝",
        " =1+1",
        "sep=",
        "code",
        "1.",
    ]
)
WORDS = st.builds(str.__add__, BEGINNINGS, st.text(CHARACTERS, max_size=12))
RECIPIENTS = st.one_of(
    WORDS,
    st.sampled_from(["ann@example.org", "max@münchen.example", "=ann@example.org", "O'Neil, Ann"]),
)
CODES = st.from_regex(
    r"[A-Za-z0-9]{4}[-_. ]{0,2}[A-Za-z0-9]{4}[-_.]?[A-Za-z0-9]{0,6}", fullmatch=True
)


@pytest.fixture
def pool(fresh_database: Addresses) -> str:
    """The pool of an organization that writes German, in a world that other transactions see."""
    with connections.session() as session:
        made = worlds.build(session)
        organizations.edit(session, actor=OPERATOR, organization=str(made.parent), locale="de")
        return made.pool


@pytest.mark.parametrize("format", list(exporting.Format))
def test_what_is_exported_is_imported_and_exported_alike(pool, format):
    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(st.tuples(CODES, RECIPIENTS, WORDS, WORDS), min_size=1, max_size=6))
    def alike(rows: list[tuple[str, str, str, str]]) -> None:
        connections.transaction(emptied)
        for row in rows:
            kept(pool, *row)
        file = exported(pool, format)
        before = cells(file, format)
        assume(before)

        connections.transaction(emptied)
        report = imported(pool, file)

        assert (report["added"], report["refused"]) == (len(before), [])
        assert cells(exported(pool, format), format) == before

    alike()


def emptied(session: Session) -> None:
    """Let the keys that there are be free for another import."""
    session.execute(text("DELETE FROM key"))
    session.execute(text("DELETE FROM distribution"))


def kept(pool: str, code: str, recipient: str, reference: str, label: str) -> None:
    """Add a key, and hand it out if keypool takes its words: what is stored is what counts here."""
    asked = {"actor": OPERATOR, "pool": pool}
    connections.transaction(keys.add_keys, codes=[code], read_as=AS_THEY_ARE, **asked)
    if not recipient:
        return
    words = {"recipient": recipient, "reference": reference, "labels": [label]}
    with suppress(errors.KeypoolError):
        connections.transaction(distributions.distribute, **asked, **words)


def exported(pool: str, format: str) -> bytes:
    with connections.session(snapshot=True) as session:
        blocks = exporting.export(session, actor=OPERATOR, pool=pool, format=format, labels=True)
        return b"".join(blocks)


def cells(file: bytes, format: str) -> list[tuple[str, ...]]:
    """Give what of an export's rows has to come back, in any order."""
    if format == exporting.Format.XLSX:
        header, *rows = (
            CalamineWorkbook.from_filelike(io.BytesIO(file)).get_sheet_by_index(0).to_python()
        )
    else:
        comma = ";" if format == exporting.Format.EXCEL else ","
        lines = io.StringIO(file.decode("utf-8-sig"), newline="")
        header, *rows = csv.reader(lines, delimiter=comma)
    places = [header.index(name) for name in KEPT]
    return sorted(tuple(row[place] for place in places) for row in rows)


def imported(pool: str, file: bytes) -> dict:
    with connections.session() as session:
        given = {"actor": OPERATOR, "pool": pool, "stream": io.BytesIO(file)}
        return dict(keys.import_keys(session, read_as=AS_THEY_ARE, **given))
