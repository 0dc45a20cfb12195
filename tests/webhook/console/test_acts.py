"""Every act of the console succeeds, says what it did, and did it."""

import re
import secrets
from html import unescape
from urllib.parse import unquote

import pytest
from sqlalchemy import text

from tests.webhook.conftest import redemption, settle
from tests.world import OPERATOR, build
from worker.billing import invoices, runs
from worker.database import connections as databases
from worker.pools import batches, distributions, keys
from worker.redemption import inbox, trouble
from worker.reporting import claims, keeping, schedules
from worker.tenancy.actors import Role


@pytest.fixture
def manager(somebody):
    return somebody()


@pytest.fixture
def operator(somebody):
    return somebody(Role.OPERATOR)


def ask(domain, **given):
    with databases.session() as session:
        return domain(session, actor=OPERATOR, **given)


def acted(who, where, *, page, **form):
    """Send a form, and give what the page that follows says was done."""
    answer = who.post(where, page=page, **form)
    assert answer.status_code == 303, answer.text
    followed = who.get(answer.location.removeprefix("/console").partition("#")[0]).text
    return unescape(re.search(r'class="told done" role="status">(.*?)</p>', followed)[1])


@pytest.fixture
def assignment(place):
    """A new redemption's assignment, its key, and its page."""
    [code], email = place.keys(), f"{secrets.token_hex(4)}@example.com"
    event = place.sender().post(redemption(code, email)).json["event"]
    settle()
    made = ask(inbox.show, event=event)["assignment"]
    return f"/assignments/{made}", code


def launch(assignment):
    with databases.session() as session:
        session.execute(
            text("""INSERT INTO launch (assignment_id, organization_id, launch, launched_at)
                    SELECT id, organization_id, 'acts ' || id, clock_now() FROM assignment
                     WHERE id = :id"""),
            {"id": int(assignment.rpartition("/")[2])},
        )


@pytest.fixture
def invoice(things):
    """A draft of an organization of its own, with one charge on it; its page."""
    with databases.session() as session:
        world = build(session)
        world.request(*world.keys(1), "payer@example.com")
        month = session.execute(text("SELECT to_char(clock_now(), 'YYYY-MM')")).scalar_one()
    settle()
    runs.run(actor=OPERATOR, month=month)
    [made] = ask(invoices.listing, filters=invoices.Filters(organization=str(world.parent))).items
    return f"/invoices/{made['id']}"


def test_a_distribution_is_recalled(manager, place):
    place.keys(2)
    where, given = f"/pools/{place.world.pool}", {"recipient": "desk", "reference": "PO-9"}

    handed = acted(manager, f"{where}/distribute", page=where, count="2", **given)
    recalled = acted(manager, f"{where}/recall", page=where, **given)

    assert handed == "desk has 2 keys."
    assert recalled == "Its unredeemed keys are retired."
    of_desk = ask(keys.listing, pool=place.world.pool, filters=keys.Filters(recipient="desk")).items
    assert {str(key["state"]) for key in of_desk} == {"retired"}
    assert ask(distributions.listing, pool=place.world.pool).items[0]["recalled_at"]


def test_a_batch_is_listed_with_its_progress_and_cancelled(manager, place):
    where = f"/pools/{place.world.pool}"
    acted(manager, f"{where}/keys/generate", page=f"{where}/keys/add", generate="7,000")
    newest = ask(batches.listing, limit=1).items[0]

    listed = manager.get(f"/batches?pool={place.world.pool}").text
    told = acted(manager, f"/batches/{newest['id']}/cancel", page="/batches")

    assert f'hx-get="/console/batches/{newest["id"]}/progress"' in listed
    assert "Generate: 0 of 7,000" in listed
    assert f'{where}">{newest["pool_name"]}</a>' in listed
    assert told == "The batch is cancelled; the 0 keys that it made stay."
    assert f"batches/{newest['id']}/cancel" not in manager.get("/batches").text


