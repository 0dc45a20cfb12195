"""How mails leave: by SMTP, with verified TLS and a deadline for each; or as files, without a server.

A server that is away, or that puts the whole connection off, is told apart from one that refuses a
recipient: the first says nothing about the mail.
"""

import re
import smtplib
import socket
import ssl
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from worker import errors
from worker.outgoing.posting import hurried
from worker.settings import MailServer

CONNECT_SECONDS = 10.0  # for the connection, its encryption and the sign-in
# For one mail. RFC 5321 would wait ten minutes for the answer to DATA, so that what a slow server
# accepted is not sent twice; this is as long as a task may take.
SEND_SECONDS = 45.0
LONGEST_ANSWER = 300  # characters of a server's answer that are kept
NAME = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a message's identity
CLOSING = 421  # “closing transmission channel”, whatever it answers


class MailServerAwayError(errors.KeypoolError):
    """The mail server cannot be reached, or takes no mail from us now."""


@dataclass(frozen=True)
class Letter:
    """A mail as it goes out: its name, which no other mail has, its recipient and its bytes."""

    name: str
    recipient: str
    content: bytes


@dataclass(frozen=True)
class Refusal:
    """Why a mail was not accepted.

    Attributes:
        error: the reason.
        final: it is not tried again.
        address: the address itself was refused for good, at the door.
    """

    error: str
    final: bool = False
    address: bool = False


class Connection:
    """A connection to the mail server, made when the first mail is sent."""

    def __init__(self, server: MailServer, *, sender: str) -> None:
        """Name the server, and the address that mails come from."""
        self._server, self._sender = server, sender
        self._smtp: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        """Give the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._smtp is not None:
            self._smtp.close()

    def send(self, letter: Letter) -> Refusal | None:
        """Send a mail; None says that the server has accepted it.

        Raises:
            MailServerAwayError: the server is away: it says nothing about this mail or its recipient.
        """
        until = time.monotonic() + SEND_SECONDS
        try:
            smtp = self._smtp = self._smtp or self._connected()
            with hurried(_socket(smtp), until):
                return _sent(smtp, self._sender, letter)
        except (OSError, smtplib.SMTPException) as error:
            raise MailServerAwayError(_reason(error, until)) from None

    def _connected(self) -> smtplib.SMTP:
        server, until = self._server, time.monotonic() + CONNECT_SECONDS
        name = self._sender.rpartition("@")[2]  # the default looks this machine's name up
        if server.tls == "at once":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=CONNECT_SECONDS, context=_trusted()
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, name, timeout=CONNECT_SECONDS)
        with ExitStack() as failing:
            failing.callback(smtp.close)
            with hurried(_socket(smtp), until):
                if server.tls == "by STARTTLS":
                    smtp.starttls(context=_trusted())
                if server.user:
                    smtp.login(server.user, server.password)
            _socket(smtp).settimeout(SEND_SECONDS)
            failing.pop_all()
        return smtp


class Folder:
    """A folder of .eml files, where no mail server is set: one file a mail, written whole."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it is made with the first mail."""
        self._path = path

    def __enter__(self) -> Self:
        """Give the folder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def send(self, letter: Letter) -> Refusal | None:
        """Write a mail's file, which only its owner may read; again, it is replaced.

        Raises:
            MailServerAwayError: it cannot be written, for example because the disk is full.
        """
        try:
            self._write(letter)
        except OSError as error:
            raise MailServerAwayError(
                f"the folder of mails cannot be written: {error.strerror}"
            ) from None
        return None

    def _write(self, letter: Letter) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path / f".{letter.name}"
        draft.touch(mode=0o600)
        draft.write_bytes(letter.content)
        draft.replace(self._path / f"{letter.name}.eml")

    def remove(self, names: Collection[str]) -> int:
        """Remove the files of mails; gives their number."""
        for name in names:
            (self._path / f"{name}.eml").unlink(missing_ok=True)
        return len(names)

    def names(self) -> set[str]:
        """Give the names of the mails whose files are there; a person's own files are none."""
        stems = (file.stem for file in self._path.glob("*.eml"))
        return {stem for stem in stems if NAME.fullmatch(stem)}


def _socket(smtp: smtplib.SMTP) -> socket.socket:
    if smtp.sock is None:
        raise smtplib.SMTPServerDisconnected
    return smtp.sock


def _sent(smtp: smtplib.SMTP, sender: str, letter: Letter) -> Refusal | None:
    smtp.ehlo_or_helo_if_needed()
    beyond_ascii = not letter.recipient.isascii()
    if beyond_ascii and not smtp.has_extn("smtputf8"):
        return Refusal("the mail server takes no addresses beyond ASCII", final=True)
    options = ["SMTPUTF8"] if beyond_ascii else []
    try:
        smtp.sendmail(sender, [letter.recipient], letter.content, options)
    except smtplib.SMTPRecipientsRefused as refused:
        code, words = refused.recipients[letter.recipient]
        if code == CLOSING:
            raise smtplib.SMTPServerDisconnected(_answer(code, words)) from None
        return Refusal(_answer(code, words), final=code >= 500, address=code >= 500)
    except smtplib.SMTPDataError as refused:
        if refused.smtp_code == CLOSING:
            raise
        return Refusal(
            _answer(refused.smtp_code, refused.smtp_error), final=refused.smtp_code >= 500
        )
    return None


def _reason(error: Exception, until: float) -> str:
    """Say why the server is away, without the password that it was given."""
    if isinstance(error, TimeoutError) or time.monotonic() >= until:
        return "the mail server took too long"
    match error:
        case smtplib.SMTPAuthenticationError():
            words = f"refused the sign-in ({error.smtp_code})"
        case smtplib.SMTPResponseException():
            words = f"answered {_answer(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPNotSupportedError():
            words = "offers no encryption by STARTTLS, or no sign-in"
        case smtplib.SMTPServerDisconnected():
            words = "closed the connection"
        case ssl.SSLError():
            words = (
                f"has a certificate or encryption that does not do: {error.reason or 'TLS failed'}"
            )
        case OSError():
            words = f"cannot be reached: {error.strerror or type(error).__name__}"
        case _:
            words = "answered something that is not SMTP"
    return f"the mail server {words}"


def _answer(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    printable = "".join(c if c.isprintable() else " " for c in text)
    return f"{code} {' '.join(printable.split())}".strip()[:LONGEST_ANSWER]


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()
