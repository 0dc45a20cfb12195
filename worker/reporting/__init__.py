"""What notebooks call, and how they are run.

A notebook asks a `Question` and gets DataFrames (counts as integers, amounts as Decimal) and
pictures. It reads as a login that may only SELECT from schema "report". Pandas and matplotlib are
imported when they are first needed.
"""

from worker.reporting.logins import ReportLoginError
from worker.reporting.question import Question, ask
from worker.reporting.reading import arrow, frame
from worker.reporting.redemptions import (
    attempts_by_outcome,
    days_until_redeemed,
    draw_days_until_redeemed,
    draw_redemptions_by_course,
    draw_redemptions_per_day,
    draw_refusals,
    redemption_totals,
    redemptions_by_course,
    redemptions_by_pool,
    redemptions_per_day,
    waits_in_short,
)
from worker.reporting.running import ReportFailedError, listing, run

__all__ = [
    "Question",
    "ReportFailedError",
    "ReportLoginError",
    "arrow",
    "ask",
    "attempts_by_outcome",
    "days_until_redeemed",
    "draw_days_until_redeemed",
    "draw_redemptions_by_course",
    "draw_redemptions_per_day",
    "draw_refusals",
    "frame",
    "listing",
    "redemption_totals",
    "redemptions_by_course",
    "redemptions_by_pool",
    "redemptions_per_day",
    "run",
    "waits_in_short",
]
