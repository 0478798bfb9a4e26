"""What is published of the stages of small language models, beside what this one shows; and what the loss alone shows."""

import numpy as np
import xarray as xr

from experiments.curves import believed, disguise
from experiments.experiment import Claim
from slt.phases import SlopeChange, align_shifted, inflated, slope_changes

PUBLISHED = "Hoogland et al. 2024, published files"
OURS = "this experiment"
TOLERANCE = 1  # checkpoints between two boundaries that count as one
INDUCTION = 3.0  # times the score of even attention, from which on a head is said to match prefixes
PLACED, RISEN = 0.02, 1.5  # from which on positions are used, and a head attends to the previous token
PAIRS = {"loose": "loose, hotter", "localised": "localised, hotter"}


def claims(results: xr.Dataset) -> list[Claim]:
    """Bigrams, n-grams, heads and context; the loss alone; the curves, their boundaries, and what nbeta does to both."""
    names = [str(name) for name in results.setting.values]
    return [
        *_bigrams(results),
        *_later(results),
        _loss_alone(results),
        disguise(results, "loose", source="Hoogland et al. 2024 under its own setting", expected=True),
        disguise(results, "localised", source=OURS),
        _outside(results),
        _negative(results),
        *[_boundaries(results, name) for name in ("loss", *names)],
        *_seen(results),
        *[_nbeta(results, *pair) for pair in PAIRS.items()],
        *[_alignment(results, name) for name in PAIRS],
        *[_stages(results, name) for name in PAIRS],
        *[believed(results, name) for name in names],
    ]


def boundaries(results: xr.Dataset, name: str) -> list[list[SlopeChange]]:
    """Where each run's curve changes its slope in log(step + 1), with intervals: that of a setting, or of the loss.

    Slopes and not levels: these curves rise and fall gradually, and a fit by levels makes stairs of them.
    """
    here = results.sel(setting=name) if name != "loss" else results
    curve, error = (here.loss, here.loss_error) if name == "loss" else (here.value, here.stderr)
    x = np.log(results.step.values + 1.0)
    return [slope_changes(x, y, inflated(y, e)) for y, e in zip(curve.values, error.values, strict=True)]


def markers(results: xr.Dataset) -> dict[str, np.ndarray]:
    """For each run the checkpoint at which a stage shows in what the model does; the number of checkpoints if it never does."""
    first = lambda here: np.where(here.any(axis=1), here.argmax(axis=1), here.shape[1])
    previous = results.previous.isel(layer=0).max("head").values
    return {
        "LM1 ends, the bigram score is least": bigram_minimum(results),
        f"LM2, positions are worth {PLACED} nats": first((results.unplaced - results.loss).values > PLACED),
        f"LM3, a previous-token head has {RISEN} times even attention": first(
            previous > RISEN * float(results.even_previous)
        ),
    }


def bigram_minimum(results: xr.Dataset) -> np.ndarray:
    """For each run the checkpoint with the least bigram score: the end of LM1."""
    return np.argmin(np.nan_to_num(results.bigram.values, nan=np.inf), axis=1)


def _spread(values: np.ndarray, digits: int = 3) -> str:
    """The values of the runs, smallest to largest."""
    return " to ".join(f"{v:.{digits}f}" for v in dict.fromkeys((np.min(values), np.max(values))))


def _steps(results: xr.Dataset, index: np.ndarray) -> str:
    return ", ".join(str(int(s)) for s in results.step.values[index])


def _bigrams(results: xr.Dataset) -> list[Claim]:
    at, score = bigram_minimum(results), results.bigram.values
    least, bound = np.take_along_axis(score, at[:, None], axis=1)[:, 0], float(results.bigram_entropy)
    rise, last = score[:, -1] - least, results.sizes["time"] - 1
    return [
        Claim(
            "LM1: the bigram score has its minimum during training (value; steps, by run; its rise until the end)",
            PUBLISHED + ": 4.618 at step 700 of 50000, entropy 4.288",
            "a minimum before the end",
            f"{_spread(least)} at {_steps(results, at)}; +{_spread(rise)}",
            bool(np.all((at > 0) & (at < last))),
        ),
        Claim(
            "LM1: the bigram score is at least the bigram entropy at every checkpoint (entropy; least excess)",
            "Gibbs' inequality; published excess .33",
            ">= 0",
            f"{bound:.3f}; +{np.nanmin(score) - bound:.3f}",
            None if np.isnan(score).any() else bool((score >= bound - 1e-4).all()),
        ),
    ]


