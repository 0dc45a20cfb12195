"""Users: invited, never given a password by another, and never more than who invites them has."""

from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR
from worker import errors
from worker.database.connections import clock_now
from worker.outgoing import composing, mailing, messages
from worker.settings import settings
from worker.tables.tenancy import Organization
from worker.tenancy import history, links, organizations, passwords, tokens, users, web_keys
from worker.tenancy.actors import Actor, Role

WORDS = "four words do well"


@pytest.fixture
def world(session):
    return worlds.build(session)


@pytest.fixture
def owner(world):
    return world.session.get_one(Organization, world.parent).name


@pytest.fixture
def ann(session, owner):
    """Ann, who is invited, and the token of her link."""
    made = users.invite(
        session, actor=OPERATOR, email="ann@example.com", role=Role.MANAGER, organization=owner
    )
    return made["id"], made["link"].rpartition("/")[2]


def salt_of(session, email: str = "ann@example.com") -> str:
    asked = {
        "email": email,
        "manner": passwords.manner(),
        "proofs": web_keys.proofs("salt", email),
    }
    return session.scalar(text("SELECT password_salt(:email, :manner, :proofs)"), asked)


def test_whom_there_is_none_of_has_a_salt_like_anybodys_and_keeps_it(session, ann):
    links.use(session, ann[1], new_hash=passwords.hashed(WORDS, about="ann@example.com"))
    users.disable(session, actor=OPERATOR, user=ann[0])

    known, unknown, again = (
        salt_of(session, email)
        for email in ("ann@example.com", "Eve@example.com", "eve@example.com")
    )

    assert all(passwords.SALT.fullmatch(salt) for salt in (known, unknown))
    assert len(known) == len(unknown)
    assert unknown == again != known
    assert salt_of(session, "bob@example.com") != unknown


def test_an_invited_user_has_no_password_until_they_choose_one_by_the_link(session, ann):
    _, link = ann
    before = salt_of(session)

    held = links.use(session, link, new_hash=passwords.hashed(WORDS, about="ann@example.com"))

    salt = salt_of(session)
    kept = session.scalar(
        text("SELECT password_hash FROM console_user WHERE email = 'ann@example.com'")
    )
    assert (before == salt, held) == (False, True)
    assert passwords.hashed_alike(WORDS, salt) == kept
    assert passwords.hashed_alike(WORDS + "!", salt) != kept


def test_a_link_works_once_and_ends_every_other_link(session, ann):
    user_id, link = ann
    other = users.reset(session, actor=OPERATOR, user=user_id)["link"].rpartition("/")[2]
    new = passwords.hashed(WORDS, about="")

    used = [links.use(session, each, new_hash=new) for each in (link, link, other)]

    assert used == [True, False, False]
    assert links.bearer(session, other) is None


def test_a_link_is_over_after_seven_days(session, ann):
    _, link = ann

    pass_time(session, days=7, seconds=-1)
    before = links.bearer(session, link)
    pass_time(session, seconds=1)

    assert before is not None
    assert before.email == "ann@example.com"
    assert links.bearer(session, link) is None
    assert not links.use(session, link, new_hash=passwords.hashed(WORDS, about=""))


def test_a_disabled_users_link_does_nothing(session, ann):
    user_id, link = ann

    users.disable(session, actor=OPERATOR, user=user_id)

    assert links.bearer(session, link) is None
    with pytest.raises(errors.InvalidInputError, match="enable them first"):
        users.reset(session, actor=OPERATOR, user=user_id)


def test_a_link_from_before_a_user_was_disabled_does_nothing_after_they_are_enabled(session, ann):
    user_id, link = ann

    users.disable(session, actor=OPERATOR, user=user_id)
    users.enable(session, actor=OPERATOR, user=user_id)

    assert links.bearer(session, link) is None


