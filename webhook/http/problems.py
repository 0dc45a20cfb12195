"""Every error as problem details (RFC 9457), mapped to its status in one place."""

import re
import traceback
from collections.abc import Mapping
from typing import Any, TypeVar, Unpack

import structlog
from apiflask import APIFlask, HTTPError
from flask import Response, current_app, jsonify
from psycopg.errors import InsufficientPrivilege, UniqueViolation
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DataError, IntegrityError, NoResultFound, ProgrammingError
from typing_extensions import TypedDict

from worker import errors
from worker.database.lookup import Id
from worker.logs import log

M = TypeVar("M", bound=BaseModel)

RETRY_AFTER = 2  # seconds, if nothing better is known


class FieldError(TypedDict):
    """What is wrong with one field."""

    field: str
    """The field; empty for the body as a whole."""
    message: str
    """What is wrong with it."""


class RowError(TypedDict):
    """What is wrong with one row of a table."""

    line: int
    """The row's line."""
    reason: str
    """What is wrong with it."""


class About(TypedDict, total=False):
    """Details of a problem, if known."""

    field: str
    """The wrong field, the first of several."""
    line: int
    """The wrong line of the input."""
    ids: list[Id]
    """The ids of all things that have an ambiguous name."""
    errors: list[FieldError]
    """All wrong fields."""
    rows: list[RowError]
    """All wrong rows of a table."""
    launch: Id
    """The launch, which was recorded as refused."""


class Problem(About):
    """Problem details (RFC 9457)."""

    type: str
    """Ends in a stable code, such as /problems/not_found."""
    title: str
    """The code in words."""
    status: int
    """The answer's status."""
    detail: str
    """What is wrong, and what to do."""


class UnauthenticatedError(errors.KeypoolError):
    """There is no valid token here; send “Authorization: Bearer …”."""

    challenge = "Bearer"


class UnknownSenderError(UnauthenticatedError):
    """The source is not known, or its signature or timestamp is not valid."""

    challenge = "Webhook-Signature"

    def __init__(self, reason: str) -> None:
        """Give the reason, which is for the source's people alone: the answer is always the same."""
        super().__init__()
        self.reason = reason


class BadPathError(errors.KeypoolError):
    """The address holds a character that nothing here is named with."""


class ChangedMeanwhileError(errors.KeypoolError):
    """Somebody changed it since you read it; read it again, and change what is there now."""


class NotJsonError(errors.KeypoolError):
    """The body is not JSON in UTF-8, or says something twice."""


class TooLargeError(errors.KeypoolError):
    """The body is too large; a message has at most 64 KiB."""


class UnsupportedMediaTypeError(errors.KeypoolError):
    """The body must be application/json, without a Content-Encoding."""


class InvalidFieldsError(errors.InvalidInputError):
    """Fields are missing or wrong."""

    def __init__(self, wrong: list[FieldError]) -> None:
        first = wrong[0]
        detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        super().__init__(detail, field=first["field"])
        self.wrong = wrong


InvalidFieldsError.code = errors.InvalidInputError.code

# The nearest base class counts. Any other KeypoolError is a failure of ours (500).
STATUS: dict[type[Exception], int] = {
    BadPathError: 400,
    NotJsonError: 400,
    UnauthenticatedError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.AmbiguousError: 409,
    errors.RefusedError: 409,
    ChangedMeanwhileError: 412,
    TooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    errors.InvalidInputError: 422,
    errors.TooManyGuessesError: 429,
    errors.TooManyAnswersError: 429,
    errors.DatabaseAwayError: 503,
    errors.BusyError: 503,
    errors.KeypoolError: 500,
}


def install(app: APIFlask) -> None:
    """Answer every error of an app with a problem."""
    app.register_error_handler(errors.KeypoolError, for_error)
    app.register_error_handler(DataError, for_data_error)
    app.register_error_handler(IntegrityError, for_broken_rule)
    app.register_error_handler(NoResultFound, for_hidden)
    app.register_error_handler(ProgrammingError, for_programming_error)
    app.register_error_handler(Exception, for_surprise)
    app.error_processor(for_http_error)


