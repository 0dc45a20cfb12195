"""Who reads: the language that a request asks for, and the languages that it is answered in.

Kept beside the request (in a context variable), so that no function between the request and the
sentence has to hand it on.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field

from worker.languages.phrasebooks import Phrasebook, phrasebook


@dataclass
class Reader:
    """Whoever reads the answer to one request.

    Attributes:
        asked: the language asked for; None where any will do.
        answered: the languages that sentences were said in so far.
    """

    asked: str | None = None
    answered: set[str] = field(default_factory=set)


_reader: ContextVar[Reader | None] = ContextVar("reader", default=None)


def begin(asked: str | None) -> Reader:
    """Begin a request that asks for a language; one that begins later on this thread ends it."""
    reader = Reader(asked)
    _reader.set(reader)
    return reader


def current() -> Reader:
    """Give whoever asks now; outside a request nobody does, and no language is asked for."""
    return _reader.get() or Reader()


def book_for(own: str | None) -> Phrasebook:
    """Give the phrasebook of the language asked for; else, or with their country's forms, of `own`.

    `own` is the locale of those whom the sentence is about: a learner's organization's.
    """
    reader, theirs = current(), phrasebook(own)
    book = theirs if reader.asked in (None, theirs.language) else phrasebook(reader.asked)
    reader.answered.add(book.language)
    return book
