"""Headers of every answer: of the app's, and of requests that are refused before the app sees them."""

from worker.settings import settings

YEAR = 31_536_000  # seconds

# What is served is shown by no page and kept by no cache, unless a route says otherwise.
STRICT = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

# At the end of a session. Not “cookies”: by one of them an account knows a browser.
CLEARING = {"Clear-Site-Data": '"cache", "storage"'}


def every() -> dict[str, str]:
    """Give the headers that an answer has where it says nothing else; those of TLS where it is used."""
    if (settings().public_url or "").startswith("https:"):
        return STRICT | {"Strict-Transport-Security": f"max-age={YEAR}; includeSubDomains"}
    return STRICT