def test_an_imports_lines_are_told_as_csv(manager, place):
    where = f"/pools/{place.world.pool}/keys/add"
    lines = "\n".join([*(f"BULK-{number:08}" for number in range(501)), "bad"])
    acted(manager, where, page=where, pasted=lines, do="save", anyway="on")
    batch = ask(batches.listing, limit=1).items[0]["id"]
    with databases.session() as session:
        while batches.work_chunk(session) is not None:
            pass

    report = manager.get(f"/batches/{batch}.csv")

    assert report.headers["Content-Disposition"] == f'attachment; filename="batch-{batch}.csv"'
    assert "\n1,BULK-00000000,added,\n" in report.text
    assert "\n502,bad,invalid," in report.text
    assert f"/console/batches/{batch}.csv" in manager.get("/batches").text


def test_access_is_extended_free_or_at_a_price(manager, assignment):
    where, _ = assignment

    free = acted(manager, f"{where}/extend", page=where, by_days="5", until="", price="")
    paid = acted(manager, f"{where}/extend", page=where, by_days="", until="2030-06-30", price="7")

    assert free.endswith("; nothing is charged.")
    assert paid == "Access lasts until the end of 30 Jun 2030, UTC; 7 EUR is charged."


@pytest.mark.parametrize(
    ("form", "state", "words"),
    [
        ({}, "issued", "the key can be redeemed again"),
        ({"retire_key": "on"}, "retired", "the key is retired"),
    ],
)
def test_a_fresh_assignment_is_cancelled_with_its_credit(manager, assignment, form, state, words):
    where, code = assignment

    warned = manager.get(where).text
    told = acted(manager, f"{where}/cancel", page=where, **form)

    assert "<strong>49.90 EUR is credited</strong>, and the key can be redeemed again" in warned
    assert told == f"The assignment is cancelled; 49.90 EUR is credited, and {words}."
    assert str(ask(trouble.show, code=code)["state"]) == state


def test_a_launched_assignment_is_cancelled_with_a_reason_and_without_a_credit(manager, assignment):
    where, code = assignment
    launch(where)

    warned = manager.get(where).text
    refused = manager.post(f"{where}/cancel", page=where, reason="")
    told = acted(manager, f"{where}/cancel", page=where, reason="Left the company")

    assert "<strong>nothing is credited</strong>, 49.90 EUR stays charged" in warned
    assert refused.status_code == 422
    assert 'cancel-reason-note" class="wrong">' in refused.text
    assert told == "The assignment is cancelled; nothing is credited, and the key is retired."
    assert str(ask(trouble.show, code=code)["state"]) == "retired"
    assert "Left the company" in manager.get(where).text


def test_somebody_whose_key_does_not_work_gets_another(manager, place):
    old, _ = place.keys(2)
    where = f"/trouble?q={old}"

    offered = manager.get(where).text
    refused = manager.post(f"/keys/{old}/replace", page=where, reason="", recipient="a@example.com")
    told = acted(
        manager, f"/keys/{old}/replace", page=where, reason="Torn", recipient="a@example.com"
    )

    new = ask(trouble.show, code=old)["replaced_by"]
    assert "Give another key" in offered
    assert (refused.status_code, 'reason-note" class="wrong">' in refused.text) == (422, True)
    assert told == f"a@example.com has the key {new} in its place."
    assert new in manager.get(where).text


def test_access_is_extended_and_the_answer_mailed_where_a_key_is_asked_about(manager, assignment):
    _, code = assignment
    where = f"/trouble?q={code}&as=bob@example.com"

    shown = manager.get(where).text
    refused = manager.post(f"/keys/{code}/extend", page=where, by_days="x")
    told = acted(manager, f"/keys/{code}/extend", page=where, by_days="10")

    answer = unescape(re.search(r'id="answer">(.*?)</span>', shown)[1])
    mail = unescape(re.search(r'href="(mailto:[^"]+)"', shown)[1])
    assert 'data-copies="answer"' in shown
    assert unquote(mail).startswith("mailto:bob@example.com?subject=Your key ")
    assert unquote(mail).endswith(f"&body={answer}")
    assert (refused.status_code, 'by_days-note" class="wrong">' in refused.text) == (422, True)
    assert re.fullmatch(r"Access lasts until .*; nothing is charged\.", told)


