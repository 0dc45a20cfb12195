"""Which lines are keys: by themselves, and beside the others (K1, K2, K5a)."""

import pytest

from tests.worker.pools.reading.inputs import found, keys, refused
from worker.pools import codes


def likes(count: int, shape: str = "LIKE-{:04}-AAAA") -> str:
    return "".join(f"{shape.format(n)}\n" for n in range(1, count + 1))


# By themselves


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ＦＵＬＬ－０００１－ＡＡＡＡ", "FULL-0001-AAAA"),
        ("LOOK‑0001–AAAA", "LOOK-0001-AAAA"),
        ("LOOK−0001—AAAA", "LOOK-0001-AAAA"),
        ("\ufeffLOOK-0001\u200b-AAAA\u00ad", "LOOK-0001-AAAA"),
        ("\u00a0LOOK-0001-AAAA\u3000", "LOOK-0001-AAAA"),
        ("look 0001\u00a0aaaa", "look 0001 aaaa"),
        ("LOOK_0001.AAAA", "LOOK_0001.AAAA"),
    ],
)
def test_a_key_is_kept_as_it_was_supplied_but_for_what_cannot_be_seen(typed, kept):
    assert found(f"Code\n{typed}\n") == [(2, kept)]
    assert codes.canonical(typed) == codes.canonical(kept)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"SHORT", "It has 5 characters"),
        (b"A" * 65, "It has 65 characters"),
        (b"=1+1", "“=” cannot be in a key"),
        (b"AAAA\x000001", "The character U+0000"),
        ("ÄÄÄÄ-0001".encode(), "“Ä” cannot be in a key"),
        ("AAАA-0001".encode(), "“А” (U+0410, cyrillic capital letter a) cannot be in a key"),
        ("AAΑA-0001".encode(), "“Α” (U+0391, greek capital letter alpha) cannot be in a key"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(line, reason):
    told = refused(b"AAAA-0001\n" + line + b"\nAAAA-0002\n")

    assert list(told) == [2]
    assert told[2].startswith(reason)


def test_what_is_kept_of_a_bad_line_can_be_kept():
    [line] = keys(b"\0" * 3 + b"x" * 1000).refused

    assert line.code == "␀␀␀" + "x" * 97


@pytest.mark.parametrize(
    "date",
    [
        "10.12.2026", "2026-12-10", "2026.12.10", "10-12-2026", "10/12/2026", "12/31/2026",
        "2026-12-10 10:30", "2026-12-10T10:30:00Z", "10 Dec 2026", "10-Dec-2026", "Dec 10, 2026",
        "10. Dezember 2026", "10 décembre 2026", "2026年12月10日",
    ],
)  # fmt: skip
def test_a_date_is_no_key_wherever_it_stands(date):
    content = f"{date}\n{likes(2)}{date}\n"

    assert "date" in refused(content)[4]
    assert [number for number, _ in found(content)] == [2, 3]


@pytest.mark.parametrize(
    "key", ["2026-13-45", "1234-05-06", "2026-1210-AA", "10-DECK-2026", "20261210", "K2026-12-10"]
)
def test_what_only_resembles_a_date_is_a_key(key):
    assert found(f"{key}\n") == [(1, key)]


@pytest.mark.parametrize(
    "number", ["12345678.0", "12345678,5", "1234.5678", "1.23457E+15", "1.2345678E15"]
)
def test_a_decimal_is_no_key_wherever_it_stands(number):
    content = f'code\n{likes(2)}"{number}"\n'

    assert "number" in refused(content)[4]


@pytest.mark.parametrize(
    "numbered",
    ["1. {}", "12. {}", "1) {}", "(1) {}", "1.{}", "a) {}", "iv. {}", "• {}", "•{}", "- {}", "* {}",
     "▪ {}", "① {}", "①{}", "⒈{}", "1、 {}", "１．{}", "No. 1 {}", "#1 {}"],
)  # fmt: skip
def test_what_begins_as_an_item_of_a_list_is_no_key_wherever_it_stands(numbered):
    content = f"{likes(2)}{numbered.format('LIKE-0003-AAAA')}\n"

    assert "list's numbering" in refused(content)[3]


def test_a_year_in_front_is_no_numbering():
    assert found("2026.ABCD1234\n2026.ABCD1235\n") == [(1, "2026.ABCD1234"), (2, "2026.ABCD1235")]


# Several on a line


@pytest.mark.parametrize("separator", [",", ", ", ";", "\t", " ", "  ", " ; "])
def test_whole_keys_on_one_line_are_several(separator):
    content = separator.join(["AAAA-0001", "AAAA-0002", "AAAA-0003"])

    assert found(content) == [(1, f"AAAA-000{n}") for n in (1, 2, 3)]


def test_spaces_belong_to_a_key_where_its_parts_are_none():
    assert found("AAAA 0001\nAAAA 0002, AAAA 0003\n") == [
        (1, "AAAA 0001"),
        (2, "AAAA 0002"),
        (2, "AAAA 0003"),
    ]


def test_the_keys_of_one_line_are_told_apart():
    read = keys("AAAA-0001 BBBB-0001\n=1+1\n")

    assert (read.numbers, read.parts) == ([1, 1], [1, 2])


def test_a_line_of_ten_thousand_keys_is_read():
    assert len(found(",".join(f"AAAA-{n:06}" for n in range(10_000)))) == 10_000


# Beside the others


@pytest.mark.parametrize("odd", ["This row applies to all", "SUMMERSALE", "LIKE-ABCD-AAAA"])
def test_a_line_without_a_digit_is_no_key_among_nine_in_ten_that_have_one(odd):
    assert "no digit" in refused(f"{likes(9)}{odd}\n")[10]
    assert refused(f"{likes(1)}{odd}\n") == {}


@pytest.mark.parametrize("odd", ["LIKE-0001", "LIKE0001AAAA", "LIKE-0001-AAA", "TOTAL-KEYS-2026"])
def test_a_line_with_other_groups_is_no_key_among_nine_in_ten_that_share_theirs(odd):
    assert "Its groups have" in refused(f"{likes(9)}{odd}\n")[10]
    assert refused(f"{likes(1)}{odd}\n") == {}


def test_keys_of_many_shapes_are_all_taken():
    content = "".join(f"{'A' * (n % 7 + 4)}-{n:04}\n" for n in range(100))

    assert refused(content) == {}


def test_two_in_ten_are_no_slips():
    assert refused(f"{likes(8)}ODDS-01-AA\nODDS-02-AA\n") == {}


def test_what_most_of_a_long_input_has_counts_and_not_how_it_begins():
    content = f"{likes(500, 'FIRST-{:05}-RUN')}{likes(20_000, 'LIKE-{:05}-AAAA')}"

    told = refused(content)

    assert list(told) == list(range(1, 501))


def test_a_number_that_grows_may_get_longer():
    assert refused("".join(f"VOUCHER-{n}\n" for n in range(1, 2_000))) == {}


def test_a_number_with_zeros_in_front_may_not():
    content = "".join(f"VOUCHER-{n:04}\n" for n in range(1, 200)) + "VOUCHER-201\n"

    assert list(refused(content)) == [200]


def test_a_generated_key_is_never_unlike_the_others():
    [generated] = [code.decode() for code in codes.draw(codes.first_letters(1)).tolist()]

    assert refused(f"{likes(20)}{generated}\n") == {}


def test_a_line_that_is_only_unlike_the_others_is_marked_so():
    [line] = keys(f"{likes(9)}SUMMERSALE\n").refused

    assert line.unlike


@pytest.mark.parametrize("odd", ["LIKE-0009-AAAA Jane", "7 LIKE-0009-AAAA", "Jane Doe LIKE-0009-AAAA",
                                 "LIKE-0009-AAAA - Jonathan", "LIKE-0009-AAAA 5"])  # fmt: skip
@pytest.mark.parametrize("others", [1, 2, 50])
def test_what_stands_around_a_key_is_no_part_of_it(odd, others):
    assert "more on the line than a key" in refused(f"{likes(others)}{odd}\n")[others + 1]


def test_a_name_behind_each_key_is_part_of_none():
    content = "NUMX-0011-AAAA Jane Doe\nNUMX-0012-AAAA John Roe\nNUMX-0013-AAAA Max\n"

    assert list(refused(content)) == [1, 2, 3]


def test_the_heading_word_before_each_key_is_part_of_none():
    assert list(refused("Key NUMX-0011-AAAA\nKey NUMX-0012-AAAA\n")) == [1, 2]


def test_a_word_around_a_generated_key_is_no_part_of_it():
    [generated] = [code.decode() for code in codes.draw(codes.first_letters(1)).tolist()]

    assert list(refused(f"{generated} Jane\n")) == [1]


def test_words_that_all_keys_begin_with_are_part_of_them():
    assert refused("WELCOME 2026-0001\nWELCOME 2026-0002\nWELCOME 2026-0003\n") == {}


def test_a_key_may_be_written_with_spaces_among_others_with_hyphens():
    assert refused("welcome 2026 0001\nWELCOME-2026-0002\nWELCOME-2026-0003\n") == {}


def test_a_title_with_as_many_letters_and_digits_is_still_none():
    assert list(refused("Acme keys 2026\nACME-2026-0001\nACME-2026-0002\nACME-2026-0003\n")) == [1]


@pytest.mark.parametrize(
    "odd",
    [
        "SUMMERSALE",
        "LIKE-0001",
        "10.12.2026",
        "12345678.0",
        "1. LIKE-0009-AAAA",
        "LIKE-0009-AAAA Jane",
    ],
)
def test_any_shape_takes_whatever_could_be_a_key(odd):
    content = f"{likes(20)}{odd}\n"

    assert list(refused(content)) == [21]
    assert found(content, any_shape=True)[-1] == (21, odd)


def test_any_shape_takes_no_more_than_that():
    assert list(refused("AAAA-0001\n=1+1\nshort\n", any_shape=True)) == [2, 3]


# States and uses


@pytest.mark.parametrize(
    "word",
    ["available", "Nicht zugewiesen", "inutilisée", "Sin usar", "nuovo", "não utilizado", "ongebruikt",
     "Nieużywany", "未使用", "未兑换", ""],
)  # fmt: skip
def test_a_state_that_means_unused_is_admitted_in_ten_languages(word):
    assert refused(f"key,state\nAAAA-0001,{word}\nAAAA-0002,new\n") == {}


@pytest.mark.parametrize("word", ["used", "eingelöst", "expired", "gesperrt", "sold", "?", "1"])
def test_any_other_state_is_told_and_refused(word):
    assert refused(f"key,state\nAAAA-0001,{word}\n") == {
        2: f"Its state is “{word}”; only unused keys can be added."
    }


@pytest.mark.parametrize("cell", ["0", "0.0", "", "-", "no", "Nein", "non", "0,00"])
def test_no_uses_are_admitted(cell):
    assert refused(f"key;uses\nAAAA-0001;{cell}\nAAAA-0002;0\n") == {}


@pytest.mark.parametrize("cell", ["1", "2", "yes", "ja", "2026-01-05", "ann@example.org"])
def test_any_use_is_refused(cell):
    assert list(refused(f"key;redeemed\nAAAA-0001;{cell}\n")) == [2]
