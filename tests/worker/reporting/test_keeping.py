"""Reports that are kept: asked for, due after an invoice, made, failed, erased from."""

import base64
import io
import re
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import babel
import nbformat
import pandas as pd
import pytest
from pypdf import PdfReader

from tests import world as worlds
from tests.conftest import NEEDS_CHROMIUM, pass_time
from tests.world import OPERATOR, World
from worker import errors, reporting, tasks
from worker.billing import runs
from worker.database import connections as databases
from worker.learning import learners
from worker.outgoing import deliveries, endpoints
from worker.redemption import deciding
from worker.reporting import claims, keeping, personal, rendering, showing
from worker.reporting.keeping import ReportShape
from worker.settings import settings
from worker.tables.labels import ReportState
from worker.tenancy.actors import Actor, Role

EMAIL = "Ann.O'Neil@example.org"
NOW = float("inf")  # until when it may take


@pytest.fixture
def world(session) -> World:
    return worlds.build(session)


def listed(world: World, **asked: Any) -> list[ReportShape]:
    filters = keeping.Filters(**({"organization": str(world.parent)} | asked))
    return keeping.listing(world.session, actor=OPERATOR, filters=filters).items


def manager(world: World) -> Actor:
    return Actor("manager", Role.MANAGER, world.parent)


def claimed(session: Any, report: dict[str, Any]) -> claims.Claim:
    claim = claims.take(session, only=int(report["id"]))
    assert claim is not None
    return claim


def ask(world: World, notebook: str = "usage", **given: Any) -> dict[str, Any]:
    about = {"organization": str(world.parent)} | given
    return keeping.ask(world.session, actor=OPERATOR, notebook=notebook, **about)


def show(world: World, report: dict[str, Any]) -> dict[str, Any]:
    return keeping.show(world.session, actor=OPERATOR, report=report["id"])


def invoiced(world: World, *, days: int = 40) -> list[int]:
    """Redeem a key now, and invoice it so many days later."""
    event = world.request(world.keys(1)[0], EMAIL)
    deciding.settle(world.session, event_ids=[event])
    pass_time(world.session, days=days)
    _, final = runs.bill(
        world.session,
        actor=OPERATOR,
        organization_id=world.parent,
        grace=timedelta(),
        then=keeping.ask_after,
    )
    return final


def test_the_notebooks_that_can_be_asked_for_are_those_that_there_are():
    assert sorted(keeping.OURS) == sorted(p.stem for p in rendering.NOTEBOOKS.glob("*.py"))


