"""Reports on redemptions: every figure recomputed from the raw tables, in Python."""

import base64
import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any
from zoneinfo import ZoneInfo

import babel
import nbformat
import numpy as np
import pandas as pd
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.sql import SQL, Literal
from sqlalchemy import text

from tests.conftest import Addresses
from worker import errors, reporting, simulation
from worker.database import connections as databases
from worker.reporting import notices, postgres, reading, redemptions, rendering, running, showing
from worker.tenancy.actors import Actor, Role

NOW = datetime(2026, 3, 18, 15, 0, tzinfo=UTC)
ROOT = "Alder Academy"
BRANCH = "Alder North"  # a child of the root
STRANGER = "Borealis Training"
FIRST, LAST = date(2025, 9, 1), date(2026, 2, 28)
GRANTED = {"redeemed": "redeemed", "already_yours": "repeated"}


@pytest.fixture(scope="module")
def simulated(database: Addresses) -> Addresses:
    databases.transaction(
        simulation.simulate, organizations=6, months=14, redemptions=3000, seed=5, now=NOW
    )
    return database


@pytest.fixture(scope="module")
def attempts(simulated: Addresses) -> list[dict[str, Any]]:
    """Every attempt as the raw tables have it, with its day in its organization's zone."""
    with databases.session() as session:
        rows = session.execute(
            text("""
                SELECT redemption.outcome::text AS outcome, redemption.received_at, redemption.pool_id,
                       organization.id AS organization_id, organization.time_zone,
                       organization.name AS organization, redemption.assignment_id,
                       course.code AS course, key.created_at, pool.name AS pool
                  FROM redemption JOIN organization ON organization.id = redemption.organization_id
                  LEFT JOIN key ON key.id = redemption.key_id
                  LEFT JOIN pool ON pool.id = key.pool_id
                  LEFT JOIN course ON course.id = pool.course_id""")
        ).mappings()
        return [
            {**row, "day": row["received_at"].astimezone(ZoneInfo(row["time_zone"])).date()}
            for row in rows
        ]


def organization_ids(name: str | None) -> set[int]:
    """The organization and its descendants, found by walking up the tree."""
    with databases.session() as session:
        rows = session.execute(text("SELECT id, name, parent_id FROM organization")).all()
    parents = {row.id: row.parent_id for row in rows}
    names = {row.id: row.name for row in rows}

    def ancestors(number: int | None) -> Iterator[str]:
        while number is not None:
            yield names[number]
            number = parents[number]

    return {number for number in names if name is None or name in ancestors(number)}


@pytest.fixture(params=[ROOT, BRANCH, None])
def asked(request, simulated) -> reporting.Question:
    return reporting.ask(organization=request.param, from_=FIRST, to=LAST)


@pytest.fixture
def within(asked, attempts) -> list[dict[str, Any]]:
    members = organization_ids(asked.organization)
    return [
        row for row in attempts if row["organization_id"] in members and FIRST <= row["day"] <= LAST
    ]


@pytest.fixture(scope="module")
def branch_id(simulated: Addresses) -> int:
    with databases.session() as session:
        return session.scalar(
            text("SELECT id FROM organization WHERE name = :name"), {"name": BRANCH}
        )


