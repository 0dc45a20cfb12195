"""Events, redemptions, assignments and learners on the command line."""

import json
import re
import secrets

import pytest
from sqlalchemy import text

from tests.worker.cli.conftest import opened
from worker.redemption import settling

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def ann(world):
    """A learner's address that nobody has yet."""
    return f"ann-{secrets.token_hex(4)}@example.org"


@pytest.fixture
def redeemed(world, ann):
    """The event by which Ann redeemed a key."""
    with opened(world) as live:
        [key] = live.keys(1)
        event = live.request(key, ann)
    settling.settle_all()
    return str(event)


def test_an_event_is_listed_and_shown_in_the_agreed_shape(give, redeemed):
    event = give("events", "show", redeemed)
    listed = give("events", "list")

    assert {
        "id", "type", "source", "webhook_id", "status", "outcome", "message", "assignment",
        "access_expires_at", "received_at", "settled_at",
    } <= set(event)  # fmt: skip
    assert (event["type"], event["status"]) == ("redemption.requested", "settled")
    assert event["outcome"] == "redeemed"
    assert INSTANT.fullmatch(event["received_at"])
    assert isinstance(event["assignment"], str)
    assert event in listed["items"]


def test_a_failed_event_is_listed_as_such_and_retried(give, world, ann):
    with opened(world) as live:
        event = str(live.request("NO-SUCH-KEY-1", ann))
        live.figures(
            "UPDATE event SET status = 'failed', error = 'planted' WHERE id = :id RETURNING id",
            id=int(event),
        )

    failed = give("events", "list", "--failed")
    retried = give("events", "retry", event)

    assert event in [item["id"] for item in failed["items"]]
    assert retried["status"] == "recorded"


def test_an_event_that_did_not_fail_is_not_retried(run, redeemed):
    done = run("events", "retry", redeemed)

    assert (done.code, done.out) == (2, "")
    assert (
        done.err == "ID: Only a failed event is retried; this one waits its turn or is decided.\n"
    )


def test_an_attempt_is_listed_in_the_agreed_shape_and_found_by_its_filters(
    give, world, ann, redeemed
):
    found = give(
        "redemptions",
        "list",
        "--pool",
        world.pool,
        "--outcome",
        "redeemed",
        "--learner",
        ann.upper(),
    )
    other = give("redemptions", "list", "--pool", world.pool, "--outcome", "pool_expired")

    [attempt] = found["items"]
    assert {
        "event", "key", "pool", "learner", "organization", "outcome", "received_at", "assignment",
    } <= set(attempt)  # fmt: skip
    assert (attempt["event"], attempt["learner"]) == (redeemed, ann)
    assert other == {"items": [], "next": None}


def test_attempts_and_events_are_listed_by_when_they_were_received(give, ann, redeemed):
    [attempt] = give("redemptions", "list", "--learner", ann)["items"]
    at = attempt["received_at"]

    since = give("redemptions", "list", "--learner", ann, "--since", at)["items"]
    until = give("redemptions", "list", "--learner", ann, "--until", at)["items"]
    events = give("events", "list", "--since", at, "--limit", "1000")["items"]
    turned = give("events", "list", "--since", at, "--status", "settled", "--sort", "made")["items"]
    none = give("events", "list", "--since", "2100-01-01T00:00:00Z")["items"]

    assert (since, until) == ([attempt], [])
    assert (redeemed in [event["id"] for event in events], none) == (True, [])
    assert [event["id"] for event in turned] == sorted((it["id"] for it in turned), key=int)


def test_an_outcome_that_there_is_not_is_refused(run):
    done = run("redemptions", "list", "--outcome", "granted")

    assert done.code == 2
    assert "'granted' is not one of" in done.err
    assert "pool_expired" in done.err


def test_an_assignment_is_listed_and_shown_in_the_agreed_shape(give, world, ann, redeemed):
    [listed] = give("assignments", "list", "--learner", ann)["items"]
    soon = give("assignments", "list", "--expiring-within", "31d", "--limit", "1000")["items"]
    ends = give("assignments", "list", "--status", "active", "--sort", "-expires_at")["items"]
    shown = give("assignments", "show", listed["id"])

    assert {
        "id", "learner", "organization", "course", "pool", "key", "status", "redeemed_at",
        "expires_at", "launches",
    } <= set(listed)  # fmt: skip
    assert (listed["status"], listed["launches"]) == ("active", 0)
    assert listed in soon
    assert [item["expires_at"] for item in ends] == sorted(
        (item["expires_at"] for item in ends), reverse=True
    )
    assert listed.items() <= shown.items()


def test_an_assignment_is_extended_by_days_and_to_a_day_at_a_price(give, ann, redeemed):
    [before] = give("assignments", "list", "--learner", ann)["items"]

    longer = give("assignments", "extend", before["id"], "--by", "10")
    longest = give("assignments", "extend", before["id"], "--until", "2030-01-31", "--price", "5")

    assert before["expires_at"] < longer["expires_at"] < longest["expires_at"]
    assert longest["expires_at"] == "2030-02-01T00:00:00Z"
    assert longest["access_lasts_until"] == "the end of 31 Jan 2030, UTC"


