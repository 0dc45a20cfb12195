"""Organizations, courses, prices, pools, sources and tokens on the command line."""

import re
from decimal import Decimal

import pytest
from PIL import Image
from sqlalchemy import text

from tests.worker.cli.conftest import opened
from worker.database import connections as databases
from worker.redemption import settling

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def pool(give, world, **changed):
    """Create a pool through the command line."""
    options = {
        "name": f"Autumn {world.pool}",
        "organization": str(world.parent),
        "course": give("pools", "show", world.pool)["course"],
        "starts": "2026-01-01",
        "expires": "2026-12-31",
        "content-availability": "30",
        **changed,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["pools", "create", *words]


def test_an_organization_is_added_edited_and_listed_in_the_agreed_shape(give):
    added = give(
        "organizations", "add", "Academy", "--time-zone", "Europe/Berlin", "--currency", "CHF",
        "--tax-rate", "7.7",
    )  # fmt: skip
    child = give("organizations", "add", "Academy North", "--parent", "Academy")

    edited = give("organizations", "edit", added["id"], "--name", "Academy AG", "--locale", "de")
    listed = give("organizations", "list")
    shown = give("organizations", "show", "Academy AG")

    assert added | {"name": "Academy AG"} == edited
    assert (edited | {"locale": "de", "payment_terms_days": 30}).items() <= shown.items()
    assert [rate["percent"] for rate in shown["tax_rates"]] == ["7.7"]
    assert list(added) == ["id", "name", "parent", "time_zone", "currency", "redeem_url"]
    assert (added["time_zone"], added["currency"]) == ("Europe/Berlin", "CHF")
    assert listed["next"] is None
    assert child | {"parent": "Academy AG"} in listed["items"]


def test_a_redeem_pages_settings_are_given_and_emptied(give):
    added = give("organizations", "add", "Paged")
    edit = ("organizations", "edit", added["id"])
    lists = ("--redeem-domains", "a.test, b.test", "--redeem-languages", "de,en")

    turned_on = give(
        *edit, "--redeem-page", "open", "--slug", "paged-2026", *lists, "--redeem-text", "Hello"
    )
    given = give("organizations", "show", "Paged")
    give(*edit, "--redeem-domains", "", "--redeem-text", "", "--redeem-page", "off", "--slug", "")
    emptied = give("organizations", "show", "Paged")

    listed = give("organizations", "list")["items"]
    names = ("slug", "redeem_page", "redeem_domains", "redeem_languages", "redeem_text")
    assert turned_on["redeem_url"] == "http://127.0.0.1:8080/redeem/paged-2026"
    assert [one["redeem_url"] for one in listed if one["id"] == added["id"]] == [None]
    assert [given[name] for name in names] == [
        "paged-2026", "open", ["a.test", "b.test"], ["de", "en"], "Hello",
    ]  # fmt: skip
    assert [emptied[name] for name in names] == ["paged", "off", [], ["de", "en"], ""]


def test_a_logo_is_a_file_and_can_be_removed(give, run, tmp_path):
    added = give("organizations", "add", "Drawn")
    Image.new("RGB", (8, 4)).save(tmp_path / "logo.png")
    (tmp_path / "logo.svg").write_text("<svg/>")

    give("organizations", "edit", added["id"], "--logo", str(tmp_path / "logo.png"))
    given = give("organizations", "show", "Drawn")["logo"]
    refused = run("organizations", "edit", added["id"], "--logo", str(tmp_path / "logo.svg"))
    (tmp_path / "empty.png").touch()
    empty = run("organizations", "edit", added["id"], "--logo", str(tmp_path / "empty.png"))
    kept = give("organizations", "show", "Drawn")["logo"]
    give("organizations", "edit", added["id"], "--no-logo")

    assert given == f"/api/v1/organizations/{added['id']}/logo.png"
    assert (refused.code, refused.err.startswith("--logo: A logo is an image of up to")) == (
        2,
        True,
    )
    assert (empty.code, empty.err.strip()) == (
        2,
        "--logo: That file is empty; --no-logo removes a logo.",
    )
    assert kept == given
    assert give("organizations", "show", "Drawn")["logo"] is None


def test_what_an_open_page_means_is_said_where_it_is_chosen(run):
    said = run("organizations", "edit", "--help").out

    assert "nobody proves an address" in re.sub(r"[│\s]+", " ", said)


def test_a_course_is_added_edited_found_and_archived_in_the_agreed_shape(give):
    added = give("courses", "add", "SEC-300", "Safe nets", "--price", "120", "--currency", "JPY")

    edited = give("courses", "edit", "sec-300", "--title", "Safe networks")
    found = give("courses", "list", "--search", "networks")
    archived = give("courses", "archive", "SEC-300")

    assert {"code", "title", "price", "currency", "archived"} <= set(added)
    assert (added["price"], added["currency"], added["archived"]) == ("120", "JPY", False)
    assert found["items"] == [edited]
    assert archived == edited | {"archived": True}


def test_a_price_of_an_organization_is_set_from_a_day_on_and_listed(give, world):
    course = give("pools", "show", world.pool)["course"]

    price = give(
        "prices", "set", course, "--organization", str(world.parent), "--price", "39.5",
        "--from", "2090-01-01", "--currency", "USD",
    )  # fmt: skip
    listed = give("prices", "list", "--course", course)

    assert (price["price"], price["currency"]) == ("39.50", "USD")
    assert (price["course"], price["from"]) == (course, "2090-01-01T00:00:00Z")
    assert price in listed["items"]


def test_a_price_is_withdrawn_by_its_id_from_a_day_on(give, run, world):
    course = give("pools", "show", world.pool)["course"]
    price = give(
        "prices", "set", course, "--organization", str(world.parent), "--price", "0",
        "--from", "2089-01-01",
    )  # fmt: skip

    withdrawn = give("prices", "withdraw", price["id"], "--from", "2089-03-01")
    (list_price, *_) = give("prices", "list", "--course", course)["items"]
    refused = run("prices", "withdraw", list_price["id"])

    assert withdrawn == price | {"until": "2089-03-01T00:00:00Z"}
    assert refused.code == 2
    assert "list price cannot end" in refused.err


def test_the_seller_has_an_address_and_an_account_for_a_currency(give, run):
    edited = give(
        "seller", "edit", "--name", "Keys GmbH", "--street", "Kai 1", "--postcode", "20457",
        "--city", "Hamburg", "--country", "de", "--tax-id", "DE136695976", "--contact", "Ann",
        "--phone", "+49 40 1", "--email", "ann@keys.example", "--electronic-address", "0088:4012",
        "--bank", "EUR=DE89370400440532013000,COBADEFFXXX", "--bank", "GBP=GB33BUKB20201555555555",
    )  # fmt: skip
    removed = give("seller", "edit", "--bank", "GBP=")
    refused = [run("seller", "edit", "--bank", bank) for bank in ("DE89", "EUR=DE12")]

    account = {"currency": "EUR", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}
    assert [bank["currency"] for bank in edited["banks"]] == ["EUR", "GBP"]
    assert removed == edited | {"banks": [account]} == give("seller", "show")
    assert (edited["country"], edited["lacks"]) == ("DE", [])
    assert [done.code for done in refused] == [2, 2]
    assert "CUR=IBAN" in refused[0].err
    assert "is not an IBAN" in refused[1].err


def test_an_organization_has_what_its_invoices_print(give):
    give("organizations", "add", "Printed")
    given = {
        "street": "Weg 2", "postcode": "53111", "city": "Bonn", "country": "DE",
        "electronic-address": "0204:991-12345-67", "buyer-reference": "04011000-12345-34",
        "purchase-order": "PO-7", "billing-email": "ap@buyer.example",
    }  # fmt: skip

    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    give("organizations", "edit", "Printed", *words)

    shown = give("organizations", "show", "Printed")
    assert {name.replace("-", "_"): value for name, value in given.items()}.items() <= shown.items()


def test_a_pool_is_created_in_the_agreed_shape_and_says_its_end_in_words(run, give, world):
    give("organizations", "edit", str(world.parent), "--time-zone", "Europe/Berlin")

    made = give(*pool(give, world))
    told = run("pools", "show", made["id"]).out

    assert made["starts_at"] == "2025-12-31T23:00:00Z"
    assert made["expires_at"] == "2026-12-31T23:00:00Z"
    assert (made["content_availability_days"], made["share_with_children"]) == (30, False)
    assert made["keys"] == {"issued": 0, "distributed": 0, "redeemed": 0, "retired": 0}
    assert isinstance(made["id"], str)
    assert "the end of 31 Dec 2026, Europe/Berlin" in told


def test_a_pool_is_edited_paused_resumed_and_listed(give, world):
    edited = give(
        "pools", "edit", world.pool, "--name", f"Renamed {world.pool}", "--expires", "2091-01-31",
        "--content-availability", "60", "--share-with-children",
    )  # fmt: skip
    paused = give("pools", "pause", world.pool)
    resumed = give("pools", "resume", edited["name"])
    listed = give("pools", "list", "--limit", "1000")

    assert (edited["content_availability_days"], edited["share_with_children"]) == (60, True)
    assert (paused["state"], resumed["state"]) == ("paused", "active")
    assert resumed in listed["items"]


def test_a_list_that_goes_on_gives_the_cursor_of_its_next_page(run, give, world):
    give(*pool(give, world))

    first = give("pools", "list", "--limit", "1")
    second = give("pools", "list", "--limit", "1", "--after", first["next"])
    told = run("pools", "list", "--limit", "1").out

    assert first["items"][0]["id"] != second["items"][0]["id"]
    assert f"--after {first['next']}" in told


def test_an_ambiguous_name_is_refused_with_the_ids_that_it_may_mean(run, give, world):
    name = give("pools", "show", world.pool)["name"]
    other = give(*pool(give, world, name=name, organization=str(world.child)))

    done = run("pools", "show", name)

    assert done.code == 2
    assert done.err == (
        f"POOL: “{name}” is the name of several pools; use one of their ids: {world.pool}, {other['id']}.\n"
    )


def test_a_source_prints_its_secret_when_it_is_made_or_rotated_and_never_in_the_list(give, world):
    made = give("sources", "add", "portal", "--organization", str(world.parent))
    rotated = give("sources", "rotate", made["id"], "--old-valid", "2h")
    listed = give("sources", "list")

    assert set(made) == {"id", "name", "organization", "kind", "url", "secret"}
    assert made["url"] == f"/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert rotated["secret"] not in ("", made["secret"])
    assert "secret" not in str(listed)


def test_a_token_is_printed_once_and_can_be_revoked(give, world):
    owner = ("--organization", str(world.parent))
    made = give("tokens", "add", "ci", *owner, "--role", "manager", "--until", "2090-12-31")
    revoked = give("tokens", "revoke", made["id"])
    listed = give("tokens", "list")

    assert made["works_until"] == "the end of 31 Dec 2090, UTC"
    assert {"id", "name", "organization", "role", "token"} <= set(made)
    assert made["token"].startswith("kp_")
    assert INSTANT.fullmatch(revoked["revoked_at"])
    assert revoked in listed["items"]
    assert made["token"] not in str(listed)


def refused(done, *parts):
    """Assert that a command was refused in one sentence with these parts."""
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert [part for part in parts if part not in done.err] == []


def test_a_pool_with_a_backward_window_is_refused_and_not_made(run, give, world):
    before = give("pools", "list", "--limit", "1000")["items"]

    done = run(*pool(give, world, starts="2027-01-01"))

    refused(done, "must start before it expires")
    assert give("pools", "list", "--limit", "1000")["items"] == before


@pytest.mark.parametrize("days", ["0", "3651", "-1"])
def test_a_content_availability_out_of_range_is_refused(run, give, world, days):
    done = run(*pool(give, world, **{"content-availability": days}))

    refused(done, "1 to 3650")


def test_an_end_before_a_skipped_midnight_is_told_as_its_day(run, give, world):
    give("organizations", "edit", str(world.parent), "--time-zone", "Africa/Cairo")

    made = give(*pool(give, world, expires="2027-04-29"))
    edited = give("pools", "edit", made["id"], "--expires", "2027-04-29")

    told = [
        made["keys_work_until"],
        edited["keys_work_until"],
        run("pools", "show", made["id"]).out,
    ]
    assert all("the end of 29 Apr 2027, Africa/Cairo" in words for words in told)


@pytest.mark.parametrize(
    "day",
    [
        "2026-02-30",
        "tomorrow",
        "31.12.2026",
        "",
        "20281231",
        "2028-W05-1",
        "2028-1-1",
        " 2028-01-01",
    ],
)
def test_a_date_that_is_none_is_refused(run, give, world, day):
    done = run(*pool(give, world, expires=day))

    refused(done, f"“{day}” is not a date")


def test_a_pool_of_an_archived_course_is_refused(run, give, world):
    give("courses", "archive", give("pools", "show", world.pool)["course"])

    done = run(*pool(give, world))

    refused(done, "archived")


def test_a_name_that_is_taken_is_refused(run, give, world):
    made = give(*pool(give, world))

    done = run(*pool(give, world, name=made["name"]))

    refused(done, "a pool by that name already")


def test_a_price_with_too_many_decimals_is_refused(run):
    done = run("courses", "add", "X-9", "Title", "--price", "9.999", "--currency", "EUR")

    refused(done, "at most 2 decimals")


@pytest.mark.parametrize("price", ["-1", "a lot", "NaN", "1e40"])
def test_a_price_that_is_none_is_refused(run, price):
    done = run("courses", "add", "X-9", "Title", f"--price={price}", "--currency", "EUR")

    assert done.code == 2
    assert done.err.count("\n") == 1


def test_an_unknown_time_zone_is_refused(run):
    done = run("organizations", "add", "Nowhere", "--time-zone", "Europe/Atlantis")

    refused(done, "IANA name")


def test_an_unknown_currency_is_refused(run):
    done = run("organizations", "add", "Nowhere", "--currency", "XXL")

    refused(done, "ISO 4217")


def test_a_parent_that_would_make_a_circle_is_refused(run, world):
    done = run("organizations", "edit", str(world.parent), "--parent", str(world.child))

    refused(done, "cannot be below its own descendant")


def test_a_duration_that_is_none_is_refused(run, world):
    done = run("sources", "rotate", str(world.source), "--old-valid", "soon")

    refused(done, "“soon”")


def test_amounts_are_exact_decimal_strings(give, world):
    course = give("courses", "add", "KW-1", "Title", "--price", "0.125", "--currency", "KWD")

    assert Decimal(course["price"]) == Decimal("0.125")
    assert course["price"] == "0.125"


def test_an_endpoint_is_registered_edited_told_and_removed(run, give, world):
    made = give(
        "endpoints", "add", "https://hooks.example/cli", "--organization", str(world.parent),
        "--types", "pool.low,pool.expiring", "--pool-low", "5",
    )  # fmt: skip
    rotated = give("endpoints", "rotate", made["id"], "--old-valid", "2h")
    edited = give("endpoints", "edit", made["id"], "--pool-expiring", "30", "--types", "pool.low")
    listed = give("endpoints", "list")["items"]
    none = give("endpoints", "deliveries", made["id"], "--failed", "--since", "2026-01-01")
    resent = give("endpoints", "resend", made["id"], "--since", "2026-01-01T00:00:00Z")
    removed = give("endpoints", "remove", made["id"])

    assert made["secret"].startswith("whsec_")
    assert rotated["secret"] not in ("", made["secret"])
    assert "secret" not in str(listed)
    assert (made["types"], made["pool_low"]) == (["pool.low", "pool.expiring"], 5)
    assert (edited["types"], edited["pool_expiring_days"]) == (["pool.low"], 30)
    assert [one["id"] for one in listed] == [made["id"]]
    assert none == {"items": [], "next": None}
    assert resent == {"resent": 0}
    assert INSTANT.fullmatch(removed["removed_at"])
    assert give("endpoints", "list")["items"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "http://10.0.0.1/", "--organization", "{org}"], "a public one"),
        (
            ["add", "https://x.example", "--organization", "{org}", "--types", "pool.full"],
            "pool.low",
        ),
        (["resend", "1", "--since", "yesterday"], "write 2026-12-31 or 2026-12-31T18:00+01:00"),
        (["show", "99"], "no delivery “99”"),
    ],
)
def test_what_no_endpoint_can_be_is_refused_in_a_sentence(run, world, words, sentence):
    done = run("endpoints", *(word.format(org=world.parent) for word in words))

    assert done.code == 2
    assert sentence in done.err