@pytest.fixture
def own_notebooks(tmp_path, monkeypatch):
    """A folder of one's own, with a notebook, one that is called as one of ours, and one with no good name."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Mine\n\nWhat?")])
    for name in ("mine", "usage", "no name", "-x"):
        nbformat.write(made, tmp_path / f"{name}.ipynb")
    monkeypatch.setenv("KEYPOOL_NOTEBOOKS", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_notebooks_of_ones_own_are_listed_and_take_no_place_of_ours(own_notebooks):
    named = {entry["name"]: entry["title"] for entry in rendering.listing()}

    assert named.keys() == {*keeping.OURS, "mine"}
    assert (named["mine"], rendering.find("usage").parent) == ("Mine", rendering.NOTEBOOKS)


@pytest.mark.usefixtures("own_notebooks")
def test_a_notebook_of_ones_own_is_for_analysts(world):
    analyst, finance = (Actor("test", role, world.parent) for role in (Role.ANALYST, Role.FINANCE))

    asked = keeping.ask(world.session, actor=analyst, notebook="mine")

    assert keeping.show(world.session, actor=analyst, report=asked["id"])["notebook"] == "mine"
    for other in (manager(world), finance):
        with pytest.raises(errors.ForbiddenError):
            keeping.ask(world.session, actor=other, notebook="mine")
        with pytest.raises(errors.NotFoundError):
            keeping.show(world.session, actor=other, report=asked["id"])


@pytest.mark.usefixtures("own_notebooks")
@pytest.mark.parametrize(
    "name", ["../mine", "./mine", "/srv/mine", "mine.ipynb", "no name", "-x", ""]
)
def test_a_notebooks_name_is_no_path(world, name):
    assert rendering.find(name) is None
    with pytest.raises(errors.NotFoundError):
        ask(world, name)


def test_a_report_waits_with_what_it_was_asked(world):
    report = ask(world, from_="2026-01-01", to="2026-01-31")

    assert (report["state"], report["notebook"]) == ("queued", "usage")
    assert (report["from"], report["to"]) == (date(2026, 1, 1), date(2026, 1, 31))
    assert report["asked_by"] == OPERATOR.name
    assert (report["format"], report["pdf_bytes"]) == ("html", 0)


def test_without_days_it_is_the_year_that_ends_today(world):
    report = ask(world)

    assert report["to"] - report["from"] == timedelta(days=364)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"notebook": "rumours"}, errors.NotFoundError),
        ({"notebook": "../page"}, errors.NotFoundError),
        ({"organization": "Nobody"}, errors.NotFoundError),
        ({"from_": "yesterday"}, errors.InvalidInputError),
        ({"from_": "2026-02-01", "to": "2026-01-01"}, errors.InvalidInputError),
        ({"format": "jpeg"}, errors.InvalidInputError),
    ],
)
def test_what_makes_no_sense_is_refused(world, wrong, error):
    with pytest.raises(error):
        ask(world, **({"notebook": "usage"} | wrong))


def test_an_organization_asks_about_itself_unless_it_says_otherwise(world):
    report = keeping.ask(world.session, actor=manager(world), notebook="usage")

    name = world.figures("SELECT name FROM organization WHERE id = :id", id=world.parent).name
    assert report["organization"] == name


def test_a_stranger_neither_asks_about_nor_sees_nor_reads_a_report(world):
    report = ask(world)
    stranger = Actor("manager", Role.MANAGER, world.sibling)

    assert keeping.listing(world.session, actor=stranger).items == []
    for look in (keeping.show, keeping.page, keeping.pdf):
        with pytest.raises(errors.NotFoundError):
            look(world.session, actor=stranger, report=report["id"])
    with pytest.raises(errors.NotFoundError):
        keeping.ask(world.session, actor=stranger, notebook="usage", organization=str(world.parent))


def test_a_child_does_not_see_its_parents_report(world):
    ask(world)

    child = Actor("analyst", Role.ANALYST, world.child)

    assert keeping.listing(world.session, actor=child).items == []


@pytest.mark.parametrize(
    ("role", "reads"),
    [
        (Role.FINANCE, {"billing"}),
        (Role.MANAGER, {"usage", "learners_at_risk"}),
        (Role.ANALYST, {"billing", "usage", "learners_at_risk"}),
    ],
)
def test_a_role_reads_and_asks_for_what_it_may_see(world, role, reads):
    for notebook in ("billing", "usage", "learners_at_risk"):
        ask(world, notebook)
    actor = Actor("somebody", role, world.parent)

    seen = keeping.listing(world.session, actor=actor).items

    assert {report["notebook"] for report in seen} == reads
    for notebook in {"billing", "usage"} - reads:
        with pytest.raises(errors.ForbiddenError):
            keeping.ask(world.session, actor=actor, notebook=notebook)


def test_a_report_that_is_not_done_has_no_page(world):
    report = ask(world)

    with pytest.raises(errors.ReportNotDoneError):
        keeping.page(world.session, actor=OPERATOR, report=report["id"])


def test_a_report_that_was_asked_for_as_pdf_is_kept_with_its_page(world):
    report = ask(world, format="pdf")
    with pytest.raises(errors.ReportNotDoneError, match="is queued, so it has no PDF"):
        keeping.pdf(world.session, actor=OPERATOR, report=report["id"])

    claims.finish(world.session, claim=claimed(world.session, report), page="<p>", pdf=b"%PDF-1.4")

    kept = show(world, report)
    assert (kept["format"], kept["bytes"], kept["pdf_bytes"]) == ("pdf", 3, 8)
    assert keeping.page(world.session, actor=OPERATOR, report=report["id"]) == "<p>"
    assert keeping.pdf(world.session, actor=OPERATOR, report=report["id"]) == b"%PDF-1.4"


def test_a_report_that_was_not_asked_for_as_pdf_says_how_to_ask(world):
    report = ask(world)
    claims.finish(world.session, claim=claimed(world.session, report), page="<p>")

    with pytest.raises(errors.NotFoundError, match="ask for one with format pdf"):
        keeping.pdf(world.session, actor=OPERATOR, report=report["id"])


def test_reports_are_listed_newest_first_and_by_their_state(world):
    first, second = ask(world), ask(world, "pools")
    claims.fail(world.session, claim=claimed(world.session, first), traceback="Boom")
    about = str(world.parent)

    made = listed(world, organization=about)
    failed = listed(world, organization=about, state=ReportState.FAILED)

    assert [report["id"] for report in made] == [second["id"], first["id"]]
    assert [(report["id"], report["traceback"]) for report in failed] == [(first["id"], "Boom")]


# Due after an invoice


def test_an_invoice_that_is_finalized_has_its_months_reports_made_once(world):
    [invoice] = invoiced(world)
    keeping.ask_after(world.session, [invoice])

    made = listed(world)

    number, month = world.figures("SELECT number, month FROM invoice WHERE id = :id", id=invoice)
    assert sorted(report["notebook"] for report in made) == sorted(keeping.MONTHLY)
    assert {report["invoice"] for report in made} == {number}
    assert {report["from"] for report in made} == {month}
    assert {(report["to"] + timedelta(days=1)).day for report in made} == {1}
    assert {(report["state"], report["format"]) for report in made} == {("queued", "html")}


def test_an_invoice_of_long_ago_has_no_reports_made(world):
    assert invoiced(world, days=200)

    assert not listed(world)


def test_people_come_before_the_schedule(world):
    invoiced(world)
    asked = ask(world)

    claim = claims.take(world.session)

    assert claim is not None
    assert str(claim.id) == asked["id"]


# Who makes it


def test_a_report_is_taken_once(world):
    report = ask(world)
    claimed(world.session, report)

    assert claims.take(world.session, only=int(report["id"])) is None


def test_workers_make_one_report_at_a_time(world):
    first, second = ask(world), ask(world)
    claim = claimed(world.session, first)

    assert claims.take(world.session) is None
    claims.fail(world.session, claim=claim, traceback="Boom")
    assert str(claims.take(world.session).id) == second["id"]


def test_a_report_whose_worker_died_is_taken_again_and_the_dead_changes_nothing(world):
    report = ask(world)
    dead = claimed(world.session, report)
    pass_time(world.session, seconds=301)

    alive = claimed(world.session, report)
    claims.finish(world.session, claim=dead, page="the dead's")
    claims.finish(world.session, claim=alive, page="the living's")

    assert alive.attempt == dead.attempt + 1
    page = keeping.page(world.session, actor=OPERATOR, report=report["id"])
    assert page == "the living's"


def test_a_report_that_still_advances_is_not_taken(world):
    report = ask(world)
    claim = claimed(world.session, report)
    for _ in range(3):
        pass_time(world.session, seconds=200)
        claims.advance(world.session, claim=claim, worked=1, cells=9)

    assert claims.take(world.session, only=claim.id) is None
    assert (show(world, report)["worked"], show(world, report)["cells"]) == (1, 9)


def test_a_report_on_which_workers_keep_dying_is_set_apart(world):
    report = ask(world)
    for _ in range(claims.MAX_DEATHS):
        claimed(world.session, report)
        pass_time(world.session, seconds=301)

    assert claims.take(world.session) is None
    assert show(world, report)["state"] == "failed"
    assert "died" in show(world, report)["traceback"]


# What an erasure takes out of pages


def at_risk(email: str, *, others_before: int = 0) -> str:
    """A page as the notebook on learners at risk makes it."""
    people = [(f"{n}@example.org", "Other", "Ann") for n in range(others_before)]
    people += [(email, "Ann <O'Neil>", "Ann"), ("other@example.org", "Other", "Ann")]
    frame = pd.DataFrame(people, columns=["email", "name", "organization"])
    frame.attrs["download"] = "list.csv"
    return showing.table(frame, babel.Locale("en"))


def csv_of(page: str) -> str:
    [data] = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    return base64.b64decode(data).decode()


def test_an_erased_person_is_nowhere_in_the_reports_that_are_kept(world):
    deciding.settle(world.session, event_ids=[world.request(world.keys(1)[0], EMAIL)])
    report = ask(world, "learners_at_risk")
    claims.finish(world.session, claim=claimed(world.session, report), page=at_risk(EMAIL))

    told = learners.erase(world.session, actor=OPERATOR, email=EMAIL.lower())

    page = keeping.page(world.session, actor=OPERATOR, report=report["id"])
    assert "neil" not in (page + csv_of(page)).lower()
    assert csv_of(page).splitlines()[1:] == [
        f"{told['pseudonym']},,Ann",
        "other@example.org,Other,Ann",
    ]
    assert f'<td class="person">{told["pseudonym"]}</td>' in page
    assert "Other" in page


def test_an_erased_person_is_nowhere_in_the_rows_that_only_a_csv_has(world):
    deciding.settle(world.session, event_ids=[world.request(world.keys(1)[0], EMAIL)])
    report = ask(world, "learners_at_risk")
    page = at_risk(EMAIL, others_before=300)
    claims.finish(world.session, claim=claimed(world.session, report), page=page)

    told = learners.erase(world.session, actor=OPERATOR, email=EMAIL)

    kept = keeping.page(world.session, actor=OPERATOR, report=report["id"])
    assert "Neil" not in page
    assert "Neil" not in csv_of(kept)
    assert f"{told['pseudonym']},,Ann" in csv_of(kept).splitlines()


def test_an_erasure_takes_the_pdf_of_each_page_that_it_changes_and_of_no_other(world):
    deciding.settle(world.session, event_ids=[world.request(world.keys(1)[0], EMAIL)])
    told, other = (ask(world, "learners_at_risk", format="pdf") for _ in range(2))
    for report, email in ((told, EMAIL), (other, "other@example.org")):
        claim = claimed(world.session, report)
        claims.finish(world.session, claim=claim, page=at_risk(email), pdf=email.encode())

    learners.erase(world.session, actor=OPERATOR, email=EMAIL)

    with pytest.raises(errors.ReportNotDoneError, match="printed again"):
        keeping.pdf(world.session, actor=OPERATOR, report=told["id"])
    assert keeping.pdf(world.session, actor=OPERATOR, report=other["id"]) == b"other@example.org"
    page = keeping.page(world.session, actor=OPERATOR, report=told["id"])
    assert claims.unprinted(world.session, after=0) == (int(told["id"]), page)
    assert claims.unprinted(world.session, after=int(told["id"])) is None


def test_a_pdf_of_a_page_from_which_somebody_was_erased_since_is_not_kept(world):
    report = ask(world, format="pdf")
    claims.finish(world.session, claim=claimed(world.session, report), page="after")
    printed = {"report": int(report["id"]), "pdf": b"%PDF-1.4"}

    claims.keep_pdf(world.session, page="before", **printed)
    early = show(world, report)["pdf_bytes"]
    claims.keep_pdf(world.session, page="after", **printed)

    assert (early, show(world, report)["pdf_bytes"]) == (0, 8)


def test_a_page_names_people_only_where_a_table_has_their_addresses():
    assert personal.names_people(at_risk(EMAIL))
    assert not personal.names_people("<tr><td>Ann</td></tr>")


def test_a_report_that_was_made_while_somebody_was_erased_is_made_anew(world):
    deciding.settle(world.session, event_ids=[world.request(world.keys(1)[0], EMAIL)])
    report = ask(world, "learners_at_risk")
    claim = claimed(world.session, report)
    learners.erase(world.session, actor=OPERATOR, email=EMAIL)

    claims.finish(world.session, claim=claim, page=at_risk(EMAIL))

    assert show(world, report)["state"] == "queued"


# Whole runs


@pytest.fixture
def committed(fresh_database) -> World:
    with databases.session() as session:
        return worlds.build(session)


def test_a_report_is_made_with_its_progress_and_kept_with_its_datas_time(committed):
    with databases.session() as session:
        asked = keeping.ask(
            session,
            actor=OPERATOR,
            notebook="learners_at_risk",
            organization=str(committed.parent),
            from_="2026-01-01",
            to="2026-01-31",
        )
    told: list[tuple[int, int]] = []

    made = reporting.make_next(advance=lambda worked, cells: told.append((worked, cells)))

    with databases.session() as session:
        report = keeping.show(session, actor=OPERATOR, report=asked["id"])
        page = keeping.page(session, actor=OPERATOR, report=asked["id"])
    assert str(made) == asked["id"]
    assert (report["state"], report["worked"]) == ("done", report["cells"])
    assert [worked for worked, _ in told] == list(range(report["cells"]))
    assert report["created_at"] <= report["data_at"] <= report["finished_at"]
    assert report["organization"] in page
    assert "1 January 2026 to 31 January 2026" in page


def asked_as_pdf(world: World, page: str | None = None) -> dict[str, Any]:
    """Ask for a PDF about learners at risk; with a page, it is done but for the PDF."""
    about = {"organization": str(world.parent), "notebook": "learners_at_risk"}
    with databases.session() as session:
        asked = keeping.ask(session, actor=OPERATOR, format="pdf", **about)
        if page:
            claims.finish(session, claim=claimed(session, asked), page=page)
    return asked


def kept(report: dict[str, Any]) -> dict[str, Any]:
    with databases.session() as session:
        return keeping.show(session, actor=OPERATOR, report=report["id"])


def words(report: dict[str, Any]) -> str:
    """What is printed in a report's PDF."""
    with databases.session() as session:
        printed = keeping.pdf(session, actor=OPERATOR, report=report["id"])
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(printed)).pages)


