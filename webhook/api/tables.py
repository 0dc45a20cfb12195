"""Tables in the bodies of requests: how they are read, where their headings do not say all of it."""

from flask import request
from pydantic import Field, field_validator

from webhook.http.shapes import Taken
from webhook.http.uploads import WORKBOOKS
from worker.pools import reading

KINDS = {"text/plain": reading.Kind.TEXT, "text/csv": reading.Kind.CSV} | dict.fromkeys(
    WORKBOOKS, reading.Kind.WORKBOOK
)


class Reading(Taken):
    """How a table is read, and whether anything is done with it."""

    column: list[str] = Field(
        [],
        description="What a column means: MEANING=HEADING, or its number from 1; repeatable. One of "
        + ", ".join(reading.Meaning),
    )
    ignore: list[str] = Field([], description="The heading of a column to ignore; repeatable.")
    label: list[str] = Field([], description="A label for all the keys; repeatable.")
    any_shape: bool = Field(False, description="Accept keys that are unlike the others.")
    dry_run: bool = Field(False, description="Say what would happen, and change nothing.")

    @field_validator("column", "ignore", "label", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    def read_as(self) -> reading.ReadAs:
        """Give what the request says of its table; APIFlask gives only the first of repeated parameters."""
        return reading.ReadAs.of(
            columns=request.args.getlist("column"),
            ignore=request.args.getlist("ignore"),
            any_shape=self.any_shape,
            kind=KINDS.get(request.mimetype),
            encoding=request.mimetype_params.get("charset"),
            labels=request.args.getlist("label"),
        )