def _later(results: xr.Dataset) -> list[Claim]:
    """LM2 to LM4: each score at the end of LM1 and at the end of training."""
    at = bigram_minimum(results)
    both = lambda curve: (np.take_along_axis(curve, at[:, None], axis=1)[:, 0], curve[:, -1])
    show = lambda curve, digits=3: " -> ".join(_spread(part, digits) for part in both(curve))
    rises = lambda curve: bool(np.all(both(curve)[1] > both(curve)[0]))
    ngrams = {int(n): results.ngram.sel(n=n).values for n in results.n.values}
    unplaced = (results.unplaced - results.loss).values
    previous = results.previous.isel(layer=0).max("head").values
    prefix = results.prefix.max(("layer", "head")).values
    even, even_prefix = float(results.even_previous), float(results.even_prefix)
    context, error = results.context.values, float(results.context_error.isel(time=-1).max())
    induced = bool((prefix[:, -1] > INDUCTION * even_prefix).all())
    return [
        Claim(
            "LM2: mean loss over the loss at the ends of common n-grams, from the bigram minimum to the end",
            PUBLISHED + ": n = 3, 4 rise after LM1",
            "n = 3, 4 rise",
            "; ".join(f"n = {n}: {show(curve, 2)}" for n, curve in ngrams.items()),
            all(rises(curve) for n, curve in ngrams.items() if n > 2),
        ),
        Claim(
            "LM2: loss that is added where the positional embedding is zero, from the bigram minimum to the end",
            "Hoogland et al. 2024: positions are used from LM2 on",
            "rises",
            show(unplaced),
            rises(unplaced),
        ),
        Claim(
            "LM3: previous-token score of the first layer's best head, from the start to the end of training",
            PUBLISHED + ": .04 -> .06 in LM3, .29 at the end",
            "rises above even attention",
            f"{_spread(previous[:, 0])} -> {_spread(previous[:, -1])}; even attention {even:.3f}",
            bool((previous[:, -1] > np.maximum(even, previous[:, 0])).all()),
        ),
        Claim(
            "LM4: prefix matching of the best head on random tokens written twice: induction "
            + ("is there" if induced else "is absent: LM4 and LM5 are not reached"),
            PUBLISHED + ": .008 -> .08 on its data from step 8500 on",
            "absent in so few steps",
            f"{_spread(prefix[:, -1])} at the end; even attention {even_prefix:.3f}",
            None,
        ),
        Claim(
            "LM4: in-context score, loss in the second half of the window less that in its second eighth: bigram minimum to end",
            PUBLISHED + ": -.06 -> -.21 in LM4 (positions 500 and 50)",
            "-",
            f"{show(context)} (s.e. {error:.3f})",
            None,
        ),
    ]


def _loss_alone(results: xr.Dataset) -> Claim:
    """Where the loss passes the levels of predictors that know only the text's statistics."""
    loss = results.loss.values
    passed = lambda level: [int(np.argmax(run < level)) if (run < level).any() else -1 for run in loss]
    when = lambda level: ", ".join("never" if t < 0 else str(int(results.step.values[t])) for t in passed(level))
    minimum, crossing = bigram_minimum(results), np.array(passed(float(results.bigram_loss)))
    near = bool((np.abs(minimum - crossing) <= TOLERANCE).all()) if (crossing >= 0).all() else None
    return Claim(
        "the loss alone: first checkpoint below the loss of unigrams and of bigrams; is the latter the bigram minimum?",
        OURS,
        "-",
        f"unigrams {float(results.unigram_loss):.3f} at {when(float(results.unigram_loss))}; bigrams {float(results.bigram_loss):.3f} "
        f"at {when(float(results.bigram_loss))}; minimum at {_steps(results, minimum)}: {'yes' if near else 'no'}; "
        f"end {_spread(loss[:, -1])}",
        None,
    )


def _outside(results: xr.Dataset) -> Claim:
    here, chance = results.sel(setting="loose"), float(results.uniform_loss)
    E = here.mean_loss.values
    return Claim(
        "loose: E[L] of the chains is above ln V, the loss of a model that knows nothing (median [range]; share of estimates)",
        PUBLISHED + ": E[L] about 11, ln 5000 = 8.5, if nbeta is 22",
        f"> {chance:.2f}",
        f"{np.nanmedian(E):.2f} [{np.nanmin(E):.2f}, {np.nanmax(E):.2f}]; {np.mean(chance < E):.0%}"
        if np.isfinite(E).any()
        else "not finite",
        None if np.isnan(E).any() else bool((chance < E).all()),
    )


def _negative(results: xr.Dataset) -> Claim:
    """Coefficients that are negative beyond their error, and whether each carries a finding that says so."""
    below = (results.value < -2 * results.stderr).values
    flagged = np.array([[["negative" in str(text) or "diverged" in str(text) for text in run] for run in setting] for setting in results.findings.values])  # fmt: skip
    which = lambda i: (
        f"{results.setting.values[i]} {below[i].sum()} of {below[i].size}"
        + (
            f" (steps {', '.join(str(int(s)) for s in results.step.values[below[i].any(axis=0)])})"
            if below[i].any()
            else ""
        )
    )
    return Claim(
        "negative coefficients (below -2 standard errors): shown as they are, each flagged by verdict",
        "Hoogland et al. 2024: no local minimum early in training",
        "all are flagged",
        f"{'; '.join(which(i) for i in range(len(below)))}; least {float(results.value.min()):.0f}; flagged {flagged[below].sum()} of {below.sum()}",
        bool(flagged[below].all()) if below.any() else None,
    )