def test_a_link_stands_nowhere_in_clear(session, ann):
    _, link = ann

    stored = session.scalars(text("SELECT l::text FROM sign_in_link AS l")).all()
    acts = history.listing(session, actor=OPERATOR, filters=history.Filters(thing="user")).items

    assert not any(link in row for row in stored)
    assert link not in str(acts)
    assert [act["action"] for act in acts] == ["user invited"]


@pytest.fixture
def mails(monkeypatch):
    """Mail goes out, as if there were a mail server."""
    for name, value in {
        "SMTP_URL": "smtp://localhost:25",
        "MAIL_FROM": "keys@example.com",
        "PUBLIC_URL": "https://keys.example.com",
    }.items():
        monkeypatch.setenv(f"KEYPOOL_{name}", value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("mails")
def test_an_invitation_is_mailed_with_a_link_that_no_table_keeps(session, owner):
    made = users.invite(
        session, actor=OPERATOR, email="bob@example.com", role=Role.ANALYST, organization=owner
    )
    [told] = messages.listing(session, actor=OPERATOR).items
    seen = messages.show(session, actor=OPERATOR, message=told["id"])
    _, [row] = mailing._claim(session)
    mail = message_from_bytes(composing.letter(row).content, policy=policy.default)

    words = mail.get_body(("plain",)).get_content()
    [address] = [line for line in words.splitlines() if line.startswith("https://")]
    link = address.removeprefix("https://keys.example.com/console/links/")
    assert made["link"] is None
    assert (told["kind"], told["recipient"]) == ("invitation", "bob@example.com")
    assert links.bearer(session, link).email == "bob@example.com"
    assert "within 7 days" in words
    assert "https://" not in seen["text"]
    assert link not in str(session.scalars(text("SELECT m::text FROM message AS m")).all())


@pytest.mark.usefixtures("mails")
def test_an_operator_is_mailed_in_the_sellers_name_and_operators_alone_see_it(session, world):
    session.execute(text("UPDATE seller SET name = 'Keys Ltd', email = 'office@keys.example'"))
    made = users.invite(session, actor=OPERATOR, email="op@example.com", role=Role.OPERATOR)
    users.reset_second_factor(session, actor=OPERATOR, user="op@example.com")

    told = messages.listing(session, actor=OPERATOR).items
    manager = Actor("token", Role.MANAGER, world.parent)
    _, claimed = mailing._claim(session)
    mails = [
        message_from_bytes(composing.letter(row).content, policy=policy.default) for row in claimed
    ]

    assert made["link"] is None
    assert {(mail["kind"], mail["organization"]) for mail in told} == {
        ("invitation", None),
        ("second_factor_reset", None),
    }
    assert messages.listing(session, actor=manager).items == []
    assert [mail["From"].addresses[0].display_name for mail in mails] == ["Keys Ltd"] * 2
    assert [str(mail["Reply-To"]) for mail in mails] == ["office@keys.example"] * 2
    assert "https://keys.example.com/console/links/" in str(mails[0].get_body(("plain",)))


@pytest.mark.parametrize(
    "password",
    ["vier grüne Igel", "correct horse battery", "92-84-17-60-35-28", "🦔 läuft 春 weit!"],
)
def test_a_password_of_any_characters_is_taken(password):
    assert passwords.hashed(password, about="ann@example.com").startswith("$argon2id$")


@pytest.mark.parametrize(
    "common", ["password1234", "123456789012", "qwertyuiop12", "ann@example.com1", "keypool12345"]
)
def test_a_common_password_is_refused(common):
    with pytest.raises(errors.InvalidInputError, match="first that are guessed") as refused:
        passwords.hashed(common, about="ann@example.com")

    assert refused.value.field == "password"


@pytest.mark.parametrize(("length", "taken"), [(11, False), (12, True), (200, True), (201, False)])
def test_a_password_has_12_to_200_characters(length, taken):
    password = "".join(f"{n * n:x}-" for n in range(7, 99))[:length]
    if taken:
        assert passwords.hashed(password, about="").startswith("$argon2id$")
    else:
        with pytest.raises(errors.InvalidInputError):
            passwords.hashed(password, about="")


# What a manager may give


def test_a_manager_gives_roles_of_their_organizations_alone_and_never_the_operators(session, world):
    manager = Actor("token", Role.MANAGER, world.child)
    names = {
        place: session.get_one(Organization, organization).name
        for place, organization in (("parent", world.parent), ("child", world.child))
    }

    with pytest.raises(errors.ForbiddenError):
        users.invite(session, actor=manager, email="x@example.com", role=Role.OPERATOR)
    with pytest.raises(errors.NotFoundError):
        users.invite(
            session,
            actor=manager,
            email="x@example.com",
            role=Role.ANALYST,
            organization=names["parent"],
        )
    made = users.invite(
        session,
        actor=manager,
        email="x@example.com",
        role=Role.MANAGER,
        organization=names["child"],
    )

    assert made["organization"] == names["child"]


def test_a_manager_changes_no_sign_in_above_them(session, world, ann):
    user_id, _ = ann
    manager = Actor("token", Role.MANAGER, world.child)

    for act in (users.reset, users.disable, users.enable):
        with pytest.raises(errors.NotFoundError):
            act(session, actor=manager, user=user_id)


# Tokens


def test_a_token_ends_after_a_year_unless_it_is_told_otherwise(session, owner):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)

    lasts = made["expires_at"] - clock_now(session)

    assert timedelta(days=365) <= lasts <= timedelta(days=366)


