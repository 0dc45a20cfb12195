"""Logos: read as an image, made small, and kept as a PNG.

What is kept was drawn anew from the image's pixels. So it holds nothing else of the file, such as a
script or where a photograph was taken.
"""

import io
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from worker import errors
from worker.tables.tenancy import Logo

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 700_000  # bytes of a file: base64 of it fits into a request of the API
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MOST_PIXELS = 16_000_000
BOX = (480, 160)  # pixels; shown at half of it, for sharp screens
PLAIN = 40_000  # bytes; a larger one gets a palette
WRONG = "A logo is an image of up to 700 kB and 16 megapixels: PNG, JPEG, GIF or WebP."
# What Pillow raises for files that are broken, by where they are.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


class Picture(NamedTuple):
    """A logo: a PNG, and its size in pixels."""

    content: bytes
    width: int
    height: int


def read(content: bytes) -> Picture:
    """Read an image and make the logo of it.

    Raises:
        InvalidInputError: it is no such image, or too large.
    """
    if len(content) > LARGEST:
        raise errors.InvalidInputError(WRONG, field="logo")
    from PIL import Image  # 0.1 s of a process that never asks

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError("too many pixels")
            return _drawn(image)
    except (*BROKEN, Image.DecompressionBombError):
        raise errors.InvalidInputError(WRONG, field="logo") from None


def put(session: Session, *, organization_id: int, content: bytes) -> None:
    """Keep an organization's logo, instead of the one before; without content remove it.

    Raises:
        InvalidInputError: it is no image that `read` takes.
    """
    if not content:
        session.execute(delete(Logo).where(Logo.organization_id == organization_id))
        return
    drawn = read(content)._asdict()
    session.execute(
        insert(Logo)
        .values(organization_id=organization_id, **drawn)
        .on_conflict_do_update(index_elements=[Logo.organization_id], set_=drawn)
    )


def of(session: Session, *, organization_id: int) -> Picture | None:
    """Give an organization's logo; None where it has none."""
    row = session.execute(
        select(Logo.content, Logo.width, Logo.height).where(Logo.organization_id == organization_id)
    ).one_or_none()
    return Picture(*row) if row else None


def is_there(session: Session, *, organization_id: int) -> bool:
    """Say whether an organization has a logo."""
    asked = select(Logo.organization_id).where(Logo.organization_id == organization_id)
    return session.scalar(asked) is not None


def _drawn(image: "Image") -> Picture:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    # A palette's transparency survives RGBA alone, a printer's colours (CMYK) survive RGB alone.
    drawn = (upright.convert("RGB") if upright.mode == "CMYK" else upright).convert("RGBA")
    drawn.thumbnail(BOX)
    content = _png(drawn)
    if len(content) > PLAIN:
        content = _png(drawn.quantize(256))
    return Picture(content, *drawn.size)


def _png(image: "Image") -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
