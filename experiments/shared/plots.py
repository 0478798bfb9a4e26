"""How the figures of all experiments look."""

from typing import Any

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
"""For `matplotlib.rc_context` while a figure is drawn."""

SAVED: Any = {"svg.fonttype": "none", "svg.hashsalt": "toymodels"}
"""The same while it is saved: letters stay letters, and equal figures are equal files."""
