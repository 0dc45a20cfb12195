"""Queries of the redemptions notebook. The view report.redemption defines the measures.

All counts are of attempts, on the day on which they were received. A `redeemed` attempt redeemed a
key, a `repeated` one was made again by the same learner, a `refused` one got nothing. The database
counts and divides; an empty frame means that there is no data yet.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from psycopg import sql

from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase
from worker.reporting import comparing, drawing, measures, reading, showing
from worker.reporting.question import Question
from worker.reporting.showing import Sentence

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TOP = 12

TOTALS = """
    SELECT *, refused::numeric / attempts AS refused_share
      FROM (SELECT {counts} FROM report.redemption WHERE {within}) AS counted
     WHERE attempts > 0"""

# Reads six more days, so that the first mean is over seven days too.
PER_DAY = """
    WITH counted AS (
        SELECT day, count(*) AS redeemed FROM report.redemption
         WHERE answer = 'redeemed' AND {within} GROUP BY day),
    smooth AS (
        SELECT day::date, coalesce(redeemed, 0) AS redeemed,
               avg(coalesce(redeemed, 0)) OVER (ORDER BY day ROWS 6 PRECEDING) AS mean_of_7_days
          FROM generate_series({first}::date - 6, {last}::date, interval '1 day') AS day
          LEFT JOIN counted USING (day))
    SELECT * FROM smooth
     WHERE day >= {first} AND EXISTS (SELECT FROM counted WHERE day >= {first}) ORDER BY day"""

OUTCOMES = """
    SELECT outcome, answer, attempts, attempts / sum(attempts) OVER () AS share
      FROM (SELECT outcome, answer, count(*) AS attempts
              FROM report.redemption WHERE {within} GROUP BY outcome, answer) AS counted
     ORDER BY answer = 'redeemed' DESC, answer = 'repeated' DESC, attempts DESC, outcome"""

# The names with the most redeemed keys; the others are summed in the last row.
BY = """
    WITH counted AS (
        SELECT {names}, {counts} FROM report.redemption
         WHERE pool_id IS NOT NULL AND {within} GROUP BY {keys}),
    ranked AS (
        SELECT *, row_number() OVER (ORDER BY redeemed DESC, attempts DESC, {names}) AS place,
               count(*) OVER () > {top} + 1 AS crowded
          FROM counted),
    listed AS (
        SELECT place, 0 AS others, {names}, attempts, redeemed, repeated, refused FROM ranked
         WHERE place <= {top} OR NOT crowded
        UNION ALL
        SELECT NULL, count(*), {blanks}, sum(attempts)::bigint, sum(redeemed)::bigint,
               sum(repeated)::bigint, sum(refused)::bigint
          FROM ranked WHERE place > {top} AND crowded HAVING count(*) > 0)
    SELECT others, {names}, attempts, redeemed, repeated, refused,
           refused::numeric / attempts AS refused_share
      FROM listed ORDER BY place NULLS LAST"""

REDEEMED = """
    SELECT course, count(*) AS redeemed FROM report.redemption
     WHERE answer = 'redeemed' AND {within} GROUP BY course"""

# A key counts under each of its labels.
BY_LABEL = """
    SELECT label, {counts}, count(*) FILTER (WHERE answer = 'refused')::numeric / count(*) AS refused_share
      FROM report.redemption, unnest(labels) AS label WHERE {within}
     GROUP BY label ORDER BY redeemed DESC, attempts DESC, label"""

WAITS = """
    WITH span (redeemed_after, low, high) AS (VALUES
        ('Within a day', NULL, 1), ('1 to 7 days', 1, 7), ('7 to 30 days', 7, 30),
        ('30 to 90 days', 30, 90), ('90 to 180 days', 90, 180), ('180 to 365 days', 180, 365),
        ('Over a year', 365, NULL)),
    waited AS (
        SELECT days_since_creation AS days FROM report.redemption
         WHERE answer = 'redeemed' AND {within})
    SELECT redeemed_after, count(days) AS redeemed, count(days) / sum(count(days)) OVER () AS share
      FROM span LEFT JOIN waited ON days >= coalesce(low, days) AND (days < high) IS NOT false
     WHERE EXISTS (SELECT FROM waited)
     GROUP BY redeemed_after, low ORDER BY low NULLS FIRST"""

MIDDLE = """
    SELECT * FROM (
        SELECT count(*) AS keys,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY round(days_since_creation, 1))
                   AS days_for_half,
               percentile_disc(0.9) WITHIN GROUP (ORDER BY round(days_since_creation, 1))
                   AS days_for_nine_in_ten,
               round(max(days_since_creation), 1) AS days_for_the_last
          FROM report.redemption WHERE answer = 'redeemed' AND {within}) AS middle
     WHERE keys > 0"""


# A cohort: the keys made in the period, and what became of them until now. Each step counts a part of
# the one before. A key that was redeemed had been handed out, whether or not keypool distributed it.
STEPS = """
    count(*) AS handed_out, count(*) FILTER (WHERE redeemed) AS redeemed,
    count(*) FILTER (WHERE redeemed AND launched) AS launched,
    count(*) FILTER (WHERE redeemed AND launched AND completed) AS completed"""
# What can still become of them.
UNFINISHED = """
    count(*) FILTER (WHERE redeemed AND NOT launched AND live) AS to_be_launched,
    count(*) FILTER (WHERE redeemed AND launched AND NOT completed AND live) AS to_be_completed"""
COHORT = """
    WITH made AS MATERIALIZED (
        SELECT pool_id, sum(keys)::bigint AS keys FROM report.growth
         WHERE {made} GROUP BY pool_id),
    spent AS (
        SELECT DISTINCT ON (key_id) key_id, pool_id, true AS redeemed, launched, completed, live
          FROM report.redemption
         WHERE answer = 'redeemed' AND NOT undone AND key_made_on BETWEEN {first} AND {last}
           AND received_at >= {first}::timestamptz - interval '1 day' {family}
         ORDER BY key_id, received_at DESC),
    unspent AS (
        SELECT key_id, pool_id, false AS redeemed, false AS launched, false AS completed, false AS live
          FROM report.handed_out
         WHERE made_on BETWEEN {first} AND {last}
           AND distributed_at >= {first}::timestamptz - interval '1 day' {family}
           AND NOT EXISTS (SELECT FROM spent WHERE spent.key_id = handed_out.key_id)),
    key AS MATERIALIZED (SELECT * FROM spent UNION ALL SELECT * FROM unspent)"""
FUNNEL = """{cohort}
    SELECT * FROM (SELECT (SELECT sum(keys)::bigint FROM made) AS made, {steps} FROM key) AS counted
     WHERE made > 0"""
FUNNELS_END = """{cohort},
    open AS (
        SELECT pool_id, keys FROM made JOIN report.pool USING (pool_id)
         WHERE state NOT IN ('archived', 'expired'))
    SELECT (SELECT sum(keys)::bigint FROM made) AS made,
           (SELECT coalesce(sum(keys), 0)::bigint FROM open)
               - count(*) FILTER (WHERE redeemed AND pool_id IN (SELECT pool_id FROM open)) AS to_be_redeemed,
           {unfinished}
      FROM key"""


def redemption_totals(question: Question) -> "pd.DataFrame":
    """Count attempts by outcome: one row."""
    return comparing.beside(question, lambda asked: reading.figures(_about(TOTALS, asked)))


def redemptions_changed(question: Question) -> comparing.Opening:
    """Say how the number of redeemed keys changed, and for which course most."""
    return comparing.changed(
        question, comparing.keys_redeemed, _redeemed_by_course, name="course", count="redeemed"
    )


def _redeemed_by_course(question: Question) -> "pd.DataFrame":
    return question.titled(reading.frame(_about(REDEEMED, question)))


def funnel(question: Question) -> "pd.DataFrame":
    """Follow the keys made in the period: made, handed out, redeemed, launched and completed: one row.

    Each is a part of the one before. `handed_out` counts redeemed keys that were not distributed, too.
    """
    return reading.figures(_cohort(FUNNEL, question))


def funnels_end(question: Question) -> Sentence:
    """Say how many of the period's keys can still get further."""
    row, say = reading.row(_cohort(FUNNELS_END, question)), question.words
    if not row["made"]:
        return showing.Nothing(say.say("No key was made in this period."))
    clauses = ", ".join(_what_can_come(say, row))
    if not clauses:
        return Sentence(say.say("What becomes of these keys is settled: none can get further."))
    return Sentence(say.say("This is not the end: {clauses}.", clauses=clauses))


