"""The sentence that a learner sees for each outcome, in their words and time zone (R3)."""

from dataclasses import dataclass
from datetime import datetime

from worker.languages import times
from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase
from worker.learning import sentences
from worker.tables.labels import GRANTED

# What each outcome says by itself. When access ends, or the pool's keys work, is said where it is known.
SENTENCES = {
    "redeemed": phrase("The key is redeemed."),
    "already_yours": phrase("You redeemed this key before."),
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
    "assignment_cancelled": sentences.CANCELLED,
    "unknown_assignment": phrase("There is no such assignment."),
    "ended_before_launched": phrase("The training cannot end before it was launched."),
}


@dataclass(frozen=True)
class Facts:
    """What an outcome's sentence may tell.

    Attributes:
        time_zone: the learner's organization's.
        now: when it is told.
        ends: when access ends or ended, where there is any.
        limit: when the pool's keys begin or cease to work, where that is why one was refused.
    """

    time_zone: str
    now: datetime
    ends: datetime | None = None
    limit: datetime | None = None


def message(book: Phrasebook, outcome: str, facts: Facts) -> str:
    """Give an outcome's sentence in a language."""
    if facts.limit is not None and (dated := _limited(book, outcome, facts.limit, facts)):
        return dated
    if facts.ends is None:
        return book.say(SENTENCES[outcome])
    access = sentences.access(book, facts.ends, facts.time_zone, now=facts.now)
    if outcome in GRANTED:
        return f"{book.say(SENTENCES[outcome])} {access}"
    if outcome == "assignment_expired" and facts.ends <= facts.now:
        return access
    return book.say(SENTENCES[outcome])


def _limited(book: Phrasebook, outcome: str, limit: datetime, facts: Facts) -> str | None:
    """Say when a key can or could be redeemed; None where the pool's end was put off meanwhile."""
    if outcome == "pool_not_started":
        before = times.before(book, limit, facts.time_zone)
        return book.say("The key cannot be redeemed {before}.", before=before)
    if outcome == "pool_expired" and limit <= facts.now:
        until = times.until(book, limit, facts.time_zone)
        return book.say("The key could be redeemed {until}.", until=until)
    return None
