"""Mails amid the storms: keys are handed out by mail, through a server that refuses, is slow and dies.

Afterwards each message was accepted at least once, every repeat has the same Message-ID, and none is lost.
"""

import asyncio
import io
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP
from sqlalchemy import text

from tests.smtpd import NO_DIGITS, OK, MailServer, dies, mail_server
from worker import errors
from worker.database.connections import session as transaction_of
from worker.pools import distributions
from worker.tenancy.actors import Actor

SENDER = "keys@keypool.example"
EVERY = 10  # of so many keys one is handed out by mail
SENT_WITHIN = 90  # seconds after the last fault
PUT_OFF, REFUSED = "450 4.2.0 Greylisted", "550 5.1.1 No such user"
SLOW_SECONDS = 1.5

# The time of the next tries comes: nobody waits for hours in a test.
HASTEN = (
    "UPDATE message SET due_at = clock_now() WHERE state = 'waiting' AND due_at > clock_now()",
    "UPDATE mail_server SET rests_until = NULL",
)
WAITING = text("SELECT count(*) FROM message WHERE state = 'waiting'")
MESSAGES = text("SELECT identity::text, recipient, state::text, error FROM message")


@dataclass
class Post:
    """A mail server with moods, and whom it was asked to reach."""

    server: MailServer
    chance: random.Random
    hurry: bool = False
    moods: Counter[str] = field(default_factory=Counter)

    async def mood(self, server: SMTP) -> str:
        """Answer a mail well, or badly in one of three ways."""
        if self.hurry:
            return OK
        mood = self.chance.choices(("well", "later", "slow", "dies"), (5, 2, 1, 2))[0]
        self.moods[mood] += 1
        if mood == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if mood == "later":
            return "451 4.3.0 Try again later"
        return await dies(server) if mood == "dies" else OK

    def hand_out(self, pool: str, codes: Sequence[str]) -> None:
        """Hand some of these keys out by mail; one address in ten is refused, two are put off at first."""
        rows = ["email,code"]
        for n, code in enumerate(codes[::EVERY]):
            address = f"{code.lower()}@mail.example"
            if at_door := {0: REFUSED, 1: PUT_OFF, 2: PUT_OFF}.get(n % 10):
                self.server.at_door[address] = at_door
            rows.append(f"{address},{code}")
        with transaction_of() as session:
            distributions.distribute_file(
                session,
                actor=Actor.operator("fault harness"),
                pool=pool,
                stream=io.BytesIO("\n".join(rows).encode()),
                mail=True,
            )

    def check(self) -> None:
        """Let all be sent that waits, and compare what the server accepted with the tables."""
        self.hurry = True
        for address in [one for one, answer in self.server.at_door.items() if answer == PUT_OFF]:
            del self.server.at_door[address]
        wait_until_sent()
        check(self.server)
        self.hurry = False


@contextmanager
def post(chance: random.Random) -> Iterator[Post]:
    """Run a mail server with moods until the block ends."""
    with mail_server() as server:
        made = Post(server, chance)
        server.at_data = [made.mood]
        yield made


def wait_until_sent(*, within: float = SENT_WITHIN) -> None:
    """Wait until no message waits, and let the time of the next tries come meanwhile."""
    deadline = time.monotonic() + within
    while left := hasten():
        assert time.monotonic() < deadline, f"{left} messages are stuck"
        time.sleep(0.5)


def check(server: MailServer) -> None:
    """Compare what a mail server accepted with what the messages say of themselves."""
    with transaction_of() as session:
        rows = session.execute(MESSAGES).all()
    by_id = {
        f"<{row.identity.translate(NO_DIGITS)}@{SENDER.partition('@')[2]}>": row for row in rows
    }
    accepted = [mail for mail in server.received if mail.answer == OK]
    reached = {mail.message_id: mail.recipient for mail in accepted}
    refused = {row.recipient for row in rows if row.state == "failed"}
    at_door = {one for one, answer in server.at_door.items() if answer == REFUSED}
    lost = [name for name, row in by_id.items() if row.state == "sent" and name not in reached]
    assert not lost, f"{len(lost)} mails are lost"
    strange = {name: who for name, who in reached.items() if name not in by_id}
    assert not strange, f"{len(strange)} mails have another Message-ID than their message"
    astray = [name for name, who in reached.items() if by_id[name].recipient != who]
    assert not astray, f"{len(astray)} mails went to somebody else"
    assert refused <= at_door, f"{len(refused - at_door)} mails were given up without a refusal"


def hasten() -> int:
    """Let the next tries come now, and count what waits; 1 at least while the database is away."""
    with suppress(errors.DatabaseAwayError), transaction_of() as session:
        for statement in HASTEN:
            session.execute(text(statement))
        return int(session.scalar(WAITING) or 0)
    return 1
