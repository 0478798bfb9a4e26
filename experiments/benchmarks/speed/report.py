"""The claims of `speed`: each ratio with its spread, each agreement, each bound."""

import numpy as np
import xarray as xr

from experiments.experiment import Claim

TARGETS = "target of this project"
EXPONENT = 0.05  # by which growth may differ from linear
CURVE_RATIO, WARM_SECONDS, CHECKPOINTING = 30.0, 3.0, 0.05
PRODUCTS = {"transformer 128, training": 0.45}  # share of the measured peak
AGREE = 4.0  # standard errors


def claims(results: xr.Dataset) -> list[Claim]:
    """Every ratio and every bound beside its target."""
    missing = results.attrs["missing"]
    absent = [Claim("peers that are not installed", "`make peers`", "none", missing, None)] if missing else []
    parts = dict(
        ours=_ratios, share_operations=_share, cold_curve=_curve, llc=_agreement, exponent=_growth, memory_used=_bounds
    )
    return absent + [claim for name, part in parts.items() if name in results for claim in part(results)]


def ratio(results: xr.Dataset, i: int) -> tuple[float, float, float]:
    """Median, least and greatest over the rounds of our steps a second to a peer's."""
    rounds = results.ours.values[i] / results.theirs.values[i]
    return float(np.median(rounds)), float(rounds.min()), float(rounds.max())


def _ratios(results: xr.Dataset) -> list[Claim]:
    load = f"load {results.load_average.values.min():.1f} to {results.load_average.values.max():.1f}"
    found = []
    for i, name in enumerate(results.comparison.values.tolist()):
        middle, low, high = ratio(results, i)
        target = float(results.target.values[i])
        if np.isnan(middle):
            continue
        measured = f"{middle:.1f} times [{low:.1f}, {high:.1f}]; its threads {results.threads.values[i]}, {load}"
        measured += _at_most(results, i)
        expected = f">= {target:g} times" if np.isfinite(target) else "-"
        found.append(
            Claim(f"steps a second, {name}", TARGETS, expected, measured, middle >= target if expected != "-" else None)
        )
    rates = results.rate.median("round")
    for name in ("train 6/2/64", "chains"):
        if f"{name}, threefry" in rates.workload.values:
            faster = (rates.sel(workload=name) / rates.sel(workload=f"{name}, threefry")).item()
            found.append(
                Claim(f"{name}: lowbias32 to threefry2x32", "this experiment", "-", f"{faster:.1f} times", None)
            )
    return found


def _at_most(results: xr.Dataset, i: int) -> str:
    """Where matrix products bound the work: how many times faster than the peer the measured peak would be."""
    workload = results.comparison.values[i].split(":")[0]
    if "peak_flops" not in results or workload not in results.workload.values:
        return ""
    most = (
        results.peak_flops
        * results.attrs["cores"]
        / (results.theirs[i].median() * results.products.sel(workload=workload))
    )
    return f"; the peak itself would be {most.item():.1f} times" if np.isfinite(most) else ""


def _share(results: xr.Dataset) -> list[Claim]:
    text = "; ".join(
        f"{w}: {results.share_operations.sel(workload=w).item():.0%}" for w in results.workload.values.tolist()
    )
    about = f"{results.peak_flops.item() / 1e9:.0f} G operations/s a device in a matrix product"
    found = [Claim("operations, share of the measured peak", about, "-", text, None)]
    for w, share in zip(results.workload.values.tolist(), results.share_products.values.tolist(), strict=True):
        if w in PRODUCTS:
            text, holds = f"matrix products, share of the measured peak, {w}", share >= PRODUCTS[w]
            found.append(Claim(text, TARGETS, f">= {PRODUCTS[w]:.0%}", f"{share:.0%}", holds))
    return found


