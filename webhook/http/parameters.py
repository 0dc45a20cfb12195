"""Parameters: one that a route does not know is refused, so that a typing error is noticed."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import request

from webhook.http.problems import FieldError, InvalidFieldsError

P = ParamSpec("P")
R = TypeVar("R")


def checked(view: Callable[P, R]) -> Callable[P, R]:
    """Let a view be asked with those parameters alone that its shapes have."""
    shapes = [
        shape for shape, place in vars(view).get("_spec", {}).get("args", []) if place == "query"
    ]
    names = [field.alias or name for shape in shapes for name, field in shape.model_fields.items()]

    @wraps(view)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_unknown(names)
        return view(*args, **kwargs)

    return asked


def refuse_unknown(names: Sequence[str]) -> None:
    """Refuse the request where its query has another parameter than those named.

    Raises:
        InvalidFieldsError: it has; each is named, and so are those that there are.
    """
    there = f"there are {', '.join(sorted(names))}" if names else "there are none"
    unknown: list[FieldError] = [
        {"field": name, "message": f"There is no parameter “{name}” here; {there}."}
        for name in request.args
        if name not in names
    ]
    if unknown:
        raise InvalidFieldsError(unknown)
