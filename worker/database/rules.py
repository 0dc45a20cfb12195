"""Constraints and the error messages for breaking them: schema.sql has both."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from worker import errors

SCHEMA = Path(__file__).parents[2] / "schema.sql"

# COMMENT ON CONSTRAINT pool_has_a_name ON pool IS 'invalid_input(name): A pool''s name has …';
COMMENT = re.compile(
    r"^COMMENT ON (?:CONSTRAINT|INDEX|TRIGGER) (\w+)(?: ON \w+)?\s+IS '((?:[^']|'')*)';$",
    re.MULTILINE,
)
MEANING = re.compile(r"(?P<code>\w+)(?:\((?P<field>\w+)\))?: (?P<sentence>.+)")


class Meaning(NamedTuple):
    """The error for a broken rule: its code, the wrong field, and the message."""

    code: str
    field: str | None
    sentence: str

    def error(self) -> errors.KeypoolError:
        """Make the error."""
        kind = _kinds()[self.code]
        error = kind(self.sentence)
        error.field = self.field or error.field
        return error


@cache
def meanings() -> dict[str, Meaning]:
    """Give the error of each rule that has a message, by the rule's name; read once from schema.sql."""
    return {
        rule: _meaning(rule, comment.replace("''", "'"))
        for rule, comment in COMMENT.findall(SCHEMA.read_text())
    }


def broken(rule: str | None) -> errors.KeypoolError | None:
    """Give the error for a broken rule; None if schema.sql has no message for it."""
    meaning = meanings().get(rule or "")
    return meaning and meaning.error()


def _meaning(rule: str, comment: str) -> Meaning:
    match = MEANING.fullmatch(comment)
    if not match or match["code"] not in _kinds():
        raise ValueError(f"{rule}: “{comment}” is no code of an error, field and sentence")
    return Meaning(**match.groupdict())


@cache
def _kinds() -> dict[str, type[errors.KeypoolError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.code: kind for kind in kinds if issubclass(kind, errors.KeypoolError)}
