"""Query parameters: unknown ones and ones given twice are refused, for they are not what was meant."""

from collections.abc import Callable, Sequence, Set
from functools import wraps
from typing import ParamSpec, TypeVar, get_origin

from flask import request
from pydantic.fields import FieldInfo

from webhook.http.problems import FieldError, InvalidFieldsError

P = ParamSpec("P")
R = TypeVar("R")


def checked(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse requests with parameters that the view's shapes do not have, or have once."""
    shapes = [
        shape for shape, place in vars(view).get("_spec", {}).get("args", []) if place == "query"
    ]
    fields: dict[str, FieldInfo] = {
        field.alias or name: field for shape in shapes for name, field in shape.model_fields.items()
    }
    repeatable = {name for name, field in fields.items() if get_origin(field.annotation) is list}

    @wraps(view)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_unknown(list(fields))
        _refuse_repeated(repeatable)
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


def _refuse_repeated(repeatable: Set[str]) -> None:
    """Refuse a parameter that comes twice: one reader would take the first, another the last."""
    repeated: list[FieldError] = [
        {"field": name, "message": f"Give “{name}” once."}
        for name, values in request.args.lists()
        if len(values) > 1 and name not in repeatable
    ]
    if repeated:
        raise InvalidFieldsError(repeated)
