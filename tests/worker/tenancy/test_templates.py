"""Templates: an organization's own words, which say what they are given and do nothing else."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.world import OPERATOR
from worker import errors
from worker.outgoing import composing
from worker.pools import distributions
from worker.tenancy import templates
from worker.tenancy.actors import Actor, Role

LOOP = "{% for key in keys %}\n    {{ key }}\n{% endfor %}"


@pytest.fixture
def world(session):
    made = worlds.build(session)
    made.keys(30)
    return made


def save(world, name: str = "Welcome", *, subject: str = "{{ course }} is yours", body: str = LOOP):
    return templates.save(
        world.session,
        actor=OPERATOR,
        organization=str(world.parent),
        name=name,
        subject=subject,
        text=body,
    )


def mailed(world, *, template: str | None = "Welcome", count: int = 1, **asked):
    """Hand keys to somebody by mail, and give the keys and what the mail says."""
    made = distributions.distribute(
        world.session,
        actor=OPERATOR,
        pool=world.pool,
        recipient="ann@example.org",
        count=count,
        mail=True,
        template=template,
        **asked,
    )
    [facts] = composing.facts(world.session, [int(made["message"])])
    return made["keys"], composing.compose(facts)


def test_own_words_may_have_the_link_in_the_text_alone(world):
    world.session.execute(
        text("UPDATE organization SET redeem_page = 'open', slug = 'acme' WHERE id = :id"),
        {"id": world.parent},
    )
    save(world, body="{% if link %}Redeem at {{ link }}{% endif %}\n\n" + LOOP)

    [key], mail = mailed(world)

    assert f"Redeem at http://127.0.0.1:8080/redeem/acme#{key}\n" in mail.text
    with pytest.raises(errors.InvalidInputError, match="'link' is undefined") as refused:
        save(world, subject="{{ link }}")
    assert refused.value.field == "subject"


def test_a_mail_is_in_the_organizations_own_words(world):
    save(world, body="Dear {{ name }},\n\n" + LOOP + "\n{{ until }}, {{ days }} days")

    [key], mail = mailed(world, name="Ann")

    assert mail.subject == "A course is yours"
    assert mail.text == (f"Dear Ann,\n\n    {key}\nuntil the end of 31 Dec 2090 (UTC), 30 days\n")
    assert f"{key}" in mail.html


def test_a_mail_that_waits_keeps_the_words_in_which_it_was_asked_for(world):
    save(world, subject="The first")
    _, before = mailed(world)

    save(world, subject="The second")

    [message] = world.session.scalars(text("SELECT max(id) FROM message"))
    [facts] = composing.facts(world.session, [message])
    listed = templates.listing(world.session, actor=Actor("test", Role.MANAGER, world.parent)).items
    assert composing.compose(facts).subject == before.subject == "The first"
    assert [one["subject"] for one in listed] == ["The second"]


def test_many_keys_are_named_as_a_file(world):
    save(world, body=LOOP + "{% if file %}See {{ file }}.{% endif %}")

    keys, mail = mailed(world, count=25)

    assert mail.text == "See keys.csv.\n"
    assert mail.attachment.content.decode().split() == ["code", *keys]


@pytest.mark.parametrize(
    "body",
    [
        LOOP + "{{ ''.__class__.__mro__ }}",
        LOOP + "{{ name.upper() }}",
        LOOP + "{{ 'a' * 1000000000 }}",
        LOOP + "{% for n in range(100000) %}x{% endfor %}",
        "{% for key in keys %}{% for other in keys %}{{ key }}{% endfor %}{% endfor %}",
        LOOP + "{% set x = 1 %}",
        LOOP + "{% include 'keys.txt' %}",
        LOOP + "{{ name|pprint }}",
        LOOP + "{{ self }}",
        LOOP + "{{ link|join(link|join(link)) }}",
        LOOP + "{{ keys|join(keys|join) }}",
        "{{ keys }}",
    ],
)
def test_a_template_says_values_and_goes_through_the_keys_and_nothing_else(world, body):
    with pytest.raises(errors.InvalidInputError, match="nothing else in braces") as told:
        save(world, body=body)

    assert told.value.field == "text"


def test_a_key_is_in_the_text_and_never_in_the_subject(world):
    with pytest.raises(errors.InvalidInputError, match="'keys' is undefined") as of_subject:
        save(world, subject="{{ keys|join }}")
    with pytest.raises(errors.InvalidInputError, match="has no key") as of_text:
        save(world, body="Hello {{ name }}")

    assert (of_subject.value.field, of_text.value.field) == ("subject", "text")


@pytest.mark.parametrize(
    "body",
    [
        "{{ nobody }}" + LOOP,
        "{% if before %}{{ nobody }}{% endif %}" + LOOP,
        "{{ range }}" + LOOP,
        "{% if name %}" + LOOP,
        "{{ name",
        "{{ days|length }}" + LOOP,
        "{% if days < name %}{% endif %}" + LOOP,
        "{{ name|upper(1, 2) }}" + LOOP,
        "{% if name %}" * 150 + "{% endif %}" * 150 + LOOP,
        "{{ " + "(" * 3000 + "name" + ")" * 3000 + " }}" + LOOP,
    ],
)
def test_a_text_that_does_not_work_is_refused_in_a_sentence(world, body):
    with pytest.raises(errors.InvalidInputError, match="The text does not work: "):
        save(world, body=body)


def test_a_template_that_leaves_some_peoples_keys_out_is_not_sent_to_them(world):
    save(world, body="{% if name %}" + LOOP + "{% endif %}")

    with pytest.raises(composing.NothingToSendError, match="it does not say every key"):
        mailed(world)


def test_what_works_for_some_people_alone_is_no_mail_to_the_others(world):
    save(world, body="{% if not name %}{{ days|length }}{% endif %}" + LOOP)

    with pytest.raises(composing.NothingToSendError, match="The text does not work: "):
        mailed(world)


def test_words_of_one_sending_are_in_its_mail_and_no_template_of_anybodys(world):
    words = {"subject": "{{ course }} today", "text": "Hello, only today:\n" + LOOP}

    [key], mail = mailed(world, template=words)

    assert (mail.subject, mail.text) == ("A course today", f"Hello, only today:\n    {key}\n")
    assert templates.listing(world.session, actor=OPERATOR).items == []
    with pytest.raises(errors.NotFoundError):
        mailed(world, template=templates.ONCE, reference="again")


def test_words_of_one_sending_that_do_not_work_send_nothing(world):
    with pytest.raises(errors.InvalidInputError, match="The text has no key"):
        mailed(world, template={"subject": "Yours", "text": "no key"})


@pytest.mark.parametrize(
    ("name", "subject", "text_", "sentence"),
    [
        ("Welcome", "Yours", LOOP, "not both"),
        (None, "Yours", None, "Give a text, too"),
        (None, "", LOOP, "Give a subject, too"),
    ],
)
def test_a_wording_is_a_template_or_whole_words(name, subject, text_, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        templates.worded(name, subject=subject, text=text_)


@pytest.mark.parametrize("locale", ["en", "de", "fr", "es"])
def test_words_to_begin_from_say_what_keypool_says_of_one_key(world, locale):
    world.session.execute(
        text("UPDATE organization SET locale = :locale WHERE id = :id"),
        {"locale": locale, "id": world.parent},
    )

    words = templates.beginning(world.session, actor=OPERATOR, organization=str(world.parent))
    [key], own = mailed(world, template=words, name="Zoë", reference="A-1")
    [other], ours = mailed(world, template=None, name="Zoë", reference="A-2")

    assert own.subject == ours.subject
    said = ours.text.replace(other, key).replace("A-2", "A-1")
    missing = set(said.splitlines()) - set(own.text.splitlines())
    assert len(missing) <= 1  # how long access lasts: its plural is the catalogue's alone


def test_a_preview_says_what_a_mail_would_with_values_made_up():
    shown = templates.preview(subject="{{ course }}", text="Hello {{ name }}\r\n" + LOOP)

    assert shown == {"subject": "The course", "text": "Hello Ann\n    K7QM-4T9X-2HDP-8RWZ\n"}


def test_anothers_template_is_neither_found_nor_saved(world):
    save(world)
    stranger = Actor("test", Role.MANAGER, world.sibling)

    with pytest.raises(errors.NotFoundError):
        templates.save(
            world.session, actor=stranger, organization=str(world.parent), name="Welcome",
            subject="x", text=LOOP,
        )  # fmt: skip
    world.session.execute(
        text("UPDATE pool SET organization_id = :id WHERE id = :pool"),
        {"id": world.sibling, "pool": int(world.pool)},
    )
    with pytest.raises(errors.NotFoundError, match="no template “Welcome”"):
        mailed(world)

    assert templates.listing(world.session, actor=stranger).items == []


def test_a_template_without_a_mail_is_refused(world):
    save(world)

    with pytest.raises(errors.InvalidInputError, match="goes with a mail"):
        distributions.distribute(
            world.session, actor=OPERATOR, pool=world.pool, recipient="x", template="Welcome"
        )
