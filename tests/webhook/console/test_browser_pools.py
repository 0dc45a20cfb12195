"""A real browser on a keypool that runs: signing in, and pools from the form to the last key."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from tests.webhook.console.browsing import House, dialog, sign_in
from tests.webhook.console.people import PASSWORD
from tests.webhook.console.walking import COUNTING, walk
from tests.world import OPERATOR
from worker.catalogue import courses
from worker.database import connections as databases
from worker.pools import pools
from worker.tenancy.actors import Role

# Who fills in which forms.
FORMS = {
    Role.MANAGER: (
        "/pools/new", "/pools/{pool}", "/pools/{pool}/edit", "/pools/{pool}/keys/add",
        "/pools/{pool}/distribute/table", "/trouble", "/assignments", "/redemptions", "/batches",
        "/history", "/messages", "/events", "/sources", "/endpoints", "/tokens", "/users",
        "/templates", "/reminders", "/reports", "/account",
    ),
    Role.OPERATOR: (
        "/courses", "/courses/{course}", "/prices", "/seller", "/organizations",
        "/organizations/{organization}", "/invoices", "/charges",
    ),
}  # fmt: skip


def filled_in(tab: Page, **values: str) -> Page:
    """Fill in the form that creates a pool."""
    tab.goto("/console/pools/new")
    form = {
        "Name": "Browser's pool",
        "Course": "C-House",
        "Starts": "2026-01-01",
        "Expires": "2090-12-31",
        "Content Availability (days)": "90",
    }
    for label, value in (form | values).items():
        tab.get_by_label(label, exact=True).fill(value)
    return tab


@pytest.fixture(scope="module", autouse=True)
def taught(house: House) -> None:
    with databases.session() as session:
        for code, title in (("OLD-1", "A course of old"), ("NEW-1", "A new course")):
            given = {"code": code, "title": title, "price": "1", "currency": "EUR"}
            courses.add(session, actor=OPERATOR, **given)
        courses.archive(session, actor=OPERATOR, course="OLD-1")


# ------------------------------------------------------------------------------------- signing in


def search_everywhere(page: Page) -> None:
    """Open search and shortcuts by their keys, on any page, and go where the arrows lead."""
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    field = page.get_by_role("combobox", name="Search everywhere")
    expect(field).to_be_focused()
    page.keyboard.type("pool/")
    expect(page.get_by_text("Nothing fits.")).to_be_visible()
    page.keyboard.press("Backspace")
    expect(page.get_by_role("option", name=re.compile("^Pool House"))).to_have_attribute(
        "aria-selected", "true"
    )
    page.keyboard.press("Escape")
    expect(field).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.type("batches")
    expect(page.get_by_role("option", name="Batches Training Keys")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/console/batches$"))


def read_charts(page: Page) -> None:
    """Read a pool's and a source's chart by mouse and by keyboard, and choose other days."""
    for what in ("pools", "sources"):
        page.goto(f"/console/{what}")
        page.locator("tbody a").first.click()
        page.get_by_role("navigation", name="Days shown").get_by_role("link", name="7 days").click()
        expect(page).to_have_url(re.compile(r"/\d+\?days=7#"))
        chart = page.get_by_role("slider", name=re.compile("a day, the last 7 days"))
        chart.focus()
        chart.press("Home")
        expect(chart).to_have_attribute("aria-valuenow", "1")
        chart.locator("g").nth(3).hover()
        expect(chart).to_have_attribute("aria-valuenow", "4")
        expect(page.locator("[data-told]")).to_have_text(re.compile(r"^\w{3} \d+ \w{3}: \d"))
        expect(page.locator(".plot .scale span")).to_have_count(3)


def long_amounts_fit(page: Page, house: House) -> None:
    """Look at a pool that was charged a very long amount, on a phone."""
    charged = text(
        "INSERT INTO pool_charged (pool_id, charged_at, currency, quantity, amount, unbilled_quantity,"
        " unbilled_amount) VALUES (:pool, date_bin('15 minutes', clock_now(), '2000-01-01'), 'KWD', 1,"
        " 987654321987.125, 1, 987654321987.125)"
    )
    with databases.session() as session:
        session.execute(charged, {"pool": house.world.pool})
    try:
        page.goto(f"/console/pools/{house.world.pool}")
        expect(page.get_by_text("987,654,321,987.125 KWD").first).to_be_visible()
        overflowing = page.locator(".figure").evaluate_all(
            "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
        )
    finally:
        with databases.session() as session:
            session.execute(text("DELETE FROM pool_charged WHERE currency = 'KWD'"))
    assert overflowing == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def overdue_has_a_colour_of_its_own(page: Page) -> None:
    """Compare the colour of what is overdue with those of all other states, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            """(names) => names.map((name) => {
                const state = document.body.appendChild(document.createElement("span"));
                state.className = `state ${name}`;
                const { color, backgroundColor } = getComputedStyle(state);
                state.remove();
                return `${color} on ${backgroundColor}`;
            })""",
            [
                "overdue",
                "draft",
                "finalized",
                "paid",
                "void",
                "failed",
                "expired",
                "cancelled",
                "paused",
            ],
        )
        assert colours[0] not in colours[1:]
    page.emulate_media(color_scheme="light")


