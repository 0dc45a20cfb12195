"""Single sign-on at a provider that others wrote: OIDC_PROVIDER_MOCK names its program, as .ci/run sets it."""

import os
import secrets
import socket
import subprocess
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from tests.waiting import eventually
from tests.webhook.console.test_single_sign_on import ANSWER, asked
from worker.database import connections as databases
from worker.tenancy.actors import Role

PROGRAM = os.environ.get("OIDC_PROVIDER_MOCK", "")
pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="OIDC_PROVIDER_MOCK names no oidc-provider-mock; .ci/run installs one"
)


def answers(issuer: str) -> bool:
    try:
        return httpx.get(f"{issuer}/.well-known/openid-configuration").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def issuer():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    served = subprocess.Popen(
        [PROGRAM, "--port", str(port), "--require-nonce", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        served.terminate()
        served.wait()


def test_whoever_signs_in_at_a_provider_that_others_wrote_is_let_in_once(
    app, issuer, person, place
):
    operator, where = person(Role.OPERATOR), f"/organizations/{place.world.parent}"
    operator.post(
        f"{where}/single-sign-on", page=where, issuer=issuer, client_id="keypool",
        client_secret="a secret", domains="mock.example", role_claim="groups", roles="staff=analyst",
    )  # fmt: skip
    sub = secrets.token_hex(4)
    email, client = f"{sub}@mock.example", app.test_client()
    claims = {"email": email, "email_verified": True, "groups": ["staff"]}
    httpx.put(f"{issuer}/users/{sub}", json=claims).raise_for_status()

    sent = httpx.post(asked(client, email), data={"sub": sub}).headers["Location"]
    back = sent.removeprefix("http://localhost")
    statuses = [client.get(back).status_code for _ in range(2)]
    inside = client.get("/console/pools").status_code
    operator.post(f"{where}/single-sign-on", page=where, do="remove")

    assert urlsplit(sent).path == ANSWER
    assert (statuses, inside) == ([303, 422], 200)
    with databases.session() as session:
        told = "SELECT role, vouched_by FROM console_user WHERE email = :email"
        made = session.execute(text(told), {"email": email}).one()
    assert (made.role, made.vouched_by) == ("analyst", f"{issuer} {sub}")
