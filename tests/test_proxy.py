"""nginx.conf, the proxy of compose.yaml, in front of a web that notes what reaches it."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests import composing
from tests.waiting import eventually
from webhook.http import headers

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin")
TRUSTING = ssl._create_unverified_context()  # noqa: S323  # the certificate is the test's own

pytestmark = pytest.mark.skipif(
    NGINX is None and "CI" not in os.environ, reason="there is no nginx here"
)


@dataclass
class Front:
    """A running proxy, and what the web behind it was asked."""

    port: int
    requests: list[dict[str, str]] = field(default_factory=list)

    def opened(self, start: bytes) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port))
        line = TRUSTING.wrap_socket(plain)
        line.sendall(start)
        return line

    def post(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        url = f"https://127.0.0.1:{self.port}{path}"
        return httpx.post(url, content=body, headers=headers, verify=TRUSTING, timeout=60)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]  # the other web is just being replaced
    with fronted(tmp_path_factory.mktemp("proxy"), closed) as made:
        yield made


@contextmanager
def fronted(folder: Path, other: int, body_timeout: str = "1s") -> Iterator[Front]:
    """Run the proxy in front of a web, and of another one at this port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        made = Front(free.getsockname()[1])

    class Web(Answering):
        def note(self) -> int:
            made.requests.append({"path": self.path, **self.headers})
            return 202

    with served(Web) as port:
        instead = {
            "webhook:8080": f"127.0.0.1:{other}",
            "webhook2:8080": f"127.0.0.1:{port}",
            "8443": f"127.0.0.1:{made.port}",
            "client_body_timeout 10s": f"client_body_timeout {body_timeout}",
        }
        written = composing.nginx_conf(folder, **instead)
        command = [str(NGINX), "-c", str(written), "-p", str(folder), "-g", "daemon off;"]
        with subprocess.Popen(command) as process:
            try:
                assert eventually(lambda: process.poll() is None and _listens(made.port))
                yield made
            finally:
                process.terminate()


class Answering(BaseHTTPRequestHandler):
    """A web that answers what its `note` says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.note())
        self.send_header("Content-Length", "0")
        self.send_header("X-Content-Type-Options", "nosniff")  # as the web sends it
        self.end_headers()

    def note(self) -> int:
        return 503

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run a web, and give its port."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web.server_port
    web.shutdown()
    web.server_close()


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_the_web_never_hears_of_a_body_that_does_not_come(front):
    head = b"POST /webhooks/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"

    with front.opened(head) as line:
        told = line.recv(65_536)

    assert told == b"" or b" 408 " in told
    assert front.requests == []


def test_whoever_asks_cannot_say_that_somebody_else_does(front):
    spoofed = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}

    answer = front.post("/webhooks/1", b"{}", **spoofed)

    assert answer.status_code == 202
    [request] = front.requests
    assert (request["X-Forwarded-For"], request["X-Forwarded-Proto"]) == ("127.0.0.1", "https")
    front.requests.clear()


def test_a_large_body_is_for_tables_alone(front):
    large = b"x" * (3 << 20)

    answers = [
        front.post(path, large).status_code
        for path in (
            "/webhooks/1",
            "/api/v1/pools",
            "/api/v1/pools/1/keys",
            "/api/v1/pools/1/distributions",
            "/console/pools/1/keys/add",
            "/console/pools/1/distribute/table",
        )
    ]

    assert answers == [413, 413, 202, 202, 202, 202]
    front.requests.clear()


def test_one_address_has_so_many_connections(tmp_path):
    head = b"POST /webhooks/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    refused: set[int] = set()

    def count() -> int:
        refused.update(number for number, line in enumerate(lines) if b" 429 " in heard(line))
        return len(refused)

    with (
        served(Answering) as other,
        fronted(tmp_path, other, body_timeout="600s") as front,
        ExitStack() as hanging,
    ):
        lines = [hanging.enter_context(front.opened(head)) for _ in range(70)]

        assert eventually(lambda: count() >= 6)


def heard(line: ssl.SSLSocket) -> bytes:
    """Give what has come by now."""
    line.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        return line.recv(65_536)
    return b""


def test_while_a_web_is_replaced_the_other_gets_each_request_once(front):
    answers = [front.post("/webhooks/1", b"{}").status_code for _ in range(10)]

    assert answers == [202] * 10
    assert len(front.requests) == 10
    front.requests.clear()


def shaken(front, **versions: ssl.TLSVersion | str) -> str:
    """Shake hands as an older client would; gives the version that was agreed on."""
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.set_ciphers(f"{versions.pop('ciphers', 'ALL')}:@SECLEVEL=0")
    client.maximum_version = versions["newest"]
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        client.wrap_socket(plain) as line,
    ):
        return line.version() or ""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_is_1_2_or_newer_with_ciphers_that_have_forward_secrecy_and_authenticate(front):
    newest, older = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2

    agreed = shaken(front, newest=newest), shaken(front, newest=older)

    assert agreed == ("TLSv1.3", "TLSv1.2")
    with pytest.raises(OSError, match=r"(?i)version|protocol|alert|reset|eof"):
        shaken(front, newest=ssl.TLSVersion.TLSv1_1)
    for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256"):
        with pytest.raises(OSError, match=r"(?i)handshake|alert|reset"):
            shaken(front, newest=older, ciphers=weak)


def test_without_tls_nothing_is_answered_but_that_it_is_needed(front):
    with socket.create_connection(("127.0.0.1", front.port)) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        told = line.recv(65_536)

    assert told == b"" or told.startswith(b"HTTP/1.1 400 ")
    assert front.requests == []


def test_what_the_proxy_answers_by_itself_has_the_headers_of_every_answer(front):
    own = front.post("/webhooks/1", b"x" * (3 << 20))
    webs = front.post("/webhooks/1", b"{}")

    assert (own.status_code, webs.status_code) == (413, 202)
    expected = headers.STRICT | {
        "Strict-Transport-Security": f"max-age={headers.YEAR}; includeSubDomains"
    }
    assert {name: own.headers[name] for name in expected} == expected
    assert webs.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    front.requests.clear()


def test_a_message_that_one_web_cannot_record_goes_to_the_other(tmp_path):
    with served(Answering) as cut_off, fronted(tmp_path, cut_off) as front:
        messages = {front.post("/webhooks/1", b"{}").status_code for _ in range(6)}
        others = {front.post("/api/v1/pools", b"{}").status_code for _ in range(6)}

    assert messages == {202}
    assert others == {202, 503}
