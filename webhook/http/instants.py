"""Times as callers write them: ISO 8601 with an offset."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator

INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?([Zz]|[+-]\d{2}(:?\d{2})?)"
)
YEARS = range(1970, 9000)


def instant(value: object) -> datetime:
    """Read an ISO 8601 time with its offset; a number or a bare date is none."""
    if isinstance(value, str) and INSTANT.fullmatch(value):
        try:
            read = datetime.fromisoformat(value.upper().replace(",", ".")).astimezone(UTC)
        except (ValueError, OverflowError):
            read = None
        if read and read.year in YEARS:
            return read
    raise ValueError("Give an ISO 8601 time with its offset, such as 2026-03-01T09:30:00Z.")


Instant = Annotated[datetime, BeforeValidator(instant)]
