"""`keypool organizations`: tenants, in a tree."""

from typing import TYPE_CHECKING, Any, BinaryIO

import rich_click as click

from worker import errors
from worker.cli import printing
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.lists import ListCommand, PagedCommand
from worker.cli.options import LIST
from worker.cli.system import operator, run
from worker.tables.labels import REDEEM_PAGE_MEANS

with deferred():
    from worker.pools import shared
    from worker.tenancy import identity_providers, organizations

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

ORGANIZATIONS = printing.table(lambda: organizations.OrganizationShape)
SHARED = printing.table(lambda: shared.SharedPool, "id", "name", "course", "keys_work_until")
REDEEMED = printing.table(lambda: shared.SharedRedemption)
PAGES = [page.value for page in REDEEM_PAGE_MEANS]
PAGES_MEAN = "Its redeem page. " + " ".join(f"{p}: {said}" for p, said in REDEEM_PAGE_MEANS.items())


@click.group("organizations", cls=Group)
def command() -> None:
    """Organizations: they own pools and pay for redemptions."""


@command.command()
@click.argument("name")
@click.option("--parent", metavar="ORG", help="The organization above it.")
@click.option("--time-zone", default="UTC", metavar="TZ", help="An IANA name: Europe/Berlin.")
@click.option("--currency", default="EUR", metavar="CUR", help="An ISO 4217 code: EUR.")
@click.option("--tax-rate", metavar="PCT", help="The tax on its invoices: 19.")
def add(**arguments: Any) -> "organizations.OrganizationShape":
    """Add an organization."""
    return run(organizations.add, actor=operator(), **arguments)


@command.command()
@click.argument("organization", metavar="ORG")
@click.option("--name", help="Its new name.")
@click.option("--parent", metavar="ORG", help="The organization that it goes below.")
@click.option("--no-parent", is_flag=True, help="It goes below none.")
@click.option("--time-zone", metavar="TZ", help="Whose days its dates are.")
@click.option("--currency", metavar="CUR", help="The currency of prices set for it from now on.")
@click.option("--tax-rate", metavar="PCT", help="The tax on what it is charged from a day on.")
@click.option("--tax-label", metavar="NAME", help="What invoices call that tax: VAT.")
@click.option(
    "--tax-category", metavar="CODE", help="S; for a rate of 0: Z, E, AE (reverse charge), K, G, O."
)
@click.option("--tax-exemption", metavar="TEXT", help="Why no tax is due, as invoices print it.")
@click.option("--tax-from", metavar="DATE", help="The first day of that rate; today by default.")
@click.option("--locale", help="The language of its invoices and learners: de, fr-CH.")
@click.option("--legal-name", help="Its name on invoices.")
@click.option("--address", help="Its address in lines, where it has no street and city.")
@click.option("--street", help="Street and number on its invoices.")
@click.option("--postcode", help="The postal code.")
@click.option("--city", help="The town.")
@click.option("--country", metavar="CC", help="The country's code of ISO 3166: DE.")
@click.option("--tax-id", help="Its tax number on invoices.")
@click.option("--electronic-address", metavar="SCHEME:ID", help="Where it takes e-invoices.")
@click.option("--buyer-reference", help="What its invoices quote: a Leitweg-ID.")
@click.option("--purchase-order", help="The order that its invoices quote.")
@click.option("--billing-email", metavar="EMAIL", help="Where its invoices are sent.")
@click.option("--sender-name", help="Under which name its mails come; empty: its own.")
@click.option("--reply-to", metavar="EMAIL", help="Where answers to its mails go.")
@click.option("--colour", metavar="#RRGGBB", help="The colour of its mails.")
@click.option(
    "--logo", type=click.File("rb"), metavar="FILE", help="The logo of its mails and page."
)
@click.option("--no-logo", is_flag=True, help="It has no logo any more.")
@click.option("--slug", help="Its name in the address of its redeem page; empty: from its name.")
@click.option("--redeem-page", type=click.Choice(PAGES), help=PAGES_MEAN)
@click.option("--redeem-domains", type=LIST, help="Whose addresses redeem there; empty: any.")
@click.option("--redeem-languages", type=LIST, help="The page's languages; empty: all.")
@click.option("--redeem-text", help="What the page says above its form.")
@click.option("--support-email", metavar="EMAIL", help="Where the page sends who needs help.")
@click.option(
    "--second-factor/--no-second-factor",
    default=None,
    help="Whether its users, and those below it, need a second factor.",
)
@click.option("--payment-terms", "payment_terms_days", type=WHOLE, metavar="DAYS")
def edit(
    organization: str, logo: BinaryIO | None, no_logo: bool, **arguments: Any
) -> "organizations.OrganizationShape":
    """Change an organization."""
    content = b"" if no_logo else logo.read() if logo else None
    if logo and not (no_logo or content):
        raise errors.InvalidInputError(
            "That file is empty; --no-logo removes a logo.", field="logo"
        )
    return run(
        organizations.edit, actor=operator(), organization=organization, logo=content, **arguments
    )


