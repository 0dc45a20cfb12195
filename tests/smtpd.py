"""A mail server as other people run one (aiosmtpd): it accepts, refuses, is slow, or dies as it is told."""

import asyncio
import email
import email.policy
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from functools import cached_property

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

NO_DIGITS = str.maketrans("0123456789", "ghijklmnop")  # of a Message-ID
Answer = str | Callable[[SMTP], Awaitable[str]]
OK = "250 OK"


@dataclass
class Mail:
    """One mail as the server got it."""

    sender: str
    recipient: str
    content: bytes
    answer: str = ""  # the server's, also where it died before it was said

    @property
    def message(self) -> EmailMessage:
        """The mail, read by Python's own library."""
        read = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(read, EmailMessage)
        return read

    @cached_property
    def message_id(self) -> str:
        """Its Message-ID, read once."""
        return str(
            BytesHeaderParser(policy=email.policy.default).parsebytes(self.content)["Message-ID"]
        )

    @property
    def text(self) -> str:
        """Its plain text."""
        part = self.message.get_body(("plain",))
        assert part is not None
        return part.get_content().replace("\r\n", "\n")


@dataclass
class MailServer:
    """A running server.

    `at_door` answers RCPT by address; `at_data` answers DATA in turn, the last one again and again.
    """

    port: int = 0
    at_door: dict[str, str] = field(default_factory=dict)
    at_data: list[Answer] = field(default_factory=lambda: [OK])
    received: list[Mail] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    connections: int = 0
    signed_in: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"smtp://localhost:{self.port}"

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, _envelope: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += 1
        return answers

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        self.tried.append(address)
        answer = self.at_door.get(address, OK)
        if answer == OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        [recipient] = envelope.rcpt_tos
        mail = Mail(str(envelope.mail_from), recipient, envelope.content)
        self.received.append(mail)
        answer = self.at_data.pop(0) if len(self.at_data) > 1 else self.at_data[0]
        mail.answer = answer if isinstance(answer, str) else await answer(server)
        return mail.answer

    def check(self, _server: object, _session: object, _envelope: object, _way: str, data: object):
        """Let in whoever signs in, and remember with what."""
        self.signed_in.append((data.login.decode(), data.password.decode()))  # type: ignore[attr-defined]
        return AuthResult(success=data.password != b"wrong", handled=False)  # type: ignore[attr-defined]


async def dies(server: SMTP) -> str:
    """Accept a mail, and die before saying so."""
    assert server.transport is not None
    server.transport.abort()
    return OK


def slow(seconds: float) -> Callable[[SMTP], Awaitable[str]]:
    """Answer only after a while."""

    async def late(_server: SMTP) -> str:
        await asyncio.sleep(seconds)
        return OK

    return late


@contextmanager
def mail_server(
    *at_data: Answer,
    tls: ssl.SSLContext | None = None,
    at_once: bool = False,
    port: int = 0,
    signs_in: bool = False,
) -> Iterator[MailServer]:
    """Run a mail server on this machine until the block ends; with `tls` it is encrypted."""
    kept = MailServer()
    kept.at_data = list(at_data) or [OK]

    connections: list[SMTP] = []

    def connection() -> SMTP:
        connections.append(
            made := SMTP(
                kept,
                hostname="mail.test",
                enable_SMTPUTF8=True,
                tls_context=None if at_once else tls,
                require_starttls=tls is not None and not at_once,
                authenticator=kept.check if signs_in else None,
                auth_required=signs_in,
                auth_require_tls=False,
            )
        )
        return made

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(connection, "localhost", port, ssl=tls if at_once else None)
    )
    kept.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        asyncio.run_coroutine_threadsafe(_end(server, connections), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server, connections: list[SMTP]) -> None:
    """Leave no connection and no task: those of a loop that is gone warn of themselves in other tests."""
    server.close()
    for one in connections:
        if one.transport is not None:
            one.transport.abort()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