def test_a_key_that_gave_nobody_access_extends_nothing(manager, place):
    [code] = place.keys()

    refused = manager.post(f"/keys/{code}/extend", page=f"/trouble?q={code}", by_days="10")

    assert (refused.status_code, "gave nobody access yet" in refused.text) == (404, True)
    assert "Extend access" not in manager.get(f"/trouble?q={code}").text


def test_a_learner_is_corrected(manager, assignment, place):
    where, _ = assignment
    email = re.search(r'/console/learners/([^"]+)"', manager.get(where).text)[1]
    new = f"new-{secrets.token_hex(4)}@example.com"

    told = acted(manager, f"/learners/{email}", page=f"/learners/{email}", email=new, name="Ann")

    assert told == "It is corrected; what was before stays in the history."
    assert "<h1>Ann</h1>" in manager.get(f"/learners/{new}").text


def test_a_charge_is_credited_in_part(operator, invoice):
    where = re.search(rf"/console({invoice}/lines/\d+)", operator.get(invoice).text)[1]
    charge = re.search(
        r"/console(/invoices/\d+/lines/\d+/charges/\d+/credit)", operator.get(where).text
    )[1]

    told = acted(operator, charge, page=where, amount="9.90", reason="Half a course")
    waits = operator.post(charge, amount="1.00", reason="Late", now="1", anyway="1").text

    assert told == "-9.90 EUR is credited on the next credit note."
    assert "is on no finalized invoice yet" in waits


def test_an_invoice_is_finalized_and_paid(operator, invoice):
    final = acted(operator, f"{invoice}/finalize", page=invoice, anyway="on")
    today = ask(invoices.show, invoice=invoice.rpartition("/")[2])["issued_on"]
    part = acted(operator, f"{invoice}/pay", page=invoice, on=today, amount="1.00")
    [payment] = ask(invoices.show, invoice=invoice.rpartition("/")[2])["payments"]
    unpay = f"{invoice}/payments/{payment['id']}/unpay"
    taken_back = acted(operator, unpay, page=invoice, reason="Another's")
    paid = acted(operator, f"{invoice}/pay", page=invoice, on=today)
    page = operator.get(invoice).text

    assert final.startswith("The invoice is final: ")
    assert part.startswith("The payment is kept; ")
    assert taken_back == "The payment is taken back; it is open again."
    assert paid == "The invoice is paid."
    assert '<span class="state paid">' in page
    assert f"paid {today}" in page
    assert operator.get(f"{invoice}.pdf").data.startswith(b"%PDF")
    assert operator.get(f"{invoice}.csv").text.startswith("invoice,")


def test_a_credit_note_is_paid_out_as_its_page_offers(operator, invoice):
    acted(operator, f"{invoice}/finalize", page=invoice, anyway="on")
    today = ask(invoices.show, invoice=invoice.rpartition("/")[2])["issued_on"]
    acted(operator, f"{invoice}/pay", page=invoice, on=today)
    where = re.search(rf"/console({invoice}/lines/\d+)", operator.get(invoice).text)[1]
    charge = re.search(rf"/console({where}/charges/\d+/credit)", operator.get(where).text)[1]
    acted(operator, charge, page=where, amount="1.00", reason="Late", now="1", anyway="1")
    back = operator.post(charge, page=where, amount="1.00", reason="Later", now="1", anyway="1")
    notes = [one for one in ask(invoices.listing, limit=2).items if one["kind"] == "credit_note"]
    note = notes[-1]
    assert back.location == f"/console{where}"

    page = operator.get(f"/invoices/{note['id']}").text
    amount = re.search(r'name="amount" type="text" value="([^"]*)"', page)[1]
    acted(operator, f"/invoices/{note['id']}/pay", page=invoice, on=today, amount=amount)

    assert f"-{amount}" == note["open"]
    assert ask(invoices.show, invoice=note["id"])["status"] == "paid"
    assert f"/invoices/{note['id']}/void" not in page


