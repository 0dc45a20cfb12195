"""What a chart is drawn on: one figure in our style, with its alternative text."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker.reporting import lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GREY = "#1f2933", "#6b7785"
WIDTH = 8.4  # inches; the page's column

STYLE: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "keypool",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "hatch.color": "white",
    "hatch.linewidth": 1.6,
    "axes.edgecolor": "#c3cad3",
    "axes.labelcolor": GREY,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "grid.color": "#e6eaef",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.family": [lettering.MAIN],
}


def page(fill: Callable[["Figure"], None], alternative: str, *, height: float) -> "Figure":
    """Make a figure in our style, with an alternative text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        fill(figure)
        figure.set_label(alternative)
        lettering.dress(figure)
        # Ticks and the legend are drawn later, and need the style too.
        figure.canvas.draw()
    return figure