def _what_can_come(say: Phrasebook, row: dict[str, Any]) -> Iterator[str]:
    if count := int(row["to_be_redeemed"]):
        yield say.say_count(
            "up to {count} key can still be redeemed",
            "up to {count} keys can still be redeemed",
            count,
        )
    if count := int(row["to_be_launched"]):
        yield say.say_count(
            "{count} redeemed key can still be launched",
            "{count} redeemed keys can still be launched",
            count,
        )
    if count := int(row["to_be_completed"]):
        yield say.say_count(
            "{count} launched key can still be completed",
            "{count} launched keys can still be completed",
            count,
        )


def _cohort(query: str, question: Question) -> sql.Composed:
    cohort = sql.SQL(COHORT).format(
        made=question.within(at="made_at"),
        first=sql.Literal(question.first),
        last=sql.Literal(question.last),
        family=question.family(),
    )
    return sql.SQL(query).format(
        cohort=cohort, steps=sql.SQL(STEPS), unfinished=sql.SQL(UNFINISHED)
    )


def draw_funnel(question: Question) -> "Figure":
    """Draw the funnel from created keys to completed trainings, as bars."""
    frame, title = funnel(question), phrase("From a key's making to a completed training")
    if frame.empty:
        return drawing.nothing(title)
    steps = [showing.heading(step, question.babel) for step in frame.columns]
    counts = [int(count) for count in frame.iloc[0]]
    return drawing.bars(
        title,
        f"{question.words.say(title)}: {drawing.listed(steps, counts, question.babel)}.",
        steps,
        {phrase("Keys"): (counts, drawing.BLUE)},
        unit=phrase("keys"),
        locale=question.babel,
    )


