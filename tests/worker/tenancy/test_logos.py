import io
from hashlib import shake_256

import pytest
from PIL import Image

from tests.world import OPERATOR
from worker import errors
from worker.tenancy import history, logos, organizations

NOISE = Image.frombytes("RGB", (480, 160), shake_256(b"noise").digest(480 * 160 * 3))


def file(image: Image.Image, format: str, **given: object) -> bytes:
    written = io.BytesIO()
    image.save(written, format, **given)
    return written.getvalue()


def drawn(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=["PNG"])


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("I;16", "PNG"),
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "GIF"),
        ("RGBA", "WEBP"),
    ],
)
def test_an_image_becomes_a_small_png_in_its_own_proportions(mode, format):
    picture = logos.read(file(Image.new(mode, (960, 480)), format))

    image = drawn(picture.content)
    assert (image.format, image.size) == ("PNG", (320, 160))
    assert (picture.width, picture.height) == image.size


def test_a_small_image_is_not_made_larger():
    assert logos.read(file(Image.new("RGB", (31, 7)), "PNG"))[1:] == (31, 7)


def test_transparency_stays():
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))

    assert drawn(logos.read(file(image, "PNG")).content).convert("RGBA").getpixel((5, 5))[3] == 0


def test_a_picture_of_many_colours_stays_small():
    given = file(NOISE, "PNG")

    assert len(given) > 200_000
    assert len(logos.read(given).content) < 90_000


def test_what_a_file_holds_beside_its_pixels_is_left_out():
    exif = Image.Exif()
    exif[0x010E] = "taken at 52.5 N"
    content = file(Image.new("RGB", (20, 10)), "JPEG", exif=exif) + b"<script>alert(1)</script>"

    kept = logos.read(content).content

    assert b"script" not in kept
    assert b"taken at" not in kept


@pytest.mark.parametrize(
    "content",
    [
        b"no image",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        file(NOISE, "BMP"),
        file(NOISE, "TIFF"),
        file(Image.new("1", (5000, 5000)), "PNG"),
        file(Image.new("RGB", (9, 9)), "PNG") + bytes(700_000),
        *(file(NOISE, "PNG")[:n] for n in (0, 7, 30, 50, 1000)),
        *(file(NOISE, "GIF")[:n] for n in (10, 700, 900)),
        *(file(NOISE, "WEBP")[:n] for n in (12, 30, 900)),
        file(NOISE, "JPEG")[:900],
    ],
)
def test_what_is_no_image_or_too_large_is_refused_in_one_sentence(content):
    with pytest.raises(errors.InvalidInputError, match="A logo is an image of up to") as refused:
        logos.read(content)

    assert refused.value.field == "logo"


def test_a_logo_is_given_replaced_and_removed_and_history_keeps_no_picture(session):
    organizations.add(session, actor=OPERATOR, name="Acme")

    told = [edited(session, content) for content in (small("red"), small("blue"), b"")]

    kept = history.listing(session, actor=OPERATOR).items
    assert [shown is not None for shown in told] == [True, True, False]
    assert [entry["detail"].get("logo") for entry in kept][:3] == ["removed", "given", "given"]
    with pytest.raises(errors.NotFoundError):
        organizations.logo(session, actor=OPERATOR, organization="Acme")


def test_the_last_logo_is_the_one_that_is_shown(session):
    organizations.add(session, actor=OPERATOR, name="Acme")
    for colour in ("red", "blue"):
        edited(session, small(colour))

    content = organizations.logo(session, actor=OPERATOR, organization="Acme")

    assert drawn(content).convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def small(colour: str) -> bytes:
    return file(Image.new("RGB", (20, 10), colour), "PNG")


def edited(session, content: bytes) -> str | None:
    organizations.edit(session, actor=OPERATOR, organization="Acme", logo=content)
    return organizations.show(session, actor=OPERATOR, organization="Acme")["logo"]
