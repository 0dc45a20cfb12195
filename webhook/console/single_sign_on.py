"""Single sign-on: to an organization's identity provider, and back with its answer."""

import secrets
from typing import Any

from flask import render_template, request
from flask import session as cookie
from sqlalchemy.orm import Session

from webhook.console import answers, asking, beginning
from webhook.console.access import load, page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.settings import settings
from worker.tenancy import identity_providers, openid
from worker.tenancy.actors import Actor
from worker.tenancy.openid import IdentityProviderError

STATE = "single_sign_on"  # the browser that asked is the one that brings the answer
NOBODYS = "No identity provider speaks for that address; sign in with your password."


@blueprint.get("/single-sign-on")
def single_sign_on() -> Any:
    """Ask for an address, and lead to the identity provider that speaks for it."""
    email = request.args.get("email", "").strip()
    if not email:
        return render_template("single_sign_on.html")
    with connections.session(Login.WEB) as session:
        provider = identity_providers.of_address(session, email, base=_base())
        asked = identity_providers.ask(session, provider) if provider else None
    if provider is None or asked is None:
        return _refused(NOBODYS)
    again = "again" in request.args
    try:
        url = openid.authorization_url(provider.client, asked, email=email, again=again)
    except IdentityProviderError as error:
        return _refused(str(error))
    cookie[STATE] = [asked.state, answers.onward()]
    return render_template("to_provider.html", url=url, issuer=provider.client.issuer)


@blueprint.get("/single-sign-on/answer")
def take_answer() -> Any:
    """Take an identity provider's answer, once, and begin the session of whom it vouches for."""
    state, onward = cookie.pop(STATE, ["", ""])
    if not state or not secrets.compare_digest(
        state.encode(), request.args.get("state", "").encode()
    ):
        return _refused("This answer is not for this browser, or was used already; sign in again.")
    if "code" not in request.args:
        return _refused("You did not sign in at your identity provider.")
    try:
        return _begun(state, request.args["code"], onward)
    except IdentityProviderError as error:
        return _refused(str(error))


@blueprint.post("/organizations/<organization>/single-sign-on")
@page(on="organization", confirmed=True)
def save_single_sign_on(session: Session, actor: Actor, organization: str) -> Any:
    """Set where an organization's users sign in, or end that."""
    form = request.form
    if form.get("do") == "remove":
        identity_providers.remove(session, actor=actor, organization=organization)
        return done("They sign in with passwords.", "organization", organization=organization)
    identity_providers.save(
        session,
        actor=actor,
        organization=organization,
        issuer=form.get("issuer", ""),
        client_id=form.get("client_id", ""),
        client_secret=form.get("client_secret") or None,
        domains=form.get("domains", "").replace(",", " ").split(),
        role_claim=form.get("role_claim", ""),
        roles=identity_providers.read_roles(form.get("roles", "").splitlines()),
        only="only" in form,
    )
    return done("The single sign-on is set.", "organization", organization=organization)


def _begun(state: str, code: str, onward: str) -> Any:
    with connections.session(Login.WEB) as session:
        taken = identity_providers.take(session, state, base=_base())
    if taken is None:
        raise IdentityProviderError(
            "This answer came too late, or was used already; sign in again."
        )
    provider, asked = taken
    issuer = request.args.get("iss")
    claims = openid.claims(provider.client, asked, code=code, issuer=issuer)  # in no transaction
    made = asking.attempt("")
    device = made.device or secrets.token_urlsafe(32)
    with connections.session(Login.WEB) as session:
        began = identity_providers.begin(
            session, provider, claims, device=device, client=made.client,
            browser=request.user_agent.string,
        )  # fmt: skip
    known = load(began)
    if known is None:
        raise errors.RefusedError("Sign in again.")
    return beginning.remembered(beginning.onward(known, onward), device)


def _base() -> str:
    return settings().public_url or request.host_url


def _refused(why: str) -> Any:
    return render_template("single_sign_on.html", error=why), 422
