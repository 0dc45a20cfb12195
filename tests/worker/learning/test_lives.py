"""The lives of two learners' assignments, in any order of acts, with a plain model beside them (A1 to A5)."""

import json
import sys
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker import errors
from worker.audit import auditing
from worker.learning import assignments, bulk, cancelling, expiring, extending, launches
from worker.learning.assignments import Filters
from worker.redemption import deciding, inbox
from worker.tables.labels import EventType

LEARNERS = ["ann@example.org", "bob@example.org"]
ACCESS = timedelta(days=30)
LAUNCHED = "2026-01-01T00:00:00Z"
ENDS = {"2025-12-31T23:00:00Z": "ended_before_launched", "2026-01-01T01:00:00Z": "ended"}

which = st.integers(0, 5)  # one of those that there are
learners = st.sampled_from(LEARNERS)
reasons = st.sampled_from([None, "left"])


class Life(RuleBasedStateMachine):
    """What happens to two learners' assignments of one course, and what the model says of them."""

    session = None  # the test gives it

    def __init__(self) -> None:
        super().__init__()
        self.trial = self.session.begin_nested()
        self.before = self.session.scalar(
            text("SELECT current_setting('keypool.clock_offset', true)")
        )
        self.world = worlds.build(self.session)
        self.codes = self.world.keys(2)
        self.passed = timedelta()
        self.held: list[dict] = []  # the model's assignments, oldest first
        self.launched: list[dict] = []  # its launches
        self.sent: list[dict] = []  # what came in, and what became of it

    def teardown(self) -> None:
        try:
            # Once a life: what is wrong in the ledger stays wrong, and an audit takes ten times a step.
            if sys.exception() is None:
                assert auditing.audit(self.session)["ok"]
        finally:
            self.end_of_trial()

    def end_of_trial(self) -> None:
        self.trial.rollback()
        self.session.execute(
            text("SELECT set_config('keypool.clock_offset', :before, true)"),
            {"before": self.before or ""},
        )

    def is_live(self, one: dict) -> bool:
        return one["status"] != "cancelled" and self.passed < one["ends"]

    # What comes in ------------------------------------------------------------------------------

    def deliver(self, type_: EventType, data: dict[str, Any], *, again: str | None = None) -> Any:
        webhook_id = again or f"msg-{len(self.sent)}"
        return inbox.record(
            self.session.connection().connection.driver_connection,
            source_id=self.world.source,
            organization_id=self.world.parent,
            webhook_id=webhook_id,
            body_hash=json.dumps(data).encode(),
            message=inbox.Message(type_, data),
        )

    def settled(self, type_: EventType, data: dict[str, Any]) -> str | None:
        """Deliver and settle one message; say what became of it."""
        event = self.deliver(type_, data).event_id
        self.sent.append({"type": type_, "data": data, "event": event})
        return self.settle(event)

    def settle(self, event: int) -> str | None:
        deciding.settle(self.session, event_ids=[event])
        launches.settle(self.session, event_ids=[event])
        return self.world.outcome(event)

    @rule(key=st.integers(0, 1), learner=learners)
    def redeem(self, key: int, learner: str) -> None:
        asked = {"key": self.codes[key], "learner": {"email": learner}}
        expected = self.expected(key, learner)

        assert self.settled(EventType.REDEMPTION_REQUESTED, asked) == expected
        if expected == "redeemed":
            row = self.world.figures(
                "SELECT assignment_id AS id FROM event WHERE id = :id", id=self.sent[-1]["event"]
            )
            for one in self.held:
                if one["who"] == learner and one["status"] == "active":
                    one["status"] = "expired"
            self.held.append(
                {
                    "id": str(row.id),
                    "who": learner,
                    "key": key,
                    "status": "active",
                    "made": self.passed,
                    "ends": self.passed + ACCESS,
                    "launches": 0,
                    "completed": False,
                }
            )

    def expected(self, key: int, learner: str) -> str:
        spent = [one for one in self.held if one["key"] == key and not one.get("undone")]
        for one in spent:
            if one["status"] != "cancelled":
                return "already_yours" if one["who"] == learner else "already_redeemed"
        if spent:
            return "key_retired"
        theirs = [one for one in self.held if one["who"] == learner]
        return "already_assigned" if any(map(self.is_live, theirs)) else "redeemed"

    @precondition(lambda self: self.held)
    @rule(which=which, end_comes_first=st.booleans())
    def launch(self, which: int, end_comes_first: bool) -> None:
        one = self.held[which % len(self.held)]
        launch = f"L-{len(self.launched)}"
        told = {"assignment": int(one["id"]), "launch": launch, "launched_at": LAUNCHED}
        end = {"launch": launch, "ended_at": "2026-01-01T01:00:00Z", "completed": True}
        if end_comes_first:
            assert self.settled(EventType.TRAINING_ENDED, end) is None  # it waits
            waiting = self.sent[-1]["event"]

        outcome = self.settled(EventType.TRAINING_LAUNCHED, told)

        if one["status"] == "cancelled":
            assert outcome == "assignment_cancelled"
        elif not self.is_live(one):
            assert outcome == "assignment_expired"
        else:
            assert outcome == "launched"
            one["launches"] += 1
            one["completed"] |= end_comes_first
        self.launched.append(
            {"launch": launch, "of": one, "outcome": outcome, "ended": end_comes_first}
        )
        if end_comes_first:
            assert self.settle(waiting) == ("ended" if outcome == "launched" else outcome)

    @precondition(lambda self: self.launched)
    @rule(which=which, at=st.sampled_from(sorted(ENDS)), completed=st.booleans())
    def end(self, which: int, at: str, completed: bool) -> None:
        launch = self.launched[which % len(self.launched)]
        told = {"launch": launch["launch"], "ended_at": at, "completed": completed}

        outcome = self.settled(EventType.TRAINING_ENDED, told)

        # However late it comes, and whatever became of access; of several the first counts.
        refused = launch["outcome"] != "launched"
        assert outcome == (launch["outcome"] if refused else ENDS[at])
        if outcome == "ended" and not launch["ended"]:
            launch["ended"] = True
            launch["of"]["completed"] |= completed

    @precondition(lambda self: self.sent)
    @rule(which=which)
    def the_same_message_comes_again(self, which: int) -> None:
        number = which % len(self.sent)
        sent = self.sent[number]
        before = self.world.outcome(sent["event"])

        again = self.deliver(sent["type"], sent["data"], again=f"msg-{number}")

        assert (again.event_id, again.is_new) == (sent["event"], False)
        assert self.settle(sent["event"]) == before

    # What is done -------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([1, 23, 24, 29 * 24, 31 * 24]))
    def time_passes(self, hours: int) -> None:
        pass_time(self.session, seconds=hours * 3600)
        self.passed += timedelta(hours=hours)

    def extended(self, one: dict, days: int) -> str:
        """Extend one in the model; say what becomes of it."""
        if one["status"] == "cancelled":
            return "assignment_cancelled"
        ends = one["ends"] + timedelta(days=days)
        revived = one["status"] == "expired" and self.passed < ends
        others = [o for o in self.held if o["who"] == one["who"] and o["status"] == "active"]
        if revived and others:
            return "live_assignment"
        one.update(ends=ends, status="active" if revived else one["status"])
        return "extended"

    def cancelled(self, one: dict, reason: str | None) -> str:
        """Cancel one in the model; say what becomes of it."""
        if one["status"] == "cancelled":
            return "assignment_cancelled"
        free = self.passed < one["made"] + timedelta(hours=24) and not one["launches"]
        if not free and reason is None:
            return "invalid_input"
        one.update(status="cancelled", undone=free)
        return "cancelled"

    def alone(self, act: Any, done: str, one: dict, **how: Any) -> str:
        try:
            with self.session.begin_nested():
                act(self.session, actor=OPERATOR, assignment=one["id"], **how)
        except errors.KeypoolError as error:
            return error.code
        return done

    def together(self, act: Any, **how: Any) -> list[tuple[str, str]]:
        page = act(self.session, actor=OPERATOR, filters=Filters(pool=self.world.pool), **how)
        return [(item["assignment"], item["code"] or item["result"]) for item in page.items]

    @precondition(lambda self: self.held)
    @rule(which=which, days=st.integers(1, 60))
    def extend(self, which: int, days: int) -> None:
        one = self.held[which % len(self.held)]

        assert self.alone(extending.extend, "extended", one, by_days=days) == self.extended(
            one, days
        )

    @precondition(lambda self: self.held)
    @rule(days=st.integers(1, 60))
    def extend_all(self, days: int) -> None:
        told = self.together(bulk.extend, by_days=days)

        chosen = [one for one in self.held if one["status"] != "cancelled"]
        assert told == [(one["id"], self.extended(one, days)) for one in chosen]

    @precondition(lambda self: self.held)
    @rule(which=which, reason=reasons)
    def cancel(self, which: int, reason: str | None) -> None:
        one = self.held[which % len(self.held)]

        assert self.alone(cancelling.cancel, "cancelled", one, reason=reason) == self.cancelled(
            one, reason
        )

    @precondition(lambda self: self.held)
    @rule(reason=reasons)
    def cancel_all(self, reason: str | None) -> None:
        told = self.together(bulk.cancel, reason=reason)

        chosen = [one for one in self.held if one["status"] != "cancelled"]
        assert told == [(one["id"], self.cancelled(one, reason)) for one in chosen]

    @rule()
    def sweep(self) -> None:
        expiring.expire_overdue(self.session, limit=100)
        for one in self.held:
            if one["status"] == "active" and not self.is_live(one):
                one["status"] = "expired"

    # What always holds --------------------------------------------------------------------------

    @invariant()
    def access_is_as_the_model_says(self) -> None:
        for one in self.held:
            shown = assignments.show(self.session, actor=OPERATOR, assignment=one["id"])
            access = assignments.access(self.session, actor=OPERATOR, assignment=one["id"])
            assert (shown["learner"], shown["status"]) == (one["who"], one["status"])
            assert shown["valid"] == access.allowed == self.is_live(one)
            assert (shown["launches"], shown["completed"]) == (one["launches"], one["completed"])

    @invariant()
    def the_ledger_holds(self) -> None:
        undone = sum(bool(one.get("undone")) for one in self.held)
        due = self.world.figures(
            "SELECT count(*) FILTER (WHERE kind = 'redemption') AS charges,"
            "       coalesce(sum(amount) / 49.90, 0) AS due FROM charge"
        )
        assert (due.charges, due.due) == (len(self.held), len(self.held) - undone)


def test_an_assignments_life_is_as_a_plain_model_says_in_whatever_order_things_happen(session):
    Life.session = session

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
