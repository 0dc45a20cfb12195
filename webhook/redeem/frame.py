"""What every page has: its language, its headers, its cookie; where it comes from; and errors."""

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from apiflask import APIBlueprint
from flask import Response, current_app, g, make_response, redirect, render_template, request
from flask import url_for as url
from werkzeug.exceptions import BadRequest, HTTPException

from webhook.http import problems
from worker.languages import negotiation, readers
from worker.languages.phrasebooks import LANGUAGES, Phrasebook, language_name, phrasebook
from worker.languages.phrases import phrase
from worker.redemption.pages import Page
from worker.settings import settings
from worker.tenancy import networks

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HOUSEHOLD = ipaddress.ip_network("::/64")
HERE = dict.fromkeys(("/my/key", "/my/sign-out"), "/my")  # where a page is shown that a form gave
WORDS = {
    404: phrase("There is no such page."),
    429: phrase("Too many keys were tried lately. Wait a few minutes before you try another."),
    503: phrase("The page cannot answer at the moment. Nothing is lost: try again in a minute."),
}
ELSE = phrase("That did not work. Go back, load the page again, and send it once more.")

blueprint = APIBlueprint(
    "redeem",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/redeem/static",
    enable_openapi=False,
)


def install() -> None:
    """Install on the blueprint what every page has."""
    blueprint.before_request(_begin)
    blueprint.after_request(_headed)
    blueprint.register_error_handler(Exception, _for_error)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Answer with a page, in the reader's language."""
    shown: Page | None = g.get("page")
    body = render_template(
        f"redeem/{template}.html",
        page=shown,
        say=g.book.say,
        say_count=g.book.say_count,
        language=g.book.language,
        languages=[(tag, language_name(tag)) for tag in offered()],
        to=to,
        asset=asset,
        here=HERE.get(request.path, request.path),
        at=request.args.get("at"),
        once=secrets.token_hex(8),
        **values,
    )
    answer = make_response(body, status)
    answer.content_language.add(g.book.language)
    return answer


def go(endpoint: str, **where: Any) -> Response:
    """Send the browser to a page."""
    return redirect(to(endpoint, **where), 303)  # type: ignore[return-value]  # werkzeug's own class


def to(endpoint: str, **where: Any) -> str:
    """Give a page's address; a language that was chosen stays."""
    kept = {name: request.args[name] for name in ("language", "at") if name in request.args}
    wanted = {name: value for name, value in (kept | where).items() if value is not None}
    return url(f"redeem.{endpoint}", **wanted)


def show_for(shown: Page | None, language: str | None = None) -> None:
    """Name the page that is shown, and the language of the session: both say what the answer is in."""
    g.page = shown
    own = shown.locale if shown else None
    chosen = (
        _offered(request.args.get("language"))
        or _offered(language)
        or negotiation.choose(request.headers.get("Accept-Language"), offered())
        or _offered(phrasebook(own).language)
        or offered()[0]
    )
    readers.begin(chosen)
    g.book = _book(chosen, own)


def offered() -> Sequence[str]:
    """Give the languages that the page comes in."""
    shown: Page | None = g.get("page")
    return (shown.languages if shown else None) or LANGUAGES


def client() -> str:
    """Give the client's address; of one that is IPv6, the network that a household has."""
    found = networks.parsed(request.remote_addr or "")
    if found is not None and found.version == HOUSEHOLD.version:
        return str(ipaddress.ip_network((found, HOUSEHOLD.prefixlen), strict=False))
    return request.remote_addr or ""


def token() -> str | None:
    """Give the random id in the cookie of the browser's session."""
    return request.cookies.get(_cookie())


def remember(answer: Response, session_token: str) -> Response:
    """Give the browser the cookie of a session, until it is closed."""
    answer.set_cookie(
        _cookie(), session_token, httponly=True, samesite="Lax", secure=_https(), path="/"
    )
    return answer


def forget(answer: Response) -> Response:
    """Take the cookie back."""
    answer.delete_cookie(_cookie(), httponly=True, samesite="Lax", secure=_https(), path="/")
    return answer


@cache
def asset(name: str) -> str:
    """Give an asset's URL, which has a hash of its content."""
    version = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return url("redeem.static", filename=name, v=version)


def _begin() -> None:
    show_for(None)
    if request.method == "POST" and not _is_from_here():
        structlog.contextvars.bind_contextvars(problem="forged_form")
        raise BadRequest


def _is_from_here() -> bool:
    """Say whether a form is from one of our pages: browsers say where it is from, and others need not.

    It takes the place of a token, since a person has no session before the first form.
    """
    if fetched_from := request.headers.get("Sec-Fetch-Site"):
        return fetched_from in ("same-origin", "none")
    if origin := request.headers.get("Origin"):
        ours = {request.host, urlsplit(settings().public_url or "").netloc}
        return origin.partition("://")[2] in ours - {""}
    return True


def _headed(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    if request.endpoint == "redeem.static" and answer.status_code < 400:
        lasting = "public, max-age=31536000, immutable" if "v" in request.args else "no-cache"
        answer.headers["Cache-Control"] = lasting
    else:
        answer.vary.add("Accept-Language")
    return answer


def _for_error(error: Exception) -> Response:
    """Answer an error as a page, with the status that the API would give it."""
    if "book" not in g:  # the request was refused before it came here
        show_for(None)
    if isinstance(error, HTTPException):
        status, headers = error.code or 500, dict(error.get_headers())
    else:
        handlers = current_app.error_handler_spec[None][None]
        kind = next(kind for kind in type(error).__mro__ if kind in handlers)
        told: Any = handlers[kind](error)
        status, headers = told.status_code, dict(told.headers)
    answer = page("error", status, words=g.book.say(WORDS.get(status, ELSE)))
    answer.headers.update(problems.kept(headers))
    return answer


def _offered(language: str | None) -> str | None:
    return language if language in offered() else None


def _book(language: str, own: str | None) -> Phrasebook:
    """Give a language's phrasebook, with the forms of the organization's country where it is theirs."""
    theirs = phrasebook(own)
    return theirs if theirs.language == language else phrasebook(language)


def _https() -> bool:
    return (settings().public_url or "").startswith("https:")


def _cookie() -> str:
    return "__Host-keypool-page" if _https() else "keypool-page"
