"""`/unsubscribe/…`: the link in reminders and reports, by which their receiver gets no more of them.

It works without signing in, and in one click from a mail program (RFC 8058: POST). A GET changes
nothing, since mail scanners follow links: it shows a button.
"""

import base64
import hashlib
from http import HTTPStatus
from typing import Any

from apiflask import APIBlueprint
from flask import Response, make_response, render_template_string

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.languages import readers
from worker.languages.phrasebooks import Phrasebook
from worker.outgoing import unsubscribing
from worker.outgoing.unsubscribing import Sender

STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:10vh auto;max-width:32rem;padding:0 1rem;font:1.1rem/1.5 system-ui,sans-serif}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.3rem;background:#0b5fa5;color:#fff;"
    "cursor:pointer}"
)
PAGE = """<!doctype html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}{% if button %}<form method="post"><button>{{ button }}</button></form>
{% endif %}</main>
</body>
</html>
"""
_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_hash}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}

blueprint = APIBlueprint("unsubscribe", __name__, enable_openapi=False)


@blueprint.get(f"{unsubscribing.PATH}<token>")
def ask(token: str) -> Response:
    """Show a button; nothing is done yet."""
    with connections.session(Login.WEB) as session:
        sender = unsubscribing.sender(session, token=token)
    book = readers.book_for(sender.locale)
    if sender.notebook:
        title = book.say("Report “{report}” by mail", report=_report(sender))
        return _page(book, title, button=book.say("No more of this report"))
    title = book.say("Reminders from {organization}", organization=sender.organization)
    return _page(book, title, *_what_goes_on(book), button=book.say("No more reminders"))


@blueprint.post(f"{unsubscribing.PATH}<token>")
def unsubscribe(token: str) -> Response:
    """Unsubscribe the receiver; again changes nothing."""
    with connections.session(Login.WEB) as session:
        unsubscribing.unsubscribe(session, token=token)
        sender = unsubscribing.sender(session, token=token)
    book = readers.book_for(sender.locale)
    if sender.notebook:
        return _page(
            book, book.say("The report “{report}” no longer comes by mail", report=_report(sender))
        )
    title = book.say("No more reminders from {organization}", organization=sender.organization)
    return _page(book, title, *_what_goes_on(book))


@blueprint.errorhandler(errors.NotFoundError)
def unknown(error: errors.NotFoundError) -> Response:
    """Say that a link does not work, and nothing else."""
    book = readers.book_for(None)
    return _page(book, book.translate(str(error)), status=HTTPStatus.NOT_FOUND)


def _report(sender: Sender) -> str:
    return (sender.notebook or "").replace("_", " ")


def _what_goes_on(book: Phrasebook) -> list[str]:
    return [book.say("Keys and codes that you ask for still come by mail.")]


def _page(book: Phrasebook, title: str, *lines: str, status: int = 200, **more: Any) -> Response:
    said = {"language": book.language, "title": title, "lines": lines, "style": STYLE, **more}
    answer = make_response(render_template_string(PAGE, **said), status)
    answer.headers.extend(HEADERS)
    return answer
