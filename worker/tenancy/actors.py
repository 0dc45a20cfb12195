"""Actors: a name for the history, a role, and the organization whose tree they may see."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, select, true
from sqlalchemy.orm import QueryableAttribute

from worker import errors
from worker.database.connections import Entry
from worker.tables.labels import Role
from worker.tables.tenancy import Organization, OrganizationAncestry

__all__ = ["Actor", "Role"]  # whoever names an actor names its role


@dataclass(frozen=True)
class Actor:
    """Who does something. `organization_id` is None for the operator, who may see everything.

    `scope` is how the actor's transactions of the web enter; None for the owner's, which need not.
    """

    name: str
    role: Role
    organization_id: int | None = None
    scope: Entry | None = field(default=None, repr=False, compare=False)

    @classmethod
    def operator(cls, name: str) -> "Actor":
        """Make the operator as an actor, for the command line and the schedule."""
        return cls(name, Role.OPERATOR)

    def require(self, *roles: Role) -> None:
        """Require the operator or one of the given roles.

        Raises:
            ForbiddenError: the actor has another role.
        """
        if self.role not in (Role.OPERATOR, *roles):
            raise errors.ForbiddenError(f"The role “{self.role}” does not allow this.")

    def sees(self, organization_id: QueryableAttribute[Any]) -> ColumnElement[bool]:
        """Give the condition that a row's organization is within the actor's tree."""
        if self.organization_id is None:
            return true()
        return organization_id.in_(self.organizations())

    def organizations(self) -> Select[int]:
        """Select the ids of the organizations in the actor's tree."""
        if self.organization_id is None:
            return select(Organization.id)
        return select(OrganizationAncestry.descendant_id).where(
            OrganizationAncestry.ancestor_id == self.organization_id
        )
