"""Who asks: the address of a request's client, behind proxies that are trusted; and the request's id."""

import random
import re
from collections.abc import Callable, Iterable

from apiflask import APIFlask

from worker.settings import settings
from worker.tenancy import networks

# No white space and no quotes: neither a line of a log nor a header can be broken by it.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

WsgiApp = Callable[..., Iterable[bytes]]


def install(app: APIFlask) -> None:
    """Make `request.remote_addr` the client's address, also behind trusted proxies."""
    app.wsgi_app = _behind_proxies(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own way


def _behind_proxies(served: WsgiApp) -> WsgiApp:
    def serve(environ: dict[str, str], start_response: object) -> Iterable[bytes]:
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        if forwarded and settings().trusted_proxies:
            environ["REMOTE_ADDR"] = networks.client(
                environ.get("REMOTE_ADDR", ""), forwarded.split(","), settings().trusted_proxies
            )
        return served(environ, start_response)

    return serve


def request_id(given: str | None) -> str:
    """Give a request's id: the one that its `X-Request-Id` names, else a new one.

    An id of other characters, or a longer one, is not taken: it goes into logs and answers.
    """
    if given and REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(48):012x}"
