"""The environment, read once and typed; a wrong variable gives one sentence."""

import ipaddress
import os
import re
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parseaddr
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.errors import SettingsError

SHORTEST_KEY = 32  # bytes of a new secret key; old ones behind it may be shorter
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: object) -> timedelta:
    """Read `3600`, `-90s`, `15m`, `24h` or `40d`; a bare number counts seconds.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([+-]?[0-9]{1,10}(?:\.[0-9]{1,6})?)([smhd]?)", str(value).strip())
    if not match:
        raise ValueError("give seconds, or a number with s, m, h or d, such as 40d")
    return timedelta(seconds=float(match[1]) * UNITS[match[2]])


def _list(value: object) -> object:
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


@dataclass(frozen=True)
class MailServer:
    """A mail server: where it is, how the way there is encrypted, and who signs in."""

    host: str
    port: int
    tls: Literal["at once", "by STARTTLS", "none"]
    user: str = ""
    password: str = field(default="", repr=False)


def mail_server(value: object) -> MailServer:
    """Read `smtp://user:password@host:587` (STARTTLS) or `smtps://host`; loopback is not encrypted.

    Raises:
        ValueError: it is neither; the message does not repeat it, because it has a password.
    """
    try:
        url = urlsplit(str(value).strip())
        port, host = url.port, url.hostname or ""
    except ValueError:
        url, port, host = urlsplit(""), None, ""
    more = url.path.strip("/") or url.query or url.fragment  # such as a password's # that is no %23
    if not host or url.scheme not in ("smtp", "smtps") or more:
        raise ValueError("give smtp://user:password@host:587, smtps://… or smtp://localhost:25")
    ports = {"smtp": 587, "smtps": 465}
    plain = url.scheme == "smtp" and _is_loopback(host)
    return MailServer(
        host,
        port or ports[url.scheme],
        "none" if plain else "at once" if url.scheme == "smtps" else "by STARTTLS",
        unquote(url.username or ""),
        unquote(url.password or ""),
    )


def broker(value: object) -> object:
    """Read `redis://host:6379/0`, `rediss://` (TLS) or `redis+socket:///path`; a certificate is checked.

    Celery's transport checks none unless it is told to.

    Raises:
        ValueError: it is none of them; the message does not repeat it, because it has a password.
    """
    url = str(value or "").strip()
    try:
        parts = urlsplit(url)
        _ = parts.port
        asked = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        parts, asked = urlsplit(""), {}
    there = parts.hostname if parts.scheme in ("redis", "rediss") else parts.path.strip("/")
    number = parts.path.strip("/") if parts.hostname else asked.get("virtual_host", "")
    tls = {name for name in asked if name.startswith("ssl_")}
    known = parts.scheme in ("redis", "rediss", "redis+socket") and (number or "0").isdecimal()
    if url and (not there or not known or parts.fragment or asked.keys() - tls - {"virtual_host"}):
        raise ValueError(
            "give redis://user:password@host:6379/0, rediss://… or redis+socket:///path"
        )
    if tls and parts.scheme != "rediss":
        raise ValueError("certificates are of rediss://, which is encrypted")
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in asked:
        url += f"{'&' if asked else '?'}ssl_cert_reqs=required"
    return url or None


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _sender(value: object) -> object:
    name, address = parseaddr(str(value))
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or not address.isascii() or not address.isprintable():
        raise ValueError("give an address such as keys@example.com")
    if name:
        raise ValueError("give the address alone; each organization sends under its own name")
    return address


def _networks(value: object) -> object:
    """Read addresses and networks, such as `10.0.0.0/8,::1`.

    Raises:
        ValueError: one is neither.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError("give addresses or networks, such as 10.0.0.0/8,::1")
    return [ipaddress.ip_network(part.strip()) for part in parts if str(part).strip()]


def _public_url(value: object) -> str | None:
    url = str(value or "").strip().rstrip("/")
    parts = urlsplit(url)
    whole = parts.scheme in ("http", "https") and parts.hostname and url == parts.geturl()
    if url and (not whole or parts.query or parts.fragment or parts.username):
        raise ValueError("give an address such as https://keys.example.com")
    return url or None


Duration = Annotated[timedelta, BeforeValidator(duration)]
SmtpUrl = Annotated[MailServer, NoDecode, BeforeValidator(mail_server)]
Listed = Annotated[list[str], NoDecode, BeforeValidator(_list)]


