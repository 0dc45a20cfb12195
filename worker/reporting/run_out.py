"""When active pools run out of keys, or how many keys they end with: forecasts, and how good they were.

A pool's pace is its redemptions on whole days on which it was open, of the last 28, by the number of
those days. It was open on a day that lies in its window, after its first key, without a pause. `forecasting`
has the arithmetic. Stock is known as it is now, so nothing is said as of the end of a past period.
"""

from collections.abc import Hashable, Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase
from worker.reporting import drawing, forecasting, reading
from worker.reporting.forecasting import Ending, Forecast
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_BARS = 12
PAST = phrase("Stock is known as of today, and this period is over: nothing is forecast.")
TESTED_POOLS = 200  # those with the most redemptions

POOLS = """
    SELECT pool.pool_id, pool.name AS pool, organization, course, issued, undistributed,
           ({now} AT TIME ZONE home.time_zone)::date AS today, last_day
      FROM report.pool JOIN report.organization AS home ON home.name = organization
     WHERE state = 'active' {family}"""

# A row for each whole day on which a pool was open, with its redemptions.
OPEN_DAYS = """
    WITH pause AS MATERIALIZED (SELECT pool_id, paused_at, resumed_at FROM report.pool_pause),
    filled AS MATERIALIZED (
        SELECT pool_id, min(made_at) AS filled_at FROM report.growth WHERE true {family} GROUP BY pool_id),
    home AS MATERIALIZED (SELECT name AS organization, time_zone FROM report.organization),
    pool AS MATERIALIZED (
        SELECT pool_id, time_zone, greatest(starts_at, filled_at) AS begins, expires_at AS ends
          FROM report.pool JOIN home USING (organization) JOIN filled USING (pool_id)
         WHERE {some_pools}),
    open_day AS (
        SELECT pool_id, day::date
          FROM pool
         CROSS JOIN LATERAL (SELECT least({last}, ({now} AT TIME ZONE time_zone)::date - 1) AS whole)
         CROSS JOIN generate_series(
               greatest({first}, whole - {span} + 1)::timestamp, whole, interval '1 day') AS day
         CROSS JOIN LATERAL (SELECT day AT TIME ZONE time_zone AS begun,
                                    (day + interval '1 day') AT TIME ZONE time_zone AS over) AS its
         WHERE begun >= begins AND over <= least(ends, {now})
           AND NOT EXISTS (SELECT FROM pause WHERE pause.pool_id = pool.pool_id AND paused_at < over
                                               AND coalesce(resumed_at, 'infinity') > begun)),
    counted AS (
        SELECT pool_id, day, count(*) AS redeemed FROM report.redemption
         WHERE answer = 'redeemed' AND {within} GROUP BY pool_id, day)
    SELECT pool_id, coalesce(redeemed, 0) AS redeemed
      FROM open_day LEFT JOIN counted USING (pool_id, day) ORDER BY pool_id, day"""


def pools_by_run_out(question: Question) -> "pd.DataFrame":
    """Forecast the end of each active pool, those that run out first; no row for a past period.

    `redeemed_a_day` is the pace, `open_days` (in the CSV) the number of days that it is of. `likely` is the
    span in which eight of ten such forecasts end.
    """
    import pandas as pd

    say = question.words
    if question.is_past:
        frame = pd.DataFrame()
        frame.attrs["nothing"] = say.say(PAST)
        return frame
    rows = sorted(_forecasts(question), key=_order)
    frame = pd.DataFrame([_told(row, its, days, say) for row, its, days in rows])
    frame.attrs["aside"] = ("undistributed", "open_days")  # for want of room on the page
    return question.titled(frame)


def draw_run_out(question: Question) -> "Figure":
    """Draw when pools run out that may do so before their end, with the likely span."""
    import pandas as pd

    title, say = phrase("When pools run out"), question.words
    if question.is_past:
        return drawing.nothing(title, say.say(PAST))
    rows = sorted(_forecasts(question), key=_order)
    spans = [
        (row, its) for row, its, _ in rows if its and its.early.left == 0 and row["issued"] > 0
    ][:MAX_BARS]
    if not spans:
        why = say.say("No pool is likely to run out before it ends.") if rows else None
        return drawing.nothing(title, why)
    told = "; ".join(f"{row['pool']}: {_sentence(its.ending, row, say)}" for row, its in spans)
    return drawing.spans(
        title,
        f"{say.say(title)}. {told}",
        drawing.labelled(pd.DataFrame([row for row, _ in spans]), "pool", question.babel),
        [(_day(its.early, row), _day(its.ending, row), _day(its.late, row)) for row, its in spans],
        solid=[its.ending.left == 0 for _, its in spans],
        locale=question.babel,
    )


