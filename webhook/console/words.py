"""How pages show times, numbers and states; and which pages a visitor may open."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from apiflask import APIBlueprint
from flask import current_app, g, request
from flask import url_for as url
from flask_login import current_user
from markupsafe import Markup

from webhook.console.frame import standing
from worker import days
from worker.languages.phrasebooks import language_name
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

# The menu; visitors see the entries that their role may open.
MENU = (
    (
        "Training Keys",
        (("pools", "Pools"), ("new_pool", "Create Training Key Pool"), ("batches", "Batches")),
    ),
    (
        "Support",
        (
            ("trouble", "My key does not work"),
            ("assignments", "Assignments"),
            ("bulk_acts", "Acts on many"),
            ("redemptions", "Redemptions"),
            ("messages", "Mails"),
        ),
    ),
    ("Account", (("invoices", "Invoices"), ("charges", "Charges"), ("reports", "Reports"))),
    (
        "Connect",
        (
            ("sources", "Sources"),
            ("events", "Events"),
            ("endpoints", "Endpoints"),
            ("tokens", "Tokens"),
        ),
    ),
    (
        "Set up",
        (
            ("first_steps", "First steps"),
            ("organizations", "Organizations"),
            ("courses", "Courses"),
            ("prices", "Prices"),
            ("seller", "Seller"),
            ("templates", "Texts of mails"),
            ("reminders", "Reminders"),
            ("users", "Users"),
            ("sessions", "Sessions"),
            ("history", "History"),
        ),
    ),
)

# The part of a guide that tells of a page, by the beginning of its address; the longest that fits.
HELP = {
    "": "console#which-page-for-whom",
    "first-steps": "console#the-first-start",
    "pools": "keys",
    "pools/new": "keys#adding-keys",
    "batches": "keys#generated-keys-and-their-check-symbol",
    "trouble": "webhooks#what-can-come-of-it",
    "assignments": "console#acting-on-many",
    "bulk-acts": "console#acting-on-many",
    "redemptions": "webhooks#what-can-come-of-it",
    "messages": "mail",
    "templates": "mail#words",
    "reminders": "mail#reminders",
    "charges": "billing#charges",
    "invoices": "billing#from-draft-to-paid",
    "prices": "billing#prices",
    "seller": "billing#seller-and-buyers",
    "reports": "reports",
    "sources": "webhooks",
    "events": "webhooks#the-answers",
    "endpoints": "webhooks#being-told-by-keypool",
    "deliveries": "webhooks#being-told-by-keypool",
    "tokens": "sign-in#tokens",
    "users": "sign-in#invitations-and-passwords",
    "sessions": "sign-in#sessions",
    "account": "sign-in#second-factor",
}

# What a list without any row says, and the page on which one begins.
FIRST = {
    "pools": ("No pool yet: it has keys of one course.", "Create a training key pool", "new_pool"),
    "batches": ("No batch yet: many keys are made in one.", "Create a training key pool", "new_pool"),
    "assignments": ("No assignment yet: each comes of a redeemed key.", "See the pools", "pools"),
    "redemptions": ("Nobody tried to redeem a key yet.", "Connect a shop or portal", "sources"),
    "events": ("No event yet: sources post them.", "Connect a shop or portal", "sources"),
    "charges": ("Nothing was charged yet: each redemption is.", "See the prices", "prices"),
    "invoices": (
        "No invoice yet: they are drafted when a month is over.", "See the charges", "charges"
    ),
    "messages": ("No mail yet: keys are mailed from a pool.", "See the pools", "pools"),
}  # fmt: skip

CURSORS = ("after", "before")  # which page of a list

# How browsers and systems are found in User-Agent: the first that fits, since most name others too.
BROWSERS = {
    "Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari",
}  # fmt: skip
SYSTEMS = {
    "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows",
    "Mac OS X": "macOS", "Linux": "Linux",
}  # fmt: skip


def install(blueprint: APIBlueprint) -> None:
    """Make these functions available in a blueprint's templates."""
    for filter_ in (when, number, words, pretty, language_name, browser):
        blueprint.add_app_template_filter(filter_)
    for asked in (
        may,
        help_here,
        first_here,
        operating,
        roles_to_give,
        menu,
        here,
        act_from_here,
        longest_days,
    ):  # globals, because macros see nothing else
        blueprint.add_app_template_global(asked)


def longest_days() -> int:
    """Give the limit for durations in days."""
    return days.MAX_DAYS


