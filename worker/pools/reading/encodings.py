"""Finding a text's encoding: declared, by a byte order mark, by UTF-8's rules, or by script.

A text that is neither UTF-8 nor UTF-16 is windows-1252, as European spreadsheets write it, unless its
bytes suggest another script. If that is unclear too, the file is refused, not guessed.
"""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from charset_normalizer import CharsetMatch, from_bytes

from worker import errors
from worker.pools.reading.words import is_exactly

BLOCK = 1 << 18  # bytes read at a time
START = 1 << 12  # bytes from which UTF-16 is recognized
EVIDENCE = 1 << 16  # bytes of lines beyond ASCII that are looked at

WESTERN, POLISH = "windows-1252", "windows-1250"
# charset-normalizer's name, and the usual one.
OTHER_SCRIPTS = {
    "cp932": "shift_jis",
    "euc_jp": "euc-jp",
    "gb18030": "gb18030",
    "big5": "big5",
    "cp949": "euc-kr",
    "cp1251": "windows-1251",
    "koi8_r": "koi8-r",
    "cp1253": "windows-1253",
    "cp1255": "windows-1255",
    "cp1256": "windows-1256",
    "cp874": "windows-874",
}
PYTHON_NAMES = {name: codec for codec, name in OTHER_SCRIPTS.items()} | {"windows-874": "cp874"}

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NOT_IN_WESTERN = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
HIGH = re.compile(rb"[\x80-\xff]")
RUNS = re.compile(rb"[\x80-\xff]{3,}")  # European letters with accents stand alone or in pairs
PAIRS = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")  # of East Asian encodings
WORDS = re.compile('[,;\t|\r\n"]+')
FEWEST = 6  # bytes that suffice as evidence for a script
MARGIN = 0.05  # by which charset-normalizer's best guess must be better than the next


def of(file: BinaryIO, *, declared: str | None = None) -> str:
    """Find a file's encoding, and rewind the file.

    Raises:
        InvalidInputError: the declared encoding does not exist, or none can be found.
    """
    if declared:
        return _known(declared)
    start = file.read(START)
    file.seek(0)
    found = next((name for mark, name in MARKS if start.startswith(mark)), None) or _by_zeros(start)
    if found is None:
        found = "utf-8" if _is_utf_8(file) else _by_evidence(*_evidence(file))
    file.seek(0)
    return found


def codec(encoding: str) -> str:
    """Give Python's name for an encoding; it drops a byte order mark."""
    name = PYTHON_NAMES.get(encoding, encoding)
    return "utf-8-sig" if codecs.lookup(name).name == "utf-8" else name


def _known(declared: str) -> str:
    try:
        found = codecs.lookup(declared.strip())
        "".encode(found.name)  # some codecs are not text encodings
    except (LookupError, TypeError, ValueError):
        raise errors.InvalidInputError(
            f"There is no character encoding “{declared}”; say utf-8 or windows-1252.",
            field="encoding",
        ) from None
    known = {codecs.lookup(codec_).name: name for codec_, name in OTHER_SCRIPTS.items()}
    known |= {"cp1252": WESTERN, "cp1250": POLISH}
    return known.get(found.name, found.name)


def _by_zeros(start: bytes) -> str | None:
    """Recognize UTF-16 without a mark: in ASCII text every other byte is zero."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if odd > len(start) // 20 and odd > 4 * even:
        return "utf-16-le"
    if even > len(start) // 20 and even > 4 * odd:
        return "utf-16-be"
    return None


def _is_utf_8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(file):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _evidence(file: BinaryIO) -> tuple[bytes, bool]:
    """Give the non-ASCII lines, and whether the file has bytes that windows-1252 lacks."""
    kept, size, lacking = [], 0, False
    for block in _blocks(file):
        lacking = lacking or NOT_IN_WESTERN.search(block) is not None
        if size < EVIDENCE and not block.isascii():
            lines = b"\n".join(line for line in block.splitlines() if not line.isascii())
            kept.append(lines[: EVIDENCE - size])
            size += len(kept[-1])
    return b"\n".join(kept), lacking


def _by_evidence(lines: bytes, lacking: bool) -> str:
    if _is_damaged_utf_8(lines):
        return "utf-8"
    by_headings = _by_headings(lines)
    if by_headings:
        return by_headings
    if not lacking and not _is_foreign(lines):
        return WESTERN
    if found := _sure(lines):
        return found
    if not lacking:
        return WESTERN
    raise errors.InvalidInputError(
        "The file's character encoding is unclear; save it as UTF-8, or say which it has.",
        field="encoding",
    )


def _is_damaged_utf_8(lines: bytes) -> bool:
    """Say whether most non-ASCII bytes are valid UTF-8; for instance a name was cut."""
    text = lines.decode("utf-8", "replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    return sum(not character.isascii() for character in text) - broken > broken


def _by_headings(lines: bytes) -> str | None:
    """Find the only encoding in which a heading is a known one."""
    known = {
        name: _known_headings(lines, codec_)
        for name, codec_ in ((WESTERN, "cp1252"), (POLISH, "cp1250"), *_foreign())
    }
    best = max(known, key=lambda name: known[name])
    return best if known[best] > known[WESTERN] else None


def _foreign() -> list[tuple[str, str]]:
    return [(name, codec_) for codec_, name in OTHER_SCRIPTS.items()]


def _known_headings(lines: bytes, codec_: str) -> int:
    text = lines[:START].decode(codec_, "replace")
    words = {word.strip() for word in WORDS.split(text)}
    return sum(not word.isascii() and is_exactly(word) for word in words)


def _is_foreign(lines: bytes) -> bool:
    """Say whether non-ASCII bytes come in runs, as letters of other scripts do."""
    high = len(HIGH.findall(lines))
    return high >= FEWEST and 2 * sum(map(len, RUNS.findall(lines))) > high


def _sure(lines: bytes) -> str | None:
    """Ask charset-normalizer; None if it is not sure, or if it says windows-1252."""
    asked = [*OTHER_SCRIPTS, "cp1252"]
    guesses = sorted(from_bytes(lines, cp_isolation=asked), key=lambda m: (m.chaos, -m.coherence))
    if not guesses or len(HIGH.findall(lines)) < FEWEST:
        return None
    best, *others = guesses
    if len(best.could_be_from_charset) > 1 and best.coherence == 0:
        return None
    if any(_is_as_good(other, best) for other in others):
        return None
    return OTHER_SCRIPTS.get(best.encoding)


def _is_as_good(other: CharsetMatch, best: CharsetMatch) -> bool:
    return other.chaos - best.chaos < MARGIN and best.coherence - other.coherence < MARGIN
