"""A visitor: what was typed, the session, and the key before the settler."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Response, g
from sqlalchemy.orm import Session

from webhook.http.nudging import nudger
from webhook.redeem import frame
from worker.database import connections
from worker.database.connections import Login
from worker.languages.phrases import phrase
from worker.pools import codes
from worker.redemption import pages, proofs
from worker.redemption.pages import Page
from worker.redemption.proofs import Asked, Visit
from worker.tenancy import addresses

LONGEST_KEY, LONGEST_EMAIL, LONGEST_NAME = 256, 320, 200

NO_KEY = phrase("Type the key that you were given.")
NO_ADDRESS = phrase("Type your e-mail address, such as ann@example.com.")
LONG_NAME = phrase("Type your name in one line of up to 200 characters.")


@dataclass(frozen=True)
class Typed:
    """What was typed into a form, and what is wrong with it, by field."""

    key: str = ""
    email: str = ""
    name: str = ""
    at: str = ""
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> Asked:
        """Give what is to be redeemed."""
        return Asked(self.key, self.name)


def read(form: Mapping[str, str], *, key: bool = True, email: bool = True) -> Typed:
    """Read a form: the key and the address in their one form, with a sentence for what is missing."""
    say, wrong = g.book.say, {}
    typed = codes.typed(form.get("key", ""))
    if key and not 0 < len(typed) <= LONGEST_KEY:
        wrong["key"] = say(NO_KEY)
    address = form.get("email", "").strip()
    try:
        address = addresses.normal(address) if email else ""
    except ValueError:
        wrong["email"] = say(NO_ADDRESS)
    if len(address) > LONGEST_EMAIL:
        wrong["email"] = say(NO_ADDRESS)
    name = form.get("name", "").strip()
    if len(name) > LONGEST_NAME or any(unicodedata.category(c) == "Cc" for c in name):
        wrong["name"] = say(LONG_NAME)
    return Typed(
        typed[:LONGEST_KEY],
        address[:LONGEST_EMAIL],
        name[:LONGEST_NAME],
        at=form.get("at", "")[:60],
        wrong=wrong,
    )


def visit() -> Visit | None:
    """Find the browser's session and the page that it is of; a page that was turned off ends it."""
    with connections.session(Login.WEB) as session:
        return _found(session, frame.token())


def begin(page: Page | None, typed: Typed, *, at: str | None) -> Response:
    """Begin a session: on an open page judge the key at once, else ask for a code.

    `at`: the slug that was named, if any. Where one was named that has no page, no code comes.
    """
    opens = page is not None and page.open and bool(typed.key)
    way = proofs.Way.NEVER
    if opens:
        way = proofs.Way.OPEN
    elif page or at is None:
        way = proofs.Way.MAILED
    with connections.session(Login.WEB) as session:
        began = proofs.begin(
            session,
            way=way,
            organization_id=page.organization_id if page else None,
            email=typed.email,
            asked=typed.asked,
            language=g.book.language,
            client=frame.client(),
        )
        found = _found(session, began)
    if began is None or found is None:
        return frame.page("later", 429)
    if opens:
        judge(found, typed.asked, once="first")
        return frame.remember(frame.go("answer"), began)
    nudger.ask("mail")
    return frame.remember(frame.go("code", at=at), began)


def judge(visit: Visit, asked: Asked, *, once: str) -> None:
    """Have a key judged: as an event, once for each `once`; or by itself, where it is nobody's.

    Raises:
        TooManyGuessesError: too many wrong keys came lately.
    """
    page = _page_for(visit, asked.key)
    if page is None or not page.takes(visit.email):
        outcome = "not_available_to_organization" if page else pages.unknown(asked.key)
        with connections.session(Login.WEB) as session:
            proofs.note(session, visit, outcome=outcome)
        return
    with connections.connection(Login.WEB) as connection:  # autocommit: recorded at once
        event_id = pages.record(connection, page, visit, asked, once=once)
    with connections.session(Login.WEB) as session:
        proofs.note(session, visit, organization_id=page.organization_id, event_id=event_id)
    nudger.ask("settle")


def _page_for(visit: Visit, key: str) -> Page | None:
    """Give the page whose key it is; where the session has none yet, the key says so, within a limit."""
    if visit.organization_id is not None:
        with connections.session(Login.WEB) as session:
            return pages.of(session, visit.organization_id)
    who = {"email": visit.email, "client": frame.client()}
    with connections.session(Login.WEB) as session:
        pages.guess(session, **who)
    with connections.session(Login.WEB) as session:
        page = pages.of_key(session, key)
        if page is not None:
            pages.forgive(session, **who)
        return page


def _found(session: Session, token: str | None) -> Visit | None:
    found = proofs.find(session, token)
    page = pages.of(session, found.organization_id) if found else None
    if found is None or (found.organization_id is not None and page is None):
        return None
    frame.show_for(page, found.language)
    return found
