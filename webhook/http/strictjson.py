"""Strict JSON: what two parsers could read differently is refused."""

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec
from apiflask import APIFlask
from flask import Request, current_app
from flask.json.provider import DefaultJSONProvider

from webhook.http.problems import InvalidFieldsError, NotJsonError

T = TypeVar("T")

MAX_DEPTH = 32
LONGEST_NUMBER = 40  # digits; Python would accept 4,300

# A string, or a bracket. A string without an end is one up to the text's end: otherwise each of its
# quotation marks would begin another search for that end, in quadratic time.
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
WRITER = msgspec.json.Encoder(decimal_format="string")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def parse(raw: bytes | str) -> Any:
    """Read a JSON document in UTF-8.

    Raises:
        ValueError: it is not JSON, or has NaN, a name twice in one object, nesting deeper
            than 32, a number of over 40 digits, a NUL or half a surrogate pair in a string.
    """
    text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
    _refuse_depth(text)
    document = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_refuse_constant,
        parse_int=_integer,
    )
    if "\\u" in text:  # only escapes can produce them
        _refuse_unstorable(document)
    return document


def bodiless(view: T) -> T:
    """Let a route's body be left out, where every field of it may be."""
    view.bodiless = True  # type: ignore[attr-defined]  # read by StrictRequest
    return view


class StrictJSONProvider(DefaultJSONProvider):
    """The app's JSON: strict parsing, and fields in the order of the objects."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """Write times as ISO 8601, those of UTC with a Z, and amounts as decimal strings."""
        return WRITER.encode(obj).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        """Read a document as `parse` does."""
        return parse(s)


class StrictRequest(Request):
    """A request whose malformed JSON is answered as problem details."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Read the body; `null` is not an empty object. None at all is one, of a `bodiless` route."""
        if not self.get_data() and self._may_be_empty():
            return {}
        document = super().get_json(force=force, silent=silent, cache=cache)
        if document is None and force:
            raise InvalidFieldsError([{"field": "", "message": "Send an object, not null."}])
        return document

    def _may_be_empty(self) -> bool:
        view = current_app.view_functions.get(self.endpoint or "")
        return "bodiless" in vars(view or object)

    def on_json_loading_failed(self, e: ValueError | None) -> NoReturn:
        """Refuse the body."""
        raise NotJsonError from e


def install(app: APIFlask) -> None:
    """Make an app read and write JSON in this way."""
    app.json = StrictJSONProvider(app)
    app.request_class = StrictRequest


def _refuse_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for token in TOKENS.finditer(text):
        depth += 1 if token[0] in "[{" else -1 if token[0] in "]}" else 0
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice in one object")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("a number of too many digits")
    return int(digits)


def _refuse_unstorable(value: Any) -> None:
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise ValueError("a character that no text can hold")
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_unstorable(name)
            _refuse_unstorable(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unstorable(inner)
