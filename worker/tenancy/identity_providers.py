"""Identity providers: where an organization's users sign in, and what its claims mean here."""

import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, literal, select, text, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.settings import settings
from worker.tables.tenancy import (
    IdentityDomain,
    IdentityProvider,
    Organization,
    OrganizationAncestry,
    User,
)
from worker.tenancy import (
    addresses,
    history,
    networks,
    openid,
    organizations,
    secrets,
    sessions,
    web_keys,
)
from worker.tenancy.actors import Actor, Role
from worker.tenancy.openid import Client, Question

LASTS = timedelta(minutes=10)  # in which somebody signs in at the provider
PATH = "/console/single-sign-on/answer"
BY_POWER = (Role.MANAGER, Role.FINANCE, Role.ANALYST, Role.SENDER)
REFUSALS = {
    "domain": "Your identity provider vouches for “{email}”, an address that it does not speak for here.",
    "unknown": "“{email}” is no user here, and your identity provider says no role; ask your manager.",
    "refused": "“{email}” may not sign in here; ask your manager.",
}
# Gives the domain, unless it is another provider's.
TAKE_DOMAIN = text("""
    INSERT INTO identity_domain (domain, provider_id) VALUES (:domain, :provider_id)
    ON CONFLICT (domain) DO UPDATE SET provider_id = excluded.provider_id
     WHERE identity_domain.provider_id IS NULL
    RETURNING domain
""")
REMOVE = text("DELETE FROM identity_request WHERE ends_at < clock_now() RETURNING 1")


class SingleSignOn(TypedDict):
    """Where an organization's users, and those of the organizations below it, sign in."""

    organization: str
    """The organization."""
    issuer: str
    """The identity provider, as it calls itself."""
    client_id: str
    """How it knows this keypool."""
    domains: list[str]
    """The domains of the addresses for which it speaks."""
    role_claim: str
    """The claim that says a user's role; empty: none, and only users who are here already sign in."""
    roles: dict[str, Role]
    """Which role a value of that claim gives; of several, the most powerful."""
    only: bool
    """Whether they sign in there alone, and with no password."""
    redirect_uri: str
    """Where the provider sends them back to: register it there."""


@dataclass(frozen=True)
class Provider:
    """An identity provider, as it is asked."""

    id: int
    client: Client
    role_claim: str
    roles: Mapping[str, str]


def save(
    session: Session,
    *,
    actor: Actor,
    organization: str,
    issuer: str,
    client_id: str,
    client_secret: str | None = None,
    domains: Sequence[str],
    role_claim: str = "",
    roles: Mapping[str, Role] | None = None,
    only: bool = False,
) -> SingleSignOn:
    """Set where an organization's users sign in; only the operator may. Without a secret, it stays.

    With `only`, every session of theirs ends, and passwords open nothing any more.

    Raises:
        InvalidInputError: an address, a domain or a role is invalid; or no secret is known.
        AlreadyExistsError: another organization has one of the domains.
    """
    actor.require()
    owner = organizations.find(session, actor=actor, name=organization)
    known = _of(session, owner)
    one = known or IdentityProvider(organization_id=owner.id)
    if client_secret:
        one.secret_encrypted = secrets.encrypt(client_secret.encode())
    elif known is None:
        raise errors.InvalidInputError("Give the client's secret.", field="client_secret")
    one.issuer, one.client_id = openid.checked_address(issuer, field="issuer"), client_id.strip()
    one.role_claim, one.roles = role_claim.strip(), dict(_checked(roles or {}))
    one.is_only = only
    session.add(one)
    session.flush()
    _put_domains(session, one, domains)
    if only:
        _end_sessions(session, owner)
    _remember(session, actor, "single sign-on set", owner, issuer=one.issuer, only=only)
    return shape(session, owner, one)


def show(session: Session, *, actor: Actor, organization: str) -> SingleSignOn:
    """Give where an organization's users sign in.

    Raises:
        NotFoundError: they sign in here, with passwords.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    one = _of(session, owner)
    if one is None:
        raise errors.NotFoundError("The organization has no single sign-on.")
    return shape(session, owner, one)


def remove(session: Session, *, actor: Actor, organization: str) -> SingleSignOn:
    """End an organization's single sign-on; its users sign in with passwords, which links let them choose."""
    actor.require()
    before = show(session, actor=actor, organization=organization)
    owner = organizations.find(session, actor=actor, name=organization)
    if one := _of(session, owner):
        _release_domains(session, one)
        one.ended_at = session.scalar(select(func.clock_now()))
    _remember(session, actor, "single sign-on ended", owner, issuer=before["issuer"])
    return before


def read_roles(lines: Sequence[str]) -> dict[str, Role]:
    """Read which role each value of a claim gives: `value=role` each.

    Raises:
        InvalidInputError: one is not written so, or there is no such role.
    """
    roles = {}
    for line in filter(str.strip, lines):
        value, equals, role = line.rpartition("=")
        if not equals or not value.strip():
            raise errors.InvalidInputError(f"“{line}” is not written as value=role.", field="roles")
        roles[value.strip()] = lookup.label(Role, role.strip(), field="roles", thing="role")
    return roles


def of_address(session: Session, email: str, *, base: str) -> Provider | None:
    """Give the provider that speaks for an address; works before any tenancy is set."""
    domain = email.strip().lower().rpartition("@")[2]
    found = func.find_identity_provider(domain)
    row = session.execute(select("*").select_from(found)).one_or_none()
    return _provider(row.id, row, base) if row else None


