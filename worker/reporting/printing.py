"""Printing a report's page as PDF, with the machine's Chromium."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from worker import errors
from worker.settings import settings

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT = 120  # seconds
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
    """Print a page.

    Raises:
        NoBrowserError: there is no Chromium.
        PrintingFailedError: Chromium made no PDF.
    """
    with tempfile.TemporaryDirectory(prefix="keypool-print-") as made:
        folder = Path(made)
        written, printed = folder / "page.html", folder / "page.pdf"
        written.write_text(page, encoding="utf-8")
        command = [
            browser(),
            *FLAGS,
            # Chromium's sandbox refuses to run as root, which containers do.
            *["--no-sandbox"] * (os.geteuid() == 0),
            f"--user-data-dir={folder / 'profile'}",
            f"--print-to-pdf={printed}",
            written.as_uri(),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
            return printed.read_bytes()
        except (subprocess.SubprocessError, OSError):
            raise PrintingFailedError from None
