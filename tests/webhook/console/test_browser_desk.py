"""A real browser on a keypool that runs: helping learners, billing, connecting, reporting."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from tests.webhook.console.browsing import House, dialog, form, sign_in
from tests.webhook.console.people import PASSWORD
from tests.world import OPERATOR, World
from worker.billing import runs
from worker.database import connections as databases
from worker.demo import waiting
from worker.tenancy import tokens
from worker.tenancy.actors import Role


@pytest.fixture(scope="module", autouse=True)
def spent(house: House) -> dict[str, str]:
    """Keys that learners have spent: an assignment's id by the learner's name."""
    people = ("ann", "bob", "eve")
    house.keys(*(f"SPENT-KEY-{name.upper()}" for name in people), "UNSPENT-KEY-01")
    found = {
        name: house.redeem(f"SPENT-KEY-{name.upper()}", f"{name}@example.com").answer["assignment"]
        for name in people
    }
    house.launch(found["bob"], "lab-1")
    return found


# ------------------------------------------------------------------------------------------- mails


def test_a_template_is_previewed_as_a_page_that_runs_nothing(tab):
    page = tab()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/console/templates")
    page.get_by_label("Name", exact=True).fill("Evil")
    page.get_by_label("Subject").fill("Yours")
    page.locator("textarea[name=text]").fill(
        "<script>document.title = 'ran'; top.document.title = 'ran'</script>\n\n"
        "<img src='https://evil.example/x' onerror='top.document.title = 1'>\n\n"
        "{% for key in keys %}\n    {{ key }}\n{% endfor %}\n"
    )
    page.get_by_role("button", name="Preview").click()

    preview = page.get_by_role("region", name="Preview")
    mail = preview.frame_locator("iframe")
    expect(preview.locator("pre")).to_contain_text("<script>document.title")
    expect(mail.locator("p").first).to_contain_text("<script>document.title")
    expect(mail.locator("pre")).to_have_css("border-left-width", "4px")  # its styles are allowed
    assert preview.locator("iframe").get_attribute("sandbox") == ""
    assert "ran" not in page.title()
    assert [url for url in asked if "evil.example" in url] == []


def test_even_a_mail_with_markup_of_its_own_runs_nothing_in_its_frame(tab):
    page = tab().context.new_page()  # whose complaints are wanted here
    asked, refused = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: refused.append(line.text))
    page.goto("/console/templates")
    page.get_by_label("Name", exact=True).fill("Evil")
    page.get_by_role("button", name="Preview").click()
    page.locator("iframe").evaluate(
        "frame => frame.srcdoc = `<script>top.document.title = 'ran'</script>"
        "<img src='/console/static/x.png' onerror='top.document.title = 1'>"
        "<style>p { color: red }</style><p>there</p>`"
    )

    mail = page.frame_locator("iframe")
    expect(mail.locator("p")).to_have_text("there")
    expect(mail.locator("p")).not_to_have_css("color", "rgb(255, 0, 0)")
    assert "ran" not in page.title()
    assert any("Blocked script execution" in line or "script" in line for line in refused)


def test_the_text_is_changed_for_one_sending(tab, house):
    house.keys("OWN-WORDS-KEY-01")
    page = tab()
    page.goto(house.pool)
    asking = dialog(page, "Distribute", "Distribute keys")
    asking.get_by_label("Recipient (e-mail or name)").fill("once@example.com")
    asking.get_by_label("Send the recipient their keys by e-mail").check()
    asking.get_by_text("Change the text for this sending").click()
    asking.get_by_label("In these words").check()
    expect(asking.get_by_label("Subject")).to_have_value("Your key for {{ course }}")
    asking.get_by_label("Subject").fill("Only today")
    asking.get_by_role("button", name="Distribute").click()
    page.goto("/console/messages?recipient=once@example.com")
    page.get_by_role("table").get_by_role("link").first.click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Only today")
    expect(page.frame_locator("iframe").locator("pre")).to_be_visible()


# -------------------------------------------------------------------------------- helping learners


def test_rows_are_selected_by_mouse_and_keyboard_and_extended_at_once(tab, house):
    with databases.session() as session:
        many = World(session, *list(vars(house.world).values())[1:])
        for nth in range(4):
            many.redeemed(f"many{nth}@example.com")
    page = tab()
    page.goto("/console/assignments?status=active")
    boxes = page.get_by_role("checkbox", name=re.compile("^Select many"))
    bar = page.get_by_role("form", name="Acts on what is selected")
    expect(bar).to_be_hidden()

    boxes.first.focus()
    page.keyboard.press("Space")
    expect(bar).to_contain_text("1 selected")
    boxes.nth(2).click(modifiers=["Shift"])
    expect(bar).to_contain_text("3 selected")
    page.get_by_role("checkbox", name="All on this page").check()
    everybody = page.locator("tbody input[name=row]").count()
    expect(bar).to_contain_text(f"{everybody} selected")
    bar.get_by_label(f"All {everybody} that fit").check()
    expect(bar).to_contain_text("All that fit are selected.")
    page.get_by_role("checkbox", name=re.compile("^Select ann@")).uncheck()
    expect(bar).to_contain_text(f"{everybody - 1} selected")
    bar.get_by_role("button", name="Extend…").click()
    asking = page.get_by_role("dialog", name="Confirm")
    expect(asking).to_contain_text(f"Extend {everybody - 1} assignments?")
    expect(asking).to_contain_text("of Pool House, Parent House")
    asking.get_by_label("By days").fill("2")
    asking.get_by_label("Price for each").fill("2.5")
    expect(asking).to_contain_text(f"EUR {(everybody - 1) * 2.5:.2f} in all")
    asking.get_by_label("Price for each").fill("")
    asking.get_by_role("button", name=f"Extend {everybody - 1}").click()

    expect(page.get_by_role("status").first).to_have_text(f"{everybody - 1} extended.")
    expect(page.get_by_role("region", name="Results")).to_contain_text("many3@example.com")


def test_a_key_that_does_not_work_is_looked_up(tab):
    page = tab()
    page.locator("summary", has_text="Support").click()
    page.get_by_role("link", name="My key does not work").click()
    box = page.get_by_label("Key or e-mail address")
    expect(box).to_be_focused()

    box.fill("no such key at all")
    box.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("There is no key")
    box.fill("unspent key 01")
    page.get_by_label("If this learner redeemed it now").fill("ann@example.com")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_role("status")).to_contain_text("You already have access to this course")
    box.fill("spent-key-ann")
    box.press("Enter")
    expect(page.get_by_role("region", name="Attempts")).to_contain_text("redeemed")
    box.fill("ann@example.com")
    box.press("Enter")

    expect(page.get_by_role("heading", name="Ann Example")).to_be_visible()


def test_an_assignment_is_found_and_extended(tab, house, spent):
    page = tab()
    page.goto("/console/assignments")
    page.get_by_label("Learner", exact=True).fill("Ann@example.com")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="ann@example.com", exact=True).click()

    asking = dialog(page, "Extend", "Extend access")
    asking.get_by_label("By days").fill("40")
    asking.get_by_role("button", name="Extend").click()

    expect(page.get_by_role("status")).to_contain_text("Access lasts until")
    expect(page.get_by_role("region", name="History")).to_contain_text("extended")
    expect(page.locator(".figure", has_text="Days left")).to_contain_text("70")


def test_a_cancel_says_what_it_costs_and_a_close_changes_nothing(tab, spent):
    page = tab()
    page.goto(f"/console/assignments/{spent['eve']}")
    asking = dialog(page, "Cancel", "Cancel this assignment?")
    expect(asking).to_contain_text("49.90 EUR is credited")
    asking.get_by_role("button", name="Close").click()
    expect(asking).to_be_hidden()
    expect(page.locator("h1 .state")).to_have_text("active")

    page.get_by_role("button", name="Cancel", exact=True).click()
    asking.get_by_role("button", name="Cancel the assignment").click()

    expect(page.locator("h1 .state")).to_have_text("cancelled")
    page.goto("/console/trouble?q=spent-key-eve")
    expect(page.locator("article .state").first).to_have_text("issued")


def test_a_late_cancel_says_that_nothing_is_credited_and_wants_a_reason(tab, spent):
    page = tab()
    page.goto(f"/console/assignments/{spent['bob']}")
    expect(page.get_by_role("region", name="Launches")).to_contain_text("launched")

    asking = dialog(page, "Cancel", "Cancel this assignment?")
    expect(asking).to_contain_text("nothing is credited, 49.90 EUR stays charged")
    asking.get_by_role("button", name="Cancel the assignment").click()
    expect(asking).to_be_visible()
    asking.get_by_label("Reason").fill("Left the company")
    asking.get_by_role("button", name="Cancel the assignment").click()

    expect(page.get_by_role("region", name="History")).to_contain_text("Left the company")


def test_a_learners_name_is_corrected(tab):
    page = tab()
    page.goto("/console/learners/ann@example.com")
    expect(page.get_by_role("region", name="Assignments")).to_contain_text("C-House")

    asking = dialog(page, "Correct", "Correct address or name")
    asking.get_by_label("Name").fill("Ann Corrected")
    asking.get_by_role("button", name="Correct").click()

    expect(page.get_by_role("heading", name="Ann Corrected")).to_be_visible()


# ----------------------------------------------------------------------------------------- billing


def test_an_invoice_is_read_finalized_downloaded_and_voided(tab, spent):
    with databases.session() as session:
        month = session.execute(text("SELECT to_char(clock_now(), 'YYYY-MM')")).scalar_one()
    runs.run(actor=OPERATOR, month=month)
    page = tab(Role.OPERATOR)
    page.goto("/console/invoices")
    page.get_by_role("link", name="draft").click()
    page.get_by_role("link", name="Charges behind C-House").first.click()
    expect(page.get_by_role("region", name="Charges")).to_contain_text("ann@example.com")
    page.get_by_role("link", name="Back to the invoice").click()

    asking = dialog(page, "Finalize", "Finalize this invoice?")
    expect(asking).to_contain_text("is not over yet")
    asking.get_by_label("Finalize it anyway").check()
    asking.get_by_role("button", name="Finalize").click()
    expect(page.get_by_role("status")).to_contain_text("The invoice is final")
    for kind, begins in (("PDF", b"%PDF-"), ("CSV", b"invoice,")):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        assert download.value.path().read_bytes().startswith(begins)
    asking = dialog(page, "Void", "Void this invoice?")
    asking.get_by_label("Reason").fill("Sent to the wrong address")
    asking.get_by_role("button", name="Void it").click()

    expect(page.locator("h1 .state")).to_have_text("void")
    page.goto("/console/invoices?status=draft")
    expect(page.get_by_role("region", name="Invoices").get_by_role("row")).to_have_count(2)


# -------------------------------------------------------------------------------------- connecting


def test_a_source_is_added_and_its_secret_rotated(tab):
    page = tab()
    page.goto("/console/sources")
    adding = form(page, "Add")
    adding.get_by_label("Name").fill("shop of the browser")
    adding.get_by_label("Organization").select_option("Parent House")
    adding.get_by_role("button", name="Add", exact=True).click()
    made = page.locator(".secret").inner_text()
    row = page.get_by_role("row", name="shop of the browser")
    row.get_by_role("button", name="Rotate the secret").click()
    asking = page.get_by_role("dialog", name="A new secret for shop of the browser?")
    asking.get_by_role("button", name="Make it").click()
    expect(page.locator(".secret")).not_to_have_text(made)
    rotated = page.locator(".secret").inner_text()
    page.goto("/console/sources")

    assert made.startswith("whsec_")
    assert rotated.startswith("whsec_")
    expect(page.locator(".secret")).to_have_count(0)


def test_a_failed_event_is_retried_and_settled(tab, house):
    with databases.session() as session:
        world = replace(house.world, session=session)
        given = {"id": world.request("NO-SUCH-KEY-99", "late@example.com")}
        session.execute(
            text("UPDATE event SET status = 'failed', error = 'It killed.' WHERE id = :id"), given
        )
    page = tab()
    page.goto("/console/events")
    page.get_by_label("Failed", exact=True).check()
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("region", name="Events")).to_contain_text("It killed.")

    page.get_by_role("button", name="Retry").click()

    expect(page.get_by_role("status")).to_contain_text("waits to be settled")
    waiting.until_settled()
    page.reload()
    expect(page.get_by_role("region", name="Events")).to_contain_text("There is no such key")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


def test_a_token_is_made_shown_once_and_revoked(tab):
    page = tab()
    page.goto("/console/tokens")
    making = form(page, "Make")
    making.get_by_label("Name").fill("portal of the browser")
    making.get_by_label("Role").select_option("sender")
    making.get_by_role("button", name="Make", exact=True).click()
    expect(page.locator(".secret")).to_contain_text("kp_")

    row = page.get_by_role("row", name="portal of the browser")
    row.get_by_role("button", name="Revoke").click()
    asking = page.get_by_role("dialog", name="Revoke portal of the browser?")
    asking.get_by_role("button", name="Revoke").click()

    expect(row).to_contain_text("revoked")
    expect(page.locator(".secret")).to_have_count(0)


def test_a_user_is_invited_and_disabled(tab):
    page = tab()
    page.goto("/console/users")
    inviting = form(page, "Invite")
    inviting.get_by_label("E-mail address").fill("new@example.com")
    inviting.get_by_label("Organization").select_option("Child House")
    inviting.get_by_label("Role").select_option("analyst")
    inviting.get_by_role("button", name="Invite").click()
    theirs = tab()
    theirs.context.clear_cookies()
    theirs.goto(page.locator(".secret").inner_text())
    theirs.get_by_label("New password").fill(PASSWORD)
    theirs.get_by_role("button", name="Choose it").click()
    sign_in(theirs, "new@example.com")
    expect(theirs.get_by_role("heading", name="Needs you")).to_be_visible()

    row = page.get_by_role("row", name="new@example.com")
    row.get_by_role("button", name="Disable").click()
    asking = page.get_by_role("dialog", name="Disable new@example.com?")
    asking.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("disabled")
    theirs.reload()

    expect(theirs.get_by_role("heading", name="Sign in")).to_be_visible()


def test_what_is_taught_and_what_it_costs_is_set_up(tab):
    page = tab(Role.OPERATOR)
    page.goto("/console/organizations")
    adding = form(page, "Add")
    adding.get_by_label("Name").fill("Third House")
    adding.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Third House")).to_be_visible()
    page.goto("/console/courses")
    adding = form(page, "Add")
    for label, value in (("Code", "B-1"), ("Title", "Browsers"), ("List price", "12.50")):
        adding.get_by_label(label, exact=True).fill(value)
    adding.get_by_role("button", name="Add").click()
    expect(page.get_by_role("row", name="B-1")).to_contain_text("12.50 EUR")
    page.goto("/console/prices")
    setting = form(page, "Set")
    setting.get_by_label("Course").fill("B-1")
    setting.get_by_label("For").select_option("Third House")
    setting.get_by_role("textbox", name="Price").fill("9.75")
    setting.get_by_role("button", name="Set").click()

    expect(page.get_by_role("row", name="Third House")).to_contain_text("9.75 EUR")


# --------------------------------------------------------------------------------------- reporting


def test_a_report_is_asked_for_made_saved_as_pdf_and_opened(tab):
    page = tab()
    page.goto("/console/reports")
    page.get_by_role("combobox", name="Report").select_option("redemptions")
    page.get_by_label("From").fill("2026-01-01")
    page.get_by_label("Format").select_option("PDF")
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("The worker makes the report")).to_be_visible()
    row = page.get_by_role("row", name="redemptions").first
    expect(row.get_by_role("progressbar")).to_be_visible()
    with page.expect_download(timeout=120_000) as printed:
        row.get_by_role("link", name="PDF").click(timeout=120_000)
    row.get_by_role("link", name="Open").click()

    assert printed.value.path().read_bytes().startswith(b"%PDF-")
    expect(page).to_have_url(re.compile(r"/console/reports/\d+\.html"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_api_is_searched_and_tried_with_ones_own_token(browser, house):
    with databases.session() as session:
        made = tokens.add(session, actor=OPERATOR, name="docs", role=Role.OPERATOR)
    page = browser.new_page(base_url=house.url)
    page.goto("/docs")

    page.get_by_role("searchbox").fill("courses get list")
    shown = page.locator("details[data-path]:visible")
    expect(shown).to_have_count(1)
    shown.locator("> summary").click()
    shown.get_by_text("Try it").click()
    page.locator("#token").fill(str(made["token"]))
    shown.get_by_role("button", name="Send GET").click()

    expect(shown.get_by_role("status")).to_contain_text("200")
    expect(shown.get_by_role("status")).to_contain_text('"items"')
    page.close()
