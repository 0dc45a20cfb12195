"""Deferred revenue: what was charged is earned day by day, while the access that it paid for lasts.

report.deferral says over which days each charge is earned, and report.earned how much of it by a day.
Notebooks and bookkeeping read the same rows through the queries here.
"""

EARNED = "report.earned(amount, decimals, day, first_day, days, earned_by, {until})"

# Each charge's part of each month, from {first} on and up to {end}; charges after {last} are left out. Those
# that are earned alike are computed once.
PARTS = f"""
    owed AS (
        SELECT organization, course, currency, decimals, amount, day, first_day, days, earned_by,
               count(*) AS charges
          FROM report.deferral
         WHERE day <= {{last}} AND earned_by >= {{first}}
           AND occurred_at < CAST({{last}} AS timestamptz) + interval '2 days' {{family}}
         GROUP BY organization, course, currency, decimals, amount, day, first_day, days, earned_by),
    cut AS (
        SELECT owed.*, greatest(began::date, {{first}}) AS begins,
               least((began + interval '1 month')::date - 1, {{end}}) AS ends
          FROM owed CROSS JOIN LATERAL generate_series(
               date_trunc('month', greatest(day, {{first}})::timestamp),
               least(earned_by, {{end}})::timestamp, interval '1 month') AS began),
    part AS (
        SELECT organization, course, currency, decimals, ends, date_trunc('month', ends)::date AS month,
               CASE WHEN day >= begins AND day <= ends THEN charges * amount ELSE 0 END AS charged,
               charges * ({EARNED.format(until="ends")} - {EARNED.format(until="begins - 1")}) AS earned
          FROM cut)"""  # noqa: S608  # placeholders of ours

# By month until all is earned: `deferred` is what is left at the month's end.
SCHEDULE = f"""
    WITH {PARTS},
    before AS (
        SELECT currency, sum(charges * (amount - {EARNED.format(until="{first} - 1")})) AS deferred
          FROM owed WHERE day < {{first}} GROUP BY currency),
    monthly AS (
        SELECT currency, month, sum(charged) AS charged, sum(earned) AS earned FROM part
         GROUP BY currency, month)
    SELECT month, currency, charged, earned,
           coalesce(before.deferred, 0)
           + sum(charged - earned) OVER (PARTITION BY currency ORDER BY month) AS deferred
      FROM monthly LEFT JOIN before USING (currency)
     ORDER BY currency, month"""  # noqa: S608  # as above

# Postings: on the last day of each month, or of the period. Debits are above zero, credits below. What is
# charged is deferred until it is earned, by course.
POSTINGS = f"""
    WITH {PARTS},
    posting AS (
        SELECT ends AS day, organization, currency, decimals, event, place, role,
               CASE WHEN role = 'earned' THEN course END AS course, sum(amount) AS amount
          FROM part CROSS JOIN LATERAL (VALUES
               ('charged', 1, 'unbilled', charged), ('charged', 2, 'deferred', -charged),
               ('earned', 3, 'deferred', earned), ('earned', 4, 'earned', -earned))
               AS side (event, place, role, amount)
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 HAVING sum(amount) <> 0)"""  # noqa: S608  # as above
ORDER = "day, currency, organization, place, course"
