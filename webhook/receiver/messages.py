"""The messages that sources post: only their shapes; the worker judges the keys."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
)
from pydantic.types import StringConstraints

from webhook.http import problems, strictjson
from webhook.http.instants import Instant
from worker.pools import codes
from worker.redemption.inbox import Message
from worker.tables.labels import EventType
from worker.tenancy import addresses

CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")


def line(value: str) -> str:
    """Read one line of text, trimmed."""
    if CONTROL.search(value):
        raise ValueError("Give one line of text without control characters.")
    return value


def code(value: str) -> str:
    """Read a key as typed: full-width letters, line breaks. NFKC is done here, so that SQL need not."""
    if not (seen := codes.typed(value)):
        raise ValueError("Give a key.")
    return seen


def identity(value: object) -> object:
    """Read an id: a string of digits, as we gave it, or a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return str(int(value))
    raise ValueError("Give an assignment's id, such as “42”.")


def text(longest: int, *, shortest: int = 1) -> Any:
    """Give the length limits of a text, without surrounding white space."""
    return StringConstraints(strip_whitespace=True, min_length=shortest, max_length=longest)


Email = Annotated[str, text(320), AfterValidator(addresses.normal)]


class Shape(BaseModel):
    """A part of a message: strict types, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class LearnerOfMessage(Shape):
    """The learner who redeems."""

    email: Email
    name: Annotated[str, text(200, shortest=0), AfterValidator(line)] | None = None


class RedemptionData(Shape):
    """A learner wants to redeem a key."""

    key: Annotated[str, text(256), AfterValidator(code)]
    learner: LearnerOfMessage
    organization: Annotated[str, text(200), AfterValidator(line)] | None = Field(
        None,
        description="The learner's: the source's organization (the default) or a descendant.",
    )


class LaunchData(Shape):
    """A learner starts the training."""

    assignment: Annotated[str, BeforeValidator(identity)]
    launch: Annotated[str, text(200), AfterValidator(line)]
    launched_at: Instant


class EndData(Shape):
    """A learner's training ended."""

    launch: Annotated[str, text(200), AfterValidator(line)]
    ended_at: Instant
    completed: bool | None = None
    score: Annotated[float, Field(ge=-99_999, le=99_999, allow_inf_nan=False)] | None = None


class RedemptionRequested(Shape):
    """`redemption.requested`."""

    type: Literal["redemption.requested"]
    timestamp: Instant
    data: RedemptionData


class TrainingLaunched(Shape):
    """`training.launched`."""

    type: Literal["training.launched"]
    timestamp: Instant
    data: LaunchData


class TrainingEnded(Shape):
    """`training.ended`."""

    type: Literal["training.ended"]
    timestamp: Instant
    data: EndData


class WebhookMessage(
    RootModel[
        Annotated[
            RedemptionRequested | TrainingLaunched | TrainingEnded, Field(discriminator="type")
        ]
    ]
):
    """Any message that a source may post."""


def read(body: bytes) -> Message:
    """Read a verified message.

    Raises:
        NotJsonError: the body is not JSON, or hostile.
        InvalidFieldsError: it is JSON, but not a known message.
    """
    try:
        document = strictjson.parse(body)
    except ValueError:
        raise problems.NotJsonError from None
    try:
        message = WebhookMessage.model_validate(document).root
    except ValidationError as error:
        raise problems.wrong_fields(error, skip=1) from None
    data = message.data.model_dump(mode="json", exclude_none=True)
    return Message(EventType(message.type), data, data.pop("organization", None))


def unknown_fields(body: bytes) -> list[str]:
    """Name the fields of a refused message that its type does not have, five at most; they are ignored."""
    try:
        document = strictjson.parse(body)
    except ValueError:
        return []
    model = MESSAGES.get(document.get("type")) if isinstance(document, dict) else None
    return _unknown(document, model)[:5] if model else []


MESSAGES: dict[object, type[BaseModel]] = {
    "redemption.requested": RedemptionRequested,
    "training.launched": TrainingLaunched,
    "training.ended": TrainingEnded,
}
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def _unknown(document: dict[str, Any], model: type[BaseModel]) -> list[str]:
    names = []
    for name, value in document.items():
        known = model.model_fields.get(name)
        if known is None and NAME.fullmatch(name):
            names.append(name)
        inner = known.annotation if known else None
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{one}" for one in _unknown(value, inner)]
    return names