def status(error: errors.KeypoolError) -> int:
    """Give the status that an error is answered with."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def for_error(error: errors.KeypoolError) -> Response:
    """Answer an error that keypool raised on purpose."""
    if (code := status(error)) == 500:
        return for_surprise(error)
    return problem(error.code, code, str(error), headers=_headers(error), **_about(error))


def for_data_error(_error: DataError) -> Response:
    """Answer a value that the database cannot hold."""
    return problem("invalid_input", 422, "A value is out of range.")


def for_broken_rule(error: IntegrityError) -> Response:
    """Answer a broken constraint without an error message: its name is the error's code."""
    diagnosis = getattr(error.orig, "diag", None)
    rule = (getattr(diagnosis, "constraint_name", None) or "unknown_rule").replace("_", " ")
    if isinstance(error.orig, UniqueViolation):
        return for_error(errors.AlreadyExistsError())
    return for_error(errors.InvalidInputError(f"A rule says no: {rule}."))


def for_hidden(_error: NoResultFound) -> Response:
    """Answer something that row level security hides like something unknown."""
    return for_error(errors.NotFoundError())


def for_programming_error(error: ProgrammingError) -> Response:
    """Answer a missing privilege of the web's login; any other such error is a bug."""
    if isinstance(error.orig, InsufficientPrivilege):
        log.error("right missing", where="".join(traceback.format_tb(error.__traceback__)))
        return for_error(errors.ForbiddenError("This cannot be done over the web."))
    return for_surprise(error)


def for_surprise(error: Exception) -> Response:
    """Answer an unexpected error, and log where it happened, without any values."""
    where = traceback.format_tb(error.__traceback__)
    log.error("request failed", error=type(error).__name__, where="".join(where))
    return problem("internal_error", 500, "Something went wrong here; it is logged.")


def for_http_error(error: HTTPError) -> Response:
    """Answer the errors of Flask and APIFlask: unknown paths or methods, unreadable bodies."""
    if error.status_code == 422:
        return for_error(InvalidFieldsError(_flattened(error.detail)))
    words = error.message or "Error"
    code = re.sub(r"\W+", "_", words.lower())
    return problem(code, error.status_code, f"{words}.", headers=kept(dict(error.headers)))


KEPT_HEADERS = ("Allow", "Retry-After")


def kept(headers: Mapping[str, object]) -> dict[str, str]:
    """Give those headers of an error that go with it into each form of its answer, such as a page."""
    return {name: str(value) for name, value in headers.items() if name in KEPT_HEADERS}


WHOLE_BODY = {"_schema": ""}  # APIFlask's name for the body as a whole


def wrong_fields(error: ValidationError, *, skip: int) -> InvalidFieldsError:
    """Turn pydantic's errors into a problem that repeats no values.

    `skip` is the number of leading path segments that the sender does not know, such as a message's
    type.
    """
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return InvalidFieldsError(
        [_wrong_field(about["type"], about["loc"][skip:], about["msg"]) for about in details]
    )


def checked(model: type[M], document: Any) -> M:
    """Validate a body against one of a route's shapes.

    Raises:
        InvalidFieldsError: it does not fit.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise wrong_fields(error, skip=0) from None


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    **about: Unpack[About],
) -> Response:
    """Make a problem: `type` ends in the stable code, which the request's line of the log has too."""
    structlog.contextvars.bind_contextvars(problem=code)
    body: Problem = {
        "type": f"/problems/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        **about,
    }
    response = current_app.make_response((jsonify(body), status, headers or {}))
    response.mimetype = "application/problem+json"
    return response


def _about(error: errors.KeypoolError) -> About:
    """Give an error's details, if it has some."""
    about: About = {}
    if isinstance(error, errors.InvalidInputError):
        if error.field:
            about["field"] = error.field
        if error.line:
            about["line"] = error.line
        if error.rows:
            about["rows"] = [{"line": line, "reason": reason} for line, reason in error.rows]
    if isinstance(error, errors.AmbiguousError):
        about["ids"] = error.ids
    if isinstance(error, InvalidFieldsError):
        about["errors"] = error.wrong
    return about


def _headers(error: errors.KeypoolError) -> dict[str, str]:
    if isinstance(error, UnauthenticatedError):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, errors.TooManyGuessesError | errors.IdempotencyKeyInUseError):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.TooManyAnswersError):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.DatabaseAwayError | errors.BusyError):
        return {"Retry-After": str(RETRY_AFTER)}
    return {}


def _wrong_field(kind: str, location: tuple[int | str, ...], message: str) -> FieldError:
    if kind.startswith("union_tag"):
        return {"field": "type", "message": "Unknown; send one of the documented types."}
    field = ".".join(str(part) for part in location)
    return {"field": field, "message": message.removeprefix("Value error, ")}


def _flattened(detail: Any) -> list[FieldError]:
    return [
        {"field": WHOLE_BODY.get(field, field), "message": message.removeprefix("Value error, ")}
        for fields in detail.values()
        for field, messages in fields.items()
        for message in messages
    ]