def run_out_back_test(question: Question) -> "pd.DataFrame":
    """Count how many earlier forecasts held: one row; none if the period is too short for one.

    Every four weeks of the period, for each pool: stock that would have lasted 14, 28 and 56 days at its
    pace, forecast from the days before and compared with the days behind. Of the 200 pools with the
    most redemptions.
    """
    import pandas as pd

    span = (question.last - question.first).days + 1
    series = _open_days(question, since=question.first, span=span, pools=sql.SQL("true"))
    busiest = sorted(series.values(), key=sum, reverse=True)[:TESTED_POOLS]
    held = [is_inside for counts in busiest for is_inside in forecasting.back_test(counts)]
    rows = [(len(held), sum(held), sum(held) / len(held))] if held else []
    return pd.DataFrame(rows, columns=["forecasts", "held", "held_share"])


def _forecasts(question: Question) -> Iterator[tuple[dict[Hashable, Any], Forecast | None, int]]:
    """Give each active pool with its forecast, and on how many days that rests."""
    pools = reading.frame(
        sql.SQL(POOLS).format(now=sql.Literal(question.asked_at), family=question.family())
    )
    since = min(question.last, question.yesterday) - timedelta(days=forecasting.DAYS)  # in any zone
    active = sql.SQL("state = 'active'")
    series = _open_days(question, since=since, span=forecasting.DAYS, pools=active)
    for row in pools.to_dict("records"):
        counts = series.get(row["pool_id"], [])
        left = (row["last_day"] - row["today"]).days + 1
        its = forecasting.forecast(counts, stock=row["issued"], days_left=left)
        yield row, its, len(counts)


def _open_days(
    question: Question, *, since: date, span: int, pools: sql.Composable
) -> dict[Hashable, list[int]]:
    """Give each pool's redemptions on the whole days on which it was open, of the last `span` days.

    None of them is before `since`; the newest is last.
    """
    earlier = (question.first - since).days
    query = sql.SQL(OPEN_DAYS).format(
        first=sql.Literal(since),
        last=sql.Literal(question.last),
        span=sql.Literal(span),
        now=sql.Literal(question.asked_at),
        family=question.family(),
        some_pools=pools,
        within=question.within(earlier=earlier),
    )
    frame = reading.frame(query)
    grouped = frame.groupby("pool_id")["redeemed"]
    return {pool: counts.tolist() for pool, counts in grouped}


def _order(forecast: tuple[dict[Hashable, Any], Forecast | None, int]) -> tuple[Any, ...]:
    row, its, _ = forecast
    if its is None:
        return (2, row["last_day"].date(), row["pool"], row["pool_id"])
    return (its.ending.left > 0, _day(its.ending, row), row["pool"], row["pool_id"])


def _told(
    row: dict[Hashable, Any], its: Forecast | None, days: int, say: Phrasebook
) -> dict[str, object]:
    return {
        "pool": row["pool"],
        "organization": row["organization"],
        "course": row["course"],
        "issued": row["issued"],
        "undistributed": row["undistributed"],
        "open_days": days,
        "redeemed_a_day": round(its.pace, 1) if its else None,
        "forecast": _sentence(its.ending, row, say) if its else _unknown(row, days, say),
        "likely": _span(its, row, say) if its else None,
    }


def _sentence(ending: Ending, row: dict[Hashable, Any], say: Phrasebook) -> str:
    day = say.short_day(_day(ending, row))
    if ending.left == 0:
        return say.say("Runs out on {day}", day=day)
    return say.say_count(
        "Ends on {day} with {count} key unspent",
        "Ends on {day} with {count} keys unspent",
        ending.left,
        day=day,
    )


def _unknown(row: dict[Hashable, Any], days: int, say: Phrasebook) -> str:
    if row["issued"] == 0:
        return say.say("Has run out")
    if days < forecasting.FEWEST * forecasting.WEEK:
        return say.say_count(
            "Open for {count} whole day: too few to say",
            "Open for {count} whole days: too few to say",
            days,
        )
    return _sentence(Ending(1, row["issued"]), row, say)


def _span(its: Forecast, row: dict[Hashable, Any], say: Phrasebook) -> str:
    first, last = (say.short_day(_day(ending, row)) for ending in (its.early, its.late))
    if its.late.left == 0:
        return say.say("{first} to {last}", first=first, last=last) if first != last else first
    if its.early.left == 0:
        return say.say_count(
            "{day}, or later with up to {count} key unspent",
            "{day}, or later with up to {count} keys unspent",
            its.late.left,
            day=first,
        )
    few = say.number(its.early.left)
    return say.say_count(
        "{few} to {count} key unspent", "{few} to {count} keys unspent", its.late.left, few=few
    )


def _day(ending: Ending, row: dict[Hashable, Any]) -> date:
    if ending.left:
        return row["last_day"].date()  # type: ignore[no-any-return]  # pandas' Timestamp
    return (row["today"] + timedelta(days=ending.day)).date()  # type: ignore[no-any-return]
