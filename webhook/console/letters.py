"""Mails on pages: shown as mail programs do, in a frame that runs nothing; and words to begin from."""

import base64
import hashlib
import re
from html import unescape
from typing import Any

from apiflask import APIBlueprint
from flask import Response, g, make_response, render_template

from webhook.console.answers import HEADERS
from worker.tenancy import templates

STYLE = re.compile(r' style="([^"]*)"')
POLICY = "Content-Security-Policy"


def install(blueprint: APIBlueprint) -> None:
    """Make the words to begin from available in a blueprint's templates."""
    blueprint.add_app_template_global(beginning)


def beginning(organization: str) -> templates.TemplateText:
    """Give what keypool says in an organization's language."""
    return templates.beginning(g.session, actor=g.actor, organization=organization)


def page(template: str, html: str | None, **context: Any) -> Response:
    """Render a page that shows a mail's HTML in a sandboxed frame (`srcdoc`).

    The frame has the page's policy, which so allows the very styles of that mail, by their hashes, and
    still no script and nothing that is loaded.
    """
    shown = make_response(render_template(template, **context))
    styles = " ".join(sorted(set(map(_hash, STYLE.findall(html or "")))))
    allowed = f"style-src 'self' 'unsafe-hashes' {styles};" if styles else "style-src 'self';"
    policy = HEADERS[POLICY].replace("style-src 'self';", allowed)
    shown.headers.extend(HEADERS | {POLICY: policy})
    return shown


def _hash(style: str) -> str:
    digest = hashlib.sha256(unescape(style).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
