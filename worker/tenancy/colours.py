"""Colours of organizations, written `#0b5fa5`."""


def ink(colour: str) -> str:
    """Give black or white, whichever is read better on a colour (WCAG's relative luminance)."""
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in _parts(colour)]
    luminance = sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if luminance > 0.179 else "white"


def rgb(colour: str) -> str:
    """Write a colour without six digits in a row, which a reader of a mail may take for a code."""
    return "rgb({}, {}, {})".format(*(round(part * 255) for part in _parts(colour)))


def _parts(colour: str) -> list[float]:
    return [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
