"""Tables given to the command line: what was read as what, dry runs, and exit codes."""

import itertools
import secrets

import pytest

from tests.worker.cli.conftest import opened
from worker.database import connections
from worker.pools import batches

NUMBERS = itertools.count(1)


def codes(count: int) -> list[str]:
    """Make up keys that no other test has."""
    batch = f"{next(NUMBERS):02}{secrets.randbelow(10_000):04}"
    return [f"TBL-{batch}-{n:05}" for n in range(count)]


@pytest.fixture
def table(tmp_path):
    def write(*lines: str, name: str = "keys.csv"):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


@pytest.fixture
def imported(run, world):
    """What gives the report of an import, which is a batch where it is long."""
    return lambda path, *options: run("keys", "import", world.pool, path, *options, "--json").json


def test_what_was_read_as_what_is_told(run, give, world, table):
    [first, second] = codes(2)
    path = table("Zugangscode;Kurs", f"{first};K8S", f"{second};K8S")

    done = run("keys", "import", world.pool, path)
    report = give("keys", "import", world.pool, path)

    assert (
        "Read: utf-8, columns separated by “;”, heading on line 1; code is “Zugangscode”. "
        "Not read: Kurs." in done.out
    )
    assert report["read"]["columns"] == {"code": "Zugangscode"}
    assert report["already_exists"] == 2


def test_a_series_is_taken_with_a_warning_from_a_file_and_one_by_one(run, world, table):
    series = codes(5)

    imported = run("keys", "import", world.pool, table(*series))
    added = run("keys", "add", world.pool, *codes(3))

    for done in (imported, added):
        assert "so whoever has one can guess others" in done.out
    assert f"The keys count up ({series[0]} to {series[-1]})" in " ".join(imported.out.split())


@pytest.mark.parametrize("count", [3, 700])
def test_a_dry_run_gives_the_same_report_and_changes_nothing(give, imported, world, table, count):
    lines = [*codes(count), "=1+1", codes(1)[0]]
    path = table(*lines, lines[0].lower(), name="keys.txt")
    before = give("batches", "list")["items"]

    tried = imported(path, "--dry-run")
    untouched = give("keys", "list", world.pool)["items"], give("batches", "list")["items"]
    done = imported(path)

    assert untouched == ([], before)
    assert tried["batch"] is None
    assert {**tried, "batch": done["batch"]} == done
    assert tried["added"] + tried["duplicate_in_input"] + tried["invalid"] == count + 3


def test_a_dry_run_says_so(run, world, table):
    done = run("keys", "import", world.pool, table(*codes(2)), "--dry-run")

    assert "This was a dry run: nothing was changed." in done.out


def test_columns_are_told_and_left(run, give, world, table):
    [code] = codes(1)
    path = table("Kulcs;Kontakt;Polc", f"{code};ann@example.org;3")

    stopped = run("keys", "import", world.pool, path)
    left = give("keys", "import", world.pool, path, "--ignore", "Kontakt", "--dry-run")
    told = give("keys", "import", world.pool, path, "--column", "recipient=Kontakt")

    assert (stopped.code, "“Kontakt” holds e-mail addresses" in stopped.err) == (2, True)
    assert left["read"]["not_read"] == ["Kontakt", "Polc"]
    assert told["read"]["columns"] == {"recipient": "Kontakt", "code": "Kulcs"}
    assert give("keys", "list", world.pool, "--recipient", "ann@example.org")["items"]


def test_lines_unlike_the_others_are_taken_where_that_is_said(give, world, table):
    path = table(*codes(3), "SUMMERSALE-KEY")

    refused = give("keys", "import", world.pool, path)
    taken = give("keys", "import", world.pool, path, "--any-shape")

    assert (refused["invalid"], taken["added"], taken["already_exists"]) == (1, 1, 3)


@pytest.mark.parametrize("count", [3, 600])
def test_a_line_unlike_the_others_whose_key_is_known_exists_already(
    give, imported, world, table, count
):
    [odd] = codes(1)
    odd = odd.replace("-", "")
    give("keys", "add", world.pool, odd)
    path = table(*codes(count), odd, odd)

    report = imported(path)

    assert (report["already_exists"], report["duplicate_in_input"], report["invalid"]) == (1, 1, 0)
    assert imported(path, "--dry-run")["invalid"] == 0


def test_what_is_pasted_is_read_as_a_file_is(give, world, monkeypatch):
    [first, second] = codes(2)
    monkeypatch.setattr("sys.stdin", iter(["Enrolment Key\n", f"{first}\n", f"{second}\n"]))

    report = give("keys", "add", world.pool, "-")

    assert (report["added"], report["invalid"], report["read"]["heading_line"]) == (2, 0, 1)


