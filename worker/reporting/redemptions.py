"""Queries of the redemptions notebook. The view report.redemption defines the measures.

All counts are of attempts, on the day on which they were received. A `redeemed` attempt redeemed a
key, a `repeated` one was made again by the same learner, a `refused` one got nothing. The database
counts and divides; an empty frame means that there is no data yet.
"""

from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrases import phrase
from worker.reporting import drawing, measures, reading, showing
from worker.reporting.question import Question

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
        SELECT place, {names}, attempts, redeemed, repeated, refused FROM ranked
         WHERE place <= {top} OR NOT crowded
        UNION ALL
        SELECT NULL, {others}, sum(attempts)::bigint, sum(redeemed)::bigint,
               sum(repeated)::bigint, sum(refused)::bigint
          FROM ranked WHERE place > {top} AND crowded HAVING count(*) > 0)
    SELECT {names}, attempts, redeemed, repeated, refused,
           refused::numeric / attempts AS refused_share
      FROM listed ORDER BY place NULLS LAST"""

# A key counts under each of its labels.
BY_LABEL = """
    SELECT label, {counts}, count(*) FILTER (WHERE answer = 'refused')::numeric / count(*) AS refused_share
      FROM report.redemption, unnest(labels) AS label WHERE {within}
     GROUP BY label ORDER BY redeemed DESC, attempts DESC, label LIMIT {top}"""

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


# Five counts of the same period, not of the same keys: keys created in it are redeemed later.
FUNNEL = """
    SELECT * FROM (
        SELECT (SELECT coalesce(sum(keys), 0)::bigint FROM report.growth WHERE {made}) AS created,
               (SELECT count(*) FROM report.handed_out WHERE {handed_out}) AS distributed,
               count(*) AS redeemed, count(*) FILTER (WHERE launched) AS launched,
               count(*) FILTER (WHERE completed) AS completed
          FROM report.redemption WHERE answer = 'redeemed' AND {within}) AS counted
     WHERE created + distributed + redeemed > 0"""


def redemption_totals(question: Question) -> "pd.DataFrame":
    """Count attempts by outcome: one row."""
    return reading.figures(_about(TOTALS, question))


def funnel(question: Question) -> "pd.DataFrame":
    """Count keys created, distributed, redeemed, launched and completed in the period: one row."""
    return reading.figures(
        sql.SQL(FUNNEL).format(
            made=question.within(at="made_at"),
            handed_out=question.within(at="distributed_at"),
            within=question.within(),
        )
    )


def draw_funnel(question: Question) -> "Figure":
    """Draw the funnel from created keys to completed trainings, as bars."""
    frame, title = funnel(question), phrase("From a key's creation to a completed training")
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
    return _by(question, names, keys=[*names, "pool_id"], others="other pools", top=top)


def redemptions_by_course(question: Question, *, top: int = TOP) -> "pd.DataFrame":
    """Count attempts for the courses with the most redeemed keys; the others are the last row."""
    return _by(question, ["course"], keys=["course"], others="other courses", top=top)


def redemptions_by_organization(question: Question, *, top: int = TOP) -> "pd.DataFrame":
    """Count attempts for the pools' owners with the most redeemed keys; the others are the last row."""
    return _by(
        question, ["organization"], keys=["organization"], others="other organizations", top=top
    )


def redemptions_by_label(question: Question) -> "pd.DataFrame":
    """Count attempts for the labels with the most redeemed keys; keys without labels are left out."""
    return reading.frame(_about(BY_LABEL, question))


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
    return reading.figures(_about(MIDDLE, question))


def draw_days_until_redeemed(question: Question) -> "Figure":
    """Draw how many days after their creation keys were redeemed."""
    frame, title = days_until_redeemed(question), phrase("From a key's creation to its redemption")
    return drawing.counted(title, frame, question.babel, unit=phrase("keys"), upright=True)


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        counts=sql.SQL(measures.ATTEMPTS), within=question.within(), top=sql.Literal(TOP)
    )


def _by(
    question: Question, names: list[str], *, keys: list[str], others: str, top: int
) -> "pd.DataFrame":
    rest = [sql.SQL("count(*) || {}").format(sql.Literal(f" {others}"))]
    query = sql.SQL(BY).format(
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        others=sql.SQL(", ").join(rest + [sql.SQL("''")] * (len(names) - 1)),
        top=sql.Literal(top),
        counts=sql.SQL(measures.ATTEMPTS),
        within=question.within(),
    )
    return reading.frame(query)
