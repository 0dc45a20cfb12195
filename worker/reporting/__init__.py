"""Functions that notebooks call, and running the notebooks.

A notebook asks a `Question` and gets DataFrames (counts as integers, amounts as Decimal) and
pictures. Its login may only SELECT from schema "report". Pandas and matplotlib are imported when they
are first needed. The command line defers this package as a whole and uses `reporting.keeping`,
because importing one module by name would run the package.
"""

from worker.reporting import dictionary, drawing, keeping, lasting, measures, parameters
from worker.reporting.billing import (
    Verdict,
    draw_revenue_by_month,
    invoices_by_status,
    reconciliation,
    revenue_by_course,
    revenue_by_month,
    revenue_by_organization,
    revenue_totals,
    verdict,
)
from worker.reporting.explaining import Explanation, explain
from worker.reporting.logins import ReportLoginError, analysts_environment
from worker.reporting.making import make_all, make_next, print_anew
from worker.reporting.printing import NoBrowserError, PrintingFailedError, pdf
from worker.reporting.question import Question, ask
from worker.reporting.reading import arrow, frame
from worker.reporting.redemptions import (
    attempts_by_outcome,
    days_until_redeemed,
    draw_days_until_redeemed,
    draw_funnel,
    draw_redemptions_by_course,
    draw_redemptions_per_day,
    draw_refusals,
    funnel,
    funnels_end,
    redemption_totals,
    redemptions_by_course,
    redemptions_by_label,
    redemptions_by_organization,
    redemptions_by_pool,
    redemptions_per_day,
    waits_in_short,
)
from worker.reporting.rendering import NOTEBOOKS, listing
from worker.reporting.run_out import draw_run_out, pools_by_run_out, run_out_back_test
from worker.reporting.running import ReportFailedError, run
from worker.reporting.saving import without_outputs
from worker.reporting.stock import (
    breakage,
    expiring_pools,
    keys_by_label,
    learners_at_risk,
    risk_totals,
    stock_totals,
)
from worker.reporting.survival import (
    draw_waits_since_distribution,
    waits_in_steps,
    waits_since_distribution,
)
from worker.reporting.usage import (
    busiest_hours,
    cohorts,
    draw_busiest_hours,
    draw_cohorts,
    draw_first_launches,
    draw_launches_per_day,
    first_launches,
    launches_per_assignment,
    launches_per_day,
    unused_assignments,
    usage_by_label,
    usage_totals,
)

__all__ = [
    "NOTEBOOKS",
    "Explanation",
    "NoBrowserError",
    "PrintingFailedError",
    "Question",
    "ReportFailedError",
    "ReportLoginError",
    "Verdict",
    "analysts_environment",
    "arrow",
    "ask",
    "attempts_by_outcome",
    "breakage",
    "busiest_hours",
    "cohorts",
    "days_until_redeemed",
    "dictionary",
    "draw_busiest_hours",
    "draw_cohorts",
    "draw_days_until_redeemed",
    "draw_first_launches",
    "draw_funnel",
    "draw_launches_per_day",
    "draw_redemptions_by_course",
    "draw_redemptions_per_day",
    "draw_refusals",
    "draw_revenue_by_month",
    "draw_run_out",
    "draw_waits_since_distribution",
    "drawing",
    "expiring_pools",
    "explain",
    "first_launches",
    "frame",
    "funnel",
    "funnels_end",
    "invoices_by_status",
    "keeping",
    "keys_by_label",
    "lasting",
    "launches_per_assignment",
    "launches_per_day",
    "learners_at_risk",
    "listing",
    "make_all",
    "make_next",
    "measures",
    "parameters",
    "pdf",
    "pools_by_run_out",
    "print_anew",
    "reconciliation",
    "redemption_totals",
    "redemptions_by_course",
    "redemptions_by_label",
    "redemptions_by_organization",
    "redemptions_by_pool",
    "redemptions_per_day",
    "revenue_by_course",
    "revenue_by_month",
    "revenue_by_organization",
    "revenue_totals",
    "risk_totals",
    "run",
    "run_out_back_test",
    "stock_totals",
    "unused_assignments",
    "usage_by_label",
    "usage_totals",
    "verdict",
    "waits_in_short",
    "waits_in_steps",
    "waits_since_distribution",
    "without_outputs",
]
