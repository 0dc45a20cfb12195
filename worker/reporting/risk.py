"""Learners at risk: at least half of the access gone, and nothing launched; and how seldom such learners start.

All of it is as of the end of the question's period, or now if that is not over. The share of those who still
start is counted, not modelled: of the assignments that ended in the year before, it takes those that nobody had
launched at the same point of their access.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrasebooks import Phrasebook
from worker.reporting import comparing, reading
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

HALF = 50  # percent of the access
FEWEST = 30  # earlier learners of a course; with fewer, those of all courses count
ASSIGNMENT = "/console/assignments/{}"

# `at` is the moment that the figures are of: the end of the period, by each organization's own days.
MOMENT = """
    home AS MATERIALIZED (
        SELECT name AS organization, least({now}, ({last} + 1)::timestamp AT TIME ZONE time_zone) AS at
          FROM report.organization)"""

# Access that went on then, and how much of it was gone, in whole percents.
LIVE = """
    WITH {moment},
    live AS (
        SELECT id, email, name, organization, course, day, last_day, expires_at, at,
               (first_launched_at <= at) IS NOT TRUE AS waits,
               floor(100 * extract(epoch FROM at - redeemed_at)
                         / extract(epoch FROM expires_at - redeemed_at))::int AS gone
          FROM report.assignment JOIN home USING (organization)
         WHERE tstzrange(redeemed_at, greatest(redeemed_at, least(expires_at, cancelled_at))) @> at
           AND redeemed_at < CAST({last} AS timestamptz) + interval '2 days'
           AND expires_at BETWEEN CAST({last} AS timestamptz) - interval '1 day' AND 'infinity'
           {family}),
    at_risk AS (SELECT * FROM live WHERE waits AND gone >= {half})"""

TOTALS = """{live}
    SELECT * FROM (
        SELECT count(*) AS live_assignments, count(*) FILTER (WHERE waits) AS not_launched,
               count(*) FILTER (WHERE waits AND gone >= {half}) AS at_risk FROM live) AS counted
     WHERE live_assignments > 0"""

BY_COURSE = """{live}
    SELECT course, count(*) AS at_risk FROM at_risk GROUP BY course"""

LISTED = """{live}
    SELECT email, name, organization, course, day AS redeemed, last_day AS access_ends,
           floor(extract(epoch FROM expires_at - at) / 86400)::int AS days_left, gone,
           id::text AS assignment
      FROM at_risk ORDER BY expires_at, email"""

# Assignments that ended in the year before: at which percent of the access the first launch came.
EARLIER = """
    WITH {moment}
    SELECT course, floor(100 * extract(epoch FROM first_launched_at - redeemed_at)
                             / extract(epoch FROM expires_at - redeemed_at))::int AS started,
           count(*) AS learners
      FROM report.assignment JOIN home USING (organization)
     WHERE expires_at BETWEEN at - interval '365 days' AND at AND status <> 'cancelled'
       AND expires_at BETWEEN CAST({last} AS timestamptz) - interval '366 days'
                          AND CAST({last} AS timestamptz) + interval '2 days'
       AND learner_id NOT IN (SELECT learner_id FROM report.learner WHERE erased) {family}
     GROUP BY course, started"""

Starts = Mapping[int | None, int]  # learners by the percent of their access at which they started


@dataclass(frozen=True)
class Chance:
    """How many of so many earlier learners still started, and whether they are of this course alone."""

    started: int
    learners: int
    based_on: str

    @property
    def share(self) -> float | None:
        """Their share; None if they are too few to say."""
        return self.started / self.learners if self.learners >= FEWEST else None


def risk_totals(question: Question) -> "pd.DataFrame":
    """Count live assignments, those never launched, and those of them at risk: one row."""
    return comparing.beside(
        question, lambda asked: reading.figures(_about(TOTALS, asked)), as_it_stood=True
    )


def risk_changed(question: Question) -> comparing.Opening:
    """Say how the number of learners at risk changed, and in which course most."""
    return comparing.changed(
        question,
        _learners,
        lambda asked: asked.titled(reading.frame(_about(BY_COURSE, asked))),
        name="course",
        count="at_risk",
        as_it_stood=True,
    )


def _learners(book: Phrasebook, count: int, _: str | None) -> str:
    if not count:
        return book.say("No learner was at risk")
    return book.say_count("{count} learner was at risk", "{count} learners were at risk", count)


def risk_by_course(question: Question) -> "pd.DataFrame":
    """Count learners at risk by course, first the courses where such learners start most seldom.

    `still_started_share` is of `earlier_learners` who had launched nothing when half of their access was gone.
    """
    frame, starts = reading.frame(_about(BY_COURSE, question)), _starts(question)
    return question.titled(_ranked(frame, starts, [HALF] * len(frame), ["at_risk"]))


def learners_at_risk(question: Question) -> "pd.DataFrame":
    """List learners at risk, first those whose like start most seldom, then those whose access ends first.

    `gone_share` is how much of the access is gone. `still_started_share` is of `earlier_learners` who had
    launched nothing at that point of theirs.
    """
    frame, starts = reading.frame(_about(LISTED, question)), _starts(question)
    gone = frame.pop("gone").tolist()
    frame.insert(len(frame.columns) - 1, "gone_share", [percent / 100 for percent in gone])
    frame = question.titled(_ranked(frame, starts, gone, []))
    frame["assignment"] = frame.pop("assignment")  # to the end
    frame.attrs |= {
        "download": "learners-at-risk.csv",
        "links": {"assignment": ASSIGNMENT},
        "aside": ("name", "redeemed", "days_left", "based_on"),
    }
    return frame


def chance(course: Starts, all_courses: Starts, *, gone: int) -> Chance:
    """Say how many started of those who had not when so many percent of the access were gone.

    They are of the course, or of all courses where it has fewer than 30.
    """
    of_course = _counted(course, gone)
    if of_course[1] >= FEWEST:
        return Chance(*of_course, "this_course")
    return Chance(*_counted(all_courses, gone), "all_courses")


def _counted(starts: Starts, gone: int) -> tuple[int, int]:
    started = sum(
        count for percent, count in starts.items() if percent is not None and percent >= gone
    )
    return started, started + starts.get(None, 0)


def _ranked(
    frame: "pd.DataFrame", starts: dict[str, Starts], gone: list[int], more: list[str]
) -> "pd.DataFrame":
    """Add each row's chance and put the lowest first; `more` are columns of which the highest comes first."""
    pooled: dict[int | None, int] = {}
    for counts in starts.values():
        for percent, count in counts.items():
            pooled[percent] = pooled.get(percent, 0) + count
    chances = [
        chance(starts.get(course, {}), pooled, gone=percent)
        for course, percent in zip(frame["course"], gone, strict=True)
    ]
    frame["still_started_share"] = [its.share for its in chances]
    frame["earlier_learners"] = [its.learners for its in chances]
    frame["based_on"] = [its.based_on for its in chances]
    order = ["still_started_share", *more]
    return frame.sort_values(
        order, ascending=[True, *(False for _ in more)], kind="stable", ignore_index=True
    )


def _starts(question: Question) -> dict[str, Starts]:
    starts: dict[str, dict[int | None, int]] = {}
    for row in reading.frame(_about(EARLIER, question)).to_dict("records"):
        started = None if row["started"] != row["started"] else row["started"]
        starts.setdefault(row["course"], {})[started] = row["learners"]
    return dict(starts)


def _about(query: str, question: Question) -> sql.Composed:
    values: dict[str, sql.Composable] = {
        "now": sql.Literal(question.asked_at),
        "last": sql.Literal(question.last),
        "half": sql.Literal(HALF),
        "family": question.family(),
    }
    moment = sql.SQL(MOMENT).format(**values)
    live = sql.SQL(LIVE).format(moment=moment, **values)
    return sql.SQL(query).format(moment=moment, live=live, **values)
