"""Characters as people type them: what looks the same is made the same."""

import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point, the marks of annotations, and Braille's blank: what no
# screen shows.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Give a text in Unicode's NFKC, without the characters that cannot be seen.

    Full-width letters become ASCII's, and letters with accents one character each, however they
    were typed. Doing it again changes nothing.
    """
    if text.isascii():
        return text
    # Again at the end: what was kept apart by an invisible character may now be one.
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))