def redemptions_per_day(question: Question) -> "pd.DataFrame":
    """Count redeemed keys for each day of the period, with the mean of the seven days up to it."""
    return reading.frame(
        sql.SQL(PER_DAY).format(
            first=sql.Literal(question.first),
            last=sql.Literal(question.last),
            within=question.within(earlier=6),
        )
    )


def draw_redemptions_per_day(question: Question) -> "Figure":
    """Draw redeemed keys per day and their mean over seven days."""
    return drawing.counted_days(
        phrase("Keys redeemed each day"),
        redemptions_per_day(question),
        question.babel,
        unit=phrase("keys a day"),
        whole=question.whole,
    )


def attempts_by_outcome(question: Question) -> "pd.DataFrame":
    """Count attempts by outcome: granted ones first, then refusals by frequency."""
    return reading.frame(_about(OUTCOMES, question))


def draw_refusals(question: Question) -> "Figure":
    """Draw the number of refused attempts by reason."""
    frame, title = attempts_by_outcome(question), phrase("Refused attempts by reason")
    frame = frame[frame["answer"] == "refused"].drop(columns="answer")
    unit, colour = phrase("attempts"), drawing.VERMILION
    return drawing.counted(title, frame, question.babel, unit=unit, colour=colour)


def redemptions_by_pool(question: Question, *, top: int = TOP) -> "pd.DataFrame":
    """Count attempts for the pools with the most redeemed keys; the others are the last row."""
    names = ["pool", "organization", "course"]
    return _by(question, names, keys=[*names, "pool_id"], others=_other_pools, top=top)


