"""Request fields that several resources share."""

from datetime import timedelta

from pydantic import Field

from webhook.http.shapes import Taken
from worker.settings import Duration


class Rotation(Taken):
    """How long the old secrets stay valid: seconds, or 15m, 24h, 7d."""

    old_valid: Duration = Field(timedelta(hours=24), validate_default=True)


class Reason(Taken):
    """Why."""

    reason: str
