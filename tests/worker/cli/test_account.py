"""Invoices and the audit on the command line."""

import secrets
import zipfile

import pytest
from facturx import get_xml_from_pdf
from sqlalchemy import text

from tests import en16931
from tests.worker.cli.conftest import opened
from tests.world import build
from worker.audit import auditing
from worker.database import connections as databases
from worker.redemption import settling
from worker.reporting import keeping


@pytest.fixture
def charged(world):
    """A charge of last month, and what it is billed to."""
    with opened(world) as live:
        at = live.request_of_last_month(f"{secrets.token_hex(4)}@example.org")
    settling.settle_all()
    return at


def test_a_run_bills_closed_months_and_running_again_changes_nothing(run, give, world, charged):
    first = give("invoices", "run")
    again = run("invoices", "run")

    [invoice] = [one for one in first["invoices"] if one["id"] in first["drafted"]]
    assert first["charges"] == 1
    assert (invoice["status"], invoice["number"]) == ("draft", None)
    assert again.out.startswith("0 charges of 0 organizations billed; 0 invoices finalized.")


def test_an_invoice_is_shown_in_the_agreed_shape(give, world, charged):
    [invoice] = give("invoices", "run")["drafted"]

    shown = give("invoices", "show", invoice)

    assert {
        "id", "number", "organization", "month", "currency", "status", "subtotal", "tax", "total",
        "due_on", "paid_on", "lines",
    } <= set(shown)  # fmt: skip
    assert (shown["subtotal"], shown["currency"]) == ("49.90", "EUR")
    [line] = shown["lines"]
    assert {"course", "pool", "kind", "service_month", "unit_price", "quantity", "amount"} <= set(
        line
    )
    assert (line["quantity"], line["unit_price"]) == (1, "49.90")


def test_an_invoice_is_finalized_found_by_its_number_and_paid(run, give, world, charged):
    [invoice] = give("invoices", "run")["drafted"]

    final = give("invoices", "finalize", invoice)
    today = final["issued_on"]
    part = give("invoices", "pay", final["number"], "--on", today, "--amount", "1.00")
    payment = part["payments"][0]["id"]
    open_again = give("invoices", "unpay", payment, "--reason", "Another's")
    paid = give("invoices", "pay", final["number"], "--on", today)
    again = run("invoices", "finalize", final["number"])

    assert final["status"] == "finalized"
    assert (part["status"], open_again["open"]) == ("finalized", final["total"])
    assert (paid["status"], paid["paid_on"]) == ("paid", today)
    assert paid["id"] in [
        one["id"] for one in give("invoices", "list", "--status", "paid")["items"]
    ]
    assert again.code == 2


def test_a_charge_is_credited_at_once_and_the_statement_tells_what_is_open(
    run, give, world, charged, tmp_path
):
    [invoice] = give("invoices", "run")["drafted"]
    final = give("invoices", "finalize", invoice)
    [charge] = give("invoices", "charges", invoice)["items"]

    note = give("invoices", "credit", charge["id"], "--amount", "9.90", "--reason", "Late", "--now")
    told = give("invoices", "statement", final["organization"])
    table = run("invoices", "statement", final["organization"], "--format", "csv")
    owed = tmp_path / "owed.pdf"
    run("invoices", "statement", final["organization"], "-o", str(owed))
    document = run("invoices", "statement", final["organization"], "--format", "json")

    assert (note["kind"], note["subtotal"]) == ("credit_note", "-9.90")
    assert note["lines"][0]["credits"]["invoice"] == final["number"]
    assert final["number"] in {item["number"] for item in told["items"]}
    assert f",{final['number']},invoice," in table.out
    assert owed.read_bytes().startswith(b"%PDF")
    assert document.json == told


@pytest.mark.parametrize("command", ["run --finalize", "finalize"])
def test_an_invoice_that_is_finalized_has_its_months_reports_made(give, world, charged, command):
    if command == "finalize":
        [draft] = give("invoices", "run")["drafted"]
        final = give("invoices", "finalize", draft)
    else:
        final = give("invoices", "show", give("invoices", *command.split())["finalized"][-1])

    kept = give("reports", "kept", "--organization", final["organization"])["items"]
    asked = [one["notebook"] for one in kept if one["invoice"] == final["number"]]
    assert sorted(asked) == sorted(keeping.MONTHLY)


def test_a_running_months_draft_asks_to_be_confirmed(give, run, world):
    with opened(world) as live:
        month = live.figures("SELECT to_char(clock_now(), 'YYYY-MM') AS month").month
        live.redeemed("running@example.com")
    [draft] = give("invoices", "run", "--month", month)["drafted"]

    asked = run("invoices", "finalize", draft)
    final = give("invoices", "finalize", draft, "--anyway")

    assert asked.code == 2
    assert f"{month} is not over yet" in asked.err
    assert final["number"]


