"""Every error that keypool raises on purpose, under one root.

A docstring is its error's default message. A message is one sentence for people: it says what is
wrong, and what to do next if that is not obvious. It carries no secrets. `code` is stable: it
names the error in problem types and in `--json` answers.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar


class KeypoolError(Exception):
    """Something went wrong in keypool."""

    code: ClassVar[str] = "error"
    field: str | None = None  # what of the input it is about, if that is known

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)

    def __init_subclass__(cls) -> None:
        words = re.findall("[A-Z][a-z]*", cls.__name__.removesuffix("Error"))
        cls.code = "_".join(words).lower()


class InvalidInputError(KeypoolError):
    """The input is not valid."""

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        line: int | None = None,
        rows: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Say what is wrong, and where: a field, a line, or all wrong rows of a table with reasons."""
        super().__init__(message)
        self.field = field
        self.line = line
        self.rows = list(rows)


class IdempotencyKeyReusedError(InvalidInputError):
    """This Idempotency-Key came before with another request; give each request a key of its own."""


class NotFoundError(KeypoolError):
    """There is no such thing in your organizations."""

    def __init__(self, message: str | None = None, *, thing: str | None = None) -> None:
        super().__init__(message)
        self.thing = thing


class AmbiguousError(KeypoolError):
    """The name fits several things; use an id."""

    def __init__(self, thing: str, name: str, ids: Sequence[object]) -> None:
        listed = ", ".join(str(i) for i in ids)
        super().__init__(
            f"“{name}” is the name of several {thing}s; use one of their ids: {listed}."
        )
        self.ids = [str(i) for i in ids]


class ForbiddenError(KeypoolError):
    """Your role does not allow this."""


class RefusedError(KeypoolError):
    """A rule says no; nothing was changed."""


class AlreadyExistsError(RefusedError):
    """Something by that name exists already; choose another name."""


class BatchFinishedError(RefusedError):
    """The batch is finished already; it cannot be cancelled."""


class CircularParentError(RefusedError):
    """The organizations would form a circle."""

    field = "parent"


class CourseArchivedError(RefusedError):
    """The course is archived."""

    field = "course"


class CreditExceedsChargeError(RefusedError):
    """The credits of a charge would exceed it."""

    field = "amount"


class InvoiceStatusError(RefusedError):
    """The invoice's status does not allow that."""


class PriceInThePastError(RefusedError):
    """A price in the past cannot be changed once something was charged at it; give a later start."""

    field = "from"


class ListPriceCannotEndError(RefusedError):
    """The list price cannot end: set a new one. A free course has a price of 0."""

    field = "from"


class TaxRateInThePastError(RefusedError):
    """Something was charged on those days already; set the rate from a later day."""

    field = "tax_from"


class LaunchIdReusedError(RefusedError):
    """Another assignment was launched under this id; give each launch an id of its own."""


class LaunchRefusedError(RefusedError):
    """The launch was refused, so it has no end."""


class EndedBeforeLaunchedError(RefusedError):
    """The training cannot end before it was launched."""


class AssignmentCancelledError(RefusedError):
    """The assignment was cancelled; the learner needs another key."""


class DistributionRecalledError(RefusedError):
    """What was distributed under this reference was recalled; use another reference."""

    field = "reference"


class IdempotencyKeyInUseError(RefusedError):
    """A request with this Idempotency-Key is under way; send it again in a moment."""

    retry_after = 1


class AnswerForgottenError(RefusedError):
    """This was done, and its answer is not kept any more; look at what it made."""


class KeyNotIssuedError(RefusedError):
    """Only issued keys can be retired; this one is redeemed or retired already."""


class KeyHeldError(RefusedError):
    """Somebody holds this key already; recall or replace it."""


class LiveAssignmentError(RefusedError):
    """The learner holds another live assignment for that course."""


class NotEnoughKeysError(RefusedError):
    """The pool has fewer undistributed keys than requested; add keys to it."""

    field = "count"

    def __init__(self, *, requested: int, free: int) -> None:
        super().__init__(
            f"{requested:,} keys were requested, and the pool has {free:,} undistributed ones; "
            "add keys to it or ask for fewer."
        )


class AskedOtherwiseError(RefusedError):
    """Another number of keys was given under this reference; use another reference for more."""

    field = "count"


class PoolOverError(RefusedError):
    """The pool's keys do not work any more, so none are handed out; use another pool or a later end."""


class NotMailedError(RefusedError):
    """There is nothing to mail."""


class NotFailedError(RefusedError):
    """Only a failed event is retried; this one waits its turn or is decided."""


class UnsignedSourceError(RefusedError):
    """The source is a redeem page, which posts nothing, so it has no secret to rotate."""


class ReportNotDoneError(RefusedError):
    """The report is not made yet, or failed, so it has no page."""


class WebhookIdReusedError(RefusedError):
    """This webhook-id came before with another body; send a new message under a new id."""


class TooManyGuessesError(KeypoolError):
    """Too many unknown or mistyped keys came from here lately; wait before trying another."""

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class DatabaseAwayError(KeypoolError):
    """The database cannot be reached; try again in a moment."""


class UnknownWebError(DatabaseAwayError):
    """The database does not know this process by its secret key; /readyz says what to do."""


class TooManyAnswersError(RefusedError):
    """This token has used too many Idempotency-Keys within a day; use fewer, or wait."""

    retry_after = 3600


class BusyError(KeypoolError):
    """Too many people sign in at this moment; try again in a few seconds."""


class SettingsError(KeypoolError):
    """A setting is wrong."""


class ExtraMissingError(KeypoolError):
    """An extra of keypool is not installed here."""

    MESSAGES: ClassVar[dict[str, str]] = {
        "local": "Embedded servers need keypool's extra “local”, which is not installed here: run"
        " make setup, or set KEYPOOL_DATABASE_URL and KEYPOOL_REDIS_URL.",
        "notebooks": "Notebooks, reports and simulated history need keypool's extra “notebooks”,"
        " which is not installed here: run make setup.",
        "spark": "Asking the lake by Spark needs keypool's extra “spark”, which make setup leaves out:"
        " install pyspark.",
    }

    def __init__(self, extra: str) -> None:
        super().__init__(self.MESSAGES[extra])


@contextmanager
def of_extra(name: str) -> Iterator[None]:
    """Import an extra's packages inside the block.

    Raises:
        ExtraMissingError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise ExtraMissingError(name) from missing


def interruption(error: BaseException | None) -> KeyboardInterrupt | SystemExit | None:
    """Give the signal that caused an error; None if there was none.

    Interrupted code may raise another error while it cleans up, as a database connection does in the
    middle of a statement.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__cause__ or error.__context__
    return error
