"""A matplotlib figure as SVG bytes: the same data gives the same bytes, and nothing is loaded from elsewhere."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

COLOURS = ("#0f766e", "#c2410c", "#64748b", "#7c3aed", "#b45309", "#0369a1")
_STYLE: Any = {
    "svg.hashsalt": "autosteer",  # element ids are random otherwise
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name may hold dollar signs
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
}


@contextmanager
def drawing(width: float = 6.4, height: float = 3.6) -> Iterator[tuple[Any, bytearray]]:
    """An empty axes to draw on, in inches; its SVG stands in the second value after the block."""
    drawn = bytearray()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure.add_subplot(), drawn
        sink = BytesIO()
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
        drawn.extend(sink.getvalue())


def data_uri(svg: bytes) -> str:
    """For the `src` of an image: a browser runs no script in there."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
