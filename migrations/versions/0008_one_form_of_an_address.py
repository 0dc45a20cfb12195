"""Addresses get one form; learners who turn out to be one person are known as duplicates (L1)."""

from collections import defaultdict
from collections.abc import Iterable

from alembic import op
from sqlalchemy import text

from worker.tenancy import addresses

revision = "0008"
down_revision = "0007"
oldest_code = "0001"
changes = {
    "learner.email": "It gets its one form.",
    "learner.email_lower": "It follows.",
    "redemption.learner_email": "It gets its one form, letter case aside.",
    "redemption.learner_email_lower": "It follows.",
    "distribution.recipient": "It gets its one form, letter case aside.",
    "distribution.recipient_lower": "It follows.",
    "event.data": "The address of what is undecided gets its one form.",
}

# Of ASCII's addresses nothing but the letter case changes, and what is kept in lower case, too, is
# found as it is.
BEYOND_ASCII = "[^ -~]"

IN_LOWER_CASE = """
    UPDATE learner SET email = email_lower WHERE email <> email_lower AND email !~ '[^ -~]'
"""
LEARNERS = text("""
    SELECT id, organization_id, email FROM learner
     WHERE email ~ :beyond AND erased_at IS NULL ORDER BY id
""")
KNOWN = text("""
    SELECT id, email FROM learner WHERE organization_id = :organization_id AND email_lower = :email
""")
RENAME = text("UPDATE learner SET email = :email WHERE id = :id")
MARK = text("UPDATE learner SET duplicate_of = :of WHERE id = ANY (:ids)")

# What holds an address: where the typed ones are, and how they are changed.
HOLDERS = [
    (
        "SELECT DISTINCT learner_email FROM redemption WHERE learner_email ~ :beyond",
        """UPDATE redemption SET learner_email = :email
            WHERE learner_email_lower = lower(:typed) AND learner_email = :typed""",
    ),
    (
        """SELECT DISTINCT recipient FROM distribution
            WHERE recipient ~ :beyond AND recipient ~ '[@＠]'""",
        """UPDATE distribution SET recipient = :email
            WHERE recipient = :typed AND NOT EXISTS (
                  SELECT FROM distribution AS other
                   WHERE other.pool_id = distribution.pool_id
                     AND other.recipient_lower = :email AND other.reference = distribution.reference)""",
    ),
    (
        """SELECT DISTINCT data #>> '{learner,email}' FROM event
            WHERE status <> 'settled' AND data #>> '{learner,email}' ~ :beyond""",
        """UPDATE event SET data = jsonb_set(data, '{learner,email}', to_jsonb(CAST(:email AS text)))
            WHERE status <> 'settled' AND data #>> '{learner,email}' = :typed""",
    ),
]


def upgrade() -> None:
    op.execute("ALTER TABLE learner VALIDATE CONSTRAINT learner_duplicate_of_fkey")
    op.execute("ALTER TABLE learner VALIDATE CONSTRAINT learner_is_joined_to_another")
    op.execute(IN_LOWER_CASE)
    _meet_learners()
    for held, change in HOLDERS:
        typed = op.get_bind().scalars(text(held), {"beyond": BEYOND_ASCII}).all()
        for one, email in _changed(typed):
            op.get_bind().execute(text(change), {"typed": one, "email": email})


def _changed(typed: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Give what has another form than it was typed in; what is no address stays as it is."""
    for one in typed:
        try:
            email = addresses.normal(one)
        except ValueError:
            continue
        if email != one:
            yield one, email


def _meet_learners() -> None:
    """Give the oldest learner of each address its one form; the others are its duplicates."""
    rows = op.get_bind().execute(LEARNERS, {"beyond": BEYOND_ASCII}).all()
    forms = dict(_changed(row.email for row in rows))
    people = defaultdict(list)
    for row in rows:
        if row.email in forms:
            people[row.organization_id, forms[row.email]].append((row.id, row.email))
    for (organization_id, email), typed in people.items():
        asked = {"organization_id": organization_id, "email": email}
        known = [tuple(row) for row in op.get_bind().execute(KNOWN, asked)]
        _meet(sorted({*typed, *known}), email)


def _meet(people: list[tuple[int, str]], email: str) -> None:
    (oldest, spelling), *others = people
    for id_, _ in (other for other in others if other[1].lower() == email):
        # Two cannot be spelled alike, so the younger takes over what the older leaves.
        _rename(oldest, f"{oldest}@moving.invalid")
        _rename(id_, spelling)
    _rename(oldest, email)
    if others:
        op.get_bind().execute(MARK, {"of": oldest, "ids": [id_ for id_, _ in others]})


def _rename(id_: int, email: str) -> None:
    op.get_bind().execute(RENAME, {"id": id_, "email": email})
