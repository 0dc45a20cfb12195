"""Keys by the million: generated, imported, exported."""

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psycopg
import xlsxwriter
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.frame import Child, Rig, Round, benchmark, in_a_process, plain, psql, seconds
from benchmarks.serving import memory_mb, served
from benchmarks.shop import OPERATOR, copy
from worker.catalogue import courses
from worker.database import connections
from worker.pools import batches, codes, keys, pools
from worker.tables.pools import Key
from worker.tenancy import organizations, tokens
from worker.tenancy.actors import Role

POOL = "Benchmarks"
ALREADY = 1_000_000  # keys that the table holds before anything is measured
PEER = 20_000  # keys that the slow peers make


# --------------------------------------------------------------------------- what there is before


def filled() -> None:
    """Fill a database with a pool of a million keys, and an empty one to add to."""
    with connections.session() as session:
        organizations.add(session, actor=OPERATOR, name="Seller")
        courses.add(session, actor=OPERATOR, code="C", title="C", price="1", currency="EUR")
        for name in (POOL, "Others"):
            _add_pool(session, name)
    with psycopg.connect(plain()) as connection:
        copy(connection, ready_made(ALREADY, pool=2))


def lively() -> None:
    """Fill the pool itself with a million keys: some handed out, some redeemed."""
    filled()
    with connections.session() as session:
        session.execute(text("UPDATE key SET pool_id = 1"))
        session.execute(
            text("""
            INSERT INTO distribution (pool_id, recipient, reference)
            SELECT 1, 'reseller' || n || '@example.com', 'A-' || n FROM generate_series(1, 1000) n""")
        )
        session.execute(text("UPDATE key SET distribution_id = 1 + id % 1000 WHERE id % 3 = 0"))
        session.execute(
            text("""
            INSERT INTO learner (organization_id, email, name)
            SELECT 1, 'learner' || id || '@example.com', 'Learner ' || id FROM key WHERE id % 10 = 0""")
        )
        session.execute(
            text("""
            INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,
                                    redeemed_at, expires_at)
            SELECT key.id, 1, 1, learner.id, 1, now(), now() + interval '30 days'
              FROM key JOIN learner ON learner.email = 'learner' || key.id || '@example.com'
             WHERE key.id % 10 = 0""")
        )
        session.execute(text("UPDATE key SET state = 'redeemed' WHERE id % 10 = 0"))


def _add_pool(session: Session, name: str) -> None:
    pools.create(
        session,
        actor=OPERATOR,
        name=name,
        organization="Seller",
        course="C",
        starts="2020-01-01",
        expires="2090-01-01",
        content_availability=30,
    )


def ready_made(count: int, *, pool: int) -> bytes:
    """Make the rows of so many keys beforehand, in the order that COPY likes best."""
    made = np.sort(codes.draw(codes.first_letters(count))).tolist()
    return b"".join(b"%d\tt\t%s\n" % (pool, code) for code in made)


def bare_copy(rig: Rig, count: int) -> float:
    """Measure the limit: one COPY of ready-made, sorted rows into the same table."""
    rows = ready_made(count, pool=1)
    with rig.database(filled), psycopg.connect(plain()) as connection:

        def copied() -> None:
            copy(connection, rows)
            connection.commit()

        return count / seconds(copied)


# ----------------------------------------------------------------------------------- keys.generate