def test_a_run_leaves_drafts_while_the_seller_lacks_something_and_says_so(
    give, run, world, charged
):
    give("seller", "edit", "--tax-id", "")

    left = give("invoices", "run", "--finalize")
    told = run("invoices", "run", "--finalize")
    anyway = give("invoices", "run", "--finalize", "--anyway")
    give("seller", "edit", "--tax-id", "DE136695976")

    assert (left["finalized"], left["lacks"]) == ([], ["tax id"])
    assert set(left["drafted"]) <= set(left["left"])
    assert "the seller has no tax id" in " ".join(told.err.split())
    assert anyway["finalized"] == left["left"]


def test_a_finalized_invoice_is_voided_for_a_reason(give, world, charged):
    invoice = give("invoices", "run", "--finalize")["finalized"][-1]

    void = give("invoices", "void", invoice, "--reason", "wrong address")

    assert (void["status"], void["void_reason"]) == ("void", "wrong address")
    assert give("invoices", "show", void["draft"])["status"] == "draft"


def test_a_charge_is_credited_and_never_beyond_itself(run, give, world, charged):
    with opened(world) as live:
        charge = str(live.figures("SELECT max(id) AS id FROM charge").id)

    credit = give("invoices", "credit", charge, "--amount", "9.90", "--reason", "goodwill")
    beyond = run("invoices", "credit", charge, "--amount", "49.90", "--reason", "goodwill")

    assert (credit["kind"], credit["amount"], credit["credits"]) == ("credit", "-9.90", charge)
    assert beyond.code == 2
    assert "Only 40.00 EUR is left" in beyond.err


def test_an_invoices_line_is_traced_to_its_redemptions_and_back(give, world, charged):
    invoice = give("invoices", "run")["drafted"][-1]
    lines = give("invoices", "show", invoice)["lines"]

    carried = give("invoices", "charges", invoice)["items"]
    by_line = [give("invoices", "charges", "--line", line["id"])["items"] for line in lines]
    newest = carried[0]
    back = give("invoices", "charges", "--assignment", newest["assignment"])["items"]
    redemptions = give("redemptions", "list", "--pool", world.pool)["items"]
    unbilled = give("invoices", "charges", "--unbilled", "--limit", "1000")["items"]

    assert [len(items) for items in by_line] == [line["quantity"] for line in lines]
    assert sorted(one["id"] for items in by_line for one in items) == sorted(
        one["id"] for one in carried
    )
    assert back == [newest]
    assert newest["invoice"] == invoice
    assert newest["assignment"] in [one["assignment"] for one in redemptions]
    assert newest["learner_organization"] in [
        share["organization"] for line in lines for share in line["learner_organizations"]
    ]
    assert newest["id"] not in [one["id"] for one in unbilled]


def test_a_pool_says_what_it_was_charged_this_month(give, world):
    with opened(world) as live:
        [key] = live.keys(1)
        live.request(key, f"{secrets.token_hex(4)}@example.org")
    settling.settle_all()

    told = give("pools", "charges", world.pool)

    [euros] = told["currencies"]
    assert (told["pool"], euros["currency"]) == (world.pool, "EUR")
    assert euros["unbilled_quantity"] >= 1
    assert euros["amount"] == f"{49.9 * euros['quantity']:.2f}"


def test_a_month_that_is_none_is_refused(run):
    done = run("invoices", "run", "--month", "2026-13")

    assert done.code == 2
    assert done.err == "--month: “2026-13” is not a month; write 2026-05.\n"


def test_an_audit_that_holds_says_so_in_figures(run, give, charged):
    told = run("audit")
    audit = give("audit")

    assert told.code == 0
    assert told.out.endswith("The ledger holds.\n")
    assert audit["ok"] is True
    assert all({"name", "ok", "figures", "rows"} == set(check) for check in audit["checks"])


def test_an_interrupted_audit_is_resumed(run, give, charged):
    whole = give("audit")
    databases.transaction(auditing.begin)

    resumed = give("audit", "--resume")
    nothing = run("audit", "--resume")

    assert resumed["checks"] == whole["checks"]
    assert nothing.code != 0
    assert nothing.err == "No audit was interrupted; begin one without --resume.\n"


def test_an_audit_since_a_time_looks_at_that_alone(give, charged):
    lately, later = give("audit", "--since", "2020-01-01"), give("audit", "--since", "2120-01-01")

    assert lately["since"] == "2020-01-01T00:00:00Z"
    assert lately["checks"][0]["figures"]["assignments"] > 0
    assert later["checks"][0]["figures"]["assignments"] == 0