def redemptions_by_course(question: Question, *, top: int = TOP) -> "pd.DataFrame":
    """Count attempts for the courses with the most redeemed keys; the others are the last row."""
    return _by(question, ["course"], keys=["course"], others=_other_courses, top=top)


def redemptions_by_organization(question: Question, *, top: int = TOP) -> "pd.DataFrame":
    """Count attempts for the pools' owners with the most redeemed keys; the others are the last row."""
    names = ["organization"]
    return _by(question, names, keys=names, others=_other_organizations, top=top)


def redemptions_by_label(question: Question) -> "pd.DataFrame":
    """Count attempts for the labels with the most redeemed keys; keys without labels are left out."""
    frame = reading.frame(_about(BY_LABEL, question))
    frame.attrs["rows"] = TOP
    return frame


def draw_redemptions_by_course(question: Question) -> "Figure":
    """Draw each course's attempts: redeemed, repeated and refused."""
    frame, title = redemptions_by_course(question), phrase("Attempts by course")
    if frame.empty:
        return drawing.nothing(title)
    parts = {
        phrase("Redeemed"): (frame["redeemed"].tolist(), drawing.BLUE),
        phrase("Repeated"): (frame["repeated"].tolist(), drawing.ORANGE),
        phrase("Refused"): (frame["refused"].tolist(), drawing.VERMILION),
    }
    names = drawing.labelled(frame, "course", question.babel)
    alternative = drawing.listed(names, frame["redeemed"].tolist(), question.babel)
    return drawing.bars(
        title,
        question.words.say(
            "{title}. Redeemed: {counts}.", title=question.words.say(title), counts=alternative
        ),
        names,
        parts,
        unit=phrase("attempts"),
        locale=question.babel,
    )


def days_until_redeemed(question: Question) -> "pd.DataFrame":
    """Count redeemed keys by how many days after their creation they were redeemed."""
    return reading.frame(_about(WAITS, question))


def waits_in_short(question: Question) -> "pd.DataFrame":
    """Give the days within which half, and nine of ten, of the redeemed keys were redeemed: one row."""
    return comparing.beside(question, lambda asked: reading.figures(_about(MIDDLE, asked)))


def draw_days_until_redeemed(question: Question) -> "Figure":
    """Draw how many days after their creation keys were redeemed."""
    frame, title = days_until_redeemed(question), phrase("From a key's creation to its redemption")
    return drawing.counted(title, frame, question.babel, unit=phrase("keys"), upright=True)


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        counts=sql.SQL(measures.ATTEMPTS), within=question.within(), top=sql.Literal(TOP)
    )


def _other_pools(book: Phrasebook, count: int) -> str:
    return book.say_count("{count} other pool", "{count} other pools", count)


def _other_courses(book: Phrasebook, count: int) -> str:
    return book.say_count("{count} other course", "{count} other courses", count)


def _other_organizations(book: Phrasebook, count: int) -> str:
    return book.say_count("{count} other organization", "{count} other organizations", count)


def _by(
    question: Question,
    names: list[str],
    *,
    keys: list[str],
    others: Callable[[Phrasebook, int], str],
    top: int,
) -> "pd.DataFrame":
    frame = _counted(question, names, keys, top)
    counted = frame.pop("others").tolist()
    if any(counted):  # the last row is that of all the others
        frame.loc[len(frame) - 1, names[0]] = others(question.words, counted[-1])
        frame.attrs["whole"] = _counted(question, names, keys, top + counted[-1]).drop(
            columns="others"
        )
    return question.titled(frame)


def _counted(question: Question, names: list[str], keys: list[str], top: int) -> "pd.DataFrame":
    query = sql.SQL(BY).format(
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        blanks=sql.SQL(", ").join([sql.SQL("''")] * len(names)),
        top=sql.Literal(top),
        counts=sql.SQL(measures.ATTEMPTS),
        within=question.within(),
    )
    return reading.frame(query)
