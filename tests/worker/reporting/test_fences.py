"""What a notebook's kernel and a printing browser reach: their own folder and the database, nothing else."""

import io
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import pyarrow as pa
import pytest
from pyarrow import parquet
from pypdf import PdfReader
from sqlalchemy import make_url

from tests import world as worlds
from tests.conftest import NEEDS_CHROMIUM, Addresses
from worker import reporting
from worker.database import connections as databases
from worker.machine import fence, fenced
from worker.reporting import kernels, logins, printing, scratches
from worker.settings import settings

NEEDS_FENCE = pytest.mark.skipif(fence.obstacle() is not None, reason=str(fence.obstacle()))

# What a hostile notebook tries. Each gives what it got, or the error's name.
TRIES = """
import duckdb, json, os, pathlib, socket, subprocess, psycopg
from worker import reporting
from worker.database import connections
from sqlalchemy import make_url

home, outside, port, home_socket, lake, own, other = TARGETS

def socket_at(family, address):
    connected = socket.socket(family); connected.settimeout(5); connected.connect(address); return "connected"

def login_as(user):
    url = make_url(connections.url(connections.Login.ANALYST)).set(drivername="postgresql", username=user)
    return str(psycopg.connect(url.render_as_string(hide_password=False)))

TRIED = {
    "reads the report's own organization": lambda:
        reporting.frame("SELECT name FROM report.organization")["name"].tolist(),
    "reads with psycopg": lambda: reporting.reading.row("SELECT count(*) AS n FROM report.organization")["n"],
    "reads keypool's home": lambda: os.listdir(home),
    "reads the user's home": lambda: os.listdir(outside),
    "lists other processes": lambda: [name for p in os.listdir("/proc") if p.isdigit()
        if (name := pathlib.Path(f"/proc/{p}/comm").read_text().strip()) not in ("python", "python3")],
    "counts processes": lambda: sum(name.isdigit() for name in os.listdir("/proc")),
    "reads its starter's environment": lambda:
        pathlib.Path(f"/proc/{os.getppid()}/environ").read_text().count("SECRET_KEY"),
    "connects to a port of this machine": lambda: socket_at(socket.AF_INET, ("127.0.0.1", port)),
    "connects to the superuser's socket": lambda: socket_at(socket.AF_UNIX, home_socket),
    "signs in as the superuser": lambda: login_as("postgres"),
    "signs in as the owner": lambda: login_as("keypool"),
    "writes keypool's code": lambda: open(reporting.__file__, "a").write("x"),
    "writes the kernel's settings": lambda: open("/proc/sys/kernel/panic", "w").write("1"),
    "becomes root of another namespace": lambda: subprocess.run(["unshare", "--user", "id"], check=True),
    "replaces what its runner writes": lambda: os.listdir(pathlib.Path(os.environ["HOME"]).parent),
    "reads its organization's lake": lambda:
        len(duckdb.sql(f"FROM '{lake}/launch/organization={own}/*/*.parquet'")),
    "reads another organization's lake": lambda: os.listdir(f"{lake}/launch/organization={other}"),
    "reads another organization's lake by DuckDB": lambda:
        duckdb.sql(f"FROM '{lake}/launch/organization={other}/*/*.parquet'"),
    "copies into the lake by DuckDB": lambda:
        duckdb.execute(f"COPY (SELECT 1) TO '{lake}/launch/organization={own}/x.csv'"),
    "loads another's file by DuckDB through a link": lambda: [
        os.symlink(f"{lake}/launch/organization={other}", f"{os.environ['HOME']}/link"),
        duckdb.sql(f"FROM '{os.environ['HOME']}/link/*/*.parquet'")],
    "knows its environment": lambda: sorted(name for name in os.environ if "KEYPOOL" in name),
}
told = {}
for name, try_ in TRIED.items():
    try:
        told[name] = try_()
    except Exception as error:
        told[name] = type(error).__name__ + ": " + str(error)[:200]
print("TOLD" + json.dumps(told) + "END")
"""


