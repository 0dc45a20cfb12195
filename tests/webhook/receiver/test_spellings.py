"""People and keys as they are typed: one person is one learner, one key one key (L1, K1, K4)."""

import secrets

import pytest
from sqlalchemy import text

from tests.webhook.conftest import redemption, settle
from tests.webhook.receiver.test_receiver import events
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.pools import batches, keys
from worker.tables.labels import KeyState

FULL_WIDTH = str.maketrans({chr(ascii): chr(ascii + 0xFEE0) for ascii in range(0x21, 0x7F)})

TWINS = {
    "U+200B at the end": "twin@example.org\u200b",
    "U+200B inside": "tw\u200bin@example.org",
    "U+FEFF at the end": "twin@example.org\ufeff",
    "U+FEFF inside": "twin@exam\ufeffple.org",
    "U+200F at the end": "twin@example.org\u200f",
    "U+200F inside": "twin\u200f@example.org",
    "a soft hyphen at the end": "twin@example.org\u00ad",
    "a soft hyphen inside": "twin@ex\u00adample.org",
    "a full-width letter": "ｔwin@example.org",
    "a full-width dot": "twin@example．org",
    "other letter case": "TWIN@Example.ORG",
    "spaces around": "  twin@example.org ",
}
PAIRS = [
    *(("twin@example.org", typed) for typed in TWINS.values()),
    ("josé@example.org", "jose\u0301@example.org"),
    ("max@münchen.example", "max@xn--mnchen-3ya.example"),
    ("max@xn--mnchen-3ya.example", "max@MÜNCHEN.example"),
]
NO_ADDRESSES = {
    "a dot behind": "twin@example.org.",
    "a comma behind": "twin@example.org,",
    "quotation marks": '"twin@example.org"',
    "typographic quotation marks": "“twin@example.org”",
    "mailto": "mailto:twin@example.org",
    "two dots in a row": "twin@example..org",
    "two dots in a row before the @": "tw..in@example.org",
    "no domain": "twin@",
    "no @": "twin",
    "a line end inside": "twin\n@example.org",
}


def outcome(sender, key, email):
    event = sender.post(redemption(key, email)).json["event"]
    settle()
    with databases.session() as session:
        query = text("SELECT outcome FROM event WHERE id = :id")
        return session.execute(query, {"id": int(event)}).scalar_one()


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_one_person_is_one_learner_however_the_address_is_typed(place, sender, first, second):
    tag = secrets.token_hex(4)
    spellings = [typed.replace("@", f"+{tag}@") for typed in (first, second)]

    outcomes = [
        outcome(sender, key, email) for key, email in zip(place.keys(2), spellings, strict=True)
    ]

    assert outcomes == ["redeemed", "already_assigned"]
    with databases.session() as session:
        query = text("SELECT email FROM learner WHERE email LIKE '%' || :tag || '%'")
        [email] = session.scalars(query, {"tag": tag})
    assert email == email.lower()
    assert email.partition("@")[2].isascii()


@pytest.mark.parametrize("what", NO_ADDRESSES)
def test_what_is_no_address_is_answered_422_and_not_recorded(sender, what):
    answer = sender.post(redemption(email=NO_ADDRESSES[what]))

    assert answer.status_code == 422
    assert answer.json["field"] == "data.learner.email"
    assert len(answer.json["errors"][0]["message"]) > 20
    assert NO_ADDRESSES[what] not in answer.text
    assert events(sender.source) == 0


@pytest.mark.parametrize("domain", ["localhost", "school.test", "printer.local", "a.invalid"])
def test_a_name_that_nobody_looks_up_is_as_good_as_any(sender, domain):
    assert sender.post(redemption(email=f"twin@{domain}")).status_code == 202


def generated(place) -> str:
    with databases.session() as session:
        batches.generate(session, actor=OPERATOR, pool=place.world.pool, count=1)
    while databases.transaction(batches.work_chunk) is not None:
        pass
    with databases.session() as session:
        page = keys.listing(
            session,
            actor=OPERATOR,
            pool=place.world.pool,
            filters=keys.Filters(state=KeyState.ISSUED),
            sort="-made",
        )
        return str(page.items[0]["code"])


@pytest.mark.parametrize(
    "typed",
    [
        lambda code: code.translate(FULL_WIDTH),
        lambda code: code[:6].translate(FULL_WIDTH) + code[6:],
        lambda code: code.lower().replace("-", "　"),
        lambda code: f"\u200b{code[:7]}\u00ad{code[7:]}\ufeff",
        lambda code: f"{code[:9]}\n{code[9:]}",
        lambda code: f"{code[:12]}\r\n  {code[12:]}\r\n",
        lambda code: code.replace("-", "\u2011"),
    ],
)  # fmt: skip
def test_a_key_is_the_same_however_it_is_typed(place, sender, typed):
    code = generated(place)

    assert outcome(sender, typed(code), f"{secrets.token_hex(6)}@example.com") == "redeemed"


@pytest.mark.parametrize(
    "around", ["https://redeem.example/?key={}", "Key: {}", "{} (your key)", "<{}&amp;>"]
)
def test_a_key_within_other_words_is_unknown(place, sender, around):
    code = generated(place)

    assert outcome(sender, around.format(code), "around@example.com") == "unknown_key"


@pytest.mark.parametrize("key", ["", " ", "\u200b\u00ad", "\n"])
def test_a_key_of_nothing_that_can_be_seen_is_answered_422(sender, key):
    answer = sender.post(redemption(key))

    assert (answer.status_code, answer.json["field"]) == (422, "data.key")
