"""Templates: an organization's own words for the mails that bring keys.

What people write may say values, ask whether one is there, and go through the keys; nothing else of
Jinja. So a template neither reads what it is not given nor takes long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Unpack

from jinja2 import StrictUndefined, TemplateError, UndefinedError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.filters import ListFilters, Sorts, by
from worker.database.paging import Page, Paging, paged
from worker.database.searching import spoken
from worker.languages.phrasebooks import phrasebook
from worker.tables.tenancy import MailTemplate, Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

# What a template may say; `keys` and `link` in its text alone.
SAMPLE: Mapping[str, Any] = {
    "name": "Ann",
    "organization": "Your organization",
    "course": "The course",
    "reference": "A-17",
    "until": "until the end of 31 Dec 2026 (Europe/Berlin)",
    "before": "",
    "days": 180,
    "total": 1,
    "file": "",
    "link": "https://keys.example.com/redeem/acme#K7QM-4T9X-2HDP-8RWZ",
}
ONCE = "once"  # the name of words that are no template of anybody's
IN_TEXT = "link"  # has the key, so that a subject must not say it
KEYS = ["K7QM-4T9X-2HDP-8RWZ"]
FILTERS = {"upper", "lower", "trim", "length", "join", "default"}
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For,
    nodes.Filter, nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or,
)  # fmt: skip
# What Jinja and Python raise for a template that does not work: `{{ days|length }}` is a TypeError, one
# that is nested deeply a RecursionError or, once it is Python, a SyntaxError.
BROKEN = (TemplateError, TypeError, ValueError, SyntaxError, RecursionError)


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which templates."""

    sorts: ClassVar[Sorts] = {"name": MailTemplate.name}
    sorting: ClassVar[str] = "name: from A to Z, as it is unless another is asked for."

    search: str | None = by(
        "Pieces of the name or the subject, in any order and letter case.", typed="search"
    )
    organization: str | None = by("Those of this organization.")


ALL = Filters()


class TemplateText(TypedDict):
    """What a template says."""

    subject: str
    """The mail's subject."""
    text: str
    """The mail's text."""


# In whose words a mail is: a template's, by name; words for this once; or keypool's.
Wording = str | TemplateText | None


class TemplateShape(TemplateText):
    """An organization's own words for the mails that bring keys."""

    name: str
    """The template's name, unique in its organization."""
    organization: str
    """The organization."""


def save(
    session: Session, *, actor: Actor, organization: str, name: str, subject: str, text: str
) -> TemplateShape:
    """Save a template under a name; it replaces the one of that name.

    Mails that wait keep the words in which they were asked for.

    Raises:
        InvalidInputError: the name, the subject or the text is wrong, or the text has no keys.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    preview(subject=subject, text=text)
    session.execute(
        update(MailTemplate)
        .where(_in_force(owner.id), MailTemplate.name == name.strip())
        .values(replaced_at=func.clock_now())
    )
    made = MailTemplate(
        organization_id=owner.id, name=name.strip(), subject=subject.strip(), body=_lines(text)
    )
    session.add(made)
    session.flush()
    history.remember(session, actor, "template saved", made, name=made.name)
    return shape(made, owner.name)


def worded(name: str | None, *, subject: str | None, text: str | None) -> Wording:
    """Give in whose words a mail is to be: those of a template by its name, or of this once.

    Raises:
        InvalidInputError: both are given, or a subject without a text, or the reverse.
    """
    if subject is None and text is None:
        return name or None
    if name:
        raise errors.InvalidInputError(
            "Name a template, or give a subject and a text; not both.", field="template"
        )
    if not subject or not text:
        missing = "text" if subject else "subject"
        raise errors.InvalidInputError(f"Give a {missing}, too.", field=missing)
    return {"subject": subject, "text": text}


def chosen(session: Session, wording: Wording, *, organization_id: int) -> MailTemplate | None:
    """Give the template of a wording; words for this once are kept with their mails, but not listed.

    Raises:
        NotFoundError: the organization has no template of that name.
        InvalidInputError: the words do not work, or do not say the key.
    """
    if wording is None:
        return None
    if isinstance(wording, str):
        return find(session, organization_id=organization_id, name=wording)
    preview(**wording)
    made = MailTemplate(
        organization_id=organization_id,
        name=ONCE,
        subject=wording["subject"].strip(),
        body=_lines(wording["text"]),
        replaced_at=func.clock_now(),
    )
    session.add(made)
    session.flush()
    return made


def beginning(session: Session, *, actor: Actor, organization: str) -> TemplateText:
    """Give what keypool itself says of a key in an organization's language, to begin a template from."""
    book = phrasebook(organizations.find(session, actor=actor, name=organization).locale)
    say, count = book.say, book.say_count
    name, course = "{{ name }}", "{{ course }}"
    hello = (
        f"{{% if name %}}{say('Hello {name},', name=name)}{{% else %}}{say('Hello,')}{{% endif %}}"
    )
    here = count(
        "here is your key for the course “{course}”:",
        "here are your {count} keys for the course “{course}”:",
        1,
        course=course,
    )
    file = say("They are in the attached file {file}.", file="{{ file }}")
    reference = say("Reference: {reference}", reference="{{ reference }}")
    until = count(
        "It can be redeemed {until}.", "They can be redeemed {until}.", 1, until="{{ until }}"
    )
    subject = count("Your key for {course}", "Your {count} keys for {course}", 1, course=course)
    return {
        "subject": subject,
        "text": f"""{hello}

{here}

{{% for key in keys %}}
    {{{{ key }}}}
{{% endfor %}}
{{% if file %}}{file}{{% endif %}}

{{% if link %}}
{{{{ link }}}}

{{% endif %}}
{until}
{{% if reference %}}

{reference}
{{% endif %}}

{{{{ organization }}}}
""",
    }


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[TemplateShape]:
    """List the templates of the actor's organizations, by default by name, a page at a time."""
    actor.require(Role.MANAGER)
    statement = (
        select(MailTemplate)
        .add_columns(Organization.name)
        .join(Organization, Organization.id == MailTemplate.organization_id)
        .where(actor.sees(MailTemplate.organization_id), MailTemplate.replaced_at.is_(None))
        .where(*spoken(filters.search, MailTemplate.name, MailTemplate.subject))
    )
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        statement = statement.where(MailTemplate.organization_id == owner.id)
    page["sort"] = page.get("sort") or "name"
    return paged(
        session,
        statement,
        by=MailTemplate.id,
        shape=lambda row: shape(row.MailTemplate, row.name),
        sorts=Filters.sorts,
        **page,
    )


