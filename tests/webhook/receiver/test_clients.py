"""Clients that others wrote: what they sign comes in, and what goes out they verify."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks
import svix

from tests.webhook.conftest import redemption
from worker import signatures
from worker.outgoing import delivering

NPM = Path(__file__).parent / "npm"

SIGN = """
const { Webhook } = require("standardwebhooks");
const [secret, id, at, body] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(new Webhook(secret).sign(id, new Date(at * 1000), body));
"""
VERIFY = """
const { Webhook } = require("standardwebhooks");
const [secret, headers, body] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""

Sign = Callable[[str, str, int, str], str]


def node(script: str, *given: object) -> subprocess.CompletedProcess[str]:
    if not shutil.which("node"):
        pytest.skip("this machine has no Node")
    return subprocess.run(
        ["node", "-e", script],
        input=json.dumps(given),
        env=os.environ | {"NODE_PATH": str(NPM)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def by_npm(secret: str, name: str, at: int, body: str) -> str:
    done = node(SIGN, secret, name, at, body)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def by_svix(secret: str, name: str, at: int, body: str) -> str:
    return svix.Webhook(secret).sign(name, datetime.fromtimestamp(at, UTC), body)


def by_standardwebhooks(secret: str, name: str, at: int, body: str) -> str:
    return standardwebhooks.Webhook(secret).sign(name, datetime.fromtimestamp(at, UTC), body)


@pytest.mark.parametrize("sign", [by_npm, by_svix, by_standardwebhooks])
def test_what_a_client_of_others_signs_comes_in_and_other_bytes_do_not(sender, sign: Sign):
    name, at = f"msg_{secrets.token_hex(8)}", int(time.time())
    body = json.dumps(redemption(email="zoë@example.com"), ensure_ascii=False)
    signature = sign(signatures.write_secret(sender.secret), name, at, body)

    taken = sender.post(
        None, raw=body.encode(), webhook_id=name, at=at, webhook_signature=signature
    )
    other = sender.post(
        None, raw=body.encode() + b" ", webhook_id=f"{name}_", at=at, webhook_signature=signature
    )

    assert (taken.status_code, other.status_code) == (202, 401)


def test_what_goes_out_is_verified_by_the_npm_library_and_other_bytes_are_not():
    body = '{"type":"pool.low","data":{"name":"Zoë"}}'
    keys = [secrets.token_bytes(32) for _ in range(2)]
    headers = delivering.signed(
        keys, webhook_id="msg_1", timestamp=int(time.time()), body=body.encode()
    )
    known = signatures.write_secret(keys[1])

    verified, forged = (node(VERIFY, known, headers, sent) for sent in (body, body + " "))

    assert json.loads(verified.stdout) == json.loads(body)
    assert forged.returncode != 0
    assert "No matching signature found" in forged.stderr


def test_every_file_of_others_is_the_one_whose_checksum_is_kept():
    kept = dict(reversed(line.split()) for line in (NPM / "SHA256SUMS").read_text().splitlines())
    there = {
        str(path.relative_to(NPM)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in NPM.rglob("*")
        if path.is_file() and path.parent != NPM
    }

    assert kept == there
    assert all((folder / "LICENSE").exists() for folder in (
        NPM / "standardwebhooks", NPM / "fast-sha256", NPM / "@stablelib" / "base64",
    ))  # fmt: skip