@NEEDS_CHROMIUM
def test_whoever_makes_a_report_that_was_asked_for_as_pdf_prints_it(committed):
    asked = asked_as_pdf(committed)

    tasks.make_reports()

    assert kept(asked)["state"] == "done"
    assert kept(asked)["organization"] in words(asked)


@NEEDS_CHROMIUM
def test_the_pdf_of_a_page_from_which_somebody_was_erased_is_printed_anew(committed):
    with databases.session() as session:
        world = replace(committed, session=session)
        deciding.settle(session, event_ids=[world.request(world.keys(1)[0], EMAIL)])
    asked = asked_as_pdf(committed, at_risk(EMAIL))
    tasks.make_reports()
    before = words(asked)
    with databases.session() as session:
        pseudonym = learners.erase(session, actor=OPERATOR, email=EMAIL)["pseudonym"]

    tasks.make_reports()

    assert "O'Neil" in before
    assert "neil" not in words(asked).lower()
    assert pseudonym in words(asked).replace("\n", "")


@pytest.mark.parametrize(
    ("program", "told", "ran"),
    [("/nowhere", "there is none: install it", False), ("/bin/false", "could not print", True)],
)
def test_a_report_that_cannot_be_printed_fails_in_one_sentence(
    committed, browser, program, told, ran
):
    asked = asked_as_pdf(committed)
    browser(program)

    reporting.make_next()

    failed = kept(asked)
    assert failed["state"] == "failed"
    assert told in failed["traceback"]
    assert failed["traceback"].count("\n") == 0
    assert (failed["cells"] > 0) == ran
    assert reporting.make_next() is None


