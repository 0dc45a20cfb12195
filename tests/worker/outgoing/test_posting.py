"""Posting to addresses that somebody else chose: which are reached, and what an answer may cost."""

import ipaddress
import socket
import time
from email.utils import formatdate

import pytest

from tests.receiving import answering, dripping, endless, receiving, redirecting, slow
from worker import errors
from worker.outgoing import posting
from worker.outgoing.posting import Receiver

HEADERS = {"content-type": "application/json"}

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  # an address to refuse
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.0.8",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:53aa:64c:0:1234:5678:9abc",
    "64:ff9b::7f00:1",
    "fc00::1",
    "3fff::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


def posted(url: str, **given):
    with Receiver(url, **{"private": True, "patience": 60, **given}) as receiver:
        return receiver.post(b"{}", HEADERS)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known_in_every_form(address):
    assert not posting.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_public(address):
    assert posting.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:7f00:1]"],
)
def test_whatever_resolves_to_loopback_is_refused_and_never_connected_to(host):
    with receiving() as receiver:
        port = receiver.url.rpartition(":")[2]

        answer = posted(f"http://{host}:{port}", private=False)

    assert answer.error == "its name leads to no public address"
    assert receiver.connections == 0


def test_a_name_with_one_public_and_one_private_address_is_refused(monkeypatch):
    resolved = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
        for address in ("93.184.216.34", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)

    answer = posted("http://both.example/", private=False)
    assert answer.error == "its name leads to no public address"


def test_the_connection_goes_to_the_very_address_that_was_checked(monkeypatch):
    """A name that is public when looked up and loopback a moment later gains nothing."""
    looked_up, reached = [], []

    def getaddrinfo(host, port, *args, **kwargs):
        looked_up.append(host)
        address = "93.184.216.34" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def create_connection(place, **_):
        reached.append(place)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)

    posted("http://rebinding.example:8080/", private=False)

    assert looked_up == ["rebinding.example"]
    assert reached == [("93.184.216.34", 8080)]


def test_a_redirect_is_not_followed():
    with receiving() as inner, receiving(redirecting(inner.url)) as outer:
        answer = posted(outer.url)

    assert (answer.status, answer.taken, inner.received) == (302, False, [])


@pytest.mark.parametrize("behaviour", [slow(30), dripping], ids=["silent", "dripping"])
def test_an_answer_that_takes_too_long_is_cut_off(behaviour):
    with receiving(behaviour) as receiver:
        began = time.monotonic()
        answer = posted(receiver.url, patience=0.5)

    assert answer.error == "took too long"
    assert time.monotonic() - began < 20


def test_an_answer_without_end_is_not_read_to_its_end():
    with receiving(endless) as receiver:
        answer = posted(receiver.url, patience=30)

    assert answer.taken


def test_nobody_listening_is_told_in_words():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

    assert posted(f"http://127.0.0.1:{port}/").error == "cannot be reached"


def test_what_is_not_http_is_told_in_words():
    def nonsense(handler):
        handler.close_connection = True
        handler.wfile.write(b"220 mail.example ESMTP\r\n\r\n")

    with receiving(nonsense) as receiver:
        assert posted(receiver.url).error == "answered something that is not HTTP"


def test_a_connection_is_kept_and_a_closed_one_opened_anew():
    def farewell(handler):
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()
        handler.close_connection = True  # without saying so

    with (
        receiving(200, 200, farewell, 200) as receiver,
        Receiver(receiver.url, private=True, patience=60) as kept,
    ):
        answers = [kept.post(b"{}", HEADERS) for _ in range(4)]

    assert all(answer.taken for answer in answers)
    assert receiver.connections == 2


def test_a_certificate_that_nobody_vouches_for_is_not_taken():
    with receiving() as receiver:
        answer = posted(receiver.url.replace("http:", "https:"), patience=60)

    assert "certificate or encryption" in answer.error


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com/",
        "https://",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "https://user:secret@example.com/",
        "https://example.com/#here",
        "https://example.com/\nhost: x",
        "http://127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost./",
        "https://hooks.localhost./",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://10.1/hooks",
        "https://example.com/" + "x" * 2000,
    ],
)
def test_an_address_that_cannot_be_posted_to_is_refused_at_once(url):
    with pytest.raises(errors.InvalidInputError):
        posting.read_url(url, private=False)


@pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://[2606:2800:220:1::1]/"])
def test_a_public_address_is_taken(url):
    assert posting.read_url(url, private=False) == url


def test_an_unknown_name_and_an_inner_one_are_told_alike(monkeypatch):
    def looked_up(host, *_, **__):
        if host == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]

    monkeypatch.setattr(posting.socket, "getaddrinfo", looked_up)

    told = {posted(f"https://{name}.example/", private=False).error for name in ("unknown", "db")}

    assert told == {"its name leads to no public address"}


@pytest.mark.parametrize("failure", [ConnectionRefusedError, OSError, PermissionError])
def test_no_way_not_to_connect_is_told_from_another(monkeypatch, failure):
    def refused(*_, **__):
        raise failure(113, "No route to host")

    monkeypatch.setattr(posting.socket, "create_connection", refused)

    assert posted("https://127.0.0.1/").error == "cannot be reached"


@pytest.mark.parametrize(
    "url",
    ["http://example.com/hooks", "http://10.0.0.7/", "http://localhost.example/", "HTTP://a.b/"],
)
def test_an_address_without_encryption_is_refused(url):
    with pytest.raises(errors.InvalidInputError, match="https://"):
        posting.read_url(url, private=True)


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hooks", "http://127.0.0.1:9/", "http://[::1]/", "http://localhost/"],
)
def test_an_address_of_this_machine_needs_no_encryption(url):
    assert posting.read_url(url, private=True) == url


@pytest.mark.parametrize(
    ("status", "said", "least", "most"),
    [
        (429, "120", 120, 120),
        (503, " 7 ", 7, 7),
        (429, "99999999", posting.LONGEST_REST, posting.LONGEST_REST),
        (429, "Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
    ],
)
def test_a_receiver_is_left_alone_as_its_retry_after_says(status, said, least, most):
    with receiving(answering(status, retry_after=said)) as receiver:
        answer = posted(receiver.url)

    assert (answer.status, answer.gone) == (status, False)
    assert answer.rest is not None
    assert least <= answer.rest <= most


def test_a_receiver_may_name_the_time_until_which_it_is_left_alone():
    later = formatdate(time.time() + 3600, usegmt=True)

    with receiving(answering(429, retry_after=later)) as receiver:
        answer = posted(receiver.url)

    assert answer.rest is not None
    assert 3500 <= answer.rest <= 3600


@pytest.mark.parametrize(("status", "said"), [(429, "soon"), (429, "-5"), (500, "60"), (200, "60")])
def test_a_retry_after_that_says_nothing_is_no_rest(status, said):
    with receiving(answering(status, retry_after=said)) as receiver:
        answer = posted(receiver.url)

    assert answer.rest is None
