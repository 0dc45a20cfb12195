"""Framing: a mail's text as a page, with the letterhead on top and the styles inline."""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import css_inline
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from worker.tenancy import colours

MAILS = Path(__file__).parent / "mails"
COLOUR = "#373c44"  # where an organization has none
LOGO = "logo@keypool"  # the Content-ID of the organization's, which is in the mail itself
INDENTED = "    "


@dataclass(frozen=True)
class Logo:
    """A logo as PNG, and how large it is shown, in pixels."""

    content: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Letterhead:
    """In whose name a mail comes, where answers go, its colour and its logo."""

    name: str
    reply_to: str = ""
    colour: str = COLOUR
    logo: Logo | None = None


def html(
    head: Letterhead, *, subject: str, text: str, language: str, is_mailed: bool = True
) -> str:
    """Give a text as a page; what is indented by four spaces, such as a key, is set off.

    The logo is a part of the mail or, of a page that is not mailed, in the page itself.
    """
    blocks = [
        (all(line.startswith(INDENTED) for line in block.splitlines()), block)
        for block in text.strip("\n").split("\n\n")
        if block.strip()
    ]
    return _inliner().inline(
        _frame().render(
            language=language,
            subject=subject,
            organization=head.name,
            colour=colours.rgb(head.colour),
            ink=colours.ink(head.colour),
            logo=head.logo,
            logo_at=f"cid:{LOGO}" if is_mailed or not head.logo else _inline(head.logo),
            blocks=blocks,
        )
    )


def _inline(logo: Logo) -> str:
    return f"data:image/png;base64,{base64.b64encode(logo.content).decode()}"


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(load_remote_stylesheets=False)


@cache
def _frame() -> Template:
    environment = Environment(
        loader=FileSystemLoader(MAILS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("frame.html")
