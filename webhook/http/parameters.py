"""Query parameters: unknown ones are refused, so that typing errors are noticed."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import request

from webhook.http.problems import FieldError, InvalidFieldsError

P = ParamSpec("P")
R = TypeVar("R")


def checked(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse requests with parameters that the view's shapes do not have."""
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
    """Refuse the request if its query has a parameter that is not named here.

    Raises:
        InvalidFieldsError: it has; the error names each, and the known ones.
    """
    there = f"there are {', '.join(sorted(names))}" if names else "there are none"
    unknown: list[FieldError] = [
        {"field": name, "message": f"There is no parameter “{name}” here; {there}."}
        for name in request.args
        if name not in names
    ]
    if unknown:
        raise InvalidFieldsError(unknown)