def answers(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(GRANTED.get(row["outcome"], "refused") for row in rows)


def records(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def test_the_totals_are_the_attempts_of_the_period(asked, within):
    (totals,) = records(reporting.redemption_totals(asked))

    counted = answers(within)
    assert totals.pop("refused_share") == pytest.approx(
        Decimal(counted["refused"]) / len(within), abs=Decimal("1e-9")
    )
    assert totals == {"attempts": len(within), **counted}


def test_the_days_are_the_organizations_own_and_every_one_is_there(asked, within, attempts):
    per_day = records(reporting.redemptions_per_day(asked))

    members = organization_ids(asked.organization)
    counted = Counter(
        row["day"]
        for row in attempts
        if row["outcome"] == "redeemed" and row["organization_id"] in members
    )
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    assert [row["day"].date() for row in per_day] == days
    assert [row["redeemed"] for row in per_day] == [counted[day] for day in days]
    assert [float(row["mean_of_7_days"]) for row in per_day] == pytest.approx(
        [mean(counted[day - timedelta(days=n)] for n in range(7)) for day in days]
    )


def test_outcomes_are_counted_and_shared_out(asked, within):
    outcomes = records(reporting.attempts_by_outcome(asked))

    counted = Counter(row["outcome"] for row in within)
    assert {row["outcome"]: row["attempts"] for row in outcomes} == counted
    assert {row["outcome"]: row["answer"] for row in outcomes} == {
        outcome: GRANTED.get(outcome, "refused") for outcome in counted
    }
    assert_shared_out(outcomes, "attempts", len(within))


def assert_shared_out(rows: list[dict[str, Any]], count: str, total: int) -> None:
    """Every row's share is its count's, of the total."""
    shares = [float(row["share"]) for row in rows]
    assert shares == pytest.approx([row[count] / total for row in rows])


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        (reporting.redemptions_by_course, "course"),
        (reporting.redemptions_by_organization, "organization"),
        (reporting.redemptions_by_pool, "pool_id"),
    ],
)
def test_attempts_are_counted_by_course_organization_and_pool(asked, within, figures, name):
    told = records(figures(asked, top=1000))

    parts: dict[Any, list[str]] = {}
    for attempt in within:
        if attempt["pool_id"]:
            names = ("pool", "organization", "course") if name == "pool_id" else (name,)
            parts.setdefault(tuple(attempt[n] for n in names), []).append(attempt)
    assert sorted(
        (row["attempts"], row["redeemed"], row["repeated"], row["refused"],
         round(float(row["refused_share"]), 9), *named(row))
        for row in told
    ) == sorted(
        (len(part), (counted := answers(part))["redeemed"], counted["repeated"],
         counted["refused"], round(counted["refused"] / len(part), 9), *key)
        for key, part in parts.items()
    )  # fmt: skip


def named(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("pool", "organization", "course") if name in row)


@pytest.fixture(scope="module")
def handed_out(simulated: Addresses) -> list[dict[str, Any]]:
    """Every key that was distributed, as the raw tables have it."""
    with databases.session() as session:
        rows = session.execute(
            text("""
                SELECT key.id, key.state::text AS state, distribution.distributed_at, clock_now() AS now,
                       pool.expires_at, recalled_at, (SELECT max(cancelled_at) FROM assignment
                                                       WHERE key_id = key.id) AS cancelled_at,
                       organization.id AS organization_id, organization.time_zone
                  FROM key JOIN distribution ON distribution.id = key.distribution_id
                  JOIN pool ON pool.id = key.pool_id
                  JOIN organization ON organization.id = pool.organization_id""")
        ).mappings()
        spent = {
            row.key_id: row.redeemed_at
            for row in session.execute(text("SELECT * FROM assignment WHERE NOT undone"))
        }
        return [
            {
                **row,
                "redeemed_at": spent.get(row["id"]),
                "day": row["distributed_at"].astimezone(ZoneInfo(row["time_zone"])).date(),
            }
            for row in rows
        ]


