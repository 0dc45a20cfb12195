"""Printing a report's page as PDF, with the machine's Chromium."""

import base64
import html
import os
import shutil
import subprocess
from itertools import starmap
from pathlib import Path

from worker import errors
from worker.languages import scripts
from worker.machine import fence
from worker.reporting import scratches
from worker.settings import settings

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT = 120  # seconds
FAMILY = "keypool"  # of our fonts; the last that page.css names
INHERITED = ("PATH", "LANG", "LC_ALL")
# Put before a page, where no page can take it back: no scripts, no other file, nothing from elsewhere.
POLICY = (
    "<!doctype html><meta charset='utf-8'><meta http-equiv='Content-Security-Policy' content=\""
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:\">"
)
# It opens one file of ours and must do nothing else: no first-run page, no updates, no network.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-pdf-header-footer",
)


class NoBrowserError(errors.KeypoolError):
    """Chromium prints PDFs, and there is none: install it, set KEYPOOL_CHROMIUM, or write HTML."""


class PrintingFailedError(errors.KeypoolError):
    """Chromium could not print the report; write it as HTML."""


def browser() -> str:
    """Give the path of Chromium.

    Raises:
        NoBrowserError: there is no Chromium.
    """
    configured = settings().chromium
    names = (str(configured),) if configured else BROWSERS
    if path := next(filter(None, map(shutil.which, names)), None):
        return path
    raise NoBrowserError


def pdf(page: str) -> bytes:
    """Print a page: fenced where that is possible, without scripts, and loading nothing.

    Raises:
        NoBrowserError: there is no Chromium.
        PrintingFailedError: Chromium made no PDF.
    """
    program = browser()
    with scratches.scratch() as scratch:
        root, own = scratch / "root", scratch / "printing"
        root.mkdir()
        own.mkdir()
        (own / "page.html").write_text(POLICY + _letters(page) + page, encoding="utf-8")
        try:
            subprocess.run(
                _command(program, root, own),
                check=True,
                capture_output=True,
                timeout=TIMEOUT,
                cwd=own,
                env=_environment(own),
            )
            return (own / "page.pdf").read_bytes()
        except (subprocess.SubprocessError, OSError):
            raise PrintingFailedError from None


def _letters(page: str) -> str:
    """Give the parts of our fonts that the page needs, so that no letter hangs on the machine's."""
    needed: dict[str, set[str]] = {}
    for character in set(html.unescape(page)):
        if not character.isascii() and (font := scripts.font_of(character)):
            needed.setdefault(font, set()).add(character)
    return f"<style>{''.join(starmap(_face, sorted(needed.items())))}</style>"


def _face(font: str, characters: set[str]) -> str:
    data = base64.b64encode(scripts.part(font, characters)).decode()
    only = ",".join(f"U+{ord(character):X}" for character in sorted(characters))
    return f"@font-face{{font-family:{FAMILY};src:url(data:font/ttf;base64,{data});unicode-range:{only}}}"


def _command(program: str, root: Path, own: Path) -> list[str]:
    fenced = fence.obstacle() is None
    command = [
        program,
        *FLAGS,
        # Chromium's own sandbox refuses to run as root, which containers do, and inside our fence.
        *["--no-sandbox"] * (fenced or os.geteuid() == 0),
        f"--user-data-dir={own / 'profile'}",
        f"--print-to-pdf={own / 'page.pdf'}",
        (own / "page.html").as_uri(),
    ]
    if not fenced:
        return command
    installed = Path(program).resolve().parent
    readable = (Path(program).parent, installed)
    return fence.Fence(root, readable=readable, writable=(own,), folder=own).command(*command)


def _environment(own: Path) -> dict[str, str]:
    known = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**known, "HOME": str(own)}
