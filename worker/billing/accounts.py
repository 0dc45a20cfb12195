"""The seller's accounts: where bookkeeping puts revenue by course, tax by rate, what is open or deferred."""

import re
from collections.abc import Mapping

from sqlalchemy.orm import Session

from worker import errors, money
from worker.catalogue import courses

KEY = re.compile(r"(receivables|revenue|tax|unbilled|deferred|earned)(?::(.+))?")
BY_COURSE = ("revenue", "earned")
WHOLE = ("receivables", "unbilled", "deferred")
LONGEST = 50


def changed(
    session: Session, accounts: Mapping[str, str], changes: Mapping[str, str]
) -> dict[str, str]:
    """Give the accounts with some changed: `revenue`, `revenue:K8S-101`, `tax:19`, `receivables`, `deferred` …

    An empty one is removed. What has no account of its own is put on that of its role.

    Raises:
        InvalidInputError: a key is none of these, or its course or rate is none.
    """
    made = dict(accounts)
    for key, account in changes.items():
        made[_key(session, key)] = _account(account)
    return {key: made[key] for key in sorted(made) if made[key]}


def _key(session: Session, written: str) -> str:
    found = KEY.fullmatch(written.strip())
    if found is None or (found[1] in WHOLE and found[2]):
        raise errors.InvalidInputError(
            f"“{written}” has no account: give receivables, revenue, revenue:COURSE, tax, tax:PERCENT, "
            "unbilled, deferred, earned or earned:COURSE.",
            field="accounts",
        )
    role, of = found[1], found[2]
    if of is None:
        return role
    if role in BY_COURSE:
        return f"{role}:{courses.find(session, name=of.strip()).code}"
    return f"{role}:{money.percentage(of.strip(), field='accounts').normalize():f}"


def _account(written: str) -> str:
    account = written.strip()
    if len(account) > LONGEST:
        raise errors.InvalidInputError(
            f"An account has up to {LONGEST} characters.", field="accounts"
        )
    return account