@benchmark("keys.generate", unit="keys/s", n=1_000_000)
def generation(rig: Rig, count: int) -> Round:
    """A worker's batch, bare COPY, and an ORM's add per key; and whether memory grows with n."""
    limit = bare_copy(rig, count)
    ours = _generated(rig, count)
    small = _generated(rig, max(1, count // 10))
    return Round(
        ours=count / ours.seconds,
        limit=limit,
        peer=_orm(rig),
        peak_memory_mb=ours.memory_mb,
        notes={"memory, times that for a tenth": ours.memory_mb / small.memory_mb},
    )


def _generated(rig: Rig, count: int):  # type: ignore[no-untyped-def]
    with rig.database(filled):
        connections.transaction(batches.generate, actor=OPERATOR, pool=POOL, count=count)
        return in_a_process("benchmarks.keys:work")


def work() -> None:
    """Work every batch, as the worker does."""
    while connections.transaction(batches.work_chunk) is not None:
        pass


def _orm(rig: Rig) -> float:
    made = codes.draw(codes.first_letters(PEER)).tolist()

    def adding() -> None:
        with connections.session() as session:
            for code in made:
                session.add(Key(pool_id=1, generated=True, code=code.decode()))
                session.flush()

    with rig.database(filled):
        return PEER / seconds(adding)


# ------------------------------------------------------------------------------------- keys.import


@benchmark("keys.import", unit="lines/s", n=1_000_000)
def importing(rig: Rig, count: int) -> Round:
    """A file's import with its line-by-line report; COPY and an anti-join; an insert per line."""
    lines = _lines(count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.txt"
        path.write_text("\n".join(lines))
        ours = _imported(rig, path)
    return Round(
        ours=count / ours.seconds,
        limit=_copy_and_anti_join(rig, lines),
        peer=_one_by_one(rig),
        peak_memory_mb=ours.memory_mb,
    )


@benchmark("keys.import_xlsx", unit="rows/s", n=500_000)
def importing_xlsx(rig: Rig, count: int) -> Round:
    """A workbook's import, likewise; and whether memory grows with its rows."""
    with tempfile.TemporaryDirectory() as folder:
        large, small = (_workbook(Path(folder), rows) for rows in (count, max(1, count // 10)))
        ours, few = _imported(rig, large), _imported(rig, small)
    return Round(
        ours=count / ours.seconds,
        peak_memory_mb=ours.memory_mb,
        notes={"memory, times that for a tenth": ours.memory_mb / few.memory_mb},
    )


def _imported(rig: Rig, path: Path) -> Child:
    with rig.database(filled):
        os.environ["BENCHMARK_FILE"] = str(path)
        return in_a_process("benchmarks.keys:import_file")


def _lines(count: int) -> list[str]:
    """Make lines of which one in a hundred is a duplicate and one in a hundred is bad."""
    lines = [code.decode() for code in codes.draw(codes.first_letters(count)).tolist()]
    for place in range(100, count, 100):
        lines[place] = lines[place - 100].lower()
        lines[place - 50] = "=1+1"
    return lines


def _workbook(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.xlsx"
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for number, line in enumerate(["Code", *_lines(rows)]):
            sheet.write_string(number, 0, line)
    return path


ANTI_JOIN = """
    INSERT INTO key (pool_id, code)
    SELECT 1, code
      FROM (SELECT DISTINCT ON (canonical) canonical, code
              FROM (SELECT line, code, canonical_code(code) AS canonical FROM given) AS given
             ORDER BY canonical, line) AS given
     WHERE NOT EXISTS (SELECT FROM key WHERE key.canonical = given.canonical)
     ORDER BY canonical"""


def _copy_and_anti_join(rig: Rig, lines: list[str]) -> float:
    """Measure the limit: the good lines by COPY, and those that are no key's yet in one statement."""
    rows = "".join(f"{n}\t{line}\n" for n, line in enumerate(lines, 1) if line[0] != "=").encode()

    def added() -> None:
        connection.execute("CREATE TEMPORARY TABLE given (line bigint, code text)")
        with connection.cursor().copy("COPY given FROM STDIN") as copying:
            copying.write(rows)
        connection.execute(ANTI_JOIN)
        connection.commit()

    with rig.database(filled), psycopg.connect(plain()) as connection:
        return len(lines) / seconds(added)


def import_file() -> None:
    """Import the file, work the batch, and read the report of every line."""
    path = Path(os.environ["BENCHMARK_FILE"])
    with path.open("rb") as stream, connections.session() as session:
        report = keys.import_keys(session, actor=OPERATOR, pool=POOL, stream=stream)
    work()
    if report["batch"]:
        with connections.session(snapshot=True) as session:
            for _ in batches.report_csv(session, actor=OPERATOR, batch=report["batch"]):
                pass


def _one_by_one(rig: Rig) -> float:
    made = [code.decode() for code in codes.draw(codes.first_letters(PEER // 4)).tolist()]

    def adding() -> None:
        with connections.session() as session:
            for code in made:
                if session.scalar(select(Key.id).where(Key.canonical == codes.canonical(code))):
                    continue
                session.add(Key(pool_id=1, code=code))
                session.flush()

    with rig.database(filled):
        return len(made) / seconds(adding)


# ------------------------------------------------------------------------------------- keys.export

COLUMNS = """
    SELECT key.code, key.state, distribution.recipient, distribution.reference,
           distribution.distributed_at, learner.email, learner.name, organization.name,
           assignment.redeemed_at, assignment.expires_at
      FROM key
      LEFT JOIN distribution ON distribution.id = key.distribution_id
      LEFT JOIN assignment ON assignment.key_id = key.id AND NOT assignment.undone
      LEFT JOIN learner ON learner.id = assignment.learner_id
      LEFT JOIN organization ON organization.id = assignment.organization_id
     WHERE key.pool_id = 1"""


@benchmark("keys.export", unit="keys/s", n=ALREADY)
def exporting_keys(rig: Rig, _: int) -> Round:
    """A pool's CSV over HTTP, psql's \\copy of the same columns, and pandas."""
    with rig.database(lively), tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "keys.csv"
        token = _token()
        with served(Path(folder)) as (web, server):
            address = f"{web}/api/v1/pools/1/keys"
            _download(address, token, target)  # the limit is measured with a warm cache too
            limit = seconds(
                partial(psql, f"\\copy ({_one_line(COLUMNS)}) TO '{target}' CSV HEADER")
            )
            before = memory_mb(server)
            begun = time.perf_counter()
            first_byte = _download(address, token, target)
            ours = time.perf_counter() - begun
            after = memory_mb(server)
        peer = seconds(partial(_pandas, target))
    return Round(
        ours=ALREADY / ours,
        limit=ALREADY / limit,
        peer=ALREADY / peer,
        peak_memory_mb=after,
        notes={"first byte, ms": first_byte * 1000, "memory, times that before": after / before},
    )


def _token() -> str:
    made = connections.transaction(tokens.add, actor=OPERATOR, name="bench", role=Role.OPERATOR)
    return str(made["token"])


def _one_line(statement: str) -> str:
    return " ".join(statement.split())


def _download(address: str, token: str, target: Path) -> float:
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/csv"}
    begun, first = time.perf_counter(), None
    with target.open("wb") as file, httpx.stream("GET", address, headers=headers) as answer:
        answer.raise_for_status()
        for block in answer.iter_raw():
            first = first or time.perf_counter() - begun
            file.write(block)
    return first or 0


def _pandas(target: Path) -> None:
    import pandas as pd

    pd.read_sql(COLUMNS, connections.engine()).to_csv(target, index=False)
