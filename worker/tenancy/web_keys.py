"""What the web proves to the database: that it holds KEYPOOL_SECRET_KEY, which no SQL knows.

Functions of schema.sql that let somebody in on the web's word alone (require_proof) take proofs: HMACs over
the words of what is asked. The database knows the keys of those, derived for that alone, from the processes
of the owner's login: `db init`, `db upgrade`, each worker's start, and `secrets reencrypt`.
"""

import hashlib
import hmac
import json

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker.tenancy import secrets

Word = str | int | bytes | None

BLOCK = hashlib.sha256().block_size
INNER, OUTER = 0x36, 0x5C  # RFC 2104
UNKNOWN = (
    "The database does not know this web by its KEYPOOL_SECRET_KEY: start a worker with the same key, or run "
    "“keypool secrets reencrypt” with it; until then nobody gets in."
)

KNOWN = text("SELECT inner_block, outer_block FROM web_key")
# The rows are those keys, and no others; a reader finds the old ones or the new ones.
FORGET = text("DELETE FROM web_key WHERE inner_block <> ALL (:inner)")
LEARN = text("""
    INSERT INTO web_key SELECT * FROM unnest(CAST(:inner AS bytea[]), CAST(:outer AS bytea[]))
        ON CONFLICT DO NOTHING
""")


def proofs(kind: str, *words: Word) -> bytes:
    """Prove that the web asks this, by each key in KEYPOOL_SECRET_KEY: 32 bytes a proof, one after the other.

    With a proof by each, a new key can come in front of the old one before the database knows it.
    """
    asked = _as_sql_tells((kind, *words))
    keys = secrets.all_derived("proving")
    return b"".join(hmac.digest(key, asked, hashlib.sha256) for key in keys)


def tell(session: Session) -> None:
    """Have the database know the webs with a key of this process's KEYPOOL_SECRET_KEY, and no others."""
    blocks = _all_blocks()
    known = {(bytes(inner), bytes(outer)) for inner, outer in session.execute(KNOWN)}
    if known == set(blocks):
        return
    inner, outer = map(list, zip(*blocks, strict=True))
    session.execute(FORGET, {"inner": inner})
    session.execute(LEARN, {"inner": inner, "outer": outer})


def refusal(session: Session) -> str | None:
    """Say why the database takes no proof of this process, and what to do; None if it does."""
    known = session.scalar(select(func.knows_web(proofs("ready"))))
    return None if known else UNKNOWN


def notes(session: Session) -> list[str]:
    """Say in sentences how the keys that the database knows differ from this process's."""
    known, ours = {bytes(inner) for inner, _ in session.execute(KNOWN)}, _all_blocks()
    notes = []
    if ours[0][0] not in known:
        notes.append(
            "The database does not know webs by the first key in KEYPOOL_SECRET_KEY: start a worker with it, "
            "or run “keypool secrets reencrypt”."
        )
    if known - {inner for inner, _ in ours}:
        notes.append(
            "The database lets webs in with a key that is not in KEYPOOL_SECRET_KEY: restart the workers, or "
            "run “keypool secrets reencrypt”."
        )
    return notes


def _as_sql_tells(words: tuple[Word, ...]) -> bytes:
    """Write words as to_json(text[]) does; bytes in hexadecimal, as encode(…, 'hex')."""
    told = [word.hex() if isinstance(word, bytes) else word for word in words]
    texts = [None if word is None else str(word) for word in told]
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()


def _all_blocks() -> list[tuple[bytes, bytes]]:
    """Give HMAC's inner and outer block of each key, newest first."""
    padded = [key.ljust(BLOCK, b"\0") for key in secrets.all_derived("proving")]
    return [(bytes(b ^ INNER for b in key), bytes(b ^ OUTER for b in key)) for key in padded]