def describe(results: xr.Dataset, found: list[SlopeChange]) -> str:
    """Each boundary as step [first, last step of its interval] and the slopes before and after it."""
    step = results.step.values
    text = [f"{step[c.index]} [{step[c.low]}, {step[c.high]}] {c.before:.3g} -> {c.after:.3g}" for c in found]
    return ", ".join(text) or "none"


def _boundaries(results: xr.Dataset, name: str) -> Claim:
    found = boundaries(results, name)
    return Claim(
        f"boundaries of {name}: step [95 % interval] slope before -> after, by run",
        "changes of slope in log(step + 1)",
        "-",
        " | ".join(describe(results, run) for run in found),
        None,
    )


def _seen(results: xr.Dataset) -> list[Claim]:
    """Which curves have a boundary where a stage shows in what the model does."""
    names, step = ["loss", *(str(name) for name in results.setting.values)], results.step.values
    found = {name: boundaries(results, name) for name in names}
    near = lambda run, at: any(abs(c.index - at) <= TOLERANCE for c in run)  # intervals may be as wide as the curve
    when = lambda at: ", ".join(str(int(step[t])) if t < len(step) else "never" for t in at)
    seen = lambda at: "; ".join(
        f"{name} {sum(near(run, t) for run, t in zip(found[name], at, strict=True))}" for name in names
    )
    return [
        Claim(
            f"runs with a boundary, within {TOLERANCE} checkpoint, where a stage shows: {what}",
            OURS,
            "-",
            f"steps {when(at)}: {seen(at)}; of {len(at)}",
            None,
        )
        for what, at in markers(results).items()
    ]


def _inside(found: list[list[SlopeChange]], other: list[list[SlopeChange]]) -> tuple[int, int]:
    """How many boundaries have one of the other curve whose interval meets theirs, and how many there are."""
    meets = lambda a, b: a.low <= b.high and b.low <= a.high
    hits = [any(meets(c, d) for d in theirs) for ours, theirs in zip(found, other, strict=True) for c in ours]
    return sum(hits), len(hits)


def _nbeta(results: xr.Dataset, name: str, hotter: str) -> Claim:
    """Boundaries and shape of a curve at two temperatures."""
    one, other = boundaries(results, name), boundaries(results, hotter)
    (hit, count), (back, others) = _inside(one, other), _inside(other, one)
    a, b = (results.value.sel(setting=s).values for s in (name, hotter))
    finite = np.isfinite(a + b).all()
    alike = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)] if finite else [np.nan]
    nbeta = [float(results.nbeta.sel(setting=s)) for s in (name, hotter)]
    return Claim(
        f"{name}: boundaries at nbeta {nbeta[0]:.3g} that have one at {nbeta[1]:.3g} within their intervals, and back; "
        "correlation of the two curves",
        "Wang et al. 2024: from nbeta 23 to 30 LM3 moves by 1000 steps",
        "all, if they do not depend on nbeta",
        f"{hit} of {count}, {back} of {others}; {_spread(np.array(alike), 2)}",
        None if count + others == 0 else hit == count and back == others,
    )


def _alignment(results: xr.Dataset, name: str) -> Claim:
    one, other = ([[c.index for c in run] for run in boundaries(results, curve)] for curve in (name, "loss"))
    found = align_shifted(one, other, length=results.sizes["time"], tolerance=TOLERANCE)
    return Claim(
        f"{name}: share of its boundaries that are the loss's, within {TOLERANCE} checkpoint, against shifts in log time",
        OURS,
        "-",
        "it has none"
        if found.count == 0
        else f"{found.share:.0%} of {found.count}, null {found.null:.0%}, p = {found.p_value:.3f}",
        None,
    )


def _stages(results: xr.Dataset, name: str) -> Claim:
    """By how much lambda-hat changes in LM1 and after it, beside the loss."""
    here, at = results.sel(setting=name), bigram_minimum(results)
    take = lambda v: (v[:, 0], np.take_along_axis(v, at[:, None], axis=1)[:, 0], v[:, -1])
    value, error, loss = (take(v) for v in (here.value.values, here.stderr.values, results.loss.values))
    change = lambda i: ", ".join(
        f"{b - a:+.1f} +- {np.hypot(x, y):.1f}"
        for a, b, x, y in zip(value[i], value[i + 1], error[i], error[i + 1], strict=True)
    )
    rises = all(np.all(value[i + 1] - value[i] > 2 * np.hypot(error[i], error[i + 1])) for i in (0, 1))
    return Claim(
        f"{name}: lambda-hat in LM1 (to the bigram minimum); after it; the loss in both",
        PUBLISHED + ": +26.4; +22.5 in LM2, -1.6 in LM3; 7.94 -> 4.35 -> 3.56",
        "rises in both",
        f"{change(0)}; {change(1)}; {' -> '.join(_spread(part, 2) for part in loss)}",
        bool(rises),
    )
