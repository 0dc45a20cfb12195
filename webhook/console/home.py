"""Home: what needs the visitor, and figures of today, this week and this month beside those before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import redirect, render_template
from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console import measuring, words
from webhook.console.access import page
from webhook.console.frame import blueprint
from webhook.console.measuring import Figure
from webhook.http.access import EVERYBODY
from worker.billing import invoices
from worker.billing.invoices import Standing
from worker.database import connections
from worker.database.filters import ListFilters
from worker.learning import assignments
from worker.outgoing import endpoints, messages
from worker.pools import pools
from worker.redemption import inbox
from worker.reporting import keeping
from worker.reporting.keeping import ReportShape
from worker.tables.labels import ReportState
from worker.tenancy import first_start
from worker.tenancy.actors import Actor, Role

SOON = timedelta(days=30)
LATEST_REPORTS = 3
COUNTED = 1000  # of what needs somebody: a page must not get slower with what there is


@dataclass(frozen=True)
class Need:
    """What may need somebody: its list, who counts that, and how one and many are said."""

    page: str
    total: Callable[..., int]
    filters: ListFilters
    one: str
    many: str


NEEDS = (
    Need("events", inbox.total, inbox.Filters(late=True),
         "event waits for more than five minutes: the inbox stands still",
         "events wait for more than five minutes: the inbox stands still"),
    Need("events", inbox.total, inbox.Filters(failed=True),
         "event failed too often", "events failed too often"),
    Need("invoices", invoices.total, invoices.Filters(status=Standing.OVERDUE),
         "invoice is overdue", "invoices are overdue"),
    Need("pools", pools.total, pools.Filters(running_out=True),
         "pool runs out of keys within 30 days", "pools run out of keys within 30 days"),
    Need("pools", pools.total, pools.Filters(ending_within=SOON),
         "pool ends within 30 days with keys left", "pools end within 30 days with keys left"),
    Need("assignments", assignments.total, assignments.Filters(at_risk=True),
         "learner is at risk: half of the access is gone, and nothing was launched",
         "learners are at risk: half of the access is gone, and nothing was launched"),
    Need("endpoints", endpoints.total, endpoints.Filters(failing=True),
         "endpoint fails", "endpoints fail"),
    Need("messages", messages.total, messages.Filters(failed=True),
         "mail was not sent", "mails were not sent"),
    Need("reports", keeping.total, keeping.Filters(state=ReportState.FAILED),
         "report failed", "reports failed"),
)  # fmt: skip
FIRST = {
    Role.FINANCE: ("invoices", "charges"),
    Role.ANALYST: ("reports",),
}  # what a role sees first


@blueprint.get("/")
@page(*EVERYBODY)
def home(session: Session, actor: Actor) -> Any:
    """Show what needs the visitor, and the figures that their role may see, the role's own first.

    Before there is anything, an operator is led to the first steps.
    """
    if words.operating() and first_start.samples(session) in ("possible", "wanted"):
        return redirect(url("console.first_steps"), 303)
    now, first = connections.clock_now(session), FIRST.get(actor.role, ())
    parts = [(name, part(session, actor, now)) for name, part in PARTS.items() if words.may(name)]
    return render_template(
        "home.html",
        needs=_needs(session, actor, first),
        parts=sorted(parts, key=lambda part: part[0] not in first),
    )


def _needs(session: Session, actor: Actor, first: Sequence[str]) -> list[tuple[Figure, str]]:
    """Give each list that has rows, with its sentence, the role's own first."""
    found = []
    for need in sorted(NEEDS, key=lambda need: need.page not in first):
        if words.may(need.page):
            rows = need.total(session, actor=actor, filters=need.filters, most=COUNTED)
            its = measuring.figure(need.page, need.filters, rows, COUNTED)
            found.append((its, need.one if rows == 1 else need.many))
    return [(its, sentence) for its, sentence in found if its.rows]


def _reports(session: Session, actor: Actor, _now: datetime) -> list[ReportShape]:
    return keeping.listing(session, actor=actor, limit=LATEST_REPORTS).items


PARTS: dict[str, Callable[[Session, Actor, datetime], Any]] = {
    "redemptions": measuring.redemptions,
    "charges": measuring.charged,
    "reports": _reports,
}
