"""Time from distribution to redemption, by the Kaplan-Meier estimator (1958).

Unredeemed keys count as censored for the time since their distribution, so that recent ones do not
make the waits look short. View report.handed_out defines a key's wait; keys retired unredeemed are
left out.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrases import phrase
from worker.reporting import drawing, reading, showing
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HORIZONS = (1, 7, 14, 30, 60, 90, 180, 365)  # days

# By whole days: how many keys were redeemed after so many days, and how many were censored.
WAITED = """
    SELECT days, count(redeemed_at) AS redeemed, count(*) - count(redeemed_at) AS seen_until
      FROM (SELECT redeemed_at, greatest(0, floor(extract(epoch FROM
                       coalesce(redeemed_at, until) - distributed_at) / 86400))::int AS days
              FROM report.handed_out
             WHERE {within} AND NOT (retired AND redeemed_at IS NULL)) AS waited
     GROUP BY days ORDER BY days"""


def waits_since_distribution(question: Question) -> "pd.DataFrame":
    """Estimate the share redeemed within each number of days, of keys distributed in the period.

    `at_risk` keys were still unredeemed at the start of that day.
    """
    import pandas as pd

    waited = reading.frame(
        sql.SQL(WAITED).format(within=question.within(at="distributed_at")),
    )
    waited["at_risk"] = (waited["redeemed"] + waited["seen_until"])[::-1].cumsum()[::-1]
    unredeemed, shares = Decimal(1), []
    for redeemed, at_risk in zip(waited["redeemed"], waited["at_risk"], strict=True):
        unredeemed *= 1 - Decimal(int(redeemed)) / Decimal(int(at_risk))
        shares.append(1 - unredeemed)
    waited["redeemed_share"] = pd.Series(shares, dtype=object)
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
            name = f"{days} day{'' if days == 1 else 's'}"
            rows.append((name, before["redeemed_share"].iloc[-1], still_out))
    return pd.DataFrame(rows, columns=["within", "redeemed_share", "still_out"])


def draw_waits_since_distribution(question: Question) -> "Figure":
    """Draw the share of redeemed keys by days since their distribution, as a step line."""
    title = phrase("Share of keys redeemed, by days since distribution")
    waited, say = waits_since_distribution(question), question.words.say
    if waited.empty:
        return drawing.nothing(title)
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
        [0.0, *map(float, waited["redeemed_share"])],
        along=phrase("days since distribution"),
        locale=question.babel,
    )