@command.command()
@click.argument("organization", metavar="ORG")
def show(organization: str) -> "organizations.OrganizationShown":
    """Show an organization with its invoice details and tax rates."""
    return run(organizations.show, actor=operator(), organization=organization)


@command.command(
    "list",
    cls=ListCommand,
    filters=lambda: organizations.Filters,
    shows=ORGANIZATIONS,
)
def listing(
    filters: "organizations.Filters", **page: "Unpack[Paging]"
) -> "Page[organizations.OrganizationShape]":
    """List organizations by name, or search them."""
    return run(organizations.listing, actor=operator(), filters=filters, **page)


@command.command("shared-pools", shows=SHARED)
@click.argument("organization", metavar="ORG")
def shared_pools(organization: str) -> "list[shared.SharedPool]":
    """List the pools that are shared with an organization by those above it."""
    return run(shared.listing, actor=operator(), organization=organization)


@command.command("shared-redemptions", cls=PagedCommand, shows=REDEEMED)
@click.argument("organization", metavar="ORG")
@click.argument("pool")
def shared_redemptions(
    organization: str, pool: str, limit: int, after: str | None
) -> "Page[shared.SharedRedemption]":
    """List what an organization's own learners redeemed of such a pool, with their keys."""
    return run(
        shared.redemptions,
        actor=operator(),
        organization=organization,
        pool=pool,
        limit=limit,
        after=after,
    )


@command.command("single-sign-on")
@click.argument("organization", metavar="ORG")
@click.option("--issuer", metavar="URL", help="The identity provider, as it calls itself.")
@click.option("--client-id", help="How it knows this keypool.")
@click.option("--client-secret", envvar="KEYPOOL_CLIENT_SECRET", help="Without one, it stays.")
@click.option("--domain", "domains", multiple=True, help="Of its people's addresses; repeatable.")
@click.option("--role-claim", default="", help="The claim that says a user's role.")
@click.option("--role", "roles", multiple=True, metavar="VALUE=ROLE", help="Repeatable.")
@click.option("--only/--not-only", help="No passwords any more; their sessions end.")
@click.option("--remove", is_flag=True, help="End it: they sign in with passwords.")
def single_sign_on(
    organization: str, *, remove: bool, issuer: str | None, **arguments: Any
) -> "identity_providers.SingleSignOn":
    """Show, set or end where an organization's users sign in (OpenID Connect)."""
    if remove:
        return run(identity_providers.remove, actor=operator(), organization=organization)
    if issuer is None:
        return run(identity_providers.show, actor=operator(), organization=organization)
    arguments["roles"] = identity_providers.read_roles(arguments["roles"])
    arguments["client_id"] = arguments["client_id"] or ""
    return run(
        identity_providers.save,
        actor=operator(),
        organization=organization,
        issuer=issuer,
        **arguments,
    )
