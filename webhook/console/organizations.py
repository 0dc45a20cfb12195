"""Organizations and their settings; and the seller's details on invoices."""

import io
from collections.abc import Mapping
from typing import Any

import segno
from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import READERS, known, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import files
from webhook.http.access import EVERYBODY, STAFF
from worker import errors
from worker.billing import seller, statements
from worker.languages.phrasebooks import LANGUAGES
from worker.pools import shared
from worker.settings import settings
from worker.tables.labels import REDEEM_PAGE_MEANS
from worker.tenancy import identity_providers, logos, organizations
from worker.tenancy.actors import Actor, Role

NEEDED = ("name", "time_zone", "currency")
INVOICED = (
    "locale",
    "legal_name",
    "address",
    "tax_id",
    "street",
    "postcode",
    "city",
    "country",
    "electronic_address",
    "buyer_reference",
    "purchase_order",
    "billing_email",
)
MAILING = ("sender_name", "reply_to", "colour")  # fmt: skip
PAGE = ("slug", "redeem_page", "redeem_text", "support_email")
QR_SCALE = 8  # pixels a module: it is printed sharply
TAX = ("tax_rate", "tax_label", "tax_category", "tax_exemption", "tax_from")


@blueprint.get("/organizations", endpoint="organizations")
@page(*EVERYBODY)
def organizations_page(session: Session, actor: Actor) -> Any:
    """List organizations."""
    filters = chosen(organizations.Filters)
    listed = organizations.listing(session, actor=actor, filters=filters, **place())
    owners = organizations.in_sight(session, actor=actor)
    return render_template(
        "organizations.html", listed=listed, owners=owners, filtered=organizations.Filters
    )


@blueprint.post("/organizations")
@page(on="organizations")
def add_organization(session: Session, actor: Actor) -> Any:
    """Add an organization."""
    fields = {"name": ""} | forms.filled("name", "parent", "time_zone", "currency", "tax_rate")
    made = organizations.add(session, actor=actor, **fields)
    return done(f"“{made['name']}” is there.", "organization", organization=made["id"])


@blueprint.get("/organizations/<organization>")
@page(*STAFF)
def organization(session: Session, actor: Actor, organization: str) -> Any:
    """Show an organization's settings and tax rates."""
    shown = organizations.show(session, actor=actor, organization=organization)
    others = [
        one for one in organizations.in_sight(session, actor=actor) if one["id"] != shown["id"]
    ]
    return render_template(
        "organization.html",
        it=shown,
        others=others,
        pages=REDEEM_PAGE_MEANS,
        languages=LANGUAGES,
        is_public=settings().reaches_others(),
        **_single_sign_on(session, actor, organization),
    )


@blueprint.get("/organizations/<organization>/shared-pools")
@page(*READERS)
def shared_pools(session: Session, actor: Actor, organization: str) -> Any:
    """List the pools that are shared with an organization by those above it."""
    found = organizations.find(session, actor=actor, name=organization)
    listed = shared.listing(session, actor=actor, organization=str(found.id))
    return render_template("shared_pools.html", organization=found, listed=listed)


@blueprint.get("/organizations/<organization>/shared-pools/<pool>")
@page(*READERS)
def shared_pool(session: Session, actor: Actor, organization: str, pool: str) -> Any:
    """Show a shared pool, and what the organization's own learners redeemed of it."""
    asked: dict[str, Any] = {"actor": actor, "organization": organization, "pool": pool}
    listed = shared.redemptions(session, **asked, **place())
    return render_template("shared_pool.html", it=shared.show(session, **asked), listed=listed)


def _single_sign_on(session: Session, actor: Actor, organization: str) -> dict[str, Any]:
    """Give what the page says of an organization's single sign-on."""
    redirect_uri = settings().web_url(identity_providers.PATH)
    try:
        sso = identity_providers.show(session, actor=actor, organization=organization)
    except (errors.NotFoundError, errors.ForbiddenError):
        return {"sso": None, "sso_roles": "", "redirect_uri": redirect_uri}
    roles = "\n".join(f"{value}={role}" for value, role in sso["roles"].items())
    return {"sso": sso, "sso_roles": roles, "redirect_uri": redirect_uri}


@blueprint.get("/organizations/<organization>/statement")
@page(Role.FINANCE, Role.ANALYST)
def statement(session: Session, actor: Actor, organization: str) -> Any:
    """Show what an organization has open, and for how long it is overdue."""
    on = request.args.get("on") or None
    told = statements.of(session, actor=actor, organization=organization, on=on)
    return render_template("statement.html", it=told, organization=organization)


@blueprint.get("/organizations/<organization>/statement.<any(pdf, csv):kind>")
@known(Role.FINANCE, Role.ANALYST)
def statement_file(actor: Actor, organization: str, kind: str) -> Any:
    """Give a statement as a document."""
    on = request.args.get("on") or None
    return files.statement(actor=actor, organization=organization, on=on, format=kind)