class Settings(BaseSettings):
    """The settings; a field's variable is KEYPOOL_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="KEYPOOL_", frozen=True)

    home: Path = Field(
        Path(".keypool"), description="Where the embedded servers, logs and reports live."
    )
    database_url: str | None = Field(
        None, description="The owner's login; unset: the embedded server."
    )
    web_database_url: str | None = Field(None, description="keypool_web's login.")
    receiver_database_url: str | None = Field(
        None, description="The same login for webhooks alone; unset: the web's URL."
    )
    web_connections: int = Field(
        8, ge=4, le=100, description="Connections of a web process to PostgreSQL, or to the pooler."
    )
    pooler: Annotated[
        Literal["transaction"] | None, BeforeValidator(lambda value: value or None)
    ] = Field(None, description="What is between us and PostgreSQL: a pooler in this mode.")
    direct_database_url: str | None = Field(
        None, description="The owner's login past the pooler, for migrations and reports."
    )
    analyst_database_url: str | None = Field(None, description="keypool_analyst's login.")
    redis_url: Annotated[str | None, BeforeValidator(broker)] = Field(
        None, description="The broker; unset: the embedded server."
    )
    secret_key: Listed = Field(
        [], description="Encrypts secrets and signs sessions; old keys after the new one."
    )
    clock_offset: Duration = Field(
        timedelta(), description="Shifts every now; embedded database only."
    )
    log_format: Literal["console", "json"] = Field("console", description="How logs are written.")
    local_url: str = Field(
        "http://127.0.0.1:8080",
        description="Where the web is on this machine; `keypool up` says it.",
    )
    public_url: Annotated[str | None, BeforeValidator(_public_url)] = Field(
        None, description="Where people and systems reach the web; mails link there."
    )
    settle_batch: int = Field(
        500, ge=1, le=10_000, description="How many events are decided in one transaction."
    )
    settle_sweep: Duration = Field(
        timedelta(seconds=5), description="How often the sweep looks for what a lost nudge left."
    )
    settlers: int = Field(
        default_factory=lambda: min(64, os.cpu_count() or 1),
        ge=1,
        le=64,
        description="How many settlers work at once, on all hosts together.",
    )
    expiry_chunk: int = Field(
        5_000, ge=1, le=100_000, description="How many assignments expire in one transaction."
    )
    invoice_grace: Duration = Field(
        timedelta(days=3), description="How long after a month's end its invoices stay drafts."
    )
    guess_window: Duration = Field(
        timedelta(minutes=10), description="How far back unknown and mistyped keys are counted."
    )
    guesses_per_learner: int = Field(
        20, ge=1, description="Wrong keys in that window after which a learner's address waits."
    )
    guesses_per_source: int = Field(
        1_000, ge=1, description="Wrong keys in that window after which a whole source waits."
    )
    codes_per_address: int = Field(
        5, ge=1, description="Codes of a redeem page within a day, not typed in, for one address."
    )
    codes_per_client: int = Field(
        20, ge=1, description="The same for one client; a school behind one address may need more."
    )
    private_endpoints: bool = Field(
        False, description="Lets endpoints be at addresses that are not public."
    )
    endpoint_patience: Duration = Field(
        timedelta(seconds=10), description="How long an endpoint may take to answer one delivery."
    )
    delivery_lasts: Duration = Field(
        timedelta(days=3), description="How long a delivery is tried before it is set apart."
    )
    smtp_url: SmtpUrl | None = Field(
        None, description="The mail server; unset: mails are files under the home."
    )
    mail_from: Annotated[str, BeforeValidator(_sender)] | None = Field(
        None, description="The address that mails come from."
    )
    bodies_kept: Duration = Field(
        timedelta(days=90),
        description="How long bodies of events in and out are kept once done with.",
    )
    requests_per_minute: int = Field(
        6_000, ge=1, description="Requests of one token within a minute after which it waits."
    )
    session_idle: Duration = Field(
        timedelta(hours=2), description="How long a session of the console may stay unused."
    )
    session_lasts: Duration = Field(
        timedelta(hours=12), description="How long after its sign-in a session ends at the latest."
    )
    trusted_proxies: Annotated[
        list[ipaddress.IPv4Network | ipaddress.IPv6Network], NoDecode, BeforeValidator(_networks)
    ] = Field([], description="The proxies, by address or network, whose X-Forwarded-For counts.")
    answers_kept: Duration = Field(
        timedelta(hours=24), description="How long an answer is given again under its key."
    )
    largest_upload: int = Field(
        1 << 30, ge=1 << 20, description="Bytes of the largest table that is taken."
    )
    uploads_at_once: int = Field(
        8,
        ge=1,
        description="Tables of over 1 MiB that a web process takes at once; of one organization, half as many.",
    )
    answers_per_token: int = Field(
        10_000, ge=1, description="Answers to Idempotency-Keys that are kept for one token."
    )
    body_deadline: Duration = Field(
        timedelta(seconds=10),
        description="How long a request's body may take; of a long one, each piece.",
    )
    deliveries_kept: Duration = Field(
        timedelta(days=400), description="How long deliveries are kept after they ended."
    )
    history_kept: Duration | None = Field(
        None, description="How long the history is kept; unset: for ever."
    )
    sign_ins_kept: Duration | None = Field(
        None,
        description="How long the history keeps sign-ins and attempts at them; unset: as long as the rest.",
    )
    ready_file: Path | None = Field(
        None, description="A file that a worker, or beat, makes once it works."
    )
    metrics_token: str | None = Field(
        None, min_length=16, description="The bearer token with which /metrics is read."
    )
    notebooks: Path | None = Field(
        None, description="A folder with notebooks of your own, stored and listed like keypool's."
    )
    lake: Annotated[str | None, BeforeValidator(lambda value: value or None)] = Field(
        None,
        description="Where the lake is: a folder, or an address for fsspec; unset: `lake` in the home.",
    )
    chromium: Path | None = Field(
        None, description="The browser that prints reports as PDF; unset: the one on PATH."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.clock_offset and self.database_url:
            raise ValueError(
                "KEYPOOL_CLOCK_OFFSET is for the embedded database; unset it or KEYPOOL_DATABASE_URL"
            )
        if self.database_url and not self.secret_key:
            raise ValueError("KEYPOOL_SECRET_KEY must be set where KEYPOOL_DATABASE_URL is")
        own = (self.database_url, self.web_database_url, self.analyst_database_url)
        if self.pooler and not any(own):
            raise ValueError(
                "KEYPOOL_POOLER is for a database of your own; set KEYPOOL_DATABASE_URL or unset it"
            )
        if self.smtp_url and not self.mail_from:
            raise ValueError("KEYPOOL_MAIL_FROM must be set where KEYPOOL_SMTP_URL is")
        if self.secret_key and (size := len(self.secret_key[0].strip().encode())) < SHORTEST_KEY:
            raise ValueError(
                f"KEYPOOL_SECRET_KEY has a first key of {size} bytes, and {SHORTEST_KEY} are the "
                "fewest: put a new one first, such as “openssl rand -hex 32” makes, and leave the "
                "short one behind it until “keypool secrets reencrypt” has run"
            )
        return self

    def web_url(self, path: str) -> str:
        """Give the address of a page, for people: under KEYPOOL_PUBLIC_URL, else on this machine."""
        return (self.public_url or self.local_url).rstrip("/") + path

    def links_lead_here(self) -> bool:
        """Say whether links in mails lead here: those of mails that leave the machine need a public address."""
        return self.public_url is not None or self.smtp_url is None

    def reaches_others(self) -> bool:
        """Say whether such an address leads anywhere but to this machine."""
        return not _is_loopback(urlsplit(self.web_url("")).hostname or "")

    def secret_keys(self) -> list[str]:
        """Give the keys, newest first: the first seals and signs, the others only open.

        On embedded servers without a setting, one is made once and kept in the home folder.
        Spaces around a key do not count. The first release counted them, so the keys as they are
        written come last: what it sealed still opens.
        """
        written = self.secret_key or [_kept_secret(self.home)]
        return list(dict.fromkeys([*map(str.strip, written), *written]))


def _kept_secret(home: Path) -> str:
    path = home / "secret_key"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=home) as draft:  # mode 0600
            draft.write(secrets.token_urlsafe(32))
            draft.flush()
            with suppress(FileExistsError):  # another process was first; use its secret
                os.link(draft.name, path)
    return path.read_text()


@cache
def settings() -> Settings:
    """Read the environment, once per process.

    Raises:
        SettingsError: a variable is wrong; the message names it.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # pydantic's plugin-less signature
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(e) for e in error.errors())) from None


def _sentence(error: ErrorDetails) -> str:
    reason = str(error["msg"]).removeprefix("Value error, ")
    field = "_".join(str(part) for part in error["loc"]).upper()
    return f"KEYPOOL_{field}: {reason}." if field else f"{reason}."
