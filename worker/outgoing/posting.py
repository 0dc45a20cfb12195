"""Posting to an untrusted URL: public addresses only, with a timeout, no redirects (against SSRF).

An endpoint may name any host, so a request could reach services that only this machine can reach. The
name is resolved once, every address is checked, and the connection goes to one of the checked
addresses. So DNS rebinding does not help an attacker.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

from worker import errors
from worker.logs import log

REQUEST_TIMEOUT = 10.0  # seconds for one request, from the look-up to the end of the response
LARGEST_ANSWER = 64 * 1024  # bytes read of a response body; the rest is ignored
LONGEST_URL = 2000
PORTS = {"http": 80, "https": 443}
GONE = 410
RESTING = (429, 503)  # with which a Retry-After comes
LONGEST_REST = 6 * 3600.0  # seconds; as long as the longest time between two retries
SECONDS = re.compile("[0-9]{1,9}")

UNICAST = ipaddress.ip_network("2000::/3")  # what is given out of IPv6
# Reserved for protocols, relays and documents; older Pythons call most of the first and the last public.
SPECIAL = [
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
    ipaddress.ip_network("3fff::/20"),
]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddressError(errors.KeypoolError):
    """The endpoint's address is not a public one."""


@dataclass(frozen=True)
class Answer:
    """The result of a post: an HTTP status if there was a response, and in `error` why it failed.

    `rest` is how many seconds the receiver wants to be left alone, as its `Retry-After` says.
    """

    status: int | None = None
    error: str | None = None
    rest: float | None = None

    @property
    def taken(self) -> bool:
        """Say whether the receiver accepted it (any 2xx)."""
        return self.error is None

    @property
    def gone(self) -> bool:
        """Say whether the receiver wants nothing more, ever (410)."""
        return self.status == GONE