def test_a_page_that_cannot_be_printed_anew_is_tried_again_by_a_later_run(
    committed, browser, chromium
):
    first, second = (asked_as_pdf(committed, page) for page in ("<p>", "<b>"))
    browser("/bin/false")
    in_vain = reporting.print_anew(until=NOW)
    browser(chromium.with_name("chromium"))

    too_late = reporting.print_anew(until=time.monotonic())
    printed = reporting.print_anew(until=NOW)

    assert (in_vain, too_late, printed) == (0, 0, 2)
    assert {kept(report)["pdf_bytes"] for report in (first, second)} == {8}


def test_who_does_not_operate_keypool_is_told_a_sentence_and_a_reference(world):
    failed, half = ask(world), ask(world, "pools")
    claims.fail(world.session, claim=claimed(world.session, failed), traceback="Boom\n1 / 0")
    claim = claimed(world.session, half)
    claims.finish(world.session, claim=claim, page="<p>", failed="a1b2c3d4: Boom")

    told, parts = (
        keeping.show(world.session, actor=manager(world), report=report["id"])["traceback"]
        for report in (failed, half)
    )

    assert told == (
        "This report could not be made. Whoever operates keypool finds out why by the reference "
        f"{failed['id']}."
    )
    assert parts == "Parts of this report could not be made; each says its reference."
    assert (show(world, failed)["traceback"], show(world, half)["traceback"]) == (
        "Boom\n1 / 0",
        "a1b2c3d4: Boom",
    )


