"""People who sign in."""

import secrets

from sqlalchemy import text

from tests.world import OPERATOR
from worker.database import connections as databases
from worker.tenancy import passwords, users
from worker.tenancy.actors import Role

PASSWORD = "correct horse battery"


def make_user(role: Role, organization: int | None) -> str:
    """Let somebody sign in with the tests' password, and give their address."""
    email = f"{role}-{secrets.token_hex(4)}@example.com"
    owner = None if role is Role.OPERATOR else str(organization)
    new_hash = passwords.hashed(PASSWORD, about=email)
    with databases.session() as session:
        given = {"email": email, "new_hash": new_hash, "organization": owner}
        users.add(session, actor=OPERATOR, role=role, **given)
    return email


def at_the_door_of(email: str) -> list[str]:
    """List what the history tells of a user's sign-ins, the oldest first."""
    told = "SELECT action FROM history WHERE actor = :who AND action LIKE 'sign-in %' ORDER BY id"
    with databases.session() as opened:
        return list(opened.scalars(text(told), {"who": f"user {email}"}))


def confirmations_of(email: str) -> list[tuple[str, str]]:
    """List what became of a user's passwords that were asked for again, and for what they were."""
    told = """
        SELECT action, detail ->> 'for' FROM history
         WHERE actor = :who AND action LIKE 'confirmation %' ORDER BY id
    """
    with databases.session() as opened:
        return [tuple(row) for row in opened.execute(text(told), {"who": f"user {email}"})]
