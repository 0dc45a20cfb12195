"""A real OpenID provider on loopback, by Authlib's server side; and what a broken one would say."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, OpenIDCode, UserInfo
from flask import Flask, jsonify
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

SECRET = "the client's secret"


class Client(ClientMixin):
    """The one client that it knows."""

    def get_client_id(self) -> str:
        return "keypool"

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.endswith("/console/single-sign-on/answer")

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"

    def get_allowed_scope(self, scope: str) -> str:
        return scope


@dataclass
class Code(AuthorizationCodeMixin):
    """A code that it gave out."""

    code: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    user: dict[str, Any]

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass
class Provider:
    """What it is, who signs in there, and which claims it gets wrong."""

    issuer: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)  # claims that replace the right ones
    signed_by: RSAKey | None = None  # another key than the one that it tells
    keeps_codes: bool = False  # a code can be used again
    names_itself: bool = False  # says that its answers name it (RFC 9207)
    secrets_given: list[str] = field(default_factory=list)  # the tokens that it gave out
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    codes: dict[str, Code] = field(default_factory=dict)


class Grant(AuthorizationCodeGrant):
    """The authorization code flow, with codes that are kept in memory."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def save_authorization_code(self, code: str, request: Any) -> None:
        asked = request.payload.data
        names = ("redirect_uri", "scope", "nonce", "code_challenge", "code_challenge_method")
        self.server.here.codes[code] = Code(
            code, *(asked[name] for name in names), user=request.user
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return self.server.here.codes.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        if not self.server.here.keeps_codes:
            del self.server.here.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> dict[str, Any]:
        return authorization_code.user


@dataclass
class IdTokens(OpenIDCode):
    """The tokens that say who signed in, rightly or as the provider is told to get them wrong."""

    here: Provider
    require_nonce: bool = True

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return self.here.signed_by or self.here.key

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": "1"}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        return {"iss": self.here.issuer}

    def generate_user_info(self, user: dict[str, Any], scope: str) -> UserInfo:
        return UserInfo(**user, **self.here.wrong)


def served(provider: Provider) -> Flask:
    """Give the provider's own app."""
    app = Flask("provider")
    server = AuthorizationServer(
        app,
        query_client=lambda name: Client() if name == "keypool" else None,
        save_token=lambda token, request: provider.secrets_given.extend(
            token[name] for name in ("access_token", "id_token") if name in token
        ),
    )
    server.here = provider
    server.register_grant(Grant, [CodeChallenge(required=True), IdTokens(provider)])
    app.add_url_rule(
        "/.well-known/openid-configuration", "about", lambda: jsonify(described(provider))
    )
    app.add_url_rule(
        "/keys", "keys", lambda: jsonify(KeySet([provider.key]).as_dict(private=False))
    )
    app.add_url_rule("/token", "token", server.create_token_response, methods=["POST"])

    @app.get("/authorize")
    def authorize() -> Any:
        grant = server.get_consent_grant(end_user=provider.user)
        return server.create_authorization_response(grant=grant, grant_user=provider.user)

    return app


def described(provider: Provider) -> dict[str, object]:
    issuer = provider.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
        "authorization_response_iss_parameter_supported": provider.names_itself,
    }


@contextmanager
def running() -> Iterator[Provider]:
    """Run a provider on a free port of loopback."""
    provider = Provider()
    server = make_server("127.0.0.1", 0, served(provider), threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
