"""The figure of the `tms_bayes` experiment: predicted against observed occupancy, the crossings, the samplers."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.tms_bayes import prediction
from experiments.tms_bayes.report import (
    A_PRIORI,
    CHAINS,
    CROSSINGS,
    SAME,
    SMC,
    WITH_CONSTANT,
    crossing,
    disagreement,
    dominant,
    free_energy,
    interval,
    log_score,
    named,
    observed,
    on_population,
    population_crossing,
)

LINES = {
    "loss": dict(color="#9aa0a6", ls=(0, (1, 1.5)), lw=1.8),
    A_PRIORI: dict(color="#c8442b", ls="-", lw=2.4),
    WITH_CONSTANT: dict(color="#2f6690", ls=(0, (5, 2)), lw=1.8),
}  # fmt: skip
LABELS = {
    "loss": "loss alone",
    A_PRIORI: "loss + λ, a priori",
    WITH_CONSTANT: "loss + λ + constant",
}
PHASES = {
    "fewer than four": "#e4e6e8", "4": "#f4c88b", "4+": "#eba553", "4++": "#d9822b",
    "5": "#8fc0a9", "5+": "#4f9173", "6": "#5b7db1", "no name": "#222222",
}  # fmt: skip
SEEN = "black"
STYLE: Any = plots.STYLE | {"font.size": 9.5, "axes.titlesize": 10.5}


def draw(results: xr.Dataset) -> Figure:
    """Above: the share of 4-, 5- and 6-gons over n. Below: all phases as sampled, the crossings, the samplers."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12, 7.6), layout="constrained")
        axes = figure.subplots(2, 3)
        for k, panel in zip("456", axes[0], strict=True):
            _occupancy(panel, results, k)
        _phases(axes[1, 0], results)
        _crossings(axes[1, 1], results)
        _samplers(axes[1, 2], results)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=3, title=_finding(results), title_fontsize=11.5
        )
        for panel in (*axes[0], axes[1, 0], axes[1, 2]):
            panel.set(xscale="log", xlabel="data set size n")
        plt.close(figure)
    return figure


def _finding(results: xr.Dataset) -> str:
    """What the figure shows, in one line."""
    seen = dominant(results, named(results, observed(results)).mean(axis=1))
    said = dominant(results, prediction.occupancy(free_energy(results, A_PRIORI), results.n.values))
    right = sum(a == b for a, b in zip(seen, said, strict=True))
    n, told = crossing(results, "5", "6").n, prediction.crossing(free_energy(results, A_PRIORI), "5", "6")
    return f"Loss and λ name the dominant k-gon at {right} of {len(seen)} sizes n, and 5 → 6 at n = {told:.0f}; sampled: {n:.0f}"


def _occupancy(axes: Axes, results: xr.Dataset, k: str) -> None:
    """The share of the k-gons among the named phases: three predictions and what was sampled."""
    of_k = [str(name).startswith(k) for name in results.kgon.values]
    n = np.geomspace(results.n.values[0], results.n.values[-1], 300)
    for name, style in LINES.items():
        share = prediction.occupancy(free_energy(results, name), n)[:, of_k].sum(axis=1)
        style: Any = style
        score = log_score(results, name)[0]
        axes.plot(n, share, label=f"predicted: {LABELS[name]} (log score {score:.2f})", zorder=2, **style)
    each = named(results, observed(results))[..., of_k].sum(axis=-1)
    at, count = results.n.values, each.shape[1]
    axes.plot(np.repeat(at, count), each.ravel(), ".", color=SEEN, alpha=0.18, ms=5, mew=0, label="each data set")
    mean, low, high = interval(each.T)
    axes.errorbar(
        at, mean, np.maximum([mean - low, high - mean], 0), fmt="o", color=SEEN, ms=4.5, lw=1.4, capsize=2.5,
        label="sampled: mean of data sets, 95 %", zorder=4,
    )  # fmt: skip
    smooth = named(results, on_population(results))[:, of_k].sum(axis=1)
    axes.plot(at, smooth, "D", mfc="white", mec=SEEN, ms=5, mew=1, label="sampled: population loss", zorder=3)
    axes.set(ylim=(-0.03, 1.03), title=f"{k}-gons", ylabel="share of the named phases" if k == "4" else "")


