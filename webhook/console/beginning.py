"""Beginning a session in a browser, however its user signed in."""

from flask import Response, current_app, redirect, session
from flask_login import login_user

from webhook.console import asking
from webhook.console.access import Visitor
from worker.tenancy import sessions


def onward(known: Visitor, target: str) -> Response:
    """Put a session into the browser's cookie, and lead to a page of ours."""
    session.clear()  # drop everything from before the sign-in (session fixation)
    session.permanent = True  # lasts for PERMANENT_SESSION_LIFETIME
    login_user(known)
    return redirect(target, 303)  # type: ignore[return-value]  # werkzeug's own class


def remembered(response: Response, device: str) -> Response:
    """Have the browser remember that the account was used on it; it lets nobody in."""
    response.set_cookie(
        asking.device_cookie(),
        device,
        max_age=sessions.DEVICE_KEPT,
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return response
