"""Help: the guides of `docs/`, as pages."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import render_template, send_from_directory
from flask import url_for as url
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.anchors import anchors_plugin
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.frame import blueprint
from webhook.http.access import EVERYBODY
from worker import errors
from worker.tenancy.actors import Actor

FOLDER = Path(__file__).parents[2] / "docs"
# In the order of who reads them: people at their pages, those who connect, those who operate.
GUIDES = (
    "console",
    "keys",
    "redeem",
    "billing",
    "reports",
    "mail",
    "sign-in",
    "languages",
    "without-developers",
    "tutorial",
    "webhooks",
    "api",
    "report-schema",
    "operations",
    "runbook",
    "scale",
    "faults",
    "asvs",
)
GUIDE = re.compile(r"(?P<guide>[a-z-]+)\.md(?P<part>#.*)?")


@dataclass(frozen=True)
class Guide:
    """A guide: its name in addresses, its title, its first words, its page, and its parts (anchor, title)."""

    name: str
    title: str
    first: str
    page: Markup
    parts: tuple[tuple[str, str], ...]


@blueprint.get("/help", endpoint="help")
@page(*EVERYBODY)
def contents(_session: Session, _actor: Actor) -> Any:
    """List the guides."""
    return render_template("help.html", guides=[read(name) for name in GUIDES])


@blueprint.get("/help/<guide>")
@page(*EVERYBODY)
def guide(_session: Session, _actor: Actor, guide: str) -> Any:
    """Show a guide."""
    if guide not in GUIDES:
        raise errors.NotFoundError(f"There is no guide “{guide}”.")
    return render_template("guide.html", it=read(guide))


@blueprint.get("/help/images/<path:name>", endpoint="help_image")
@page(*EVERYBODY)
def image(_session: Session, _actor: Actor, name: str) -> Any:
    """Give a guide's picture."""
    return send_from_directory(FOLDER / "images", name, max_age=3600)


@cache
def read(name: str) -> Guide:
    """Read a guide, and lead its links to pages of ours."""
    tokens = _markdown().parse((FOLDER / f"{name}.md").read_text("utf-8"))
    for token in tokens:
        token.children = token.children and _led(token.children)
    _mend_tables(tokens)
    heads = [
        (head.tag, str(head.attrGet("id")), tokens[place + 1].content)
        for place, head in enumerate(tokens)
        if head.type == "heading_open"
    ]
    words = (_plain(one) for one in tokens if one.type == "inline" and one.level == 1)
    _, first, *_ = words
    return Guide(
        name=name,
        title=heads[0][2],
        first=first.partition(". ")[0].rstrip(".") + ".",
        page=Markup(_markdown().renderer.render(tokens, _markdown().options, {})),  # noqa: S704  # ours
        parts=tuple((anchor, title) for tag, anchor, title in heads if tag == "h2"),
    )


def _mend_tables(tokens: list[Token]) -> None:
    """Have tables that are too wide scrolled by keyboard, and an empty cell be no head."""
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            token.attrSet("tabindex", "0")
        if token.type == "th_open" and not tokens[place + 1].content:
            token.tag = tokens[place + 2].tag = "td"


def _plain(words: Token) -> str:
    """Give a paragraph's text without its marks."""
    breaks = {"softbreak": " "}
    return "".join(breaks.get(one.type, one.content) for one in words.children or ())


@cache
def _markdown() -> MarkdownIt:
    return (
        MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=4)
    )


def _led(tokens: list[Token]) -> list[Token]:
    """Lead links to guides and pictures here; what leads elsewhere in the repository is mere text."""
    kept, closes = [], True
    for token in tokens:
        if token.type == "image":
            name = str(token.attrGet("src")).removeprefix("images/")
            token.attrSet("src", url("console.help_image", name=name))
            token.attrSet("loading", "lazy")
        elif token.type == "link_open":
            address = _address(str(token.attrGet("href")))
            closes = address is not None
            token.attrSet("href", address or "")
        if not closes and token.type in ("link_open", "link_close"):
            continue
        kept.append(token)
    return kept


def _address(target: str) -> str | None:
    if target.startswith(("#", "https://", "http://")):
        return target
    found = GUIDE.fullmatch(target)
    if found and found["guide"] in GUIDES:
        return url("console.guide", guide=found["guide"]) + (found["part"] or "")
    return None