def _phases(axes: Axes, results: xr.Dataset) -> None:
    """All samples, mean over data sets, by phase."""
    shares = dict(zip(results.phase.values.tolist(), observed(results).mean(axis=1).T, strict=True))
    bottom: Float[np.ndarray, " n"] = np.zeros(results.sizes["n"])
    for name, colour in PHASES.items():
        top = bottom + shares[name]
        axes.fill_between(results.n.values, bottom, top, color=colour, lw=0)
        middle, widest = (bottom + top) / 2, int(np.argmax(shares[name]))
        if shares[name][widest] > 0.1:
            inner = min(max(widest, 1), len(middle) - 2)
            inner = inner if shares[name][inner] > 0.08 else widest
            label = "fewer than\nfour vertices" if name == "fewer than four" else name
            where: Any = (
                dict(ha="left", x=results.n.values[0] * 1.15)
                if widest == 0
                else dict(ha="center", x=results.n.values[inner])
            )
            axes.text(s=label, y=middle[inner], va="center", fontsize=9, **where)
        bottom = top
    axes.set(ylim=(0, 1), title="what was sampled, all phases (darker: 4+, 5+)", ylabel="share of all samples")
    axes.margins(x=0)
    none = float(shares["no name"].max())
    axes.text(0.98, 0.03, f"no named phase: {none:.1%} at most", transform=axes.transAxes, ha="right", fontsize=8.5)


def _crossings(axes: Axes, results: xr.Dataset) -> None:
    """Predicted and observed n of each crossing."""
    for row, (before, after) in enumerate(CROSSINGS):
        seen = crossing(results, before, after)
        axes.plot([seen.low, seen.high], [row, row], color=SEEN, lw=6, alpha=0.25, solid_capstyle="butt")
        axes.plot(seen.n, row, "o", color=SEEN, ms=7)
        axes.plot(population_crossing(results, before, after), row, "D", mfc="white", mec=SEEN, ms=6)
        if np.isfinite(seen.n):
            axes.text(seen.n, row + 0.12, f"{seen.n:.0f}", ha="center", va="top", fontweight="bold")
        for name, style in LINES.items():
            n, colour = prediction.crossing(free_energy(results, name), before, after), style["color"]
            if n > 1:
                axes.plot([n, n], [row - 0.26, row + 0.26], color=colour, lw=3)
                axes.text(n, row - 0.3, f"{n:.0f}", ha="center", color=colour)
            else:
                axes.text(4.5, row + 0.42, f"by {LABELS[name]}: {after} ahead of {before} at all n", fontsize=8.5, color="#6b7075")  # fmt: skip
    axes.set(xscale="log", xlim=(4, 3000), ylim=(1.65, -0.6), yticks=[0, 1], xlabel="data set size n")
    axes.set_yticklabels([f"{before} → {after}" for before, after in CROSSINGS])
    axes.set_title("takeover (bar: 90 % of data sets)")


def _samplers(axes: Axes, results: xr.Dataset) -> None:
    """How far two samplings of the same posteriors are apart."""
    for sampler, colour, label in ((SMC[1], SEEN, "a second SMC"), (CHAINS, "#8b4fa3", CHAINS)):
        apart = disagreement(results, sampler)
        axes.plot(results.n.values, apart, "o-", color=colour, ms=4, label=f"SMC against {label}")
    axes.axhline(SAME, color="#9aa0a6", lw=1, ls=(0, (4, 3)))
    axes.set(ylim=(-0.02, 1.42), yticks=np.arange(0, 1.1, 0.2), title="do the samplers agree?")
    axes.set_ylabel("difference of a phase's share")
    smc = results.sel(sampler=list(SMC))
    health = f"SMC, worst rung: {float(smc.ess.min()):.0%} of particles effective,\nacceptance {float(smc.acceptance.min()):.2f}"
    axes.text(0.03, 0.74, health, transform=axes.transAxes, fontsize=8.5)
    axes.legend(loc="upper left", fontsize=8.5, borderaxespad=0.1)
