import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker import errors
from worker.tenancy.addresses import ORDINARY, address, parse, recipient, spellings

LETTERS = st.sampled_from("aZ09._+-'é＠@．。 \u200b\u00adßİｆ/:\"")


@pytest.mark.parametrize(
    "typed",
    [
        "twin@example.org",
        "Twin@EXAMPLE.org",
        " twin@example.org ",
        "twin@example.org\n",
        "twin@example.org\u200b",
        "twin\ufeff@example.org",
        "tw\u200fin@example.org",
        "twin@exam\u00adple.org",
        "\u2060twin@example.org",
        "ｔｗｉｎ@example.org",
        "twin＠example．org",
        "twin@example。org",
    ],
)
def test_every_spelling_of_an_address_is_one(typed):
    assert address(typed) == "twin@example.org"


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("jose\u0301@example.org", "josé@example.org"),
        ("JOSÉ@example.org", "josé@example.org"),
        ("max@münchen.example", "max@xn--mnchen-3ya.example"),
        ("max@MÜNCHEN.example", "max@xn--mnchen-3ya.example"),
        ("max@XN--MNCHEN-3YA.example", "max@xn--mnchen-3ya.example"),
        ("a@faß.de", "a@xn--fa-hia.de"),
        ("root@localhost", "root@localhost"),
        ("a@b.test", "a@b.test"),
        ("a@b.invalid", "a@b.invalid"),
        ("a@printer.local", "a@printer.local"),
        ("o'neil+tag@example.org", "o'neil+tag@example.org"),
        ("用户@例子.example", "用户@xn--fsqu00a.example"),
    ],
)
def test_the_domain_is_ascii_and_all_is_lower_case(typed, known):
    assert address(typed) == known
    assert address(known) == known


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "twin",
        "twin@",
        "@example.org",
        "twin@example.org.",
        "twin@example.org,",
        "twin@example.org;",
        "twin@example.org!",
        '"twin@example.org"',
        "'twin@example.org'",
        "“twin@example.org”",
        "«twin@example.org»",
        "<twin@example.org>",
        "(twin@example.org)",
        "Twin <twin@example.org>",
        '"twin"@example.org',
        "mailto:twin@example.org",
        "twin..two@example.org",
        "twin@example..org",
        ".twin@example.org",
        "twin.@example.org",
        "twin@-example.org",
        "twin@exam_ple.org",
        "twin@[127.0.0.1]",
        "twin two@example.org",
        "twin@example.org twin@example.org",
        "twin@twin@example.org",
        "twin\n@example.org",
        "twin@example.org\x00",
        "x" * 65 + "@example.org",
        "x@" + "y" * 64 + ".org",
        "x@" + "y.z." * 80 + "org",
    ],
)
def test_what_is_no_address_is_refused_with_its_field_and_line(typed):
    with pytest.raises(errors.InvalidInputError, match=r"is not an e-mail address\. ") as refused:
        address(typed, field="learner", line=7)

    assert (refused.value.field, refused.value.line) == ("learner", 7)


@given(st.emails().filter(lambda typed: '"' not in typed and "[" not in typed))
def test_an_address_by_the_standards_is_taken_and_is_its_own_form(typed):
    known = address(typed)

    assert address(known) == known == known.lower()


@given(st.text(LETTERS, max_size=30))
def test_the_form_of_an_address_has_no_other(typed):
    try:
        known = address(typed)
    except errors.InvalidInputError:
        return

    assert address(known) == known
    assert address(f" {known.upper()}\u200b") == address(known.upper())


DOTTED = st.lists(st.text("az09-", min_size=1, max_size=40), min_size=1, max_size=5).map(".".join)


@given(st.tuples(DOTTED, DOTTED).map("@".join))
@example("x" * 64 + "@" + ".".join(["y" * 31] * 5))
@example("x" * 65 + "@example.org")
@example("x@" + ".".join(["y" * 31] * 9))
@example("xn--a@xn--a.org")
@example("a@ab--cd.org")
def test_what_is_taken_as_it_is_the_library_takes_as_it_is(typed):
    if not ORDINARY.fullmatch(typed):
        return

    known = parse(typed)

    assert f"{known.local_part}@{known.ascii_domain}" == typed


@pytest.mark.parametrize("name", ["Max Mustermann", "Anna @ Sales", "desk", "@home", "受付"])
def test_a_recipients_name_stays_as_it_is(name):
    assert recipient(f" {name} ") == name


def test_a_recipients_address_has_its_one_form():
    assert recipient("Max＠Example.org\u200b") == "max@example.org"


@pytest.mark.parametrize(
    "typed", ["mailto:max@example.org", "Max <max@example.org>", "max@example.org."]
)
def test_a_recipient_that_is_meant_for_an_address_is_one(typed):
    with pytest.raises(errors.InvalidInputError, match="is not an e-mail address") as refused:
        recipient(typed, line=3)

    assert (refused.value.field, refused.value.line) == ("recipient", 3)


def test_an_address_may_be_kept_as_it_was_typed():
    assert spellings(" Max@Example.org") == ["max@example.org"]
    assert spellings("Max@example.org\u200b") == ["max@example.org", "max@example.org\u200b"]
    assert spellings("Max@example.org.") == ["max@example.org."]
