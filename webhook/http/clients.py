"""Who asks: the address of a request's client, behind proxies that are trusted."""

from collections.abc import Callable, Iterable

from apiflask import APIFlask

from worker.settings import settings
from worker.tenancy import networks

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