def test_the_funnel_follows_the_keys_that_were_made_in_the_period(asked, attempts, handed_out):
    (told,) = records(reporting.funnel(asked))
    end = reporting.funnels_end(asked)

    members = organization_ids(asked.organization)
    with databases.session() as session:
        keys = session.execute(
            text("""SELECT key.id, key.created_at, organization_id, time_zone, expires_at, key.pool_id
                      FROM key JOIN pool ON pool.id = pool_id
                      JOIN organization ON organization.id = organization_id""")
        ).all()
        taken = {
            row.key_id: row
            for row in session.execute(
                text("""SELECT key_id, status = 'active' AND expires_at > clock_now() AS live,
                               EXISTS (SELECT FROM launch WHERE assignment_id = assignment.id) AS launched,
                               EXISTS (SELECT FROM launch WHERE assignment_id = assignment.id
                                          AND completed) AS completed
                          FROM assignment WHERE NOT undone""")
            )
        }
    made = {
        key.id
        for key in keys
        if key.organization_id in members
        and FIRST <= key.created_at.astimezone(ZoneInfo(key.time_zone)).date() <= LAST
    }
    spent = [taken[key] for key in made & taken.keys()]
    assert told == {
        "made": len(made),
        "handed_out": len(made & ({row["id"] for row in handed_out} | taken.keys())),
        "redeemed": len(spent),
        "launched": sum(row.launched for row in spent),
        "completed": sum(row.completed for row in spent),
    }
    for count in (
        sum(row.live and not row.launched for row in spent),
        sum(row.live and row.launched and not row.completed for row in spent),
    ):
        assert not count or asked.words.number(count) in end


@pytest.mark.parametrize(
    ("made", "redeemed", "launched", "completed", "said"),
    [
        (0, 0, 0, 0, "No key was made in this period."),
        (3, 0, 0, 0, "What becomes of these keys is settled: none can get further."),
        (3, 0, 1, 0, "This is not the end: 1 redeemed key can still be launched."),
        (
            9, 12, 0, 1,
            "This is not the end: up to 12 keys can still be redeemed, 1 launched key can still be completed.",
        ),
    ],
)  # fmt: skip
def test_the_funnels_end_tells_of_nothing_that_cannot_come(
    monkeypatch, made, redeemed, launched, completed, said
):
    row = {"made": made, "to_be_redeemed": redeemed, "to_be_launched": launched}
    monkeypatch.setattr(reading, "row", lambda _: {**row, "to_be_completed": completed})
    day = date(2026, 1, 1)
    asked = reporting.Question(None, day, day, "UTC", "en", NOW, day)

    end = reporting.funnels_end(asked)

    assert end == said
    assert ('class="nothing"' in end._repr_html_()) == (made == 0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(3, 0, 0, 12)], "12 keys were distributed in this period, and none of them is redeemed."),
        ([(3, 0, 0, 1)], "1 key was distributed in this period, and is not redeemed."),
        ([(0, 5, 0, 7)], "Keys distributed in this period: 12. Redeemed within a day: 5."
                         " None of them was out for longer."),
        ([(0, 1, 0, 0), (1, 0, 0, 1)], None),
    ],
)  # fmt: skip
def test_where_no_line_can_be_drawn_a_sentence_says_why(monkeypatch, rows, said):
    waited = pd.DataFrame(rows, columns=["days", "redeemed", "pool_ended", "seen_until"])
    monkeypatch.setattr(reading, "frame", lambda _: waited)
    day = date(2026, 1, 1)

    drawn = reporting.draw_waits_since_distribution(
        reporting.Question(None, day, day, "UTC", "en", NOW, day)
    )

    assert drawn.get_gid() == said
    assert bool(drawn.axes) == (said is None)


facts = st.tuples(*[st.booleans()] * 4)


@given(st.lists(facts, max_size=30))
def test_each_step_of_the_funnel_is_a_part_of_the_one_before(connection, keys):
    rows = SQL(", ").join(SQL("({})").format(SQL(", ").join(map(Literal, key))) for key in keys)
    none = SQL("SELECT false, false, false, false WHERE false")
    source = SQL("VALUES {}").format(rows) if keys else none
    query = SQL("SELECT {}, {} FROM ({}) AS key (redeemed, launched, completed, live)").format(
        SQL(redemptions.STEPS), SQL(redemptions.UNFINISHED), source
    )

    (steps,) = connection.execute(query).fetchall()

    handed_out, redeemed, launched, completed, to_be_launched, to_be_completed = steps
    assert len(keys) == handed_out >= redeemed >= launched >= completed >= 0
    assert to_be_launched <= redeemed - launched
    assert to_be_completed <= launched - completed