@pytest.fixture
def open_port() -> Iterator[tuple[socket.socket, int]]:
    """A server of this machine that nobody should call, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening, listening.getsockname()[1]


def run(notebook: Path, cell: str, **given: object) -> dict[str, object]:
    """Run one cell in a notebook, and give the object that it printed."""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), notebook)
    page = reporting.run(notebook, output=notebook.with_suffix(".html"), **given).read_text()
    told = re.search("TOLD(.*)END", page, re.DOTALL)
    assert told, page
    return json.loads(told[1].replace("&quot;", '"').replace("&#39;", "'").replace("\n", ""))


def a_lake(lake: Path, world: worlds.World) -> tuple[str, int, int]:
    """A lake of an organization and of its parent: its folder and their ids."""
    for organization in (world.child, world.parent):
        month = lake / f"launch/organization={organization}/month=2026-01"
        month.mkdir(parents=True)
        parquet.write_table(pa.table({"id": [1, 2, 3]}), month / "facts.parquet")
    return str(lake), world.child, world.parent


@pytest.fixture
def told(fresh_database: Addresses, tmp_path, open_port, monkeypatch) -> dict[str, object]:
    """What a hostile notebook about one organization got, trying everything."""
    with databases.session() as session:
        world = worlds.build(session)
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path / "keypool"))
    settings.cache_clear()
    for home in ("keypool", "user"):
        (tmp_path / home).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    sockets = make_url(fresh_database.database_url).query["host"]
    targets = (
        str(tmp_path / "keypool"),
        str(tmp_path / "user"),
        open_port[1],
        f"{sockets}/.s.PGSQL.5432",
        *a_lake(tmp_path / "lake", world),
    )
    monkeypatch.setenv("KEYPOOL_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()
    folder = tmp_path / "own"
    folder.mkdir()
    cell = f"TARGETS = {targets!r}\n{TRIES}"
    return run(folder / "hostile.ipynb", cell, organization=str(world.child))


@NEEDS_FENCE
def test_a_hostile_notebook_reaches_its_organizations_rows_and_nothing_else(told):
    seen = told.pop("reads the report's own organization")
    assert (len(seen), told.pop("reads with psycopg")) == (1, 1)
    assert told.pop("lists other processes") == []
    assert told.pop("reads its starter's environment") == 0
    assert told.pop("counts processes") == 2
    assert told.pop("replaces what its runner writes") == ["kernel"]
    assert told.pop("knows its environment") == [
        "KEYPOOL_ANALYST_DATABASE_URL",
        "KEYPOOL_CLOCK_OFFSET",
        "KEYPOOL_HOME",
        "KEYPOOL_LAKE",
        "KEYPOOL_LOCAL_URL",
        "KEYPOOL_PUBLIC_URL",
    ]
    assert told.pop("reads its organization's lake") == 3
    assert {name: str(got).partition(":")[0] for name, got in told.items()} == {
        "reads keypool's home": "FileNotFoundError",
        "reads the user's home": "FileNotFoundError",
        "connects to a port of this machine": "ConnectionRefusedError",
        "connects to the superuser's socket": "FileNotFoundError",
        "signs in as the superuser": "OperationalError",
        "signs in as the owner": "OperationalError",
        "writes keypool's code": "OSError",
        "writes the kernel's settings": "OSError",
        "becomes root of another namespace": "CalledProcessError",
        "reads another organization's lake": "FileNotFoundError",
        "reads another organization's lake by DuckDB": "IOException",
        "copies into the lake by DuckDB": "IOException",
        "loads another's file by DuckDB through a link": "IOException",
    }


UNFENCED = "no user namespaces here"


@pytest.fixture
def unfenced(monkeypatch) -> None:
    monkeypatch.setattr(fence, "obstacle", lambda: UNFENCED)


@pytest.mark.usefixtures("unfenced", "fresh_database")
def test_without_a_fence_a_notebook_that_is_not_keypools_is_refused(tmp_path):
    stranger = tmp_path / "usage.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), stranger)

    with pytest.raises(kernels.UnfencedError, match=f"usage.ipynb.*{UNFENCED}"):
        reporting.run(stranger, output=tmp_path / "r.html")


@pytest.mark.usefixtures("unfenced", "fresh_database")
def test_without_a_fence_keypools_own_notebooks_run_and_it_is_said(tmp_path, logged):
    made = reporting.run("learners_at_risk", output=tmp_path / "r.html")

    assert made.exists()
    assert [(line["event"], line["reason"]) for line in logged] == [("kernel not fenced", UNFENCED)]


def test_a_home_is_shown_to_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path / "a" / "keypool"))
    settings.cache_clear()

    shown = [
        kernels._shown(folder)
        for folder in (tmp_path, tmp_path / "a" / "keypool" / "run", tmp_path / "b", Path("/"))
    ]

    assert shown == [None, None, tmp_path / "b", None]


# Over TCP, as a database of one's own is reached.


@pytest.fixture
def over_tcp(fresh_database: Addresses, monkeypatch) -> Iterator[None]:
    """The database behind a port of this machine, for the owner and for reports."""
    address = make_url(fresh_database.session_url)
    path = f"{address.query['host']}/.s.PGSQL.{address.query.get('port', '5432')}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=fenced._accept, args=(listener, path), daemon=True).start()
        moved = address.set(host="localhost", port=listener.getsockname()[1], query={})
        monkeypatch.setattr(
            logins.connections, "url", lambda *_: moved.render_as_string(hide_password=False)
        )
        yield


@NEEDS_FENCE
@pytest.mark.usefixtures("over_tcp")
def test_a_fenced_kernel_reaches_a_database_over_tcp(tmp_path, monkeypatch):
    with databases.session() as session:
        world = worlds.build(session)
    cell = (
        "from worker import reporting; import json\n"
        "n = reporting.reading.row('SELECT count(*) AS n FROM report.organization')['n']\n"
        "names = reporting.frame('SELECT name FROM report.organization')['name'].tolist()\n"
        "print('TOLD' + json.dumps([n, len(names)]) + 'END')"
    )

    assert run(tmp_path / "mine.ipynb", cell, organization=str(world.child)) == [1, 1]


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql+psycopg://x:y@db.example/keypool", [("db.example", 5432)]),
        ("postgresql+psycopg://x:y@db.example:6432/keypool", [("db.example", 6432)]),
        ("postgresql+psycopg://x:y@/keypool?host=/run/pg&port=5433", [("/run/pg", 5433)]),
        ("postgresql+psycopg://x:y@/keypool?host=a:5433&host=b:5434", [("a", 5433), ("b", 5434)]),
        ("postgresql+psycopg://x:y@/keypool?host=a,b&port=5433,5434", [("a", 5433), ("b", 5434)]),
    ],
)
def test_the_hosts_of_a_database_are_read_as_sqlalchemy_and_libpq_read_them(url, hosts):
    assert fence._hosts(make_url(url)) == hosts


# What runs leave


def left(name: str, *, locked: bool, age: float = 0) -> Path:
    folder = Path(tempfile.gettempdir()) / f"{scratches.PREFIX}{name}"
    folder.mkdir()
    (folder / "executed.ipynb").write_text("ann@example.com")
    if locked:
        (folder / scratches.LOCK).touch()
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> None:
    folder = tempfile.mkdtemp(prefix="kp-", dir="/dev/shm")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    yield
    shutil.rmtree(folder)


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("sweep", [scratches.sweep, lambda: reporting.make_all(until=-1)])
def test_what_a_killed_run_left_is_removed_by_the_next_one_and_by_the_worker(sweep):
    killed, of_an_older_version = left("a", locked=True), left("b", locked=False, age=5 * 3600)
    begun_just_now = left("c", locked=False)

    with scratches.scratch() as running:
        assert not killed.exists()
        killed = left("a", locked=True)
        sweep()
        kept = {folder.exists() for folder in (running, begun_just_now)}

    assert kept == {True}
    assert not running.exists()
    assert not killed.exists()
    assert not of_an_older_version.exists()


@pytest.mark.usefixtures("temporary")
def test_a_link_in_place_of_a_folder_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    link = Path(tempfile.gettempdir()) / f"{scratches.PREFIX}link"
    link.symlink_to(tmp_path)

    assert scratches.sweep() == 0
    assert (tmp_path / "precious").exists()


# Printing

HOSTILE_PAGE = """<!doctype html><html><head><title>t</title></head><body><p id="p">plain</p>
<script>document.getElementById("p").textContent = "scripted"</script>
<img src="x" onerror="document.getElementById('p').textContent = 'scripted'">
<iframe src="file:///etc/passwd" width="600"></iframe><iframe src="FILE" width="600"></iframe>
<object data="FILE"></object><embed src="FILE">
<iframe srcdoc="<iframe src='FILE'></iframe>"></iframe>
<style>@import url("http://127.0.0.1:PORT/style"); body { background: url("http://127.0.0.1:PORT/b") }</style>
<img src="http://127.0.0.1:PORT/picture"><link rel="stylesheet" href="http://127.0.0.1:PORT/l"></body></html>"""


def text_of(pdf: bytes) -> str:
    return " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages) if pdf else ""


@NEEDS_CHROMIUM
@pytest.mark.parametrize("how", [fence.obstacle, lambda: UNFENCED], ids=["fenced", "unfenced"])
def test_a_page_that_is_printed_runs_no_script_and_loads_no_file_and_nothing_from_elsewhere(
    tmp_path, open_port, monkeypatch, how
):
    monkeypatch.setattr(fence, "obstacle", how)
    secret = tmp_path / "secret.txt"
    secret.write_text("canary")
    page = HOSTILE_PAGE.replace("FILE", secret.as_uri()).replace("PORT", str(open_port[1]))

    shown = text_of(printing.pdf(page))

    assert "plain" in shown
    assert not re.search("scripted|canary|root:|keypool:", shown)
    with pytest.raises(BlockingIOError):
        open_port[0].accept()


@NEEDS_CHROMIUM
@pytest.mark.parametrize("how", [fence.obstacle, lambda: UNFENCED], ids=["fenced", "unfenced"])
def test_a_page_that_leads_to_a_file_prints_nothing_of_it(tmp_path, monkeypatch, how):
    monkeypatch.setattr(fence, "obstacle", how)
    (tmp_path / "secret.txt").write_text("canary")
    target = (tmp_path / "secret.txt").as_uri()

    shown = b""
    with suppress(printing.PrintingFailedError):
        shown = printing.pdf(f'<p>plain<meta http-equiv="refresh" content="0; url={target}">')

    assert "canary" not in text_of(shown)


def test_a_browser_knows_neither_a_secret_nor_the_home(tmp_path, monkeypatch, browser):
    monkeypatch.setattr(fence, "obstacle", lambda: UNFENCED)
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "canary" * 6)
    program = tmp_path / "chromium"
    program.write_text(
        f'#!/bin/sh\nenv > {tmp_path}/environment\nfor word in "$@"; do case "$word" in\n'
        '--print-to-pdf=*) echo > "${word#*=}";; esac; done\n'
    )
    program.chmod(0o755)
    browser(program)

    printing.pdf("<p>")

    names = set(re.findall(r"^(\w+)=", (tmp_path / "environment").read_text(), re.MULTILINE))
    assert names <= {"PATH", "LANG", "LC_ALL", "HOME", "PWD", "_", "SHLVL", "OLDPWD"}