def preview(*, subject: str, text: str) -> TemplateText:
    """Give what a template says to somebody, with values made up.

    Raises:
        InvalidInputError: it does not work, or does not say the key.
    """
    shown = render(subject=subject, text=_lines(text), facts=SAMPLE, keys=KEYS)
    if KEYS[0] not in shown["text"]:
        raise errors.InvalidInputError(
            "The text has no key: write {% for key in keys %}{{ key }}{% endfor %} in it.",
            field="text",
        )
    return shown


def render(
    *, subject: str, text: str, facts: Mapping[str, Any], keys: Sequence[str]
) -> TemplateText:
    """Render a template; its subject is not given the keys, nor the link that has one.

    Raises:
        InvalidInputError: it does not work.
    """
    public = {name: value for name, value in facts.items() if name != IN_TEXT}
    return {
        "subject": " ".join(_rendered(subject, public, field="subject").split()),
        "text": _rendered(text, {**facts, "keys": keys}, field="text").strip() + "\n",
    }


def show(session: Session, *, actor: Actor, organization: str, name: str) -> TemplateShape:
    """Give a template of one of the actor's organizations by name."""
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    return shape(find(session, organization_id=owner.id, name=name), owner.name)


def find(session: Session, *, organization_id: int, name: str) -> MailTemplate:
    """Find an organization's template by name.

    Raises:
        NotFoundError: there is none.
    """
    found = session.scalars(
        select(MailTemplate).where(_in_force(organization_id), MailTemplate.name == name.strip())
    ).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"The pool's organization has no template “{name}”.")
    return found


def shape(template: MailTemplate, organization: str) -> TemplateShape:
    """Give a template's public fields."""
    return {
        "name": template.name,
        "organization": organization,
        "subject": template.subject,
        "text": template.body,
    }


def _rendered(source: str, facts: Mapping[str, Any], *, field: str) -> str:
    try:
        tree = _environment().parse(source)
        _refuse_more(tree, field)
        # Looked for before, since rendering misses those in a branch that is not taken.
        for name in sorted(meta.find_undeclared_variables(tree) - facts.keys()):
            raise UndefinedError(f"{name!r} is undefined")
        return _environment().from_string(tree).render(facts)
    except BROKEN as error:
        raise errors.InvalidInputError(
            f"The {field} does not work: {error}.", field=field
        ) from None


def _refuse_more(tree: nodes.Template, field: str) -> None:
    """Refuse what a template may not have: calls, attributes, arithmetic, loops in loops."""
    loops = list(tree.find_all(nodes.For))
    good = all(isinstance(one, ALLOWED) for one in tree.find_all(nodes.Node))
    good = good and all(_is_bounded(one) for one in tree.find_all(nodes.Filter))
    good = good and all(one.name != "self" for one in tree.find_all(nodes.Name))
    good = good and all(
        isinstance(one.iter, nodes.Name)
        and one.iter.name == "keys"
        and not one.recursive
        and one.find(nodes.For) is None
        for one in loops
    )
    printed = (part for one in tree.find_all(nodes.Output) for part in one.nodes)
    if not good or any(isinstance(part, nodes.Name) and part.name == "keys" for part in printed):
        raise errors.InvalidInputError(
            f"A {field} may have {{{{ name }}}}, {{% if name %}}…{{% endif %}} and, in the text,"
            " {% for key in keys %}…{% endfor %}; nothing else in braces.",
            field=field,
        )


def _is_bounded(one: nodes.Filter) -> bool:
    """Say whether a filter is one of ours, and joins keys by words alone: joins in joins multiply lengths."""
    if one.name != "join":
        return one.name in FILTERS
    plain = all(isinstance(by, nodes.Const) for by in one.args)
    return plain and isinstance(one.node, nodes.Name) and one.node.name == "keys"


def _in_force(organization_id: int) -> Any:
    return (MailTemplate.organization_id == organization_id) & MailTemplate.replaced_at.is_(None)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.clear()  # such as `range`
    return environment
