"""ETags: conditional reads (304) and optimistic locking of edits (412).

An ETag has two parts: the version of the editable row, and a hash of the response. If-None-Match
compares both. If-Match compares only the version, so that a figure that changes by itself, such as
a pool's redeemed keys, does not prevent an edit.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webhook.http.problems import ChangedMeanwhileError
from worker.database import versions
from worker.tables.columns import Versioned
from worker.tenancy.actors import Actor

View = Callable[..., ResponseReturnValue]
Find = Callable[..., Versioned | Sequence[Versioned]]
READING = ("GET", "HEAD")


def versioned(find: Find, **names: str) -> Callable[[View], View]:
    """Check If-Match before a view changes something; put it directly under `allowed`.

    `find` finds the thing, locked if it is to be changed; `names` maps the route's parameters to its
    own. The view gets the thing found instead of its name, so that it is found once. The version is
    compared under the lock, in the transaction of the change, so of two concurrent edits one fails.

    Raises:
        ChangedMeanwhileError: the thing has another version than If-Match names.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(session: Session, actor: Actor, **arguments: Any) -> Response:
            reading = request.method in READING
            sought = {names.get(name, name): value for name, value in arguments.items()}
            found = find(session, actor=actor, **sought, lock=not reading)
            things = [found] if isinstance(found, Versioned) else found
            version = versions.of(things)  # as it was before the view ran
            if not reading:
                _refuse_unless_as_read(version)
            if isinstance(found, Versioned):
                arguments = dict.fromkeys(arguments, found)
            answer = current_app.make_response(view(session, actor, **arguments))
            return _tagged(answer, version if reading else versions.of(things))

        guarded.versioned = True  # type: ignore[attr-defined]  # read by openapi.py
        return guarded

    return guard


def answered(answer: Response) -> Response:
    """Add the ETag to what is read; 304 without a body if the caller has it already."""
    if request.method not in READING or answer.is_streamed or not answer.is_json:
        return answer
    tag, _ = _tagged(answer).get_etag()
    if not request.if_none_match.contains_weak(tag or ""):
        return answer
    return Response(status=304, headers={"ETag": answer.headers["ETag"]})


def _tagged(answer: Response, version: str | None = None) -> Response:
    if answer.status_code in (200, 201) and "ETag" not in answer.headers:
        digest = hashlib.sha256(answer.get_data()).hexdigest()[:16]
        answer.set_etag(f"{version}.{digest}" if version else digest)
    return answer


def _refuse_unless_as_read(version: str) -> None:
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return
    known = {(tag or "").partition(".")[0] for tag in request.if_match}  # werkzeug makes None of ""
    if version not in known:
        raise ChangedMeanwhileError