def test_one_signs_in_finds_the_pools_and_signs_out(tab, house):
    page = tab(email=house.user())
    expect(page).to_have_url(re.compile("/console/$"))
    chart = page.get_by_role("slider", name=re.compile("^Redemptions a day"))
    chart.focus()
    chart.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuenow", "29")
    chart.press("Enter")
    expect(page).to_have_url(re.compile(r"/console/redemptions\?outcome=redeemed&since="))
    read_charts(page)
    page.goto("/console/pools")
    expect(page.get_by_role("link", name="Pool House")).to_be_visible()

    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator('td[data-label="State"]')).to_have_text("active")
    expect(page.get_by_text("Menu", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    long_amounts_fit(page, house)
    overdue_has_a_colour_of_its_own(page)
    page.set_viewport_size({"width": 1280, "height": 800})

    search_everywhere(page)

    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/console/sign-in$"))
    page.go_back()
    page.reload()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_new_password_signs_one_out_everywhere(tab, house):
    email = house.user()
    here, there = tab(email=email), tab(email=email)

    here.get_by_role("link", name=email).click()
    here.get_by_label("Present password").fill(PASSWORD)
    here.get_by_label("New password").fill("another horse battery")
    here.get_by_role("button", name="Change the password").click()
    expect(here.get_by_text("Every session is over")).to_be_visible()
    there.reload()
    expect(there.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(here, email, "another horse battery")

    expect(here.get_by_role("heading", name="Needs you")).to_be_visible()


def test_a_keyboard_is_enough(tab):
    page = tab()
    page.goto("/console/pools")  # and is loaded: a key that is pressed before that is lost
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.locator("summary", has_text="Training Keys").focus()
    page.keyboard.press("Enter")
    chosen = page.get_by_role("navigation").get_by_role("link", name="Create Training Key Pool")
    expect(chosen).to_be_visible()
    page.keyboard.press("Escape")

    expect(chosen).to_be_hidden()


# --------------------------------------------------------------------------------- creating a pool


def test_a_pool_is_created_with_a_chosen_course_and_keys_of_every_kind(tab):
    page = tab()
    page.locator("summary", has_text="Training Keys").click()
    page.get_by_role("navigation").get_by_role("link", name="Create Training Key Pool").click()
    page.get_by_label("Name", exact=True).fill("Autumn")
    choosing = dialog(page, "Choose", "Choose a course")
    choosing.get_by_label("Code or title").fill("of course")
    expect(choosing.get_by_role("option", name="OLD-1")).to_be_disabled()
    choosing.get_by_label("Code or title").fill("course new")
    expect(choosing.get_by_role("option")).to_have_count(1)
    choosing.get_by_role("option", name="NEW-1").click()
    expect(choosing).to_be_hidden()
    expect(page.get_by_label("Course", exact=True)).to_have_value("NEW-1")
    expect(page.get_by_text("A new course", exact=True)).to_be_visible()
    page.get_by_label("Starts").fill("2026-01-01")
    page.get_by_label("Expires").fill("2090-12-31")
    page.get_by_label("Expires").press("Tab")
    expect(page.get_by_text("Keys work until the end of 31 Dec 2090, UTC.")).to_be_visible()
    expect(page.get_by_text("opens the keys to 1 child organization")).to_be_visible()
    page.get_by_label("Make these keys available to everyone using Parent House").check()

    page.get_by_role("tab", name="Training Keys").click()
    page.get_by_label("Training key 1").fill("TYPED-KEY-0001")
    page.get_by_role("button", name="Add Training Key", exact=True).click()
    page.get_by_label("Training key 2").fill("TYPED-KEY-0002")
    many = dialog(page, "Add Multiple Training Keys", "Add Multiple Training Keys")
    many.get_by_label("One key per line").fill("PASTED-KEY-01\nshort\npasted key 01\nPASTED-KEY-02")
    many.get_by_role("button", name="Check the lines").click()
    refused = page.get_by_role("region", name="Refused lines")
    expect(refused.get_by_role("row")).to_have_count(3)
    expect(refused.get_by_role("row").nth(1)).to_contain_text("short")
    page.get_by_label("Save the good ones without these lines").check()
    generate = dialog(page, "Generate Training Keys", "Generate Training Keys")
    generate.get_by_label("How many").fill("1200")
    generate.get_by_role("button", name="OK").click()
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("heading", name="Autumn")).to_be_visible()
    expect(page.get_by_text("is there, with 4 keys; the worker is making its keys")).to_be_visible()
    expect(page.get_by_text("Generate: 1,200 of 1,200 done")).to_be_visible()
    page.reload()
    expect(page.locator(".figure", has_text="Issued")).to_have_text("Issued1,204")
    expect(page.get_by_text("everyone using Parent House")).to_be_visible()


def test_an_error_stands_beside_its_field_and_what_was_typed_stays(tab):
    page = filled_in(tab(), Name="Kept name", Expires="2025-12-31")
    page.get_by_role("tab", name="Training Keys").click()
    page.get_by_label("Training key 1").fill("KEPT-KEY-0001")

    page.get_by_role("button", name="Save", exact=True).click()

    expires = page.get_by_label("Expires")
    expect(expires).to_have_attribute("aria-invalid", "true")
    expect(expires).to_have_accessible_description(re.compile("must start before it expires"))
    expect(page.get_by_label("Name", exact=True)).to_have_value("Kept name")
    expect(page.get_by_label("Course", exact=True)).to_have_value("C-House")
    expect(expires).to_have_value("2025-12-31")
    page.get_by_role("tab", name="Training Keys").click()
    expect(page.get_by_label("Training key 1")).to_have_value("KEPT-KEY-0001")


def test_a_pool_is_created_without_javascript(tab):
    page = filled_in(tab(script=False), Name="Plain")
    page.get_by_label("Training key 1").fill("PLAIN-KEY-0001")
    page.get_by_role("button", name="Add Training Key", exact=True).click()
    page.get_by_label("Training key 2").fill("short")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("region", name="Refused fields")).to_contain_text("short")
    page.get_by_label("Training key 2").fill("PLAIN-KEY-0002")

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("is there, with 2 keys")).to_be_visible()


