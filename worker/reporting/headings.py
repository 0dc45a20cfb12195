"""What columns, codes and groups of reports are called: messages, as `showing.words` writes their names."""

from worker.languages.phrases import phrase

COLUMNS = (
    phrase("Access ends"), phrase("Assignments"), phrase("Assignments used"), phrase("At risk"),
    phrase("Attempts"), phrase("Breakage"), phrase("Breakage share"), phrase("Charged"),
    phrase("Compared"), phrase("Completed"), phrase("Completed share"), phrase("Course"),
    phrase("Created"), phrase("Credited"), phrase("Currency"), phrase("Days for half"),
    phrase("Days for nine in ten"), phrase("Days for the last"), phrase("Days left"),
    phrase("Difference"), phrase("Distributed"), phrase("Email"), phrase("Ended"),
    phrase("First launch"), phrase("Forecast"), phrase("Forecasts"), phrase("Held"),
    phrase("Held share"), phrase("Hours"), phrase("Invoiced"), phrase("Invoices"), phrase("Issued"),
    phrase("Keys"), phrase("Label"), phrase("Last day"), phrase("Launched"), phrase("Launches"),
    phrase("Likely"), phrase("Live assignments"), phrase("Name"), phrase("Not launched"),
    phrase("One side"), phrase("Open days"), phrase("Organization"), phrase("Other side"),
    phrase("Outcome"), phrase("Pool"), phrase("Pools"), phrase("Redeemed"), phrase("Redeemed a day"),
    phrase("Redeemed after"), phrase("Redeemed share"), phrase("Redemptions"), phrase("Refused"),
    phrase("Refused share"), phrase("Repeated"), phrase("Retired"), phrase("Revenue"),
    phrase("Service month"), phrase("Share"), phrase("State"), phrase("Status"),
    phrase("Still out"), phrase("Subtotal"), phrase("Tax"), phrase("Total"), phrase("Unbilled"),
    phrase("Undistributed"), phrase("Unused"), phrase("Unused share"), phrase("Used"),
    phrase("Within"), phrase("Answer"), phrase("Made"), phrase("Handed out"), phrase("Low share"),
    phrase("High share"), phrase("Pool ended share"), phrase("Not due"), phrase("1 to 30 days"),
    phrase("31 to 60 days"), phrase("61 to 90 days"), phrase("Over 90 days"), phrase("Credit"),
    phrase("Outstanding"), phrase("Mean days"), phrase("Longest"), phrase("Late share"), phrase("Price"),
    phrase("Month"), phrase("Earned"), phrase("Deferred"), phrase("Day"),
    phrase("Account"), phrase("To debit"), phrase("To credit"), phrase("Gone share"),
    phrase("Still started share"), phrase("Earlier learners"), phrase("Based on"), phrase("Assignment"),
    phrase("Began"), phrase("What"),
)  # fmt: skip

# Values of the columns that `showing.CODES` names.
VALUES = (
    # Outcomes and answers
    phrase("Already yours"), phrase("Unknown key"), phrase("Mistyped key"),
    phrase("Already redeemed"), phrase("Key retired"), phrase("Not available to organization"),
    phrase("Course archived"), phrase("Pool paused"), phrase("Pool not started"),
    phrase("Pool expired"), phrase("Already assigned"),
    # States of pools, statuses of invoices
    phrase("Active"), phrase("Archived"), phrase("Expired"), phrase("Paused"), phrase("Scheduled"),
    phrase("Draft"), phrase("Finalized"), phrase("Overdue"), phrase("Paid"), phrase("Void"),
    # How long something took
    phrase("Within a day"), phrase("1 to 7 days"), phrase("7 to 30 days"), phrase("30 to 90 days"),
    phrase("90 to 180 days"), phrase("180 to 365 days"), phrase("Over a year"),
    phrase("1 to 7 days later"), phrase("7 to 30 days later"), phrase("After 30 days"),
    phrase("Not yet"), phrase("Never, and it is over"),
    # Accounts
    phrase("Earned"), phrase("Deferred"), phrase("Unbilled"),
    # Whom a share is of
    phrase("This course"), phrase("All courses"),
    # How often
    phrase("Not once"), phrase("Once"), phrase("Twice"), phrase("3 times"),
    phrase("4 times or more"),
    # What a reconciliation compares
    phrase("Redemptions against their charges"),
    phrase("Charges on invoices against charges marked as billed"),
    phrase("Invoices against the charges on them"), phrase("Invoices against their lines"),
    phrase("Invoices' totals less tax against their subtotals"),
)  # fmt: skip
