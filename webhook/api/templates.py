"""Templates: organizations' own words for mails."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker.database.paging import Page
from worker.outgoing import messages
from worker.outgoing.messages import TemplatePreview
from worker.tenancy import templates
from worker.tenancy.actors import Actor, Role
from worker.tenancy.templates import TemplateShape

blueprint = APIBlueprint("templates", __name__, url_prefix="/api/v1/templates", tag="Messages")


class Words(Taken):
    """What a template says."""

    subject: str
    text: str


class Sample(Words):
    """A template to preview, in an organization's letterhead."""

    organization: str | None = None


class NewTemplate(Words):
    """A template; it replaces the organization's of that name."""

    name: str
    organization: str


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(templates.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[templates.Filters]) -> Page[TemplateShape]:
    """List the organizations' own templates, by default by name."""
    return templates.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewTemplate, arg_name="body")
def save(session: Session, actor: Actor, body: NewTemplate) -> TemplateShape:
    """Save a template; it replaces the one of that name."""
    return templates.save(
        session,
        actor=actor,
        organization=body.organization,
        name=body.name,
        subject=body.subject,
        text=body.text,
    )


@blueprint.post("/preview")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Sample, arg_name="body")
def preview(session: Session, actor: Actor, body: Sample) -> TemplatePreview:
    """Give what a template says, with values made up, as text and as a page."""
    return messages.preview(
        session,
        actor=actor,
        subject=body.subject,
        text=body.text,
        organization=body.organization,
    )
