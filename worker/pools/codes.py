"""Codes of keys: canonical form, validation, and generation (K1 to K4).

A generated code is 16 symbols of Crockford's base 32: a letter, 14 more, and a check symbol that
is the remainder of the 15 before it in GF(32), where each symbol weighs a different power of x.
Because every weight differs from 0 and from its neighbour's, one wrong symbol, or two neighbours
swapped, always leaves another remainder. docs/keys.md has the algorithm and its test vectors.
"""

import os
import re
import secrets
import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.languages.characters import visible

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LETTERS: Final = 22  # letters among the alphabet's 32 symbols; they come after the ten digits
LENGTH: Final = 16
SHORTEST, LONGEST = 8, 64

Codes = NDArray[np.bytes_]
Symbols = NDArray[np.uint8]

CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")
DIGIT = re.compile("[0-9]")
NOT_CANONICAL = re.compile("[^A-Za-z0-9]")
NOT_IN_A_CODE = re.compile("[^A-Za-z0-9_. -]")
WELL_FORMED = re.compile(r"(?=.{8,64}\Z)[A-Za-z0-9](?:[_. -]*[A-Za-z0-9]){7,}")
GENERATED = re.compile(f"[{ALPHABET[10:]}][{ALPHABET}]{{{LENGTH - 1}}}")
# Unicode's dashes, and other characters typed as hyphens; NFKC turns the full-width ones into `-`.
HYPHENS = re.compile(
    "[\u02d7\u058a\u05be\u1400\u1806\u2010-\u2015\u2043\u2212\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u2e5d"
    "\u301c\u3030\u30a0\ufe31\ufe32\U00010ead]"
)
# Letters that people confuse with Crockford's digits.
LOOKALIKES = str.maketrans("OIL", "011")
# Multiplication by x in GF(32), modulo x^5 + x^2 + 1: a shift, and the overflow folded in.
DOUBLED = [value << 1 ^ (0b100101 if value & 16 else 0) for value in range(32)]


def canonical(code: str) -> str:
    """Give a code's canonical form (K1): its ASCII letters and digits, upper case.

    Full-width forms and the like count as the letters that they show (NFKC).
    """
    return NOT_CANONICAL.sub("", visible(code)).upper()


def typed(code: str) -> str:
    """Give a code as typed, in one line, without invisible characters."""
    return CONTROL.sub("", visible(code)).strip()


def supplied(code: str) -> str:
    """Give a code as it is stored (K1): NFKC, hyphens as `-`, nothing invisible, trimmed."""
    return HYPHENS.sub("-", visible(code)).strip()


def is_well_formed(code: str) -> bool:
    """Say whether a trimmed code can be a key (K2)."""
    return WELL_FORMED.fullmatch(code) is not None


def refusal(code: str) -> str | None:
    """Say why a trimmed code cannot be a key (K2), in a sentence; None if it can."""
    if is_well_formed(code):
        return None
    if wrong := NOT_IN_A_CODE.search(code):
        return (
            f"{_named(wrong[0])} cannot be in a key; use letters, digits, hyphens, underscores, "
            "dots and spaces."
        )
    if not SHORTEST <= len(code) <= LONGEST:
        characters = "1 character" if len(code) == 1 else f"{len(code)} characters"
        return f"It has {characters}; a key has {SHORTEST} to {LONGEST}."
    if len(canonical(code)) < SHORTEST:
        return f"It has fewer than {SHORTEST} letters and digits."
    return "It must begin and end with a letter or digit."


def lookalike(code: str) -> str:
    """Give the canonical form with O, I and L read as 0, 1 and 1 (K4)."""
    return canonical(code).translate(LOOKALIKES)


def is_mistyped(code: str) -> bool:
    """Say whether an unknown code looks generated, except for its check symbol (K4)."""
    symbols = lookalike(code)
    return bool(GENERATED.fullmatch(symbols)) and check_symbol(symbols[:-1]) != symbols[-1]


def is_generated(code: str) -> bool:
    """Say whether keypool could have generated a code: its check symbol is right."""
    symbols = canonical(code)
    return bool(GENERATED.fullmatch(symbols)) and check_symbol(symbols[:-1]) == symbols[-1]


def check_symbol(symbols: str) -> str:
    """Give the check symbol that follows the first 15 symbols of a generated code."""
    rest = 0
    for symbol in symbols:
        rest = DOUBLED[rest ^ ALPHABET.index(symbol)]
    return ALPHABET[rest]


def masked(code: str) -> str:
    """Mask a code: enough to recognize it, too little to redeem it."""
    return f"{code.strip()[:4]}…"


def first_letters(count: int) -> list[int]:
    """Draw how many of `count` codes begin with each of the 22 letters, in alphabetical order.

    A long generation goes through the alphabet, so that each of its chunks writes to one part of the
    unique index; as a set, its codes are as random.
    """
    drawn = _chance().multinomial(count, [1 / LETTERS] * LETTERS)
    return [int(number) for number in drawn]


def draw(letters: Sequence[int]) -> Codes:
    """Draw codes, written in groups (`K7QM-…`), so many with each first letter, in random order.

    Everything but the first letter is drawn here, 70 bits from the operating system's secure
    randomness. Only the unique index prevents duplicates.
    """
    firsts = np.arange(len(ALPHABET) - LETTERS, len(ALPHABET), dtype=np.uint8)
    count = sum(letters)
    values = np.empty((count, LENGTH), np.uint8)
    values[:, 0] = _chance().permutation(np.repeat(firsts, letters))
    values[:, 1:-1] = random_bytes(count * 14).reshape(count, 14) & 31
    values[:, -1] = _check_values(values[:, :-1])
    return _in_groups(np.frombuffer(ALPHABET.encode(), np.uint8)[values])


def _chance() -> np.random.Generator:
    """Give a fast random generator for first letters, seeded by the operating system."""
    return np.random.default_rng(secrets.randbits(256))


def random_bytes(count: int) -> Symbols:
    """Read bytes of the operating system's secure randomness."""
    return np.frombuffer(os.urandom(count), np.uint8)


def _check_values(values: Symbols) -> Symbols:
    doubled = np.array(DOUBLED, np.uint8)
    rest = np.zeros(len(values), np.uint8)
    for column in values.T:
        rest = doubled[rest ^ column]
    return rest


def _in_groups(symbols: Symbols) -> Codes:
    text = np.full((len(symbols), 4, 5), ord("-"), np.uint8)
    text[:, :, :4] = symbols.reshape(-1, 4, 4)
    return np.ascontiguousarray(text.reshape(-1, 20)[:, :19]).view("S19").reshape(-1)


def _named(character: str) -> str:
    """Name a character; one that may look like a letter of ASCII, by its code point (K2)."""
    point = f"U+{ord(character):04X}"
    if not character.isprintable():
        return f"The character {point}"
    if unicodedata.normalize("NFD", character)[0].isascii():
        return f"“{character}”"
    name = unicodedata.name(character, "").lower()
    return f"“{character}” ({point}{name and ', '}{name})"
