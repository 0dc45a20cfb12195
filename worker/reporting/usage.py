"""Queries of the usage notebook. The views report.assignment and report.launch define the measures.

Assignments count on the day of their redemption, launches on their own day, both in the time zone of
the learner's organization. Undone assignments do not count.
"""

from typing import TYPE_CHECKING

from babel.dates import get_day_names
from psycopg import sql

from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase
from worker.reporting import comparing, drawing, reading, showing
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WEEKS = 12
TOP = 12

TOTALS = """
    SELECT *, completed::numeric / nullif(ended, 0) AS completed_share
      FROM (SELECT count(*) AS launches, count(DISTINCT assignment_id) AS assignments_used,
                   round(sum(hours), 1) AS hours, count(hours) AS ended,
                   count(*) FILTER (WHERE completed) AS completed
              FROM report.launch WHERE {launched}) AS counted
     WHERE launches > 0"""

BY_COURSE = """
    SELECT course, count(*) AS launches FROM report.launch WHERE {launched} GROUP BY course"""

PER_DAY = """
    WITH counted AS (SELECT day, count(*) AS launches FROM report.launch WHERE {launched} GROUP BY day),
    smooth AS (
        SELECT day::date, coalesce(launches, 0) AS launches,
               avg(coalesce(launches, 0)) OVER (ORDER BY day ROWS 6 PRECEDING) AS mean_of_7_days
          FROM generate_series({first}::date - 6, {last}::date, interval '1 day') AS day
          LEFT JOIN counted USING (day))
    SELECT * FROM smooth
     WHERE day >= {first} AND EXISTS (SELECT FROM counted WHERE day >= {first}) ORDER BY day"""

TIMES = """
    SELECT CASE launches WHEN 0 THEN 'Not once' WHEN 1 THEN 'Once' WHEN 2 THEN 'Twice'
                WHEN 3 THEN '3 times' ELSE '4 times or more' END AS launched,
           count(*) AS assignments, count(*) / sum(count(*)) OVER () AS share
      FROM report.assignment WHERE NOT undone AND {redeemed}
     GROUP BY launched ORDER BY min(launches)"""

FIRST_LAUNCH = """
    WITH waited AS (
        SELECT live, extract(epoch FROM first_launched_at - redeemed_at) / 86400 AS days
          FROM report.assignment WHERE NOT undone AND {redeemed})
    SELECT first_launch, count(*) AS assignments, count(*) / sum(count(*)) OVER () AS share
      FROM (SELECT CASE WHEN days < 1 THEN 'Within a day' WHEN days < 7 THEN '1 to 7 days later'
                        WHEN days < 30 THEN '7 to 30 days later' WHEN days >= 30 THEN 'After 30 days'
                        WHEN live THEN 'Not yet' ELSE 'Never, and it is over' END AS first_launch,
                   coalesce(days, CASE WHEN live THEN 1e6 ELSE 1e7 END) AS place
              FROM waited) AS told
     GROUP BY first_launch ORDER BY min(place)"""

# A cohort's share in a week is known when the week is over for all its assignments. Of late weeks it is
# of those whose access lasts through the week: nobody else could launch.
COHORTS = """
    WITH cohort AS (
        SELECT id, organization, date_trunc('month', day)::date AS month, redeemed_at,
               floor(extract(epoch FROM expires_at - redeemed_at) / 604800)::int AS weeks
          FROM report.assignment WHERE NOT undone AND {redeemed}),
    size AS (
        SELECT month, week, count(*) AS assignments
          FROM cohort CROSS JOIN generate_series(0, {weeks} - 1) AS week WHERE week < weeks
         GROUP BY month, week),
    used AS (
        SELECT month, week, count(DISTINCT cohort.id) AS used
          FROM cohort JOIN report.launch ON assignment_id = cohort.id
         CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM launched_at - cohort.redeemed_at)
                                          / 604800)::int AS week) AS since
         WHERE launched_at >= {first}::timestamptz - interval '1 day' AND week < least({weeks}, weeks)
         GROUP BY month, week)
    SELECT month, assignments, week, coalesce(used, 0)::numeric / assignments AS share
      FROM size LEFT JOIN used USING (month, week)
     WHERE month + interval '1 month' + (week + 1) * interval '1 week' <= {now}
     ORDER BY month, week"""

UNUSED = """
    SELECT course, count(*) AS ended, count(*) FILTER (WHERE launches = 0) AS unused,
           count(*) FILTER (WHERE launches = 0)::numeric / count(*) AS unused_share
      FROM report.assignment
     WHERE NOT undone AND NOT live AND {redeemed}
     GROUP BY course ORDER BY unused DESC, course"""

# A key counts under each of its labels. What was never launched for a label is told, too.
BY_LABEL = """
    SELECT label, count(*) AS assignments, sum(launches)::bigint AS launches,
           count(*) FILTER (WHERE launches > 0) AS used, count(*) FILTER (WHERE completed) AS completed,
           count(*) FILTER (WHERE completed)::numeric / count(*) AS completed_share
      FROM report.assignment, unnest(labels) AS label
     WHERE NOT undone AND {redeemed}
     GROUP BY label ORDER BY assignments DESC, label"""

