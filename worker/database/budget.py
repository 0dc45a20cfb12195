"""The connection budget: how many connections each process may have, and how many PostgreSQL takes."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.database.connections import KEPT, WEBS, Login, sizes
from worker.settings import settings

REPORT = sum(KEPT[Login.ANALYST])  # also of a login that one report has

# What the server takes, but for the connections that it keeps free for superusers and the like.
TAKES = text("""
    SELECT sum(CASE name WHEN 'max_connections' THEN setting::int ELSE - setting::int END)
      FROM pg_settings
     WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
""")


# What lasting logins of reports may have (“keypool reports login”), in any database of the server.
LASTING = text("""
    SELECT coalesce(sum(rolconnlimit), 0) FROM pg_roles
     WHERE starts_with(rolname, 'keypool_report_') AND rolvaliduntil = 'infinity'
""")


class Budget(NamedTuple):
    """What processes need at most, through a pooler or not, and what the server takes."""

    needs: int
    pooled: int
    takes: int

    def excess(self) -> int:
        """Give how many connections the server takes too few; what a pooler opens is the pooler's to bound."""
        return max(self.needs - self.takes, 0)

    def sentence(self) -> str:
        """Say it."""
        told = (
            f"The processes need up to {self.needs} connections, and the server takes {self.takes}"
        )
        if excess := self.excess():
            return f"{told}: {excess} too many. Raise max_connections, or use a pooler."
        if self.pooled:
            return (
                f"{told}; the pools of the pooler may have the other {self.takes - self.needs}, for "
                f"{self.pooled} that are asked of it."
            )
        return f"{told}."


def most() -> dict[str, int]:
    """Give how many connections each kind of process has at most."""
    return {
        "web process": sum(sum(sizes(login)) for login in WEBS),
        "worker child": sum(sizes(Login.OWNER)),
        "beat": sum(sizes(Login.OWNER)),
        "report": REPORT,
        "command": sum(sizes(Login.OWNER)),
        "migration": sum(sizes(Login.DIRECT)),
    }


def drawn_up(connection: Connection, *, webs: int, children: int) -> Budget:
    """Draw up the budget of so many web processes and worker children; one of each other kind is counted."""
    each = most()
    running = webs * each["web process"] + children * each["worker child"]
    running += each["beat"] + each["command"]
    lasting: int = connection.scalar(LASTING) or 0
    direct = each["report"] + lasting + each["migration"]
    takes: int = connection.scalar(TAKES) or 0
    if settings().pooler:
        return Budget(direct, running, takes)
    return Budget(direct + running, 0, takes)