@blueprint.post("/organizations/<organization>")
@page(on="organization")
def edit_organization(session: Session, actor: Actor, organization: str) -> Any:
    """Change an organization; its invoice details may be emptied."""
    fields: dict[str, Any] = {
        name: request.form.get(name, "").strip() for name in NEEDED + INVOICED + MAILING
    }
    fields |= forms.filled("parent", *TAX)
    fields["no_parent"] = request.form.get("parent") == ""
    days = forms.whole(request.form.get("payment_terms_days", ""), field="payment_terms_days")
    made = organizations.edit(
        session, actor=actor, organization=organization, payment_terms_days=days, **fields
    )
    return done(f"“{made['name']}” is changed.", "organization", organization=made["id"])


@blueprint.post("/organizations/<organization>/redeem-page")
@page(on="organization")
def edit_redeem_page(session: Session, actor: Actor, organization: str) -> Any:
    """Change the settings of an organization's redeem page; all but the page itself may be emptied."""
    fields: dict[str, Any] = {name: request.form.get(name, "") for name in PAGE}
    fields["redeem_domains"] = request.form.get("redeem_domains", "").replace(",", " ").split()
    fields["redeem_languages"] = [
        tag for tag in LANGUAGES if f"redeem_language_{tag}" in request.form
    ]
    made = organizations.edit(session, actor=actor, organization=organization, **fields)
    return done("The redeem page is changed.", "organization", organization=made["id"])


@blueprint.post("/organizations/<organization>/sign-in")
@page(on="organization", confirmed=True)
def edit_sign_in(session: Session, actor: Actor, organization: str) -> Any:
    """Change what an organization's users need for their sign-in."""
    needed = "second_factor" in request.form
    made = organizations.edit(session, actor=actor, organization=organization, second_factor=needed)
    return done("The sign-in is changed.", "organization", organization=made["id"])


@blueprint.post("/organizations/<organization>/logo")
@page(on="organization")
def edit_logo(session: Session, actor: Actor, organization: str) -> Any:
    """Change an organization's logo, or remove it."""
    file = request.files.get("logo")
    content = (
        b"" if "remove" in request.form else file.stream.read(logos.LARGEST + 1) if file else b""
    )
    if not content and "remove" not in request.form:
        raise errors.InvalidInputError("Choose a file.", field="logo")
    made = organizations.edit(session, actor=actor, organization=organization, logo=content)
    return done("The logo is changed.", "organization", organization=made["id"])


@blueprint.get("/organizations/<organization>/logo.png")
@page(*STAFF)
def logo(session: Session, actor: Actor, organization: str) -> Any:
    """Show an organization's logo."""
    return files.picture(organizations.logo(session, actor=actor, organization=organization))


@blueprint.get("/organizations/<organization>/redeem-page.<any(svg, png):kind>")
@page(*STAFF)
def redeem_page_code(session: Session, actor: Actor, organization: str, kind: str) -> Any:
    """Give the QR code of an organization's redeem page, to be shown or printed."""
    shown = organizations.show(session, actor=actor, organization=organization)
    if shown["redeem_url"] is None:
        raise errors.NotFoundError("The organization has no redeem page.")
    drawn = io.BytesIO()
    segno.make_qr(shown["redeem_url"], error="m").save(drawn, kind=kind, scale=QR_SCALE)
    return files.picture(drawn.getvalue(), kind, name=f"{shown['slug']}.{kind}")


@blueprint.get("/seller", endpoint="seller")
@page()
def seller_page(session: Session, _actor: Actor) -> Any:
    """Show the seller's details on invoices."""
    shown = seller.show(session)
    return render_template("seller.html", it=shown, accounts=_lines(shown["accounts"]))


@blueprint.post("/seller")
@page(on="seller")
def edit_seller(session: Session, actor: Actor) -> Any:
    """Change the seller's details; finalized invoices keep theirs."""
    fields: dict[str, Any] = {name: request.form.get(name) for name in seller.FIELDS}
    accounts = _accounts(seller.show(session)["accounts"])
    seller.edit(session, actor=actor, banks=_banks(), accounts=accounts, **fields)
    return done("It is changed; finalized invoices stay as they are.", "seller")


def _lines(accounts: Mapping[str, str]) -> str:
    """Write the journal's accounts a line each."""
    return "\n".join(f"{key} = {account}" for key, account in accounts.items())


def _accounts(kept: Mapping[str, str]) -> dict[str, str]:
    """Read the journal's accounts; a line that is gone removes its account."""
    if "accounts" not in request.form:
        return {}
    lines = filter(str.strip, request.form["accounts"].splitlines())
    typed = {
        key.strip(): account.strip() for key, _, account in (line.partition("=") for line in lines)
    }
    return dict.fromkeys(kept, "") | typed


def _banks() -> list[dict[str, str]]:
    """Give the accounts that were typed, a currency each; one that is emptied is to be removed."""
    columns = (request.form.getlist(name) for name in ("bank_currency", "iban", "bic"))
    rows = zip(*columns, strict=False)
    return [
        {"currency": currency, "iban": iban, "bic": bic}
        for currency, iban, bic in rows
        if currency.strip()
    ]