@pytest.fixture(scope="module")
def connection(simulated: object) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.address()) as opened:
        yield opened


def out_in_the_period(
    asked: reporting.Question, handed_out: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    members = organization_ids(asked.organization)
    return [
        row
        for row in handed_out
        if row["organization_id"] in members and FIRST <= row["day"] <= LAST
    ]


def redeemed_within(keys: list[tuple[int, str]], after: int) -> float:
    """Aalen and Johansen's sum, key by key: how many are redeemed within so many days."""
    left, share = 1.0, 0.0
    for day in sorted({days for days, _ in keys if days < after}):
        at_risk = sum(days >= day for days, _ in keys)
        share += left * keys.count((day, "redeemed")) / at_risk
        left *= 1 - (keys.count((day, "redeemed")) + keys.count((day, "ended"))) / at_risk
    return share


def what_became(row: dict[str, Any]) -> tuple[int, str]:
    """After how many days something became of a distributed key, and what."""
    known = row["recalled_at"] or row["cancelled_at"] or row["distributed_at"]
    retired = known if row["state"] == "retired" else None
    ends = [(row["redeemed_at"], "redeemed")] if row["redeemed_at"] else [
        (row["now"], "waiting"), (row["expires_at"], "ended"), (retired, "waiting")
    ]  # fmt: skip
    at, became = min((at, became) for at, became in ends if at)
    return max(0, (at - row["distributed_at"]).days), became


def test_waits_since_distribution_count_what_became_of_keys_until_now(asked, handed_out):
    curve = records(reporting.waits_since_distribution(asked))
    steps = records(reporting.waits_in_steps(asked))

    keys = [what_became(row) for row in out_in_the_period(asked, handed_out)]
    assert curve[0]["at_risk"] == len(keys)
    for row in curve:
        assert row["redeemed"] == keys.count((row["days"], "redeemed"))
        assert row["pool_ended"] == keys.count((row["days"], "ended"))
        assert row["seen_until"] == keys.count((row["days"], "waiting"))
        share = redeemed_within(keys, row["days"] + 1)
        assert row["redeemed_share"] == pytest.approx(share)
        assert row["low_share"] <= row["redeemed_share"] <= row["high_share"]
    assert steps
    for row in steps:
        within = int(row["within"].split()[0])
        assert row["redeemed_share"] == pytest.approx(redeemed_within(keys, within))
        assert row["still_out"] == sum(days >= within for days, _ in keys)


def test_pools_beyond_the_first_share_a_row(attempts):
    question = reporting.ask(organization=ROOT, from_=FIRST, to=LAST)
    members = organization_ids(ROOT)
    within = [a for a in attempts if a["organization_id"] in members and FIRST <= a["day"] <= LAST]

    frame = reporting.redemptions_by_pool(question, top=2)
    pools = records(frame)

    counted = Counter(row["pool_id"] for row in within if row["pool_id"])
    redeemed = Counter(row["pool_id"] for row in within if row["outcome"] == "redeemed")
    best = [redeemed[pool] for pool in sorted(counted, key=lambda pool: -redeemed[pool])]
    assert [row["redeemed"] for row in pools] == [*best[:2], sum(best[2:])]
    others = len(counted) - 2
    assert pools[-1]["pool"] == question.words.say_count(
        "{count} other pool", "{count} other pools", others
    )
    assert sum(row["attempts"] for row in pools) == sum(counted.values())
    [data] = re.findall('base64,([^"]+)"', showing.table(frame, question.babel))
    listed = pd.read_csv(io.BytesIO(base64.b64decode(data)))
    assert listed["redeemed"].tolist() == best
    assert len(listed) == len(counted)


def test_waits_are_counted_from_the_keys_creation(asked, within):
    waits = records(reporting.days_until_redeemed(asked))
    (short,) = records(reporting.waits_in_short(asked))

    days = sorted(
        (row["received_at"] - row["created_at"]) / timedelta(days=1)
        for row in within
        if row["outcome"] == "redeemed"
    )
    ends = [0, 1, 7, 30, 90, 180, 365, float("inf")]
    assert [row["redeemed"] for row in waits] == [
        sum(low <= day < high for day in days) for low, high in pairwise(ends)
    ]
    assert short["keys"] == len(days)
    assert float(short["days_for_half"]) == pytest.approx(days[(len(days) + 1) // 2 - 1], abs=0.051)
    ninth = days[-(-len(days) * 9 // 10) - 1]
    assert float(short["days_for_nine_in_ten"]) == pytest.approx(ninth, abs=0.051)
    assert_shared_out(waits, "redeemed", len(days))
    assert float(short["days_for_the_last"]) == pytest.approx(days[-1], abs=0.051)


def test_a_chart_tells_in_words_what_it_shows(asked, within):
    told = reporting.draw_redemptions_per_day(asked).get_label()

    days = [row["day"] for row in within if row["outcome"] == "redeemed"]
    said = {
        "de": "Eingelöste Schlüssel je Tag: {} vom {} bis zum {}, am meisten am",
        "en": "Keys redeemed each day: {} from {} to {}, at most",
    }[asked.words.language]
    number = showing.number(len(days), asked.babel)
    assert told.startswith(said.format(number, *map(asked.words.short_day, (min(days), max(days)))))


def test_amounts_are_read_as_decimals_and_days_as_days(simulated):
    frame = reading.frame(
        "SELECT amount, service_month, occurred_at, NULL::numeric AS nothing FROM report.charge LIMIT 3"
    )

    assert {type(amount) for amount in frame["amount"]} == {Decimal}
    assert isinstance(frame["service_month"].dtype, np.dtype)
    assert frame["service_month"].dtype.kind == "M"
    assert str(frame["occurred_at"].dtype) == "datetime64[us, UTC]"
    assert frame["nothing"].tolist() == [None, None, None]


def test_reading_without_adbc_gives_the_same(simulated, monkeypatch):
    query = "SELECT event, day, outcome, days_since_creation FROM report.redemption ORDER BY event LIMIT 50"
    swift = reading.frame(query)

    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    slow = reading.frame(query)

    assert records(slow) == records(swift)


def test_importing_reporting_is_cheap():
    heavy = {"pandas", "matplotlib", "nbconvert", "papermill"}
    code = f"import sys, worker.reporting; print({heavy} & set(sys.modules))"

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"organization": "Nobody"}, errors.NotFoundError),
        ({"from_": "yesterday"}, errors.InvalidInputError),
        ({"from_": "2026-02-01", "to": "2026-01-01"}, errors.InvalidInputError),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_before_anything_runs(simulated, wrong, error):
    with pytest.raises(error):
        reporting.run("redemptions", **wrong)


def test_an_unknown_notebook_is_refused_and_the_known_ones_are_named(simulated):
    with pytest.raises(errors.NotFoundError, match=r"name one of .*redemptions"):
        reporting.run("rumours")


def test_the_listing_tells_each_notebooks_question():
    (redemptions,) = [entry for entry in reporting.listing() if entry["name"] == "redemptions"]

    assert redemptions["title"] == "Redemptions"
    assert redemptions["question"].endswith("?")


# ------------------------------------------------------------------------------ whole runs


@pytest.fixture(scope="module")
def page(simulated: Addresses, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("reports") / "deep" / "report.html"
    made = reporting.run("redemptions", organization=ROOT, from_=FIRST, to=LAST, output=target)
    assert made == target
    return made.read_text()


def test_a_report_is_one_file_that_loads_nothing(page):
    loads = re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']?([^"'\s>]+)""", page)

    kinds = {"data:image/svg+xml;base64", "data:text/csv;charset=utf-8;base64"}
    assert {load.split(",")[0] for load in loads} == kinds
    assert not re.search(r"<script|<link|@import|url\(", page)


def test_a_report_says_whom_it_is_about_and_shows_no_code(page):
    assert f"<strong>{ROOT}</strong>" in page
    assert "1. September 2025 bis 28. Februar 2026" in page
    assert "<title>Einlösungen</title>" in page
    assert '<html lang="de">' in page
    assert "reporting." not in page
    assert "import " not in page


def test_a_table_shows_its_first_rows_and_says_how_many_there_are():
    rows = pd.DataFrame({"n": range(1234)})

    shown = showing.table(rows, babel.Locale("en"))

    assert shown.count("<tr>") == 1 + showing.MAX_ROWS
    assert "200 of 1,234 rows; the CSV has all." in shown


def test_a_report_prints_the_figures_in_the_organizations_locale(page):
    question = reporting.ask(organization=ROOT, from_=FIRST, to=LAST)
    (totals,) = records(reporting.redemption_totals(question))

    assert question.locale == "de"
    printed = showing.number(totals["attempts"], question.babel)
    assert f"<dt>Versuche</dt><dd>{printed}</dd>" in page


def test_every_picture_has_words_for_who_cannot_see_it(page):
    pictures = re.findall(r"<img[^>]*>", page)

    assert len(pictures) == 6
    assert all(re.search(r'alt="[^"]{40,}"', picture) for picture in pictures)


NOSY = """
import os, subprocess, sys
environment = dict(os.environ)
print("LOGINS", sorted(name for name in environment if name.startswith("KEYPOOL_")))
print("SECRETS", [n for n, v in environment.items() if "postgresql" in v or "secret" in n.lower()])
from worker import reporting
frame = reporting.frame("SELECT name FROM report.organization ORDER BY name")
print("SEEN", frame["name"].tolist())
import pathlib; print("HERE", pathlib.Path.cwd())
"""


def notebook(path: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Mine"), *map(nbformat.v4.new_code_cell, cells)]
    )
    nbformat.write(made, path)
    return path


def test_a_notebook_of_ones_own_reads_its_organization_alone_and_knows_no_other_login(
    simulated, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "canary" * 6)
    mine = notebook(tmp_path / "mine.ipynb", NOSY)

    page = reporting.run(mine, organization=BRANCH, output=tmp_path / "mine.html").read_text()

    told = dict(re.findall(r"^(?:<pre>)?([A-Z]+) (.*)$", page.replace("&#39;", "'"), re.M))
    assert told["LOGINS"] == (
        "['KEYPOOL_ANALYST_DATABASE_URL', 'KEYPOOL_CLOCK_OFFSET', 'KEYPOOL_HOME', "
        "'KEYPOOL_LOCAL_URL', 'KEYPOOL_PUBLIC_URL']"
    )
    assert told["SECRETS"] == "['KEYPOOL_ANALYST_DATABASE_URL']"
    assert ROOT not in told["SEEN"]
    assert BRANCH in told["SEEN"]
    assert told["HERE"] == str(tmp_path)
    assert "canary" not in page


def test_an_actors_report_is_bounded_by_its_organization(simulated, branch_id, tmp_path):
    analyst = Actor("Ann", Role.ANALYST, branch_id)

    with pytest.raises(errors.NotFoundError):
        reporting.run("redemptions", organization=ROOT, output=tmp_path / "r.html", actor=analyst)


def test_a_failing_notebook_is_set_apart_with_its_traceback(simulated, tmp_path):
    mine = notebook(tmp_path / "broken.ipynb", "1 / 0")

    with pytest.raises(reporting.ReportFailedError, match="ZeroDivisionError"):
        reporting.run(mine, output=tmp_path / "broken.html")

    assert "ZeroDivisionError" in (tmp_path / "broken.failed.ipynb").read_text()
    assert not (tmp_path / "broken.html").exists()


def test_a_cell_that_fails_leaves_a_notice_and_the_report_goes_on(simulated, tmp_path):
    shown = 'from IPython.display import HTML; HTML("<p>made {}</p>")'
    mine = notebook(tmp_path / "half.ipynb", shown.format(1), "1 / 0", shown.format(2))

    executed = running.execute(mine, about=None, organization=None, first=None, last=None)

    page, told = rendering.render(executed), notices.traceback(executed)
    [reference] = re.findall(rf"{notices.NOTICE} ([0-9a-f]{{8}})\.", page)
    assert page.index("made 1") < page.index(reference) < page.index("made 2")
    assert "ZeroDivisionError" not in page
    assert "papermill" not in page
    assert told.startswith(f"{reference}: ")
    assert told.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("killing", "why"),
    [("import os; os._exit(137)", "DeadKernelError"), ("import time; time.sleep(60)", "Timeout")],
)
def test_a_cell_that_ends_its_kernel_leaves_a_notice_and_the_report_goes_on(
    simulated, tmp_path, killing, why
):
    shown = 'from IPython.display import HTML; HTML(f"<p>made {}</p>")'
    cells = "kept = 7", shown.format("{kept}"), killing, "1 / 0", shown.format("{kept + 1}")
    mine = notebook(tmp_path / "killing.ipynb", *cells)

    executed = running.execute(
        mine, about=None, organization=None, first=None, last=None, longest_cell=5
    )

    page, told = rendering.render(executed), notices.traceback(executed)
    ended, failed = re.findall(rf"{notices.NOTICE} ([0-9a-f]{{8}})\.", page)
    assert page.index("made 7") < page.index(ended) < page.index(failed) < page.index("made 8")
    assert told.startswith(f"{ended}: ")
    assert why in told
    assert killing in told
    assert told.endswith("ZeroDivisionError: division by zero")
    assert killing not in page


def test_after_three_dead_kernels_the_rest_is_left_out(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "MOST_ENDED", 1)
    shown = 'from IPython.display import HTML; HTML("<p>made {}</p>")'
    killing = "import os; os._exit(1)"
    mine = notebook(tmp_path / "killing.ipynb", shown.format(1), killing, shown.format(2), killing)

    executed = running.execute(mine, about=None, organization=None, first=None, last=None)

    page, told = rendering.render(executed), notices.traceback(executed)
    assert "made 1" in page
    assert page.count(notices.NOTICE) == 3
    assert told.count(running.LEFT_OUT) == 2


def test_a_notebook_whose_only_cell_ends_its_kernel_fails(simulated, tmp_path):
    mine = notebook(tmp_path / "dead.ipynb", "import os; os._exit(1)")

    with pytest.raises(reporting.ReportFailedError, match="DeadKernelError") as raised:
        running.execute(mine, about=None, organization=None, first=None, last=None)

    assert "os._exit" in raised.value.traceback
    assert raised.value.as_far_as_it_came


def test_an_empty_database_says_that_there_is_nothing_yet(fresh_database, tmp_path, capfd):
    made = reporting.run("redemptions", output=tmp_path / "empty.html")

    page = made.read_text()
    assert page.count("Nothing yet") == 1
    questions = re.findall("<li>(.*?)</li>", page)
    assert len(questions) == len(set(questions)) > 4
    assert "<table" not in page
    assert re.search(
        "No key was redeemed up to .* 2026, the same as in the (year|.* days) before", page
    )
    assert "All organizations" in page
    assert made.stat().st_mode & 0o777 == 0o644
    assert capfd.readouterr().out == ""


def test_a_report_on_one_day_counts_that_day(simulated, attempts, tmp_path):
    day = date(2026, 1, 15)

    page = reporting.run("redemptions", from_=day, to=day, output=tmp_path / "day.html").read_text()

    counted = sum(1 for row in attempts if row["day"] == day)
    assert f"<dt>Attempts</dt><dd>{counted}</dd>" in page
    assert "15 January 2026, days in each organization's own time" in page
