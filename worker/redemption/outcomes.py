"""The sentence that people see for each outcome."""

from datetime import datetime

from worker.languages.phrasebooks import phrase

# What each outcome says to people. {until} is when access ends, where there is access.
SENTENCES = {
    "redeemed": phrase("The key is redeemed. Access ends {until}."),
    "already_yours": phrase("You redeemed this key before. Access ends {until}."),
    "mistyped_key": phrase(
        "The key is mistyped: its last symbol does not fit the others. Check each symbol."
    ),
    "unknown_key": phrase("There is no such key. Check it against where you got it."),
    "already_redeemed": phrase(
        "Somebody else redeemed this key already. Ask who gave it to you for another."
    ),
    "key_retired": phrase("The key was withdrawn. Ask who gave it to you for another."),
    "not_available_to_organization": phrase("The key is not for learners of your organization."),
    "course_archived": phrase("The course is no longer taught, so its keys cannot be redeemed."),
    "pool_paused": phrase("Keys of this pool are paused at the moment. Try again later."),
    "pool_not_started": phrase("The key cannot be redeemed yet."),
    "pool_expired": phrase("The key's time to be redeemed is over."),
    "already_assigned": phrase(
        "You already have access to this course. The key is not spent: keep it for later."
    ),
    "launched": phrase("The launch is recorded."),
    "ended": phrase("The end of the training is recorded."),
    "assignment_expired": phrase("Access to the course had ended."),
    "assignment_cancelled": phrase("Access to the course was cancelled."),
    "unknown_assignment": phrase("There is no such assignment."),
    "ended_before_launched": phrase("The training cannot end before it was launched."),
}


def message(outcome: str, *, until: datetime | None) -> str:
    """Give an outcome's sentence for people; `until` is when access ends or ended, if there is any."""
    return SENTENCES[outcome].format(until=until and f"on {until:%Y-%m-%d at %H:%M} UTC")
