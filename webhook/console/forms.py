"""Forms: read, and shown again as they were typed, with a refusal beside the field it is about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from apiflask import APIBlueprint
from flask import Response, current_app, g, request

from webhook.console import words
from webhook.console.frame import standing
from worker import days, errors
from worker.tenancy.actors import Role

# Groups of three digits may be set off, as the pages themselves do.
WHOLE = re.compile("-?(?:[0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})")

# What shapes and constraints call otherwise than the forms do.
FORM_NAMES = {
    "starts_at": "starts",
    "expires_at": "expires",
    "content_availability_days": "content_availability",
}


def install(blueprint: APIBlueprint) -> None:
    """Let a blueprint's templates ask what was typed, and why it was refused."""
    for asked in (sent, refusal):  # globals: macros see nothing else
        blueprint.add_app_template_global(asked)


@dataclass(frozen=True)
class Form:
    """A form on a page: what was typed in it, and what a rule says of that, by the field's name.

    What is said of no field of it stands under the empty name.
    """

    address: str = ""
    typed: Mapping[str, str] | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)

    def id(self, name: str) -> str:
        """Give what a field is called on its page, where other forms may have one of that name."""
        steps = re.findall(r"\w+", self.address)[1:] or ["f"]
        return "-".join([*steps, name])

    def value(self, name: str, kept: object = "") -> object:
        """Give what was typed in a field; `kept` where the form was not sent yet."""
        return kept if self.typed is None else self.typed.get(name, "")

    def told(self, name: str, hint: str | None) -> dict[str, object]:
        """Give a field's attributes: that it is wrong, and which words are about it."""
        told: dict[str, object] = {}
        if name in self.wrong:
            told |= {"aria-invalid": "true", "autofocus": True}
        if hint or name in self.wrong:
            told |= {"aria-describedby": f"{self.id(name)}-note"}
        return told

    def checked(self, name: str, kept: object = False) -> bool:
        """Say whether a box was ticked; `kept` where the form was not sent yet."""
        return bool(kept) if self.typed is None else name in self.typed


def sent(address: str) -> Form:
    """Give the form that is sent to an address: as it was typed, where it was refused just now."""
    refused: Form | None = g.get("refused")
    return refused if refused and refused.address == unquote(address) else Form(address)


def refusal() -> str | None:
    """Give why what was asked for was not done, on a page that is shown again."""
    refused: Form | None = g.get("refused")
    return next(iter(refused.wrong.values())) if refused else None


def wrong_field(error: Exception, told: str) -> dict[str, str]:
    """Give what a rule says under the name of the form's field that it is about, or under none."""
    about = vars(error)
    name = about.get("field") or about.get("thing") or ""
    name = FORM_NAMES.get(name, name)
    return {name if name in request.form else "": told}


def shown_again(error: Exception, told: str) -> Response | None:
    """Show the page that the form of this request stands on once more, with what was typed in it.

    None where the form stands on no page, or the page is of something that is not there.
    """
    endpoint, arguments = standing()
    if endpoint == request.endpoint:
        return None
    g.refused = Form(request.path, request.form, wrong_field(error, told))
    try:
        page = current_app.ensure_sync(current_app.view_functions[endpoint])
        return current_app.make_response(page(**arguments))
    except errors.KeypoolError:
        del g.refused
        return None


def given(*names: str) -> dict[str, str]:
    """Give the fields that were filled in."""
    return {name: value for name in names if (value := request.form.get(name, "").strip())}


def whole(value: str, *, field: str) -> int:
    """Read a whole number from a field.

    Raises:
        InvalidInputError: it is none.
    """
    if not WHOLE.fullmatch(value.strip()):
        raise errors.InvalidInputError("Give a whole number.", field=field)
    return int(value.replace(",", ""))


def day(name: str, form: Mapping[str, str], *, end: bool = False) -> datetime | None:
    """Read a day of the visitor's time zone as an instant; None where none is given."""
    value = form.get(name, "").strip()
    return days.instant(value, zone=words.zone(), field=name, end=end) if value else None


def role() -> Role:
    """Read the role that was chosen."""
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        raise errors.InvalidInputError("Choose a role.", field="role") from None
