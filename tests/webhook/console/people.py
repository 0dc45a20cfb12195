"""People who sign in."""

import secrets

from tests.world import OPERATOR
from worker.database import connections as databases
from worker.tenancy import users
from worker.tenancy.actors import Role

PASSWORD = "correct horse battery"


def make_user(role: Role, organization: int | None) -> str:
    """Let somebody sign in with the tests' password, and give their address."""
    email = f"{role}-{secrets.token_hex(4)}@example.com"
    owner = None if role is Role.OPERATOR else str(organization)
    with databases.session() as session:
        given = {"email": email, "password": PASSWORD, "organization": owner}
        users.add(session, actor=OPERATOR, role=role, **given)
    return email
