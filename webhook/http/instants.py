"""Times in requests' bodies and queries."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator

from worker import days

Instant = Annotated[datetime, BeforeValidator(days.moment)]