# -------------------------------------------------------------------------------- a pool's page


def test_a_running_batch_moves_its_bar_by_itself_and_can_be_cancelled(tab, house):
    page = tab()
    page.goto(f"{house.pool}/keys/add")
    page.get_by_label("How many").fill("20,000,000")
    page.get_by_role("button", name="Generate Training Keys").click()
    bar = page.get_by_role("progressbar")
    expect(bar).not_to_have_attribute("value", "0")
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    first = bar.get_attribute("value") or ""
    expect(bar).not_to_have_attribute("value", first)
    expect(cancel).to_be_focused()

    cancel.click()

    expect(page.get_by_role("status")).to_contain_text("keys that it made stay")
    expect(page.get_by_role("row").nth(1)).to_contain_text("cancelled")
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_keys_are_handed_out_filtered_retired_and_exported(tab, house):
    with databases.session() as session:
        shown = pools.show(session, actor=OPERATOR, pool=house.world.pool)
        given = {"organization": shown["organization"], "course": shown["course"]}
        dates = {"starts": "2026-01-01", "expires": "2090-01-01", "content_availability": 9}
        made = pools.create(session, actor=OPERATOR, name="Handed", **given, **dates)
    house.keys("HAND-KEY-0001", "HAND-KEY-0002", "HAND-KEY-0003", pool=made["id"])
    house.redeem("HAND-KEY-0003", "hand@example.com")
    page = tab()
    page.goto(f"/console/pools/{made['id']}")
    table = page.get_by_role("region", name="Keys", exact=True)
    expect(table.get_by_role("row").nth(3)).to_contain_text("hand@example.com")

    handing = dialog(page, "Distribute", "Distribute keys")
    handing.get_by_label("Recipient (").fill("desk@example.com")
    handing.get_by_label("Reference", exact=True).fill("PO-17")
    handing.get_by_role("button", name="Distribute").click()
    expect(page.get_by_text("desk@example.com has 1 keys.")).to_be_visible()
    expect(table.get_by_role("row")).to_have_count(2)
    expect(table).to_contain_text("HAND-KEY-0001")

    page.goto(f"/console/pools/{made['id']}?state=issued&undistributed=1")
    expect(table.get_by_role("row")).to_have_count(2)
    page.once("dialog", lambda asked: asked.dismiss())
    page.get_by_role("button", name="Retire HAND-KEY-0002").click()
    expect(table).to_contain_text("HAND-KEY-0002")
    page.once("dialog", lambda asked: asked.accept())
    page.get_by_role("button", name="Retire HAND-KEY-0002").click()
    expect(page.get_by_text("it can be redeemed no more")).to_be_visible()

    page.get_by_label("State").select_option("retired")
    page.get_by_role("button", name="Filter").click()
    expect(table.get_by_role("row")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("code,state,recipient")
    assert [line.split(",")[:2] for line in lines[1:]] == [["HAND-KEY-0002", "retired"]]


def test_a_key_is_found_from_its_pools_page(tab, house):
    house.keys("FIND-KEY-0001")
    page = tab()
    page.goto(house.pool)

    page.get_by_label("Find a key or a learner").fill("find key 0001")
    page.get_by_role("button", name="Find").click()

    expect(page.get_by_role("heading", name="FIND-KEY-0001")).to_be_visible()


def test_a_pool_is_edited_paused_and_resumed(tab, house):
    page = tab()
    page.goto(house.pool)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1 .state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1 .state")).to_have_text("active")

    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Expires").fill("2089-06-30")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("keys work until the end of 30 Jun 2089, UTC")).to_be_visible()


# ------------------------------------------------------------------------------------- every form


def test_what_is_typed_and_focused_stays_on_every_form(tab, house):
    world = house.world
    ids = {"pool": world.pool, "course": "1", "organization": world.parent}

    for role, paths in FORMS.items():
        page = tab(role)
        page.add_init_script(COUNTING)
        for path in paths:
            page.goto(f"/console{path.format(**ids)}")
            walk(page)


def drop(page: Page, *names: str, content: str) -> None:
    """Drop files where lines are pasted."""
    carried = page.evaluate_handle(
        """([names, content]) => {
            const carried = new DataTransfer();
            for (const name of names) carried.items.add(new File([content], name));
            return carried;
        }""",
        [names, content],
    )
    zone = page.locator("[data-drops] textarea")
    zone.dispatch_event("dragover", {"dataTransfer": carried})
    expect(page.locator(".dropping")).to_have_count(1)
    zone.dispatch_event("drop", {"dataTransfer": carried})
    expect(page.locator(".dropping")).to_have_count(0)


def test_a_file_is_dropped_wherever_lines_are_pasted_and_previewed(tab, house):
    page, pool = tab(), f"/console/pools/{house.world.pool}"
    page.goto(f"{pool}/keys/add")
    drop(page, "a.csv", "b.csv", content="DROPPED-KEY-0001")
    warning = page.get_by_text("Drop one file at a time.")
    expect(warning).to_be_visible()
    drop(page, "keys.csv", content="Zugangscode;Kurs\nDROPPED-KEY-0001;K8S")
    expect(page.locator("#preview")).to_contain_text("columns separated by “;”, heading on line 1")
    expect(warning).to_be_hidden()
    page.get_by_role("button", name="Add the keys").click()
    expect(page.get_by_text("1 keys are added.")).to_be_visible()

    page.goto(f"{pool}/distribute/table")
    drop(page, "people.csv", content="E-Mail\nzora@example.org")
    expect(page.locator("#preview")).to_contain_text("1 recipients get 1 keys.")

    filled_in(page, Name="Dropped")
    page.get_by_role("tab", name="Training Keys").click()
    dialog(page, "Add Multiple Training Keys", "Add Multiple Training Keys")
    drop(page, "keys.txt", content="DROPPED-KEY-0002\nDROPPED-KEY-0003")
    expect(page.get_by_text("2 lines are pasted.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("is there, with 2 keys")).to_be_visible()


def test_sharing_is_near_the_days_and_stays_ticked(tab):
    page = tab()
    page.goto("/console/pools/new")
    box = page.get_by_label("Make these keys available to everyone using Parent House")
    days = page.get_by_label("Content Availability")
    days.focus()
    steps = 0
    while not box.evaluate("one => one === document.activeElement") and steps < 9:
        page.keyboard.press("Tab")
        steps += 1
    page.keyboard.press("Space")
    days.fill("90")
    with page.expect_response("**/pools/new/words*"):
        days.press("Shift+Tab")

    label, words = (
        page.locator("label", has=box).bounding_box(),
        page.locator("#children").bounding_box(),
    )
    assert label is not None
    assert words is not None
    assert words["y"] >= label["y"] + label["height"] - 1  # neither covers the other
    assert steps <= 5
    expect(box).to_be_checked()
    expect(page.get_by_label("Expires")).to_be_focused()


def test_a_course_is_chosen_by_keys_and_a_chooser_that_fails_says_so(tab):
    page = tab().context.new_page()  # whose complaints are wanted here
    page.goto("/console/pools/new")
    choosing = dialog(page, "Choose", "Choose a course")
    search = choosing.get_by_role("combobox")
    expect(search).to_be_focused()
    search.fill("course")
    chosen = choosing.get_by_role("option", selected=True)
    expect(choosing.get_by_role("option")).to_have_count(3)
    expect(chosen).to_contain_text("C-House")
    search.press("ArrowDown")
    expect(chosen).to_contain_text("NEW-1")
    expect(search).to_have_attribute("aria-activedescendant", chosen.get_attribute("id") or "")
    search.press("Enter")
    expect(choosing).to_be_hidden()
    expect(page.get_by_label("Course", exact=True)).to_have_value("NEW-1")
    expect(page.get_by_text("A new course", exact=True)).to_be_visible()

    dialog(page, "Choose", "Choose a course")
    page.route("**/courses/choose*", lambda asked: asked.abort())
    search.fill("anything")
    expect(choosing.get_by_role("alert")).to_contain_text("The courses did not come")
    page.unroute("**/courses/choose*")
    search.fill("new")

    expect(chosen).to_contain_text("NEW-1")


def test_enter_goes_on_and_only_save_saves_a_pool(tab):
    page = filled_in(tab(), Name="By keys")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("tab", name="Training Keys").click()
    page.get_by_label("Training key 1").fill("ENTER-KEY-001")
    page.get_by_label("Training key 1").press("Enter")
    expect(page.get_by_label("Training key 2")).to_be_focused()
    page.keyboard.type("ENTER-KEY-002")
    page.get_by_label("Training key 1").press("Enter")
    expect(page.get_by_label("Training key 2")).to_have_value("ENTER-KEY-002")
    expect(page.get_by_label("Training key 2")).to_be_focused()
    generate = dialog(page, "Generate Training Keys", "Generate Training Keys")
    generate.get_by_label("How many").fill("many")
    generate.get_by_label("How many").press("Enter")
    expect(generate).to_be_visible()
    generate.get_by_label("How many").fill("2500")
    generate.get_by_label("How many").press("Enter")
    expect(generate).to_be_hidden()
    expect(page.get_by_text("2,500 will be generated.")).to_be_visible()
    expect(page).to_have_url(re.compile("/pools/new$"))

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("is there, with 2 keys; the worker is making its keys")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