def ask(session: Session, provider: Provider) -> Question:
    """Remember what is asked of a provider, for ten minutes, and give what its answer must fit."""
    asked = Question(*(randomness.token_urlsafe(32) for _ in range(3)))
    state = sessions.digest(asked.state)
    remembered = func.ask_identity_provider(provider.id, state, asked.nonce, asked.verifier, LASTS)
    session.execute(select(remembered))
    return asked


def take(session: Session, state: str, *, base: str) -> tuple[Provider, Question] | None:
    """Take what was asked under a state, once; None if it was taken, is over or was never asked."""
    taken = func.take_identity_request(sessions.digest(state))
    row = session.execute(select("*").select_from(taken)).one_or_none()
    if row is None:
        return None
    return _provider(row.provider_id, row, base), Question(state, row.nonce, row.verifier)


def begin(
    session: Session,
    provider: Provider,
    claims: Mapping[str, object],
    *,
    device: str,
    client: str,
    browser: str,
) -> str:
    """Begin the session of whom a provider vouches for, and give its id for the cookie.

    Raises:
        IdentityProviderError: the provider does not speak for that address, or who it is may not sign in.
    """
    email, subject = str(claims.get("email", "")).strip(), str(claims.get("sub", ""))
    unverified = str(claims.get("email_verified")).lower() == "false"  # some say it as a text
    if unverified or not email or not subject:
        raise openid.IdentityProviderError(
            "Your identity provider says no address that it verified."
        )
    clear, role = randomness.token_urlsafe(32), _role(provider, claims)
    hashed = sessions.digest(clear)
    began = func.begin_vouched_session(
        provider.id, subject, email, literal(role, User.role.type), hashed, sessions.digest(device),
        networks.shortened(client), browser[:200], settings().session_lasts,
        web_keys.proofs("vouched", provider.id, subject, email, role, hashed),
    )  # fmt: skip
    told = session.scalar(select(began))
    if told != "began":
        raise openid.IdentityProviderError(REFUSALS[str(told)].format(email=email))
    return clear


def remove_old(session: Session, *, limit: int) -> int:  # few are ever there at once
    """Delete what providers were asked and did not answer in time."""
    return len(session.scalars(REMOVE).all())


def shape(session: Session, owner: Organization, one: IdentityProvider) -> SingleSignOn:
    """Give a provider's public fields; never the client's secret."""
    domains = select(IdentityDomain.domain).where(IdentityDomain.provider_id == one.id)
    return {
        "organization": owner.name,
        "issuer": one.issuer,
        "client_id": one.client_id,
        "domains": list(session.scalars(domains.order_by(IdentityDomain.domain))),
        "role_claim": one.role_claim,
        "roles": {value: Role(role) for value, role in one.roles.items()},
        "only": one.is_only,
        "redirect_uri": settings().web_url(PATH),
    }


def _role(provider: Provider, claims: Mapping[str, object]) -> Role | None:
    """Give the most powerful role that the claim gives; None where it gives none."""
    told = claims.get(provider.role_claim) if provider.role_claim else None
    values = told if isinstance(told, list) else [told]
    given = {provider.roles[value] for value in map(str, values) if value in provider.roles}
    return next((role for role in BY_POWER if role.value in given), None)


def _provider(provider_id: int, row: Any, base: str) -> Provider:
    secret = secrets.decrypt(row.secret_encrypted).decode()
    client = Client(row.issuer, row.client_id, secret, base.rstrip("/") + PATH)
    return Provider(provider_id, client, row.role_claim, row.roles)


def _of(session: Session, owner: Organization) -> IdentityProvider | None:
    mine = (IdentityProvider.organization_id == owner.id, IdentityProvider.ended_at.is_(None))
    return session.scalars(select(IdentityProvider).where(*mine)).one_or_none()


def _checked(roles: Mapping[str, Role]) -> Mapping[str, Role]:
    for role in roles.values():
        if lookup.label(Role, role, field="roles", thing="role") not in BY_POWER:
            raise errors.InvalidInputError(
                "No identity provider makes an operator; give another role.", field="roles"
            )
    return roles


def _put_domains(session: Session, one: IdentityProvider, domains: Sequence[str]) -> None:
    named = {_domain(each) for each in domains if each.strip()}
    if not named:
        raise errors.InvalidInputError(
            "Give at least one domain of your people's addresses.", field="domains"
        )
    _release_domains(session, one)
    for domain in sorted(named):
        if session.scalar(TAKE_DOMAIN, {"domain": domain, "provider_id": one.id}) is None:
            raise errors.AlreadyExistsError(
                f"Another organization signs in with addresses of {domain} already."
            )


def _release_domains(session: Session, one: IdentityProvider) -> None:
    mine = IdentityDomain.provider_id == one.id
    session.execute(update(IdentityDomain).where(mine).values(provider_id=None))


def _domain(value: str) -> str:
    return addresses.address(f"x@{value.strip().removeprefix('@')}", field="domains")[2:]


def _end_sessions(session: Session, owner: Organization) -> None:
    below = select(OrganizationAncestry.descendant_id).where(
        OrganizationAncestry.ancestor_id == owner.id
    )
    for user_id in session.scalars(select(User.id).where(User.organization_id.in_(below))):
        sessions.end_all(session, user_id=user_id)


def _remember(
    session: Session, actor: Actor, action: str, owner: Organization, **detail: object
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="organization",
        thing_ids=owner.id,
        organization_id=owner.id,
        **detail,
    )
