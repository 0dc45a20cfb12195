"""Time from distribution to redemption, with the pool's end as a competing event (Aalen and Johansen).

A key that is not redeemed yet is censored now, a recalled or retired one when it was retired: they count
for as long as they were watched, so that young keys do not make the waits look short. A key whose pool ended
before it was redeemed can be redeemed no more: it counts as ended, not as censored, so that the share says
what became of keys and not what would without an end. `estimating` has the formulas.
"""

from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrases import phrase
from worker.reporting import drawing, estimating, reading, showing
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HORIZONS = (1, 7, 14, 30, 60, 90, 180, 365)  # days
SHARES = ("redeemed_share", "low_share", "high_share", "pool_ended_share")

# By whole days: how many keys were redeemed after so many days, were not when their pool ended, and
# were watched no longer.
WAITED = """
    SELECT days, count(*) FILTER (WHERE redeemed) AS redeemed,
           count(*) FILTER (WHERE NOT redeemed AND pool_ended) AS pool_ended,
           count(*) FILTER (WHERE NOT redeemed AND NOT pool_ended) AS seen_until
      FROM (SELECT redeemed_at IS NOT NULL AS redeemed,
                   pool_ended_at IS NOT NULL AND (retired_at < pool_ended_at) IS NOT true AS pool_ended,
                   greatest(0, floor(extract(epoch FROM coalesce(redeemed_at, least(until, retired_at))
                                                        - distributed_at) / 86400))::int AS days
              FROM report.handed_out WHERE {within}) AS waited
     GROUP BY days ORDER BY days"""


def waits_since_distribution(question: Question) -> "pd.DataFrame":
    """Estimate the share redeemed within each number of days, of keys distributed in the period.

    `at_risk` keys were still unredeemed at the start of that day. `low_share` and `high_share` are the
    bounds of a band of 95 %.
    """
    waited = reading.frame(
        sql.SQL(WAITED).format(within=question.within(at="distributed_at")),
    )
    its = estimating.incidence(waited["redeemed"], waited["pool_ended"], waited["seen_until"])
    waited["at_risk"] = its.at_risk.astype(int)
    waited["redeemed_share"], waited["low_share"], waited["high_share"] = (
        its.share,
        its.low,
        its.high,
    )
    waited["pool_ended_share"] = 1 - its.left - its.share
    return waited


def waits_in_steps(question: Question) -> "pd.DataFrame":
    """Give the share redeemed within a day, a week, …, up to the age of the oldest key."""
    import pandas as pd

    waited = waits_since_distribution(question)
    longest = max(waited["days"], default=-1)
    rows = []
    for days in HORIZONS:
        before = waited[waited["days"] < days]
        if days <= longest and not before.empty:
            still_out = waited[waited["days"] >= days]["at_risk"].max()
            name = question.words.say_count("{count} day", "{count} days", days)
            rows.append((name, *before[list(SHARES)].iloc[-1], still_out))
    return pd.DataFrame(rows, columns=["within", *SHARES, "still_out"])


def _why_no_line(question: Question, waited: "pd.DataFrame") -> str | None:
    """Say why there is no line to draw: nothing was redeemed, or no key has been out for a day."""
    say, keys = question.words, int(waited["at_risk"].iloc[0])
    redeemed = int(waited["redeemed"].sum())
    if not redeemed:
        return say.say_count(
            "{count} key was distributed in this period, and is not redeemed.",
            "{count} keys were distributed in this period, and none of them is redeemed.",
            keys,
        )
    if waited["days"].max() > 0:
        return None
    return say.say(
        "Keys distributed in this period: {keys}. Redeemed within a day: {redeemed}. None of them was out for"
        " longer.",
        keys=say.number(keys),
        redeemed=say.number(redeemed),
    )


def draw_waits_since_distribution(question: Question) -> "Figure":
    """Draw the share of redeemed keys by days since their distribution, as a step line in its band."""
    title = phrase("Share of keys redeemed, by days since distribution")
    waited, say = waits_since_distribution(question), question.words.say
    if waited.empty:
        return drawing.nothing(title)
    if why := _why_no_line(question, waited):
        return drawing.nothing(title, why)
    keys = showing.number(int(waited["at_risk"].iloc[0]), question.babel)
    last = showing.percent(waited["redeemed_share"].iloc[-1], question.babel)
    return drawing.steps(
        title,
        say(
            "{title}: of {keys} keys, {share} within {days} days.",
            title=say(title),
            keys=keys,
            share=last,
            days=waited["days"].iloc[-1] + 1,
        ),
        [0, *(waited["days"] + 1).tolist()],
        [0.0, *waited["redeemed_share"]],
        band=([0.0, *waited["low_share"]], [0.0, *waited["high_share"]]),
        along=phrase("days since distribution"),
        locale=question.babel,
    )