def test_a_user_is_added_invited_given_a_link_disabled_and_enabled(give, world):
    owner = ["--organization", str(world.parent), "--role", "manager"]
    made = give("users", "add", "Ann@Example.com", *owner, "--password", "a long password")
    invited = give("users", "invite", "bob@example.com", *owner)
    reset = give("users", "reset", "ann@example.com")
    disabled = give("users", "disable", made["id"])
    enabled = give("users", "enable", made["id"])

    assert made["role"] == "manager"
    assert reset["id"] == made["id"]
    assert reset["link"].startswith("/console/links/")
    assert invited["link"] not in ("", reset["link"])
    assert disabled["disabled_at"]
    assert enabled["disabled_at"] is None
    assert made["id"] in {user["id"] for user in give("users", "list")["items"]}


def test_what_a_child_is_told_of_a_shared_pool_is_asked_for_by_its_name(give, world):
    with opened(world) as committed:
        [code] = committed.keys(1)
        committed.request(code, "ann@example.org", organization=world.child)
    give("pools", "edit", world.pool, "--share-with-children")
    settling.settle_batch(limit=10)

    shared = give("organizations", "shared-pools", str(world.child))
    redeemed = give("organizations", "shared-redemptions", str(world.child), world.pool)

    assert [pool["id"] for pool in shared["items"]] == [world.pool]
    assert [(one["key"], one["learner"]) for one in redeemed["items"]] == [
        (code, "ann@example.org")
    ]


