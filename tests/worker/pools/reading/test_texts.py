"""Lines: numbered, of any length and number, from any stream."""

import io
import tracemalloc

import pytest

from tests.worker.pools.reading.inputs import found, measured, refused
from worker import errors
from worker.pools.reading import ReadAs, opened, typed


class Endless(io.RawIOBase):
    """A stream of one byte repeated, so many times; it cannot go back."""

    def __init__(self, byte: bytes, size: int) -> None:
        self.byte, self.left = byte, size

    def read(self, size: int = -1) -> bytes:
        taken = min(size, self.left)
        self.left -= taken
        return self.byte * taken


def test_a_text_file_has_a_key_a_line_and_blank_lines_count():
    assert found("AAAA-0001\n\n  AAAA 0002 \n\nAAAA_0003") == [
        (1, "AAAA-0001"),
        (3, "AAAA 0002"),
        (5, "AAAA_0003"),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_ends_a_line(ending):
    assert found(ending.join(["AAAA-0001", "AAAA-0002", ""])) == [
        (1, "AAAA-0001"),
        (2, "AAAA-0002"),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_where_a_block_ends_makes_no_difference(size, monkeypatch):
    content = 'code,note\r\nAAAA-0001,"a\r\nb"\r\n\r\nAAAA-0002,c\rAAAA-0003,"d\n'
    whole = found(content), refused(content)
    monkeypatch.setattr("worker.pools.reading.texts.BLOCK", size)

    assert (found(content), refused(content)) == whole


def test_a_stream_that_cannot_go_back_is_read_all_the_same():
    class Once(io.BytesIO):
        def seekable(self) -> bool:
            return False

    blocks = opened(Once(b"Enrolment Key\nAAAA-0001\nAAAA-0002\n")).keys()

    assert [code for block in blocks for code in block.codes] == ["AAAA-0001", "AAAA-0002"]


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf", "\n".encode("utf-16")])
def test_an_empty_file_is_refused(content):
    with pytest.raises(errors.InvalidInputError, match="nothing in the input"):
        found(content)


def test_a_file_with_nothing_but_its_heading_is_refused():
    with pytest.raises(errors.InvalidInputError, match="no keys below"):
        found("key,email\n")


def test_a_gigabyte_without_a_line_break_is_one_bad_line_and_takes_no_memory():
    tracemalloc.start()

    [block] = opened(
        Endless(b"A", 1 << 26)
    ).keys()  # 64 MB here: what counts is that it is not kept
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [line.reason for line in block.refused] == ["It has more than 1,048,576 characters."]
    assert peak < 16 << 20


def test_a_gigabyte_of_line_breaks_takes_no_memory():
    tracemalloc.start()

    with pytest.raises(errors.InvalidInputError):
        opened(Endless(b"\n", 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20


def test_keys_given_one_by_one_are_numbered_and_each_is_meant():
    given = typed(
        [" SUMMERSALE\n", "", "\t", "AAAA-0001", "AAAA-0002", "10.12.2026", "\ud800AAAA-1"]
    )

    [block] = given.keys()

    assert list(zip(block.numbers, block.codes, strict=True)) == [
        (1, "SUMMERSALE"),
        (4, "AAAA-0001"),
        (5, "AAAA-0002"),
    ]
    assert [line.number for line in block.refused] == [6, 7]


def test_no_key_given_one_by_one_is_refused():
    with pytest.raises(errors.InvalidInputError, match="nothing in the input"):
        typed(["", " "], read_as=ReadAs.of())


def test_a_million_lines_take_no_more_memory_than_a_tenth_of_them(tmp_path):
    def megabytes(count: int) -> float:
        path = tmp_path / "keys.txt"
        lines = (f"KEY-{n:010}" if n % 100 else "=1+1" for n in range(count))
        path.write_text("\n".join(lines))
        read, peak = measured(path)
        assert read == count
        return peak

    assert megabytes(1_000_000) < 1.1 * megabytes(100_000)