HOURS = """
    SELECT weekday, hour, count(*) AS launches FROM report.launch WHERE {launched}
     GROUP BY weekday, hour ORDER BY weekday, hour"""


def usage_totals(question: Question) -> "pd.DataFrame":
    """Count launches in the period, their learners and their duration: one row."""
    return comparing.beside(question, lambda asked: reading.figures(_about(TOTALS, asked)))


def launches_changed(question: Question) -> comparing.Opening:
    """Say how the number of launches changed, and for which course most."""
    return comparing.changed(
        question, _launched, _launches_by_course, name="course", count="launches"
    )


def _launched(book: Phrasebook, count: int, _: str | None) -> str:
    if not count:
        return book.say("There was no launch")
    return book.say_count("There was {count} launch", "There were {count} launches", count)


def _launches_by_course(question: Question) -> "pd.DataFrame":
    return question.titled(reading.frame(_about(BY_COURSE, question)))


def launches_per_day(question: Question) -> "pd.DataFrame":
    """Count launches for each day of the period, with the mean of the seven days up to it."""
    return reading.frame(
        sql.SQL(PER_DAY).format(
            first=sql.Literal(question.first),
            last=sql.Literal(question.last),
            launched=question.within(at="launched_at", earlier=6),
        )
    )


def draw_launches_per_day(question: Question) -> "Figure":
    """Draw launches per day and their mean over seven days."""
    return drawing.counted_days(
        phrase("Launches each day"),
        launches_per_day(question),
        question.babel,
        unit=phrase("launches a day"),
        whole=question.whole,
    )


def launches_per_assignment(question: Question) -> "pd.DataFrame":
    """Count assignments redeemed in the period by how often the training was launched."""
    return reading.frame(_about(TIMES, question))


def first_launches(question: Question) -> "pd.DataFrame":
    """Count assignments redeemed in the period by when they were first launched."""
    return reading.frame(_about(FIRST_LAUNCH, question))


def draw_first_launches(question: Question) -> "Figure":
    """Draw when assignments were first launched."""
    frame, title = first_launches(question), phrase("From redemption to the first launch")
    return drawing.counted(title, frame, question.babel, unit=phrase("assignments"), upright=True)


def usage_by_label(question: Question) -> "pd.DataFrame":
    """Count assignments redeemed in the period by their keys' labels, and how many were used."""
    frame = reading.frame(_about(BY_LABEL, question))
    frame.attrs["rows"] = TOP
    return frame


def cohorts(question: Question) -> "pd.DataFrame":
    """Give, for each month's assignments, the share launched so many weeks after redemption.

    `assignments` are those whose access lasts through the week; the share is of them.
    """
    return reading.frame(_about(COHORTS, question))


def draw_cohorts(question: Question) -> "Figure":
    """Draw the share of each month's assignments in use, week by week."""
    title = phrase("Share of a month's assignments launched, by weeks since redemption")
    frame, say = cohorts(question), question.words.say
    if frame.empty:
        return drawing.nothing(title)
    table = frame.pivot(index="month", columns="week", values="share").astype(float)
    months = [showing.day(month, question.babel, "MMM y") for month in table.index]
    first = showing.percent(table.to_numpy().item(0), question.babel)
    return drawing.heat(
        title,
        say(
            "{title}: of those redeemed in {month}, {share} in the first week.",
            title=say(title),
            month=months[0],
            share=first,
        ),
        months,
        [str(week) for week in table.columns],
        table.to_numpy(),
        along=phrase("weeks since redemption"),
        locale=question.babel,
        write=lambda share: showing.percent(share, question.babel, decimals=0),
    )


def unused_assignments(question: Question) -> "pd.DataFrame":
    """Count, by course, assignments redeemed in the period whose access ended without a launch."""
    return question.titled(reading.frame(_about(UNUSED, question)))


def busiest_hours(question: Question) -> "pd.DataFrame":
    """Count launches by weekday (1 is Monday) and hour, in the organization's time zone."""
    return reading.frame(_about(HOURS, question))


def draw_busiest_hours(question: Question) -> "Figure":
    """Draw launches by weekday and hour."""
    frame, title = busiest_hours(question), phrase("Launches by weekday and hour")
    if frame.empty:
        return drawing.nothing(title)
    table = frame.pivot(index="weekday", columns="hour", values="launches")
    table = table.reindex(index=range(1, 8), columns=range(24)).fillna(0).astype(float)
    day, hour = divmod(int(table.to_numpy().argmax()), 24)
    names, say = get_day_names("abbreviated", locale=question.babel), question.words.say
    return drawing.heat(
        title,
        say(
            "{title}: most, {most}, on {day} from {hour}:00 to {next}:00.",
            title=say(title),
            most=showing.number(int(table.to_numpy().max()), question.babel),
            day=names[day],
            hour=hour,
            next=hour + 1,
        ),
        [names[number].rstrip(".") for number in range(7)],
        [str(hour) for hour in range(24)],
        table.to_numpy(),
        along=say("hour of the day, {clock}", clock=question.clock),
        locale=question.babel,
    )


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        launched=question.within(at="launched_at"),
        redeemed=question.within(at="redeemed_at"),
        first=sql.Literal(question.first),
        weeks=sql.Literal(WEEKS),
        now=sql.Literal(question.asked_at),
    )