def _curve(results: xr.Dataset) -> list[Claim]:
    cold, peer = results.cold_curve.item(), results.peer_curve.item()
    warm, step = results.warm_curve.item(), results.warm_step.item()
    faster = peer / cold
    curve = Claim(
        "a whole curve from a cold start (50 checkpoints, 8 chains, 500 steps, imports and compilation), devinterp 1.3.2's time to ours",
        TARGETS, f">= {CURVE_RATIO:g} times",
        f"{faster:.1f} times ({cold:.1f} s); {peer / warm:.1f} from a filled cache" if np.isfinite(peer) else "peer not installed",
        faster >= CURVE_RATIO if np.isfinite(peer) else None,
    )  # fmt: skip
    second = Claim(
        "second start, to the first step", TARGETS, f"<= {WARM_SECONDS:g} s", f"{step:.1f} s", step <= WARM_SECONDS
    )
    return [curve, second]


def _agreement(results: xr.Dataset) -> list[Claim]:
    difference = np.log(results.loss_theirs.values) - np.log(results.loss_ours.values)
    z = difference.mean(1) / (difference.std(1, ddof=1) / np.sqrt(difference.shape[1]))
    steps = ", ".join(
        f"{step}: {d:+.1%} ({s:+.1f})"
        for step, d, s in zip(results.curve_step.values, difference.mean(1), z, strict=True)
    )
    loss = Claim("loss of the notebook to ours, from the same weights; (standard errors)", "by step, 32 instances",
                 f"within {AGREE:g}", steps, bool(np.all(np.abs(z) < AGREE)))  # fmt: skip
    value, error = results.llc.values, results.llc_error.values
    found = [loss]
    for label, v, e in zip(results.side.values[1:], value[1:], error[1:], strict=True):
        apart = (v - value[0]) / np.hypot(e, error[0])
        measured = f"{v:.2f} +- {e:.2f}, ours {value[0]:.2f} +- {error[0]:.2f}"
        found.append(Claim(f"lambda-hat of {label}, 500 draws without warm-up", "the same point, data and settings",
                           f"within {AGREE:g} standard errors", measured, bool(abs(apart) < AGREE)))  # fmt: skip
    return found + (_same_transformer(results) if "transformer_llc" in results else [])


def _same_transformer(results: xr.Dataset) -> list[Claim]:
    (ours, theirs), value, error = (results[f"transformer_{name}"].values for name in ("loss", "llc", "llc_error"))
    apart = (value[1] - value[0]) / np.hypot(*error)
    return [
        Claim("loss of a transformer in PyTorch, the same weights and tokens", "nats a token", f"{ours:.6f}",
              f"{theirs:.6f}", bool(abs(theirs / ours - 1) < 1e-5)),
        Claim("lambda-hat of devinterp 1.3.2 at a transformer's random weights (no minimum: it is negative), 200 draws", "the same weights, tokens and settings",
              f"within {AGREE:g} standard errors",
              f"{value[1]:.2f} +- {error[1]:.2f}, ours {value[0]:.2f} +- {error[0]:.2f}", bool(abs(apart) < AGREE)),
    ]  # fmt: skip


def _growth(results: xr.Dataset) -> list[Claim]:
    exponents = dict(zip(results.axis.values.tolist(), results.exponent.values.tolist(), strict=True))
    return [
        Claim(
            f"exponent of seconds in the number of {axis}",
            TARGETS,
            f"1 +- {EXPONENT}",
            f"{e:.3f}",
            abs(e - 1) <= EXPONENT,
        )
        for axis, e in exponents.items()
    ]


def _bounds(results: xr.Dataset) -> list[Claim]:
    compiled, share = results.compilations.values.tolist(), results.checkpointing.item()
    used, bound = results.memory_used.item(), results.memory_bound.item()
    return [
        Claim(
            "programs compiled by a sweep of 1 and of 4 waves",
            TARGETS,
            "1, 1",
            f"{compiled[0]}, {compiled[1]}",
            compiled == [1, 1],
        ),
        Claim(
            "memory of a block under a stated bound",
            TARGETS,
            f"<= {bound / 1e6:.1f} MB",
            f"{used / 1e6:.1f} MB",
            used <= bound,
        ),
        Claim(
            "checkpoints every 30 epochs, of the training time",
            TARGETS,
            f"<= {CHECKPOINTING:.0%}",
            f"{share:.1%}",
            share <= CHECKPOINTING,
        ),
    ]
