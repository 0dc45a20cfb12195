"""Noting requests for their source's page: what was recorded, and why one was refused.

A stranger's words are not kept: of a request without a good signature only the reason is.
"""

from webhook.http import problems
from webhook.http.problems import TooLargeError, UnknownSenderError, UnsupportedMediaTypeError
from webhook.receiver import messages
from webhook.receiver.signatures import SOURCE_ID, Signed
from worker import errors, requests
from worker.redemption.inbox import Recorded

# Of whom it is not known whose they are.
UNSIGNED = (
    UnknownSenderError,
    TooLargeError,
    UnsupportedMediaTypeError,
    errors.DatabaseAwayError,
)


def accepted(source_id: int, signed: Signed, recorded: Recorded) -> None:
    """Note a message that was recorded, now or before."""
    requests.accepted(
        source_id,
        webhook_id=signed.webhook_id,
        event_id=recorded.event_id,
        is_new=recorded.is_new,
    )


def refused(source: str, signed: Signed | None, error: errors.KeypoolError) -> None:
    """Note a request that was refused; nothing where its address cannot be a source's."""
    if not SOURCE_ID.fullmatch(source):
        return
    status = problems.status(error)
    if signed is None or isinstance(error, UNSIGNED):
        reason = error.reason if isinstance(error, UnknownSenderError) else error.code
        requests.refused(int(source), status=status, code=reason)
        return
    requests.refused(
        int(source),
        status=status,
        code=error.code,
        message=_sentence(error, signed),
        webhook_id=signed.webhook_id,
    )


def _sentence(error: errors.KeypoolError, signed: Signed) -> str:
    """Say what is wrong, with the names of fields that no message has: mostly one is misspelled."""
    if not isinstance(error, problems.InvalidFieldsError):
        return str(error)
    unknown = messages.unknown_fields(signed.body)
    names = ", ".join(f"“{name}”" for name in unknown)
    said = str(error).rstrip(".")
    return f"{said}. There is no field {names}." if unknown else f"{said}."
