"""One assignment's life, in any order of acts, with a plain model beside it (A1 to A5)."""

from datetime import timedelta

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
from worker import assignments, audit, errors, launches, redemption

ANN = "ann@example.org"
ACCESS = timedelta(days=30)


class Life(RuleBasedStateMachine):
    """What happens to Ann's assignments of one course, and what the model says of them."""

    session = None  # the test gives it

    def __init__(self) -> None:
        super().__init__()
        self.trial = self.session.begin_nested()
        self.before = self.session.scalar(
            text("SELECT current_setting('keypool.clock_offset', true)")
        )
        self.world = worlds.build(self.session)
        self.codes = self.world.keys(6)
        self.passed = timedelta()
        self.held: list[dict] = []  # the model's assignments, oldest first
        self.sent = 0

    def teardown(self) -> None:
        self.trial.rollback()
        self.session.execute(
            text("SELECT set_config('keypool.clock_offset', :before, true)"),
            {"before": self.before or ""},
        )

    @property
    def latest(self) -> dict:
        return self.held[-1]

    def is_live(self, one: dict) -> bool:
        return one["status"] != "cancelled" and self.passed < one["ends"]

    @rule(key=st.integers(0, 5))
    def redeem(self, key: int) -> None:
        event = self.world.request(self.codes[key], ANN)
        redemption.settle(self.session, event_ids=[event])

        assert self.world.outcome(event) == self.expected(key)
        if self.expected(key) == "redeemed":
            row = self.world.figures(
                "SELECT assignment_id AS id FROM event WHERE id = :id", id=event
            )
            for one in self.held:
                one["status"] = "expired" if one["status"] == "active" else one["status"]
            self.held.append(
                {
                    "id": str(row.id),
                    "key": key,
                    "status": "active",
                    "made": self.passed,
                    "ends": self.passed + ACCESS,
                    "launches": 0,
                }
            )

    def expected(self, key: int) -> str:
        spent = [one for one in self.held if one["key"] == key and not one.get("undone")]
        if any(one["status"] != "cancelled" for one in spent):
            return "already_yours"
        if spent:
            return "key_retired"
        return "already_assigned" if any(map(self.is_live, self.held)) else "redeemed"

    @rule(hours=st.sampled_from([1, 23, 24, 29 * 24, 31 * 24]))
    def time_passes(self, hours: int) -> None:
        pass_time(self.session, seconds=hours * 3600)
        self.passed += timedelta(hours=hours)

    @precondition(lambda self: self.held)
    @rule()
    def launch(self) -> None:
        self.sent += 1
        event = self.world.event(
            "training.launched",
            {
                "assignment": self.latest["id"],
                "launch": f"L-{self.sent}",
                "launched_at": "2026-01-01T00:00:00Z",
            },
        )
        launches.settle(self.session, event_ids=[event])

        if self.latest["status"] == "cancelled":
            assert self.world.outcome(event) == "assignment_cancelled"
        elif not self.is_live(self.latest):
            assert self.world.outcome(event) == "assignment_expired"
        else:
            assert self.world.outcome(event) == "launched"
            self.latest["launches"] += 1

    @precondition(lambda self: self.held)
    @rule(days=st.integers(1, 60))
    def extend(self, days: int) -> None:
        one = self.latest
        try:
            assignments.extend(self.session, actor=OPERATOR, assignment=one["id"], by_days=days)
        except errors.AssignmentCancelledError:
            assert one["status"] == "cancelled"
            return
        assert one["status"] != "cancelled"
        one["ends"] += timedelta(days=days)
        if one["status"] == "expired" and self.passed < one["ends"]:
            one["status"] = "active"

    @precondition(lambda self: self.held)
    @rule(reason=st.sampled_from([None, "left"]))
    def cancel(self, reason: str | None) -> None:
        one = self.latest
        free = self.passed < one["made"] + timedelta(hours=24) and not one["launches"]
        try:
            assignments.cancel(self.session, actor=OPERATOR, assignment=one["id"], reason=reason)
        except errors.AssignmentCancelledError:
            assert one["status"] == "cancelled"
            return
        except errors.InvalidInputError:
            assert not free
            assert reason is None
            return
        assert one["status"] != "cancelled"
        one.update(status="cancelled", undone=free)

    @rule()
    def sweep(self) -> None:
        assignments.expire_overdue(self.session, limit=100)
        for one in self.held:
            if one["status"] == "active" and not self.is_live(one):
                one["status"] = "expired"

    @invariant()
    def access_is_as_the_model_says(self) -> None:
        for one in self.held:
            shown = assignments.show(self.session, actor=OPERATOR, assignment=one["id"])
            assert shown["status"] == one["status"]
            assert shown["valid"] == (one["status"] == "active" and self.is_live(one))

    @invariant()
    def the_ledger_holds(self) -> None:
        undone = sum(bool(one.get("undone")) for one in self.held)
        due = self.world.figures(
            "SELECT count(*) FILTER (WHERE kind = 'redemption') AS charges,"
            "       coalesce(sum(amount) / 49.90, 0) AS due FROM charge"
        )
        assert (due.charges, due.due) == (len(self.held), len(self.held) - undone)
        assert all(audit._result(self.session, check)["ok"] for check in audit.CHECKS[:4])


def test_an_assignments_life_is_as_a_plain_model_says_in_whatever_order_things_happen(session):
    Life.session = session

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
