"""OpenID Connect: asking an identity provider who somebody is, and judging its answer.

The authorization code flow with PKCE, state and nonce. What the provider says is checked as OpenID Connect
Core 1.0, 3.1.3.7 demands. What asks and judges is imported when somebody signs in: it would take a tenth of the
time in which a web process or a worker starts.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker import errors

DISCOVERY = "/.well-known/openid-configuration"
SECONDS = 10.0  # for each request to the provider
MOST_ASKED = 16  # requests at once in one process; who waits for a provider has a thread
LEEWAY = 60  # seconds by which the provider's clock may be off
# Signatures by the provider's own keys: a symmetric one, or none, would be anybody's.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
SCOPE = "openid email profile"

_asking = threading.BoundedSemaphore(MOST_ASKED)


class IdentityProviderError(errors.RefusedError):
    """The identity provider did not answer as it has to; sign in again, or tell your manager."""


@dataclass(frozen=True)
class Client:
    """Keypool as an identity provider knows it."""

    issuer: str
    client_id: str
    secret: str
    redirect_uri: str


@dataclass(frozen=True)
class Question:
    """What an answer must fit: the state of the request, its nonce, and the verifier of PKCE."""

    state: str
    nonce: str
    verifier: str


def authorization_url(client: Client, asked: Question, *, email: str, again: bool = False) -> str:
    """Give where a browser is sent to sign in; `again` asks for the password, even if they are signed in.

    Raises:
        IdentityProviderError: the provider's description cannot be read.
        BusyError: as many requests to providers are on their way as may.
    """
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    url: str = prepare_grant_uri(
        _description(client.issuer)["authorization_endpoint"],
        client_id=client.client_id,
        response_type="code",
        redirect_uri=client.redirect_uri,
        scope=SCOPE,
        state=asked.state,
        nonce=asked.nonce,
        code_challenge=create_s256_code_challenge(asked.verifier),
        code_challenge_method="S256",
        login_hint=email,
        **({"prompt": "login"} if again else {}),
    )
    return url


def claims(
    client: Client, asked: Question, *, code: str, issuer: str | None
) -> Mapping[str, object]:
    """Exchange a code for the provider's claims on who signed in; `issuer` is who brought it, by its own words.

    Raises:
        IdentityProviderError: another provider brought the code (RFC 9207); the code was used or is not
            ours; or the answer is not signed by the provider, is for another client or another request,
            or is over.
        BusyError: as `authorization_url`.
    """
    from joserfc.errors import JoseError

    about = _description(client.issuer)
    names_itself = about.get("authorization_response_iss_parameter_supported")
    if issuer != client.issuer and (issuer is not None or names_itself):
        raise IdentityProviderError(
            "Another identity provider answered than was asked; sign in again."
        )
    tokens = _fetched(
        "POST",
        about["token_endpoint"],
        data={
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": asked.verifier,
        },
        auth=(client.client_id, client.secret),
    )
    keys = _fetched("GET", about["jwks_uri"])
    try:
        return _judged(client, asked, tokens, keys)
    except (JoseError, KeyError, TypeError, ValueError) as error:
        raise IdentityProviderError(
            f"The identity provider's answer does not hold ({type(error).__name__}); sign in again."
        ) from None


def checked_address(url: str, *, field: str) -> str:
    """Read the address of a provider: https, or on this machine.

    Raises:
        InvalidInputError: it is neither.
    """
    if not _is_safe(url.strip()):
        raise errors.InvalidInputError(
            "Give the issuer's address as the provider tells it, such as https://login.example.com.",
            field=field,
        )
    return url.strip()


def _judged(
    client: Client, asked: Question, tokens: dict[str, str], keys: dict[str, str]
) -> Mapping[str, object]:
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.jwk import KeySet

    known = KeySet.import_key_set(keys)  # type: ignore[arg-type]  # of any JSON
    token = jwt.decode(tokens["id_token"], known, algorithms=ALGORITHMS)
    judged = CodeIDToken(
        token.claims,
        token.header,
        options={
            "iss": {"essential": True, "value": client.issuer},
            "aud": {"essential": True, "value": client.client_id},
        },
        params={
            "nonce": asked.nonce,
            "client_id": client.client_id,
            "access_token": tokens.get("access_token"),
        },
    )
    judged.validate(now=int(time.time()), leeway=LEEWAY)
    return token.claims


def _description(issuer: str) -> dict[str, str]:
    about = _fetched("GET", issuer.rstrip("/") + DISCOVERY)
    if about.get("issuer") != issuer:
        raise IdentityProviderError(
            f"The identity provider calls itself “{about.get('issuer')}”, and not “{issuer}”."
        )
    return about


def _fetched(method: str, url: str, **asked: object) -> dict[str, str]:
    """Fetch a JSON document; redirects are not followed."""
    import httpx

    try:
        if not _is_safe(url):
            raise IdentityProviderError("The identity provider names an address without https.")
        with _turn():
            answer = httpx.request(method, url, timeout=SECONDS, **asked)  # type: ignore[arg-type]  # as httpx takes it
        if answer.status_code != httpx.codes.OK:
            raise IdentityProviderError(
                f"The identity provider answered {answer.status_code}; sign in again, or tell your "
                "manager."
            )
        document = answer.json()
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise IdentityProviderError(
            f"The identity provider cannot be asked ({type(error).__name__}); try again."
        ) from None
    return document if isinstance(document, dict) else {}


@contextmanager
def _turn() -> Iterator[None]:
    """Leave threads to others while a provider is slow, whoever has it asked."""
    if not _asking.acquire(blocking=False):
        raise errors.BusyError
    try:
        yield
    finally:
        _asking.release()


def _is_safe(url: object) -> bool:
    parts = urlsplit(str(url))
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))