def test_a_draft_that_needs_a_person_asks_for_a_tick(operator, invoice):
    page = operator.get(invoice).text
    refused = operator.post(f"{invoice}/finalize", page=invoice)

    assert "Needs you: " in page
    assert 'name="anyway"' in page
    assert refused.status_code == 409
    assert "is not over yet" in refused.text
    assert '<span class="state draft">' in operator.get(invoice).text


def test_drafts_that_wait_for_the_seller_are_told_on_the_list_of_invoices(operator):
    with databases.session() as session:
        build(session).request_of_last_month("waits@example.com")
        session.execute(text("UPDATE seller SET tax_id = ''"))
    settle()
    runs.run(actor=OPERATOR)

    waiting = operator.get("/invoices").text
    with databases.session() as session:
        session.execute(text("UPDATE seller SET tax_id = 'DE136695976'"))

    assert "Needs you" in waiting
    assert "the seller has no tax id" in waiting
    assert "Needs you" not in operator.get("/invoices").text


def test_a_period_is_handed_over_from_the_list_of_invoices(operator):
    days = {"from": "2020-01-01", "to": "2020-01-31"}

    archive = operator.get("/invoices.zip?from=2020-01-01&to=2020-01-31")
    journal = operator.post("/invoices/journal", page="/invoices", **days)
    refused = operator.post("/invoices/journal", page="/invoices", **days | {"to": "2090-01-01"})

    assert archive.mimetype == "application/zip"
    assert journal.text.startswith("export,line,day,")
    assert refused.status_code == 422
    assert "2090-01-01 is not over yet" in refused.text


def test_an_invoice_that_is_finalized_has_its_months_reports_made(operator, invoice):
    acted(operator, f"{invoice}/finalize", page=invoice, anyway="on")

    final = ask(invoices.show, invoice=invoice.rpartition("/")[2])
    kept = ask(keeping.listing, filters=keeping.Filters(organization=final["organization"])).items
    asked = [one["notebook"] for one in kept if one["invoice"] == final["number"]]
    assert sorted(asked) == sorted(keeping.MONTHLY)


def test_an_invoice_is_voided_with_its_reason(operator, invoice):
    acted(operator, f"{invoice}/finalize", page=invoice, anyway="on")

    told = acted(operator, f"{invoice}/void", page=invoice, reason="Wrong address")

    assert told == "The invoice is void; its charges are on a new draft."
    assert '<span class="state void">' in operator.get(invoice).text


def test_a_source_is_added_and_given_a_new_secret(manager, things):
    name = f"Portal {secrets.token_hex(4)}"

    made = manager.post("/sources", name=name, organization=things.ids["organization"]).text
    source = re.search(rf"{name}</a></th>.*?/console(/sources/\d+/rotate)", made, re.DOTALL)[1]
    rotated = manager.post(source, page="/sources").text

    first, second = (re.findall(r"whsec_[\w+/=]+", page) for page in (made, rotated))
    assert len(first) == len(second) == 1
    assert first != second
    assert "whsec_" not in manager.get("/sources").text


def test_a_failed_event_is_retried(manager, place):
    event = place.sender().post(redemption()).json["event"]
    with databases.session() as session:
        session.execute(
            text("UPDATE event SET status = 'failed', error = 'It <died>.' WHERE id = :id"),
            {"id": int(event)},
        )

    failed = manager.get("/events?failed=1").text
    told = acted(manager, f"/events/{event}/retry", page="/events")

    assert "It &lt;died&gt;." in failed
    assert told == "The event waits to be settled again."
    settle()
    assert ask(inbox.show, event=event)["outcome"] == "unknown_key"