def test_a_report_that_fails_is_set_apart_with_its_traceback_and_stops_no_other(
    committed, tmp_path, monkeypatch
):
    sound = rendering.NOTEBOOKS / "learners_at_risk.ipynb"
    (tmp_path / sound.name).write_bytes(sound.read_bytes())
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "usage.ipynb")
    monkeypatch.setattr(rendering, "NOTEBOOKS", tmp_path)
    (tmp_path / "page").symlink_to(sound.parent / "page")
    with databases.session() as session:
        failing, good = (
            keeping.ask(session, actor=OPERATOR, notebook=name, organization=str(committed.parent))
            for name in ("usage", "learners_at_risk")
        )

    tasks.make_reports()

    with databases.session() as session:
        failed, done = (
            keeping.show(session, actor=OPERATOR, report=report["id"]) for report in (failing, good)
        )
    assert (failed["state"], done["state"]) == ("failed", "done")
    assert "1 / 0" in failed["traceback"]
    assert failed["traceback"].endswith("ZeroDivisionError: division by zero")
    assert "\x1b" not in failed["traceback"]
    assert Path(__file__).name not in failed["traceback"]


@pytest.mark.parametrize(
    ("told", "end", "how"),
    [
        ("report.made", claims.finish, {"page": "<p>"}),
        ("report.failed", claims.fail, {"traceback": "It died."}),
    ],
)
def test_who_listens_at_an_organization_or_above_is_told_what_became_of_a_report(
    world, told, end, how
):
    def listen(where: int, type_: str) -> str:
        url = f"https://hooks.example/{where}/{type_}"
        asked = {"url": url, "organization": str(where), "types": [type_]}
        return str(endpoints.add(world.session, actor=OPERATOR, **asked)["url"])

    above, own = listen(world.parent, told), listen(world.child, told)
    listen(world.sibling, told)
    listen(world.child, "pool.low")
    report = ask(world, organization=str(world.child), from_="2026-01-01", to="2026-01-31")
    everyones = ask(world, organization=None)

    for one in (report, everyones):
        end(world.session, claim=claimed(world.session, one), **how)

    sent = deliveries.listing(world.session, actor=OPERATOR).items
    shown = show(world, report)
    assert sorted(one["url"] for one in sent) == sorted([above, own])
    for one in sent:
        assert one["type"] == told
        assert one["body"]["data"] == {
            "id": report["id"],
            "notebook": "usage",
            "organization": shown["organization"],
            "from": "2026-01-01",
            "to": "2026-01-31",
            "format": "html",
            "finished_at": one["body"]["timestamp"],
        }