def test_the_sessions_of_a_user_are_listed_and_ended(give, run, world):
    owner = ["--organization", str(world.parent), "--role", "manager"]
    give("users", "add", "sam@example.com", *owner, "--password", "a long password")
    with databases.session() as session:
        session.execute(text("""
            INSERT INTO console_session (user_id, hash, device, client, ends_at)
            SELECT id, 'a', 'b', '192.0.2.0/24', clock_now() + interval '1 hour' FROM console_user
             WHERE email = 'sam@example.com'"""))  # fmt: skip

    [listed] = give("sessions", "list", "--user", "Sam@example.com")["items"]
    ended = give("sessions", "end", listed["id"])
    unknown = run("sessions", "end", "999999")

    assert (listed["user"], listed["client"]) == ("sam@example.com", "192.0.2.0/24")
    assert ended["id"] == listed["id"]
    assert give("sessions", "list", "--user", "sam@example.com")["items"] == []
    assert (unknown.code, "no session “999999”" in unknown.err) == (2, True)


def test_single_sign_on_is_set_shown_and_ended(give, run, world):
    whose = ["organizations", "single-sign-on", str(world.child)]
    given = ["--issuer", "https://login.example.com", "--client-id", "keypool"]
    more = ["--domain", "Child.example", "--role-claim", "groups", "--role", "admins=manager"]

    made = give(*whose, *given, *more, "--client-secret", "s3cret", "--only")
    shown = give(*whose)
    ended = give(*whose, "--remove")
    gone = run(*whose)

    assert made == shown == ended
    assert (made["domains"], made["roles"], made["only"]) == (
        ["child.example"],
        {"admins": "manager"},
        True,
    )
    assert made["redirect_uri"].endswith("/console/single-sign-on/answer")
    assert "s3cret" not in str(made)
    assert (gone.code, "no single sign-on" in gone.err) == (2, True)


def test_a_second_factor_is_reset_and_demanded(give, world):
    owner = ["--organization", str(world.parent), "--role", "manager"]
    give("users", "add", "tom@example.com", *owner, "--password", "a long password")
    with databases.session() as session:
        session.execute(
            text("UPDATE console_user SET totp_encrypted = 'x' WHERE email = 'tom@example.com'")
        )
    [before] = [it for it in give("users", "list")["items"] if it["email"] == "tom@example.com"]

    after = give("users", "reset-second-factor", "tom@example.com")
    give("organizations", "edit", str(world.parent), "--second-factor")
    shown = give("organizations", "show", str(world.parent))

    assert (before["second_factor"], after["second_factor"]) == (True, False)
    assert shown["second_factor"] is True
