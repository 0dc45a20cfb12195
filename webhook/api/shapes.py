"""What the API gives and takes: the objects of docs/webhooks.md and the command line's --json."""

from datetime import timedelta
from typing import Any

from pydantic import Field, RootModel

from webhook.http.instants import Instant
from webhook.http.shapes import Changes, Clearable, Taken, left_out
from worker.settings import Duration
from worker.tables.labels import ReportFormat
from worker.tenancy.actors import Role


class NewOrganization(Taken):
    """What an organization is made of."""

    name: str
    parent: str | None = None
    time_zone: str = "UTC"
    currency: str = "EUR"
    tax_rate: str | None = None


class OrganizationChanges(Changes):
    """What may change of an organization; without a parent (null) it is a root."""

    name: str = left_out()
    parent: str | None = None
    time_zone: str = left_out()
    currency: str = left_out()
    tax_rate: str = left_out()
    tax_label: str = left_out()
    tax_from: str = left_out()
    locale: str = left_out()
    legal_name: Clearable = None
    address: Clearable = None
    tax_id: Clearable = None
    payment_terms_days: int = left_out()

    def given(self, **names: str) -> dict[str, Any]:
        """Give the fields that were sent; null for a parent as `no_parent`."""
        sent = super().given(**names)
        return {"no_parent": True, **sent} if sent.get("parent", "") is None else sent


class SellerChanges(Changes):
    """What may change of the seller; finalized invoices stay as they are."""

    name: str = left_out()
    address: Clearable = None
    tax_id: Clearable = None
    payment_details: Clearable = None
    time_zone: str = left_out()


class NewCourse(Taken):
    """What a course is made of."""

    code: str
    title: str
    price: str
    currency: str


class CourseChanges(Changes):
    """What may change of a course; a list price is changed by POST /prices."""

    title: str = left_out()


class NewPrice(Taken):
    """A price to hold from a day or instant on, from now where none is given."""

    course: str
    price: str
    organization: str | None = None
    currency: str | None = None
    from_: str | None = Field(None, alias="from")


class NewPool(Taken):
    """What a pool is made of; bare dates are days in its owner's time zone, the last included."""

    name: str
    organization: str
    course: str
    starts_at: str
    expires_at: str
    content_availability_days: int
    share_with_children: bool = False


class PoolChanges(Changes):
    """What may change of a pool; what is not given stays."""

    name: str = left_out()
    starts_at: str = left_out()
    expires_at: str = left_out()
    content_availability_days: int = left_out()
    share_with_children: bool = left_out()


class Replacing(Taken):
    """Why a key is replaced, and for whom where nobody was handed the old one."""

    reason: str = Field(min_length=1, max_length=1000)
    recipient: str | None = Field(None, max_length=320)


class Codes(Taken):
    """Keys, by their codes."""

    codes: list[str] = Field(min_length=1, max_length=10_000)


class Generation(Taken):
    """How many keys to generate."""

    generate: int


class NewKeys(RootModel[list[str]]):
    """Codes to add."""


class NewDistribution(Taken):
    """Who is handed how many keys, and for what."""

    recipient: str
    count: int = 1
    reference: str = ""
    name: str = ""


class Recall(Taken):
    """Whose keys are recalled."""

    recipient: str
    reference: str = ""


class NewSource(Taken):
    """What a source is made of."""

    name: str
    organization: str


class Rotation(Taken):
    """How long the old secrets stay good: seconds, or 15m, 24h, 7d."""

    old_valid: Duration = Field(timedelta(hours=24), validate_default=True)


class NewToken(Taken):
    """What a token is made of."""

    name: str
    role: Role
    organization: str | None = None
    expires_at: str | None = Field(None, description="A day, which it includes, or a time.")


class NewPassword(Taken):
    """A password of at least 12 characters."""

    password: str


class NewUser(NewPassword):
    """Who signs in, and what they may do; an operator belongs to no organization."""

    email: str
    role: Role
    organization: str | None = None


class NewLaunch(Taken):
    """A learner takes the training; `launch` is the sender's unique id of it."""

    launch: str = Field(min_length=1, max_length=200)
    launched_at: Instant | None = Field(None, description="Now, where it is not given.")


class LaunchEnd(Taken):
    """A training came to its end."""

    ended_at: Instant
    completed: bool | None = None
    score: float | None = Field(None, ge=-99_999, le=99_999, allow_inf_nan=False)


class Extension(Taken):
    """A later end, or a number of days; with a price the pool's owner is charged."""

    until: str | None = None
    days: int | None = None
    price: str | None = None


class Cancellation(Taken):
    """What becomes of the key, and why; a late cancellation takes a reason."""

    retire_key: bool = False
    reason: str | None = None


class Chosen(Taken):
    """Which assignments, up to 500 by id or any number by conditions, a page of 500 at a time."""

    assignments: list[str] = Field([], max_length=500)
    pool: str | None = None
    learner: str | None = None
    expiring_within: int | None = Field(None, description="Days.", ge=0, le=36_500)
    cursor: str | None = None


class Extensions(Chosen, Extension):
    """Which assignments end later, and when."""


class Cancellations(Chosen, Cancellation):
    """Which assignments are cancelled, and why."""


class Joining(Taken):
    """How two learners who are one person are joined."""

    cancel_shorter: bool = Field(
        False, description="Where both have access to a course, cancel what ends first."
    )


class Correction(Changes):
    """A learner's right address or name."""

    email: str = left_out()
    name: Clearable = None


class Credit(Taken):
    """What of a charge is credited, all that is left unless an amount is given, and why."""

    reason: str
    amount: str | None = None


class NewBillingRun(Taken):
    """What to bill: every closed month or one, such as 2026-05; and whether to finalize it."""

    month: str | None = None
    finalize: bool = False


class NewPayment(Taken):
    """Money received: on a day such as 2026-06-30, by default all that is open."""

    on: str
    amount: str | None = None
    reference: str | None = Field(None, max_length=200)


class Reason(Taken):
    """Why."""

    reason: str


class NewReport(Taken):
    """What to ask: which notebook, about whom, from which day to which; by default the last year.

    `format` is `html`, or `pdf` for both.
    """

    notebook: str = Field(max_length=100)
    organization: str | None = Field(None, max_length=200)
    from_: str | None = Field(None, alias="from", max_length=10)
    to: str | None = Field(None, max_length=10)
    format: ReportFormat = ReportFormat.HTML
