"""What learners are told of their access."""

from datetime import datetime

from worker.languages import readers, times
from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase

CANCELLED = phrase("Access to the course was cancelled.")


def access(book: Phrasebook, end: datetime, zone: str, *, now: datetime) -> str:
    """Say when access ends, or ended."""
    when = times.on(book, end, zone)
    if end <= now:
        return book.say("Access ended {when}.", when=when)
    return book.say("Access ends {when}.", when=when)


def describe(*, cancelled: bool, end: datetime, zone: str, locale: str, now: datetime) -> str:
    """Say whether there is access, and until when: in the language asked for, else in `locale`'s."""
    book = readers.book_for(locale)
    return book.say(CANCELLED) if cancelled else access(book, end, zone, now=now)