def when(value: datetime | None, owner: str | None = None) -> Markup:
    """Give an instant as a `time` element, in the page's time zone; a list's row may have its owner's."""
    if value is None:
        return Markup("")
    its_zone = _zone_of(owner)
    there = value.astimezone(ZoneInfo(its_zone))
    local = f"{there.day} {there:%b %Y, %H:%M}"
    return Markup('<time datetime="{}" title="{}">{} <small>{}</small></time>').format(
        value.isoformat(), f"{local} {its_zone}", local, f"{there:%Z}"
    )


def number(value: int | str) -> str:
    """Group the digits of a number, or of an amount given as text."""
    return f"{Decimal(value):,}"


def pretty(document: Any) -> str:
    """Format a JSON document over several lines."""
    return json.dumps(document, ensure_ascii=False, indent=2)


def words(code: object) -> str:
    """Turn a code such as `not_available_to_organization` into words."""
    return str(code).replace("_", " ")


def browser(agent: str) -> str:
    """Name a browser and its system, as it names itself in `User-Agent`."""
    names = (
        next((name for token, name in known.items() if token in agent), "")
        for known in (BROWSERS, SYSTEMS)
    )
    return ", ".join(filter(None, names)) or agent.partition("/")[0] or "unknown"


def own_zone() -> str:
    """Give the time zone of the visitor's organization; the operator's is UTC. Lists read days in it."""
    actor: Actor = g.actor
    own = actor.organization_id and g.session.get(Organization, actor.organization_id)
    return own.time_zone if own else "UTC"


def zone() -> str:
    """Give the page's time zone: the visitor's own, to the operator that of the page's owner."""
    if "zone" not in g:
        g.zone = own_zone()
    return str(g.zone)


def _zone_of(owner: str | None) -> str:
    """Give the zone of an organization's times: to the operator, who has no days of their own, its own."""
    actor: Actor = g.actor
    if owner is None or actor.organization_id is not None:
        return zone()
    if "zones" not in g:
        known = organizations.in_sight(g.session, actor=actor)
        g.zones = {one["name"]: one["time_zone"] for one in known}
    return str(g.zones.get(owner, zone()))


def of_owner(name: str) -> None:
    """Show the operator, who has no days of their own, this page's times in its owner's zone."""
    actor: Actor = g.actor
    if actor.organization_id is None:
        g.zone = organizations.find(g.session, actor=actor, name=name).time_zone


def may(endpoint: str) -> bool:
    """Say whether the visitor's role may open a page; the page names its roles."""
    if not current_user.is_authenticated:
        return False
    roles = vars(current_app.view_functions[f"console.{endpoint}"])["roles"]
    return current_user.actor.role in roles


def operating() -> bool:
    """Say whether the visitor is a user of the operator."""
    return current_user.is_authenticated and current_user.actor.role is Role.OPERATOR


def roles_to_give() -> list[Role]:
    """List the roles that the visitor may give: the operator's is the operator's to give."""
    return [role for role in Role if role is not Role.OPERATOR or operating()]


def menu() -> list[tuple[str, list[tuple[str, bool, str]]]]:
    """Give the menu's groups: for each page that the visitor may open, URL, label, and if it is current."""
    offered = [
        (title, [(*_entry(page), label) for page, label in pages if may(page)])
        for title, pages in MENU
    ]
    return [(title, pages) for title, pages in offered if pages]


def help_here() -> str:
    """Give the address of what a guide tells of this page."""
    path = request.path.removeprefix("/console/")
    fitting = max((key for key in HELP if f"{path}/".startswith(f"{key}/" if key else "")), key=len)
    guide, _, part = HELP[fitting].partition("#")
    return url("console.guide", guide=guide, _anchor=part or None)


def first_here() -> tuple[str, str, str] | None:
    """Give what this list says while it has nothing, a button's words, and where that leads."""
    page = standing()[0].rpartition(".")[2]
    if request.query_string or page not in FIRST:
        return None
    sentence, label, begins = FIRST[page]
    return sentence, label if may(begins) else "", url(f"console.{begins}")


def here(**changes: Any) -> str:
    """Give this page's URL with changed query parameters; None removes one.

    A list that is changed begins at its first page, unless the change is a cursor.
    """
    query = {**request.args.to_dict(), **dict.fromkeys(CURSORS), **changes}
    kept = {name: value for name, value in query.items() if value not in (None, "")}
    endpoint, arguments = standing()
    return url(endpoint, **arguments, **kept)


def act_from_here(address: str) -> str:
    """Give the URL of a form's action with this page's query, so that the page can be shown again."""
    query = request.query_string.decode("latin-1")
    return f"{address}?{query}" if query else address


def _entry(page: str) -> tuple[str, bool]:
    endpoint = f"console.{page}"
    return url(endpoint), endpoint == standing()[0]