def test_a_token_knows_its_maker_and_is_listed_with_them_while_it_works(session, owner, ann):
    user_id, _ = ann
    maker = Actor(users.called("ann@example.com"), Role.MANAGER, None)
    for name in ("first", "second"):
        tokens.add(session, actor=maker, name=name, role=Role.SENDER, organization=owner)
    tokens.revoke(session, actor=OPERATOR, token="second")

    disabled = users.disable(session, actor=OPERATOR, user=user_id)
    listed = tokens.listing(session, actor=OPERATOR).items

    assert disabled["tokens"] == ["first"]
    assert {one["made_by"] for one in listed if one["name"] == "first"} == {"user ann@example.com"}


def test_a_tokens_first_use_from_each_network_stands_in_the_history(session, owner):
    made = tokens.add(session, actor=OPERATOR, name="ci", role=Role.SENDER, organization=owner)
    noted = []

    for client in ("192.0.2.7", "192.0.2.8", "198.51.100.1", "192.0.2.9"):
        known = tokens.authenticate(session, made["token"], client=client)
        noted.append(known.to_note)
        if known.to_note:
            tokens.note(session, made["token"], client=client)

    asked = history.Filters(action="token used from a new address")
    acts = history.listing(session, actor=OPERATOR, filters=asked).items
    assert noted == [True, False, True, False]
    assert [act["detail"] for act in acts] == [
        {"client": "198.51.100.0/24"},
        {"client": "192.0.2.0/24"},
    ]
    assert {act["thing_id"] for act in acts} == {made["id"]}


def test_a_user_of_others_is_as_an_address_that_cannot_be_used(session, world, owner, ann):
    elsewhere = organizations.add(session, actor=OPERATOR, name="Elsewhere")["name"]
    theirs = {"email": "Theirs@example.com", "role": Role.ANALYST}
    users.invite(session, actor=OPERATOR, organization=elsewhere, **theirs)
    manager = Actor("manager", Role.MANAGER, world.parent)

    with pytest.raises(errors.InvalidInputError) as raised:
        users.invite(session, actor=manager, organization=owner, **theirs)
    with pytest.raises(errors.AlreadyExistsError):
        users.invite(
            session, actor=manager, email="ANN@example.com", role=Role.ANALYST, organization=owner
        )
    with pytest.raises(errors.AlreadyExistsError):  # who operates keypool sees them all
        users.invite(session, actor=OPERATOR, organization=owner, **theirs)

    assert "cannot be used here" in str(raised.value)
    assert raised.value.field == "email"
