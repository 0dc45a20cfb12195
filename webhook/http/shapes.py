"""What all responses, requests and lists of the API have in common."""

import base64
import re
from collections.abc import Callable
from functools import wraps
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin

from flask import Response, jsonify
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from worker.database.paging import Page

T = TypeVar("T")
DIGITS = re.compile("-?[0-9]{1,18}")
P = ParamSpec("P")


def gives(
    status: int = 200, *others: int, accepted: Any = None
) -> Callable[[Callable[P, Any]], Callable[P, Response]]:
    """Answer with a view's result as JSON; the document takes the schema from its return type.

    `others` are further statuses with the same schema, for which the view makes the response itself;
    `accepted` is the type of its 202. mypy checks the view's return annotation.
    """

    def answering(view: Callable[P, Any]) -> Callable[P, Response]:
        @wraps(view)
        def answered(*args: P.args, **kwargs: P.kwargs) -> Response:
            result = view(*args, **kwargs)
            return result if isinstance(result, Response) else answer(result, status)

        answers = dict.fromkeys((status, *others), _told(view.__annotations__["return"]))
        if accepted is not None:
            answers[202] = accepted
        answered.answers = answers  # type: ignore[attr-defined]  # read by openapi.py
        return answered

    return answering


def _told(kind: Any) -> Any:
    """Give the JSON part of a view's return type, without responses that it makes itself."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return Union[tuple(one for one in get_args(kind) if one is not Response)]  # noqa: UP007  # of a tuple


class Taken(BaseModel):
    """A request's body or query: unknown fields are refused, so that typing errors are noticed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _whole(cls, value: object, field: ValidationInfo) -> object:
        """Accept only ASCII digits as a whole number; Python would accept more."""
        if cls.model_fields[field.field_name or ""].annotation not in (int, int | None):
            return value
        if isinstance(value, bool) or (isinstance(value, str) and not DIGITS.fullmatch(value)):
            raise ValueError("Give a whole number, in digits alone.")
        return value

    def given(self, **names: str) -> dict[str, Any]:
        """Give the sent fields as the domain's arguments; `names` renames some."""
        return {
            names.get(field, field): value
            for field, value in self.model_dump(exclude_none=True).items()
        }


def left_out(**bounds: Any) -> Any:
    """Make a field that may be left out, but not null."""
    return Field(default_factory=lambda: None, **bounds)


def _empty(value: str | None) -> str:
    return value or ""


def _none(values: list[str] | None) -> list[str]:
    return values or []


def _decoded(value: object) -> bytes:
    if value is not None and not isinstance(value, str):
        raise ValueError("Give a text in base64.")
    try:
        return base64.b64decode(value or "", validate=True)
    except ValueError:
        raise ValueError("Give a text in base64.") from None


# A text; null clears it.
Clearable = Annotated[str | None, AfterValidator(_empty)]

# Several texts; null clears them.
Emptiable = Annotated[list[str] | None, AfterValidator(_none)]

# A file's content in base64; null clears it.
Encoded = Annotated[
    bytes | None,
    BeforeValidator(_decoded),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "base64"}, {"type": "null"}]}),
]


class Changes(Taken):
    """Changes of a thing: omitted fields stay, and null clears what can be empty."""

    def given(self, **names: str) -> dict[str, Any]:
        """Give the sent fields, null as the empty text; `names` renames some."""
        sent = self.model_dump(exclude_unset=True)
        return {names.get(field, field): value for field, value in sent.items()}


class Paging(Taken):
    """Which page of a list, and its length."""

    cursor: str | None = Field(None, description="`next` of the page before.", max_length=2000)
    limit: int = Field(100, ge=1, le=1000)

    def page(self, **names: str) -> dict[str, Any]:
        """Give the page and the filters as the domain's arguments; `names` renames some."""
        return self.given(cursor="after", **names)


def whole(items: list[T]) -> Page[T]:
    """Make a list that has a single page."""
    return Page(items, None)


def answer(document: object, status: int, headers: dict[str, str] | None = None) -> Response:
    """Answer with a status."""
    response = jsonify(document)
    response.status_code = status
    response.headers.extend(headers or {})
    return response