def test_an_audit_that_does_not_hold_names_the_rows_and_exits_with_1(run, fresh_database):
    with databases.session() as session:
        world = build(session)
    with opened(world) as live:
        live.keys(1)
        live.session.execute(text("UPDATE pool_tally SET issued = issued + 1"))

    done = run("audit", "--json")

    assert done.code == 1
    assert done.json["ok"] is False
    assert [check["rows"] for check in done.json["checks"] if not check["ok"]] == [
        [f"pool {world.pool}"]
    ]


def test_an_invoice_is_exported_in_every_format(run, give, charged, tmp_path):
    invoice = give("invoices", "run", "--finalize")["finalized"][-1]

    lines = run("invoices", "export", invoice, "--format", "csv")
    detail = run("invoices", "export", invoice, "--format", "detail")
    as_json = run("invoices", "export", invoice, "--format", "json")
    pdf = give("invoices", "export", invoice, "-o", str(tmp_path / "invoice.pdf"))

    assert lines.out.startswith("invoice,month,organization,course,")
    assert detail.out.startswith("invoice,occurred_at,kind,")
    assert as_json.json["id"] == invoice
    assert (tmp_path / "invoice.pdf").read_bytes().startswith(b"%PDF")
    assert pdf == {
        "file": str(tmp_path / "invoice.pdf"),
        "bytes": (tmp_path / "invoice.pdf").stat().st_size,
    }


def test_an_invoice_is_exported_as_an_e_invoice_or_says_what_it_lacks(
    run, give, world, charged, tmp_path
):
    give(
        "seller", "edit", "--contact", "Ann", "--phone", "1", "--email", "ann@keys.example",
        "--electronic-address", "0088:4012", "--bank", "EUR=DE89370400440532013000",
    )  # fmt: skip
    give(
        "organizations", "edit", str(world.parent), "--city", "Bonn", "--postcode", "53111",
        "--country", "DE", "--electronic-address", "ap@buyer.example",
    )  # fmt: skip
    [draft] = give("invoices", "run")["drafted"]

    lacking = run("invoices", "export", draft, "--format", "xrechnung")
    missing = give("invoices", "show", draft)["missing"]
    give("organizations", "edit", str(world.parent), "--buyer-reference", "04011000-12345-34")
    invoice = give("invoices", "finalize", draft)["number"]
    ubl = run("invoices", "export", invoice, "--format", "ubl")
    xrechnung = run("invoices", "export", invoice, "--format", "xrechnung")
    give("invoices", "export", invoice, "--format", "facturx", "-o", str(tmp_path / "made.pdf"))

    assert lacking.code == 2
    assert missing == ["buyer.buyer_reference"]
    assert "buyer.buyer_reference" in lacking.err
    assert en16931.objections(ubl.out.encode()) == en16931.objections(xrechnung.out.encode()) == []
    assert get_xml_from_pdf((tmp_path / "made.pdf").read_bytes())[0] == "factur-x.xml"


def test_a_period_is_handed_over_as_a_zip_and_as_a_journal_on_the_sellers_accounts(
    run, give, charged, tmp_path
):
    give("seller", "edit", "--account", "revenue=8400", "--account", "tax:19=1776")
    give("invoices", "run", "--finalize")
    with databases.session() as session:
        guard = "TRIGGER finalized_invoice_never_changes"  # no test waits a day
        session.execute(text(f"ALTER TABLE invoice DISABLE {guard}"))
        session.execute(text("UPDATE invoice SET issued_on = issued_on - 1"))
        session.execute(text(f"ALTER TABLE invoice ENABLE {guard}"))
        day = session.scalar(text("SELECT max(issued_on)::text FROM invoice"))
    days = ("--from", "2020-01-01", "--to", day)

    give("invoices", "export", *days, "-o", str(tmp_path / "made.zip"))
    journal = run("invoices", "export", *days, "--format", "journal")
    again = run("invoices", "export", *days, "--format", "journal")
    neither = run("invoices", "export", "--from", "2020-01-01")
    wrong = run("seller", "edit", "--account", "8400")

    names = zipfile.ZipFile(tmp_path / "made.zip").namelist()
    assert "invoices.csv" in names
    assert any(name.endswith(".pdf") for name in names)
    assert journal.out.startswith("export,line,day,document,event,")
    assert ",8400,revenue," in journal.out
    assert again.out == journal.out
    assert (neither.code, wrong.code) == (2, 2)


def test_a_file_that_cannot_be_written_is_refused(run, give, charged, tmp_path):
    [invoice] = give("invoices", "run")["drafted"]

    done = run("invoices", "export", invoice, "-o", str(tmp_path / "no" / "such.pdf"))

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "cannot be written" in done.err


def test_history_is_simulated(give):
    figures = give("simulate", "--organizations", "3", "--months", "2", "--redemptions", "200")

    assert figures["redemption"] == 200
    assert give("audit")["ok"] is True