def test_a_report_is_asked_for(manager, things):
    given = {"notebook": "usage", "organization": things.ids["organization"]}

    told = acted(manager, "/reports", page="/reports", **given, **{"from": "2026-01-01"})

    assert told == "The worker makes the report."
    assert "2026-01-01 to" in manager.get("/reports").text


def test_a_notebook_of_ones_own_is_asked_for_with_a_parameter_a_line(operator, own_notebook):
    form = operator.get("/reports").text

    acted(operator, "/reports", page="/reports", notebook=own_notebook, parameters="at_least=3\n\n")

    with databases.session() as session:
        asked = keeping.listing(session, actor=OPERATOR).items[0]
    assert "at_least=1" in form
    assert (asked["notebook"], asked["parameters"]) == (own_notebook, {"at_least": 3})


def test_a_report_is_scheduled_paused_resumed_and_stopped(manager, things):
    given = {
        "notebook": "usage",
        "organization": things.ids["organization"],
        "every": "week",
        "format": "xlsx",
        "mail": "boss@example.org\r\nclerk@example.org",
    }
    page = "/reports/schedules"

    told = acted(manager, page, page=page, **given)
    with databases.session() as session:
        made = schedules.listing(session, actor=OPERATOR)[-1]
    shown = manager.get(page).text
    where = f"{page}/{made['id']}"
    edited = acted(
        manager, f"{where}/edit", page=page, every="day", format="PDF", mail="clerk@example.org"
    )
    with databases.session() as session:
        changed = schedules.show(session, actor=OPERATOR, schedule=made["id"])
    paused = acted(manager, f"{where}/pause", page=page)
    resumed = acted(manager, f"{where}/resume", page=page)
    stopped = acted(manager, f"{where}/remove", page=page)

    next_one = f"the next one is made on {made['next_on']}."
    then = f"It goes on: the next one is made on {changed['next_on']}."
    assert (made["format"], made["every"]) == ("xlsx", "week")
    assert "boss@example.org, clerk@example.org" in shown
    assert told.lower() == next_one
    assert (paused, resumed) == ("It is paused.", then)
    assert edited == f"It is changed. The next one is made on {changed['next_on']}."
    assert (changed["every"], changed["format"], changed["mail"]) == (
        "day", "pdf", ["clerk@example.org"]
    )  # fmt: skip
    assert stopped == "It is made no more. What was made stays."
    assert "boss@example.org" not in manager.get(page).text


@pytest.fixture
def report(manager, things):
    """A report that the form asked for as PDF, and the claim of whoever makes it."""
    given = {"notebook": "usage", "organization": things.ids["organization"], "format": "PDF"}
    acted(manager, "/reports", page="/reports", **given)
    with databases.session() as session:
        asked = keeping.listing(session, actor=OPERATOR).items[0]
        return asked, claims.take(session, only=int(asked["id"]))


def test_a_report_is_asked_for_as_pdf_which_is_linked_once_there_is_one(manager, report):
    asked, claim = report
    where = f"/reports/{asked['id']}"
    link = f'href="/console{where}.pdf">PDF</a>'
    early = manager.get("/reports").text
    with databases.session() as session:
        claims.finish(session, claim=claim, page="<p>", pdf=b"%PDF-1.4")

    printed = manager.get(f"{where}.pdf")

    assert asked["format"] == "pdf"
    assert link not in early
    assert link in manager.get("/reports").text
    assert link in manager.get(f"{where}/progress").text
    assert (printed.data, printed.mimetype) == (b"%PDF-1.4", "application/pdf")
    assert printed.headers["Content-Disposition"].startswith("attachment;")


def test_a_report_that_failed_tells_the_operator_why_and_a_tenant_its_reference(
    manager, operator, report
):
    asked, claim = report
    with databases.session() as session:
        claims.fail(session, claim=claim, traceback="Traceback:\nKeyError: gone")

    told, detail = (
        whose.get(f"/reports/{asked['id']}/progress").text for whose in (manager, operator)
    )

    assert "KeyError" not in told
    assert f"finds out why by the reference {asked['id']}." in told
    assert "<small>KeyError: gone</small>" in detail
