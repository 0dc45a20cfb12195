"""Forms: reading them, and showing them again as typed, with an error beside its field."""

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
from worker.database import lookup
from worker.tenancy.actors import Role

# Digits may be grouped in threes, as the pages do.
WHOLE_NUMBER = re.compile("-?(?:[0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})")

# Names in shapes and constraints that differ from the forms'.
FORM_NAMES = {
    "starts_at": "starts",
    "expires_at": "expires",
    "content_availability_days": "content_availability",
}


def install(blueprint: APIBlueprint) -> None:
    """Make a form's input and errors available in a blueprint's templates."""
    for asked in (sent, refusal):  # globals, because macros see nothing else
        blueprint.add_app_template_global(asked)


@dataclass(frozen=True)
class Form:
    """A form on a page: its input, and its errors, by field name.

    An error of no field is under the empty name.
    """

    address: str = ""
    typed: Mapping[str, str] | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)

    def id(self, name: str) -> str:
        """Give a field's HTML id, unique on a page with several forms."""
        steps = re.findall(r"\w+", self.address)[1:] or ["f"]
        return "-".join([*steps, name])

    def value(self, name: str, kept: object = "") -> object:
        """Give the input of a field; `kept` if the form was not sent yet."""
        return kept if self.typed is None else self.typed.get(name, "")

    def aria(self, name: str, hint: str | None) -> dict[str, object]:
        """Give a field's ARIA attributes: that it is invalid, and the id of its error."""
        attributes: dict[str, object] = {}
        if name in self.wrong:
            attributes |= {"aria-invalid": "true", "autofocus": True}
        if hint or name in self.wrong:
            attributes |= {"aria-describedby": f"{self.id(name)}-note"}
        return attributes

    def checked(self, name: str, kept: object = False) -> bool:
        """Say whether a box was ticked; `kept` if the form was not sent yet."""
        return bool(kept) if self.typed is None else name in self.typed


def sent(address: str) -> Form:
    """Give the form that is sent to a URL, with its input if it was just refused."""
    refused: Form | None = g.get("refused")
    return refused if refused and refused.address == unquote(address) else Form(address)


def refusal() -> str | None:
    """Give the error of the refused form, on a page that is shown again."""
    refused: Form | None = g.get("refused")
    return next(iter(refused.wrong.values())) if refused else None


def wrong_field(error: Exception, message: str) -> dict[str, str]:
    """Give an error under the name of the form's field that it is about, or under the empty name."""
    about = vars(error)
    name = about.get("field") or about.get("thing") or ""
    name = FORM_NAMES.get(name, name)
    return {name if name in request.form else "": message}


def shown_again(error: Exception, message: str) -> Response | None:
    """Show the page of this request's form again, with the input.

    None if the form is on no page, or if the page's thing does not exist.
    """
    endpoint, arguments = standing()
    if endpoint == request.endpoint:
        return None
    g.refused = Form(request.path, request.form, wrong_field(error, message))
    try:
        page = current_app.ensure_sync(current_app.view_functions[endpoint])
        return current_app.make_response(page(**arguments))
    except errors.KeypoolError:
        del g.refused
        return None


def filled(*names: str) -> dict[str, str]:
    """Give the fields that are not empty."""
    return {name: value for name in names if (value := request.form.get(name, "").strip())}


def whole(value: str, *, field: str) -> int:
    """Read a whole number from a field.

    Raises:
        InvalidInputError: it is not a whole number.
    """
    if not WHOLE_NUMBER.fullmatch(value.strip()):
        raise errors.InvalidInputError("Give a whole number.", field=field)
    return int(value.replace(",", ""))


def day(name: str, form: Mapping[str, str], *, end: bool = False) -> datetime | None:
    """Read a day in the visitor's time zone as an instant; None if the field is empty."""
    value = form.get(name, "").strip()
    return days.instant(value, zone=words.zone(), field=name, end=end) if value else None


def role() -> Role:
    """Read the chosen role."""
    return lookup.label(Role, request.form.get("role", ""), field="role")
