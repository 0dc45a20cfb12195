"""Which bytes are which characters."""

import io

import pytest

from tests.worker.pools.reading.inputs import found, owned, read, refused
from worker import errors
from worker.pools.reading import encodings

TABLE = "Key,Name\r\nAAAA-0001,Zoë\r\nAAAA-0002,Ørjan\r\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_a_file_is_read_in_whatever_unicode_a_spreadsheet_wrote(encoding):
    assert [one.name for one in owned(TABLE.encode(encoding))] == ["Zoë", "Ørjan"]


def test_a_file_says_by_its_report_in_which_encoding_it_was_read():
    told = [read(TABLE.encode(encoding))["encoding"] for encoding in ("utf-8", "utf-16", "cp1252")]

    assert told == ["utf-8", "utf-16", "windows-1252"]


def test_a_character_cut_by_a_blocks_end_is_read_whole(monkeypatch):
    monkeypatch.setattr("worker.pools.reading.texts.BLOCK", 7)
    monkeypatch.setattr("worker.pools.reading.encodings.BLOCK", 7)

    assert [one.name for one in owned("Key,Name\nAAAA-0001,Zoë Ørjan\n")] == ["Zoë Ørjan"]


@pytest.mark.parametrize(
    "name", ["Jürgen Groß", "äöüÄÖÜß", "José – Ruiz", "“Zoë” €5", "Þór Æðalsteinn", "ção não Muñoz"]
)
def test_what_is_no_unicode_is_windows_1252(name):
    content = f"Key;Name\nAAAA-0001;{name}\n".encode("cp1252")

    assert [one.name for one in owned(content)] == [name]


def test_a_byte_that_windows_1252_has_late_in_a_long_file_counts_too():
    rows = "".join(f"AAAA-{n:06},Ann\n" for n in range(20_000))

    read_ = owned(f"Key,Name\n{rows}BBBB-000001,Zoë\n".encode("cp1252"))

    assert read_[-1].name == "Zoë"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "コード,氏名\nAAAA-0001,鈴木一郎\n"),
        ("euc_jp", "コード,氏名\nAAAA-0001,佐藤花\n"),
        ("gb18030", "代码,姓名\nAAAA-0001,张伟\n"),
        ("big5", "代碼,姓名\nAAAA-0001,王小明\n"),
        (
            "cp1251",
            "Key;Имя\nAAAA-0001;Сергей Александрович Кузнецов\nAAAA-0002;Анна Павловна Смирнова\n",
        ),
        ("cp1250", "Kod;Imię i nazwisko\nAAAA-0001;Łukasz Żółć\n"),
    ],
)
def test_another_script_is_told_by_its_headings_or_its_letters(encoding, text):
    content = io.BytesIO(text.encode(encoding))

    assert text.encode(encoding).decode(encodings.codec(encodings.of(content))) == text


def test_a_declared_encoding_wins():
    content = "Key;Name\nAAAA-0001;Łukasz\n".encode("iso8859_2")

    assert [one.name for one in owned(content, encoding="iso-8859-2")] == ["Łukasz"]


def test_what_the_declared_encoding_has_not_is_refused_by_line():
    content = b"AAAA-0001\n" + b"AAAA\xff0002\n"

    assert found(content, encoding="utf-8") == [(1, "AAAA-0001")]
    assert refused(content, encoding="utf-8") == {
        2: "It is not valid utf-8; save the file as UTF-8."
    }


@pytest.mark.parametrize("name", ["latin-5000", "base64", "zlib"])
def test_an_encoding_that_is_none_is_refused(name):
    with pytest.raises(errors.InvalidInputError, match="no character encoding"):
        found("AAAA-0001\n", encoding=name)


def test_one_name_that_was_cut_does_not_make_the_others_windows_1252():
    content = "Key,Name\nAAAA-0001,Zoë\nAAAA-0002,Zo?\nAAAA-0003,Ørjan\n".encode()
    content = content.replace(b"?", b"\xc3")

    assert [one.name for one in owned(content)] == ["Zoë", "Ørjan"]
    assert list(refused(content)) == [3]


def test_an_encoding_that_cannot_be_told_is_refused_and_not_guessed():
    content = "Schlüssel;Name\nAAAA-0001;für\n".encode("cp850").replace(
        b"Schl\x81ssel", b"\x81\x8d\x8f"
    )

    with pytest.raises(errors.InvalidInputError, match="is unclear; save it as UTF-8"):
        found(content)