@pytest.mark.parametrize("count", [3, 600])
def test_an_import_of_which_nothing_was_added_and_lines_were_refused_exits_2(
    run, imported, world, table, count
):
    known = codes(count)
    imported(table(*known))

    all_there = run("keys", "import", world.pool, table(*known))
    and_a_bad_one = run("keys", "import", world.pool, table(*known, "=1+1"))
    all_bad = run("keys", "import", world.pool, table(*["=1+1"] * count))

    assert [all_there.code, and_a_bad_one.code, all_bad.code] == [0, 2, 2]
    assert "“=” cannot be in a key" in and_a_bad_one.err


def test_keys_add_exits_2_where_it_added_none(run, world):
    [code] = codes(1)

    added = run("keys", "add", world.pool, code)
    again = run("keys", "add", world.pool, code)

    assert [added.code, again.code] == [0, 2]


def test_an_import_that_nobody_waits_for_exits_0_whatever_it_will_come_to(run, world, table):
    done = run("keys", "import", world.pool, table(*["=1+1"] * 600), "--no-wait")

    assert done.code == 0
    while connections.transaction(batches.work_chunk) is not None:
        pass


def test_the_report_of_a_batch_says_what_was_read_as_what_and_has_each_key_of_a_line(
    give, imported, table, tmp_path
):
    keys = codes(600)
    path = table("Code;Regal", f"{keys[0]},{keys[1]},{keys[0]};1", *(f"{k};1" for k in keys[2:]))

    report = imported(path)
    written = tmp_path / "report.csv"
    give("batches", "report", report["batch"], "-o", str(written))

    assert report["read"]["not_read"] == ["Regal"]
    assert (report["added"], report["duplicate_in_input"]) == (600, 1)
    assert written.read_text().splitlines()[1:4] == [
        f"2,{keys[0]},added,",
        f"2,{keys[1]},added,",
        f"2,{keys[0]},duplicate_in_input,An earlier line has the same key.",
    ]


# Recipients


def test_a_table_of_recipients_is_served_and_what_was_left_out_is_told(run, give, world, table):
    with opened(world) as live:
        live.keys(5)
    path = table(
        "Name,Email,Financial Status,Lineitem quantity",
        "#1001,ann@example.org,paid,2",
        "#1002,eve@example.org,refunded,1",
    )

    done = run("keys", "distribute", world.pool, "--file", path)

    assert done.code == 0
    assert "reference is “Name”" in done.out
    assert "Line 3 is left out. Its state is “refunded”." in done.out
    assert "2 keys for ann@example.org:" in done.out


def test_all_wrong_rows_are_told_at_once_and_nothing_is_handed_out(run, give, world, table):
    with opened(world) as live:
        live.keys(5)
    path = table("email,count", "ann@example.org,1", ",1", "bob@example.org,0")

    done = run("keys", "distribute", world.pool, "--file", path)

    assert done.code == 2
    assert "Line 3: There is no recipient" in done.err
    assert "Line 4: “0” is not a count" in done.err
    assert give("pools", "show", world.pool)["keys"]["distributed"] == 0


def test_count_and_reference_beside_a_file_are_of_rows_that_say_none(give, world, table):
    with opened(world) as live:
        live.keys(9)
    path = table("email,count,order", "ann@example.org,,", "bob@example.org,1,B-7")

    given = give(
        "keys", "distribute", world.pool, "--file", path, "--count", "3", "--reference", "SPRING"
    )

    assert [(item["reference"], item["given"]) for item in given["items"]] == [
        ("SPRING", 3),
        ("B-7", 1),
    ]


def test_a_dry_run_hands_out_nothing(give, world, table):
    with opened(world) as live:
        live.keys(2)
    path = table("email,count", "ann@example.org,2")

    tried = give("keys", "distribute", world.pool, "--file", path, "--dry-run")
    alone = give("keys", "distribute", world.pool, "bob@example.org", "--dry-run")

    assert [(item["given"], item["keys"]) for item in tried["items"]] == [(2, [])]
    assert alone["keys"] == []
    assert give("pools", "show", world.pool)["keys"]["distributed"] == 0


def test_a_file_that_was_meant_as_a_table_is_no_recipient(run, world, table):
    path = table("email", "ann@example.org")

    done = run("keys", "distribute", world.pool, path)

    assert (done.code, f"give it as --file {path}" in done.err) == (2, True)