def test_many_assignments_are_extended_each_with_its_result(run, give, ann, redeemed):
    [held] = give("assignments", "list", "--learner", ann)["items"]

    told = give("assignments", "extend", held["id"], "no-such", "--by", "10")
    chosen = give(
        "assignments", "extend", "--learner", ann, "--expiring-within", "60d", "--by", "1"
    )
    seen = run("assignments", "cancel", held["id"], "no-such")

    assert [(one["assignment"], one["result"], one["code"]) for one in told["items"]] == [
        (held["id"], "extended", None),
        ("no-such", "refused", "not_found"),
    ]
    assert [one["assignment"] for one in chosen["items"]] == [held["id"]]
    assert seen.out.startswith("1 cancelled, 1 refused\n")
    assert "There is no assignment “no-such”" in seen.out


def test_which_assignments_is_said_by_ids_or_by_conditions(run):
    nothing = run("assignments", "extend", "--by", "10")
    days = run("assignments", "list", "--expiring-within", "soon")

    assert (nothing.code, days.code) == (2, 2)
    assert "Name assignments, or give filters" in nothing.err
    assert "“soon” is not a number of days" in days.err


def test_an_assignment_is_cancelled_and_its_key_issued_again_or_retired(give, world, ann, redeemed):
    [held] = give("assignments", "list", "--learner", ann)["items"]

    cancelled = give("assignments", "cancel", held["id"], "--retire-key", "--reason", "mistake")

    assert cancelled["status"] == "cancelled"
    assert give("pools", "show", world.pool)["keys"]["retired"] == 1


def test_cancelling_twice_is_refused(run, give, ann, redeemed):
    [held] = give("assignments", "list", "--learner", ann)["items"]
    give("assignments", "cancel", held["id"])

    done = run("assignments", "cancel", held["id"])

    assert done.code == 2
    assert "was cancelled" in done.err


def test_overdue_assignments_are_expired(run, give, world, ann, redeemed):
    [held] = give("assignments", "list", "--learner", ann)["items"]
    with opened(world) as live:
        live.session.execute(
            text("""UPDATE assignment SET redeemed_at = redeemed_at - interval '40 days',
                           expires_at = expires_at - interval '40 days' WHERE id = :id"""),
            {"id": int(held["id"])},
        )

    done = give("assignments", "expire")
    again = run("assignments", "expire")

    assert done == {"expired": 1}
    assert again.out == "0 assignments expired.\n"
    assert give("assignments", "show", held["id"])["status"] == "expired"


def test_a_learner_is_shown_corrected_exported_and_erased(run, give, ann, redeemed):
    shown = give("learners", "show", ann)
    corrected = give("learners", "correct", ann, "--email", f"new-{ann}", "--name", "Anna")
    exported = give("learners", "export", f"new-{ann}")
    erased = give("learners", "erase", f"new-{ann}")

    assert [held["learner"] for held in shown["assignments"]] == [ann]
    assert (corrected["email"], corrected["name"]) == (f"new-{ann}", "Anna")
    assert ann in json.dumps(exported)
    assert erased["pseudonym"].endswith("@erased.invalid")
    assert run("learners", "show", f"new-{ann}").code == 2


def test_tables_are_for_people(run, redeemed):
    done = run("events", "list")

    assert done.code == 0
    assert "received at" in done.out
    assert "redemption.requested" in done.out
    assert not any(row.endswith(" ") for row in done.out.splitlines())


def test_the_history_is_listed_and_exported_in_the_agreed_shape(give, run, world, tmp_path):
    give("pools", "pause", world.pool)
    about = ("--thing", "pool", "--thing-id", world.pool)

    listed = give("history", "list", *about)["items"]
    printed = run("history", "export", *about)
    written = give("history", "export", *about, "-o", str(tmp_path / "history.csv"))

    assert set(listed[0]) == {
        "id", "at", "actor", "organization", "action", "thing", "thing_id", "detail"
    }  # fmt: skip
    assert INSTANT.fullmatch(listed[0]["at"])
    assert printed.out.splitlines()[0] == "at,actor,organization,action,thing,thing_id,detail"
    assert len(printed.out.splitlines()) == len(listed) + 1
    assert (tmp_path / "history.csv").read_text() == printed.out
    assert written["bytes"] == len(printed.out)


def test_a_duplicate_is_listed_and_joined(run, give, world):
    tag = secrets.token_hex(4)
    kept, other = f"{tag}@example.org", f"{tag}\u00ad@example.org"
    with opened(world) as live:
        ids = live.session.scalars(
            text("""INSERT INTO learner (organization_id, email)
                    SELECT :id, unnest(CAST(:emails AS text[])) RETURNING id"""),
            {"id": world.parent, "emails": [kept, other]},
        ).all()
        live.session.execute(
            text("UPDATE learner SET duplicate_of = :kept WHERE id = :other"),
            {"kept": min(ids), "other": max(ids)},
        )

    listed = give("learners", "duplicates")["items"]
    joined = give("learners", "join", str(max(ids)))
    again = run("learners", "join", str(max(ids)))

    assert [(one["email"], one["learner"]) for one in listed] == [(other, kept)]
    assert joined == {"learner": kept, "joined": other, "assignments": [], "cancelled": []}
    assert (again.code, "learners duplicates" in again.err) == (2, True)


@pytest.mark.parametrize("typed", ["mailto:ann@example.org", "ann@example.org.", "ann"])
def test_what_is_no_address_is_refused(run, ann, redeemed, give, typed):
    code = give("redemptions", "list", "--learner", ann)["items"][0]["key"]

    shown = run("keys", "show", code, "--as", typed)
    corrected = run("learners", "correct", ann, "--email", typed)

    for done in (shown, corrected):
        assert done.code == 2
        assert f"“{typed}” is not an e-mail address." in done.err
