"""The first page: the key, the address and the name."""

from typing import Any

from flask import Response, g, request

from webhook.redeem import frame, judging
from webhook.redeem.frame import blueprint
from webhook.redeem.judging import Typed
from worker.database import connections
from worker.database.connections import Login
from worker.languages.phrases import phrase
from worker.redemption import pages
from worker.redemption.pages import Page
from worker.tenancy import colours, logos

OTHER_DOMAIN = phrase("This page takes addresses at {domains} alone.")


@blueprint.get("/redeem", endpoint="anywhere", strict_slashes=False)
@blueprint.get("/redeem/<slug>", endpoint="start", strict_slashes=False)
def start(slug: str | None = None) -> Any:
    """Show the form for a key; to those who proved their address here before, for the key alone."""
    page = _page(slug)
    visit = judging.visit()
    if visit and visit.proved and (page is None or visit.organization_id == page.organization_id):
        return frame.page("another", visit=visit, typed=Typed())
    frame.show_for(page)
    return frame.page("start", typed=Typed(), slug=slug, over="over" in request.args)


@blueprint.post("/redeem", endpoint="ask_anywhere")
@blueprint.post("/redeem/<slug>", endpoint="ask")
def ask(slug: str | None = None) -> Any:
    """Take a key: ask for a code, or, on an open page, have it judged."""
    page = _page(slug)
    frame.show_for(page)
    typed = judging.read(request.form)
    wrong = dict(typed.wrong)
    if page and "email" not in wrong and not page.takes(typed.email):
        wrong["email"] = g.book.say(OTHER_DOMAIN, domains=", ".join(page.domains))
    if wrong:
        shown = Typed(typed.key, typed.email, typed.name, wrong=wrong)
        return frame.page("start", 422, typed=shown, slug=slug)
    return judging.begin(page, typed, at=slug)


@blueprint.get("/redeem/<slug>/logo.png")
def logo(slug: str) -> Any:
    """Give the logo of an organization that has a page."""
    with connections.session(Login.WEB) as session:
        page = pages.of_slug(session, slug)
        kept = logos.of(session, organization_id=page.organization_id) if page else None
    if kept is None:
        return frame.page("error", 404, words=g.book.say(frame.WORDS[404]))
    return Response(kept.content, mimetype="image/png")


@blueprint.get("/redeem/colours/<colour>.css")
def colour(colour: str) -> Any:
    """Give the style of an organization's colour: a page has no style of its own."""
    if not (len(colour) == 6 and all(c in "0123456789abcdef" for c in colour)):
        return frame.page("error", 404, words=g.book.say(frame.WORDS[404]))
    style = f":root{{--accent:#{colour};--on-accent:{colours.ink('#' + colour)}}}"
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(style, mimetype="text/css", headers=kept)


def _page(slug: str | None) -> Page | None:
    if slug is None:
        return None
    with connections.session(Login.WEB) as session:
        return pages.of_slug(session, slug)
