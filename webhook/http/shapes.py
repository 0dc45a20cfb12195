"""What every answer, request and list of the API has in common."""

from typing import Any, Generic, Literal, TypeVar

from flask import Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Given(BaseModel):
    """An answer. Fields may be added, so callers should ignore those that they do not know."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Taken(BaseModel):
    """A request's body or query: unknown fields are refused, lest a typing error go unnoticed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    def given(self, **names: str) -> dict[str, Any]:
        """Give the fields that were sent, as the domain's arguments; `names` renames some."""
        return {
            names.get(field, field): value
            for field, value in self.model_dump(exclude_none=True).items()
        }


class Listed(Given, Generic[T]):
    """One page of a list; `next` is the cursor of the page that follows, null at the end."""

    items: list[T]
    next: str | None


class Paging(Taken):
    """Which page of a list, and how long."""

    cursor: str | None = Field(None, description="`next` of the page before.", max_length=2000)
    limit: int = Field(100, ge=1, le=1000)

    def page(self, **names: str) -> dict[str, Any]:
        """Give the page and the filters as the domain's arguments; `names` renames some."""
        return self.given(cursor="after", **names)


class Sorted(Paging):
    """A page of a list that can be turned round."""

    sort: Literal["made", "-made"] | None = Field(None, description="-made: the newest first.")


def whole(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a list of what fits one page."""
    return {"items": items, "next": None}


def answer(told: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    """Answer with another status than the route's own."""
    response = jsonify(told)
    response.status_code = status
    response.headers.extend(headers)
    return response