class Receiver:
    """One receiver, and the connection to it, which is reused."""

    def __init__(self, url: str, *, private: bool, patience: float = REQUEST_TIMEOUT) -> None:
        """Name a receiver; `private` allows addresses that are not public."""
        self._url, self._private, self._patience = urlsplit(url), private, patience
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        """Give the receiver itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._hang_up()

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and give the result; a failure is a result too, and never raised."""
        until = time.monotonic() + self._patience
        try:
            return self._posted(body, headers, until)
        except (OSError, http.client.HTTPException, ValueError, errors.KeypoolError) as error:
            self._hang_up()
            return _failed(error, until)

    def _posted(self, body: bytes, headers: Mapping[str, str], until: float) -> Answer:
        if self._connection is not None:
            # The receiver may have closed the idle connection: only that is retried, on a new one.
            with suppress(http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                return self._exchanged(self._connection, body, headers, until)
            self._hang_up()
        self._connection = self._connected(until)
        return self._exchanged(self._connection, body, headers, until)

    def _exchanged(
        self,
        connection: http.client.HTTPConnection,
        body: bytes,
        headers: Mapping[str, str],
        until: float,
    ) -> Answer:
        with hurried(connection.sock, until):
            connection.request("POST", _target(self._url), body, dict(headers))
            response = connection.getresponse()
            # Only the status counts; the rest is read so that the connection can be reused.
            whole = False
            with suppress(OSError, http.client.HTTPException):
                whole = len(response.read(LARGEST_ANSWER + 1)) <= LARGEST_ANSWER
        if not whole or response.will_close:
            self._hang_up()
        return _judged(response.status, response.getheader("Retry-After"))

    def _connected(self, until: float) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port or PORTS[self._url.scheme]
        connection = http.client.HTTPConnection(host, port)
        connection.auto_open = 0  # it would resolve the name again, unchecked
        if self._url.scheme == "https":
            connection.default_port = PORTS["https"]  # the Host header leaves the default port out
        connection.sock = _reached(addresses(host, port, private=self._private), port, until)
        if self._url.scheme == "https":
            secured = _trusted().wrap_socket(
                connection.sock, server_hostname=host, do_handshake_on_connect=False
            )
            connection.sock = secured
            with hurried(secured, until):
                secured.do_handshake()
        return connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_url(url: str, *, private: bool) -> str:
    """Check a URL as far as that is possible without resolving its host.

    Raises:
        InvalidInputError: it cannot be posted to, or its host is an IP address that is not public.
    """
    url = url.strip()
    try:
        read = urlsplit(url)
        good = read.scheme in PORTS and bool(read.hostname) and read.port != 0
    except ValueError:
        good = False
    if (
        not good
        or len(url) > LONGEST_URL
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise errors.InvalidInputError(
            "That is no address to post to; write https://example.com/hooks.", field="url"
        )
    if read.username is not None or read.fragment:
        raise errors.InvalidInputError(
            "An endpoint's address has neither a user nor a fragment (#…).", field="url"
        )
    _refuse_at_once(read.hostname or "", private=private)
    if read.scheme == "http" and not is_loopback(read.hostname or ""):
        raise errors.InvalidInputError(
            "Events are sent encrypted: write an address that begins with https://.", field="url"
        )
    return url


def addresses(host: str, port: int, *, private: bool) -> list[str]:
    """Resolve a host and give its addresses; all must be public, unless `private` allows others.

    Raises:
        RefusedAddressError: one of them is not public.
        OSError: the name cannot be resolved.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    known = list(dict.fromkeys(str(place[0]) for *_, place in infos))
    for address in known:
        if not private and not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise RefusedAddressError(f"{host} is at {address}")
    return known


def is_loopback(host: str) -> bool:
    """Say whether a host, as it is written, is this machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.rstrip(".") == "localhost"


def is_public(address: IPAddress) -> bool:
    """Say whether an address is public, in whatever form it is written.

    An IPv4 address inside an IPv6 one (mapped, 6to4) is judged itself. The other forms (compatible,
    translated, Teredo) are never public.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address not in UNICAST:
            return False
    if any(address in network for network in SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _refuse_at_once(host: str, *, private: bool) -> None:
    if private:
        return
    host = host.rstrip(".")
    written = _written(host)
    inner = host == "localhost" or host.endswith(".localhost")
    if not is_public(written) if written else inner:
        raise errors.InvalidInputError(
            "An endpoint's address is a public one; this is not.", field="url"
        )


def _written(host: str) -> IPAddress | None:
    """Read a host that is written as an address; None for a name.

    An IPv4 address may be a number or have fewer parts: 2130706433, 0x7f.1 and 127.1 are all 127.0.0.1.
    """
    with suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    with suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0])
    return None


def _reached(known: list[str], port: int, until: float) -> socket.socket:
    """Connect to the first address that accepts; raise the last one's error if none does."""
    failure: OSError = OSError("no address")
    for address in known:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            reached = socket.create_connection((address, port), timeout=left)
            # Head and body are two writes: the second must not wait for the first's ACK (Nagle).
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return reached
        except OSError as error:
            failure = error
    raise failure


@contextmanager
def hurried(connection: socket.socket, until: float) -> Iterator[None]:
    """Close a connection at a deadline, because a socket's own timeout restarts with every byte."""

    def cut() -> None:
        with suppress(OSError):  # not SSLSocket's own, which would drop what is being read
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(max(until - time.monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _judged(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer(status)
    if status in RESTING:
        return Answer(status, f"answered {status}", _rest(retry_after))
    if 300 <= status < 400:
        return Answer(status, f"answered {status}; redirects are not followed")
    return Answer(status, f"answered {status}")


def _rest(retry_after: str | None) -> float | None:
    """Read a Retry-After (RFC 9110): seconds, or a time of the sender's clock; None if it is neither."""
    if retry_after is None:
        return None
    if SECONDS.fullmatch(retry_after.strip()):
        return min(float(retry_after), LONGEST_REST)
    with suppress(ValueError, OverflowError):
        left = parsedate_to_datetime(retry_after).timestamp() - time.time()
        return min(max(left, 0.0), LONGEST_REST)
    return None


def _failed(error: Exception, until: float) -> Answer:
    """Say why there is no response, without quoting the receiver or mapping the network it is asked from.

    An unknown name and an inner one are told alike, and so are all ways not to connect. The log has more.
    """
    log.info("endpoint not reached", error=type(error).__name__, reason=str(error))
    if isinstance(error, TimeoutError) or time.monotonic() >= until:
        return Answer(error="took too long")
    match error:
        case socket.gaierror() | RefusedAddressError():
            words = "its name leads to no public address"
        case ssl.SSLError():
            words = f"its certificate or encryption does not do: {error.reason or 'TLS failed'}"
        case http.client.HTTPException() | ValueError():
            words = "answered something that is not HTTP"
        case _:
            words = "cannot be reached"
    return Answer(error=words)


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()
