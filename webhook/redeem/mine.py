"""What is one's own: the code, the answer on a key, one's courses, another key, the end."""

from typing import Any

from flask import Response, g, request

from webhook.http import waiting
from webhook.http.headers import CLEARING
from webhook.redeem import frame, judging
from webhook.redeem.frame import blueprint
from webhook.redeem.judging import Typed
from worker.database import connections
from worker.database.connections import Login
from worker.languages.phrases import phrase
from worker.learning import own
from worker.learning.own import OwnAssignment
from worker.redemption import inbox, outcomes, pages, proofs
from worker.redemption.inbox import EventShape
from worker.redemption.outcomes import Facts
from worker.redemption.proofs import Answer, Visit
from worker.tables.labels import GRANTED, EventStatus
from worker.tenancy.actors import Actor, Role

WAIT_SECONDS = 10
OVER = phrase("That code is not good any more. Ask for another one.")
NO_PAGE = phrase("Type the last part of the address of your organization's page.")

waiting_room = waiting.WaitingRoom()


@blueprint.get("/my", strict_slashes=False)
def my() -> Any:
    """Show a person's own courses; who has not proved their address here does so first."""
    visit = judging.visit()
    if visit is None or not visit.proved:
        frame.show_for(None)
        return frame.page("sign_in", typed=Typed(at=request.args.get("at", "")[:60]))
    left = visit.asked.key if visit.asked else ""  # proved, and then something went wrong
    return frame.page("my", visit=visit, typed=Typed(left), assignments=_own(visit))


@blueprint.post("/my")
def sign_in() -> Any:
    """Ask for a code that opens a person's own courses."""
    typed = judging.read(request.form, key=False)
    if typed.wrong or not typed.at:
        wrong = dict(typed.wrong) | ({} if typed.at else {"at": g.book.say(NO_PAGE)})
        return frame.page("sign_in", 422, typed=Typed(email=typed.email, at=typed.at, wrong=wrong))
    with connections.session(Login.WEB) as session:
        page = pages.of_slug(session, typed.at)
    frame.show_for(page)
    return judging.begin(page, Typed(email=typed.email), at=typed.at)


@blueprint.get("/my/code")
def code() -> Any:
    """Show the form for the code of the mail."""
    visit = judging.visit()
    if visit is None:
        return _begin_again()
    if visit.proved or not visit.needs_code:
        return frame.go("answer" if _has_answer(visit) else "my")
    return frame.page("code", visit=visit, wrong=g.book.say(OVER) if visit.over else "")


@blueprint.post("/my/code")
def prove() -> Any:
    """Check a code; then the key is judged."""
    visit = judging.visit()
    if visit is None:
        return _begin_again()
    if visit.proved:  # sent twice
        return frame.go("answer" if _has_answer(visit) else "my")
    with connections.session(Login.WEB) as session:
        answer = proofs.prove(session, visit, request.form.get("code", ""))
    if answer is not Answer.RIGHT:
        if (now := judging.visit()) and now.proved:  # sent twice at once
            return frame.go("answer")
        wrong = g.book.say(OVER) if answer is Answer.OVER else _wrong(visit.tries_left - 1)
        return frame.page("code", 422, visit=now, wrong=wrong)
    if visit.asked is None or not visit.asked.key:
        return frame.go("my")
    judging.judge(visit, visit.asked, once="first")
    return frame.go("answer")


@blueprint.get("/my/answer")
def answer() -> Any:
    """Show what became of a key; wait for it, but not for long."""
    visit = judging.visit()
    if visit is None:
        return _begin_again()
    if not _has_answer(visit):
        return frame.go("my" if visit.proved else "anywhere")
    if visit.event_id is None:
        with connections.session(Login.WEB) as session:
            now = connections.clock_now(session)
        message = outcomes.message(g.book, str(visit.outcome), Facts("UTC", now=now))
        return frame.page("answer", visit=visit, outcome=visit.outcome, message=message, it=None)
    event = _event(visit, visit.event_id)
    if event["status"] is EventStatus.RECORDED and waiting_room.wait(visit.event_id, WAIT_SECONDS):
        event = _event(visit, visit.event_id)
    outcome = event["outcome"]
    of_whom = visit.proved or outcome in GRANTED
    its = _own(visit, event["assignment"]) if event["assignment"] and of_whom else []
    return frame.page(
        "answer", visit=visit, outcome=outcome, message=event["message"], it=next(iter(its), None)
    )


@blueprint.get("/my/key")
@blueprint.get("/my/sign-out")
def reloaded() -> Any:
    """Show one's courses where the answer to a form is opened as a page, as phones do with an old tab."""
    return frame.go("my")


@blueprint.post("/my/key")
def another() -> Any:
    """Have another key judged, for the address that was proved."""
    visit = judging.visit()
    if visit is None or not visit.proved:
        return frame.go("anywhere")
    typed = judging.read(request.form, email=False)
    if typed.wrong:
        return frame.page("another", 422, visit=visit, typed=typed)
    judging.judge(visit, typed.asked, once=request.form.get("once", "")[:40])
    return frame.go("answer")


@blueprint.post("/my/sign-out")
def sign_out() -> Any:
    """End the session."""
    visit = judging.visit()
    if visit is not None:
        with connections.session(Login.WEB) as session:
            proofs.end(session, visit.token)
    answer = frame.forget(frame.page("signed_out"))
    answer.headers.update(CLEARING)
    return answer


def _begin_again() -> Response:
    """Send who has no session back to the form, which says so: theirs ended, or cookies are off."""
    slug = request.args.get("at", "")
    if pages.SLUG.fullmatch(slug):
        return frame.go("start", slug=slug, at=None, over=1)
    return frame.go("anywhere", at=None, over=1)


def _wrong(left: int) -> str:
    said: str = g.book.say_count(
        "That is not the code of the mail. You can try once more.",
        "That is not the code of the mail. You can try {count} more times.",
        left,
    )
    return said


def _has_answer(visit: Visit) -> bool:
    return visit.event_id is not None or visit.outcome is not None


def _own(visit: Visit, assignment: str | None = None) -> list[OwnAssignment]:
    if visit.organization_id is None:
        return []
    with connections.session(Login.WEB, sees=pages.entry(visit.organization_id)) as session:
        return own.assignments(
            session,
            organization_id=visit.organization_id,
            email=visit.email,
            assignment_id=int(assignment) if assignment else None,
        )


def _event(visit: Visit, event_id: int) -> EventShape:
    name, entry = f"page session {visit.id}", pages.entry(visit.organization_id or 0)
    visitor = Actor(name, Role.SENDER, visit.organization_id, entry)
    with connections.session(Login.WEB, sees=visitor.scope) as session:
        return inbox.show(session, actor=visitor, event=str(event_id))
