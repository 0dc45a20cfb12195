"""The app in processes of its own, served by granian as it is everywhere."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import Addresses
from tests.webhook.conftest import Sender
from worker import signatures

SERVE = [sys.executable, "-m", "webhook"]
# One for all: to make a client, with what it needs for TLS, takes longer than to ask a question.
CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass
class Server:
    """A running web server and where its logs go."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def post(
        self, sender: Sender, document: object, *, webhook_id: str | None = None, **headers: str
    ) -> httpx.Response:
        body = json.dumps(document).encode()
        name, moment = webhook_id or f"msg_{secrets.token_hex(8)}", int(time.time())
        signed = {
            "webhook-id": name,
            "webhook-timestamp": str(moment),
            "webhook-signature": signatures.sign(sender.secret, name, moment, body),
            "Content-Type": "application/json",
            **headers,
        }
        return CLIENT.post(self.url + sender.path, content=body, headers=signed)


@contextmanager
def serving(
    addresses: Addresses, folder: Path, *, workers: int = 1, **variables: str
) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "web.log"
    environment = os.environ | addresses.environment() | {"KEYPOOL_LOG_FORMAT": "json"} | variables
    environment.pop("KEYPOOL_DATABASE_URL")  # the web has its own login, and no other
    command = [*SERVE, "--port", str(port), "--workers", str(workers)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        server = Server(f"http://127.0.0.1:{port}", log, process)
        try:
            _await(server)
            yield server
        finally:
            with suppress(ProcessLookupError):  # its workers would outlive granian itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(server: Server) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if CLIENT.get(server.url + "/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(server.log.read_text())
