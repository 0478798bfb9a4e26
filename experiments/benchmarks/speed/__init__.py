"""How much faster is this than what people use, and does it compute the same?

Training of toy models and of a transformer, chains and whole learning-coefficient curves, side by side with PyTorch (for
the toy models, the published notebook), devinterp 1.3.2 and 2.0.1, and canonical-interp, each in an environment of its own (`make peers`). In every round each
side works once in turn, so that a ratio compares seconds of the same minute; a peer has the thread count it is fastest
with. Peers that are not installed are named, and our side runs without them.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from typing_extensions import Doc

from experiments.experiment import at_least, positive
from experiments.record import bar
from experiments.speed import internals, ours, transformers
from experiments.speed.peer import Peer, python
from experiments.speed.report import claims
from toymodels.tasks.superposition import sparse_features

__all__ = ["PRESETS", "claims", "plot", "run"]

PRESETS = {
    "smoke": dict(measure="rates", workloads="chains", rounds=1, scale=0.02, peers="none"),
    "default": {},
    "paper": dict(rounds=10, curve=50, repeats=10),
}
CURVE = 50  # checkpoints of the curve that is compared; a peer computes fewer of them (`curve`) and is scaled up
CHAINS, DRAWS = 8, 500


class Comparison(NamedTuple):
    """What one peer is asked to do, beside our workload of the same name. `steps`: how it counts what it has done."""

    workload: str
    label: str
    worker: str
    request: dict[str, Any]
    target: float = np.nan
    flags: tuple[str, ...] = ()


def _training(features: int, hidden: int, instances: int, steps: int, target: float) -> list[Comparison]:
    name = f"train {features}/{hidden}/{instances}"
    request = dict(do="train", features=features, hidden=hidden, instances=instances, batch=1024, steps=steps)
    return [
        Comparison(name, "notebook", "notebook", request, target),
        Comparison(name, "notebook, compiled", "notebook", request | {"compile": True, "fused": True}),
    ]


LARGE, SMALL = (size._asdict() for size in (transformers.LARGE, transformers.SMALL))
COMPARISONS = [
    *_training(6, 2, 64, 150, 40.0),
    *_training(80, 20, 16, 50, 10.0),
    *_training(200, 20, 20, 20, 12.0),
    Comparison("chains", "devinterp 2.0.1", "devinterp2", dict(do="chains", chains=8, draws=500, data="hf"), 1000),
    Comparison("chains", "devinterp 2.0.1, its inner sampler, garbage collector off", "devinterp2",
               dict(do="chains", chains=8, draws=500, api="sample_single_chain"), flags=("--freeze",)),
    Comparison("chains", "devinterp 1.3.2, batches made before", "devinterp1", dict(do="chains", chains=16, draws=500), 180),
    Comparison("chains", "canonical-interp 0.1.5", "canonical", dict(do="chains", chains=64, draws=500), 20),
    Comparison("transformer 128, training", "PyTorch", "transformer", dict(do="train", size=LARGE, steps=30), 1.3),
    Comparison("transformer 128, training", "PyTorch, compiled", "transformer",
               dict(do="train", size=LARGE, steps=30, compile=True), 1.3),
    Comparison("transformer 128, 8 chains", "devinterp 1.3.2, batches made before", "transformer",
               dict(do="chains", size=LARGE, chains=8, draws=6), 3),
    Comparison("transformer 16, 8 chains", "devinterp 1.3.2, batches made before", "transformer",
               dict(do="chains", size=SMALL, chains=8, draws=200), 3),
]  # fmt: skip
OURS = {
    "train 6/2/64": (lambda: ours.training(6, 2, 64), 3000),
    "train 80/20/16": (lambda: ours.training(80, 20, 16), 400),
    "train 200/20/20": (lambda: ours.training(200, 20, 20), 150),
    "train 6/2/64, threefry": (lambda: ours.training(6, 2, 64, prng="threefry2x32"), 1000),
    "chains": (lambda: ours.chains(64, 4, 4000), 0),
    "chains, threefry": (lambda: ours.chains(64, 4, 4000, prng="threefry2x32"), 0),
    "transformer 128, training": (lambda: transformers.training(transformers.LARGE), 40),
    "transformer 128, 8 chains": (lambda: transformers.chains(transformers.LARGE, 8, 40), 0),
    "transformer 16, 8 chains": (lambda: transformers.chains(transformers.SMALL, 8, 1000), 0),
}
"""Our workloads and the length of a timed run."""


PARTS = ("rates", "curve", "agreement", "costs", "growth", "bounds")


def run(
    *,
    measure: Annotated[str, Doc(f"what to measure, of {','.join(PARTS)}")] = ",".join(PARTS),
    workloads: Annotated[str, Doc("which of our workloads, by their first words")] = "train,chains,transformer",
    rounds: Annotated[int, Doc("times that every side is timed, in turn")] = 3,
    scale: Annotated[float, Doc("length of the timed runs; 1 is about a second for us and some for a peer")] = 1.0,
    peers: Annotated[str, Doc("installed (those that are), or none")] = "installed",
    curve: Annotated[
        int, Doc("checkpoints of the curve that devinterp 1.3.2 computes, of 50; its time is scaled up")
    ] = 10,
    repeats: Annotated[int, Doc("times that growth with runs, checkpoints, chains and draws is measured")] = 6,
) -> xr.Dataset:
    """Time both sides in turn, compare what they compute, and measure our own costs."""
    at_least(1, rounds=rounds, curve=curve, repeats=repeats)
    positive(scale=scale)
    parts = _parts(measure)
    chosen = {name: w for name, w in OURS.items() if name.startswith(tuple(workloads.split(",")))}
    here = {c.worker for c in COMPARISONS if peers == "installed" and _installed(c.worker)}
    wanted = [c for c in COMPARISONS if c.worker in here and c.workload in chosen]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        if "rates" in parts:
            results.append(_rates(chosen, wanted, rounds, scale, Path(folder)))
        if "curve" in parts:
            results.append(_curve(curve, scale, "devinterp1" in here, Path(folder)))
        if "agreement" in parts and here:
            results.append(
                _agreement([c for c in wanted if c.workload == "chains"], "transformer" in here, Path(folder))
            )
    if "costs" in parts:
        results.append(internals.costs({name: (make(), n) for name, (make, n) in chosen.items()}, scale))
    if "growth" in parts:
        results.append(internals.growth(scale, repeats))
    if "bounds" in parts:
        results.append(internals.bounds())
    missing = sorted({c.worker for c in COMPARISONS} - here)
    return xr.merge(results).assign_attrs(missing=", ".join(missing), cores=len(os.sched_getaffinity(0)))


def _parts(measure: str) -> set[str]:
    parts = set(measure.split(","))
    if not parts <= set(PARTS):
        raise ValueError(f"got --measure {measure}: write some of {','.join(PARTS)}, with commas between")
    return parts


def plot(results: xr.Dataset) -> Any:
    """Ratios with their targets, agreement of what is computed, growth of our own cost."""
    from experiments.speed.figure import draw

    return draw(results)


def _installed(worker: str) -> bool:
    if python(worker) is None:
        warnings.warn(
            f"{worker} is not installed in {sys.prefix}/peers: `make peers` installs it; going on without", stacklevel=4
        )
        return False
    return True


def _request(comparison: Comparison, scale: float, seed: int, folder: Path) -> dict[str, Any]:
    """What to ask the peer: our weights, densities and data, at the length of this run."""
    if comparison.worker == "transformer":
        return transformers.request(comparison.request, scale, seed, folder)
    request = dict(comparison.request) | {"seed": seed}
    if request["do"] == "train":
        np.save(folder / "W.npy", ours.weights(request["features"], request["hidden"], request["instances"]))
        request |= {"density": ours.densities(request["instances"]).tolist(), "W": str(folder / "W.npy")}
        return request | {"steps": max(2, int(request["steps"] * scale))}
    request |= dict(batch=ours.BATCH, nbeta=ours.NBETA, gamma=ours.GAMMA, step_size=ours.STEP_SIZE)
    return request | {"problem": str(_problem(folder)), "draws": max(20, int(request["draws"] * scale))}


def _problem(folder: Path) -> Path:
    data, W, b = ours.problem()
    np.savez(folder / "problem.npz", x=np.asarray(data.x), W=W, b=b)
    return folder / "problem.npz"


def _rate(answer: dict[str, Any]) -> float:
    """Steps a second, instances or chains counted."""
    return answer.get("instance_steps", answer.get("chain_steps", 0)) / answer["seconds"]


def _fastest(comparison: Comparison, scale: float, folder: Path) -> tuple[Peer, int]:
    """The peer with the number of threads, one or all, at which it is faster."""
    best: tuple[float, Peer | None, int] = (0.0, None, 0)
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        peer = Peer(comparison.worker, threads, *comparison.flags)
        peer.ask(**_request(comparison, scale / 10, 0, folder))  # what the first request costs once
        rate = _rate(peer.ask(**_request(comparison, scale / 3, 0, folder)))
        if rate > best[0]:
            best, peer = (rate, peer, threads), best[1]
        if peer is not None:
            peer.close()
    assert best[1] is not None
    return best[1], best[2]


def _rates(chosen: dict[str, Any], wanted: list[Comparison], rounds: int, scale: float, folder: Path) -> xr.Dataset:
    """Steps a second of both sides, each round in turn; the load of the machine beside them."""
    workloads = {name: (make(), max(2, int(n * scale))) for name, (make, n) in chosen.items()}
    for workload, _ in workloads.values():
        workload.run(2)  # compiles
    shape, label = (len(COMPARISONS), rounds), [f"{c.workload}: {c.label}" for c in COMPARISONS]
    mine, theirs = np.full(shape, np.nan), np.full(shape, np.nan)
    alone, load, threads = np.full((len(workloads), rounds), np.nan), np.full(rounds, np.nan), np.zeros(len(label), int)
    progress = bar("comparing speeds", len(COMPARISONS) * rounds)
    for i, comparison in enumerate(COMPARISONS):
        if comparison in wanted:
            peer, threads[i] = _fastest(comparison, scale, folder)
            for r in range(rounds):
                workload, n = workloads[comparison.workload]
                theirs[i, r] = _rate(peer.ask(**_request(comparison, scale, r, folder)))
                mine[i, r] = workload.count(n) / workload.seconds(n)
            peer.close()
        progress(rounds)
    for r in range(rounds):
        load[r] = os.getloadavg()[0]
        for w, (workload, n) in enumerate(workloads.values()):
            alone[w, r] = workload.count(n) / workload.seconds(n)
    variables = {
        "ours": (("comparison", "round"), mine, {"units": "instance-steps or chain-steps a second"}),
        "theirs": (("comparison", "round"), theirs, {"units": "instance-steps or chain-steps a second"}),
        "target": ("comparison", [c.target for c in COMPARISONS], {"units": "ratio"}),
        "threads": ("comparison", threads, {"long_name": "threads of the peer, the better number"}),
        "rate": (("workload", "round"), alone, {"units": "instance-steps or chain-steps a second"}),
        "products": ("workload", [w.products for w, _ in workloads.values()], {"units": "operations a step"}),
        "load_average": ("round", load, {"long_name": "load average of the machine"}),
    }
    return xr.Dataset(variables, {"comparison": label, "workload": list(workloads)})


def _curve(points: int, scale: float, peer: bool, folder: Path) -> xr.Dataset:
    """Seconds for a whole curve from nothing, imports and compilation included: 50 x 8 chains x 500 draws."""
    draws, (data, W, b) = max(20, int(DRAWS * scale)), ours.problem()
    file, theirs = folder / "curve.npz", np.nan
    np.savez(file, x=np.asarray(data.x), W=np.stack([W] * CURVE), b=np.stack([b] * CURVE))
    step, curve = (
        [ours.from_nothing(folder / do, file, do, CHAINS, draws) for _ in range(2)] for do in ("step", "curve")
    )
    if peer:
        np.savez(file, x=np.asarray(data.x), W=np.stack([W] * points), b=np.stack([b] * points))
        worker = Peer("devinterp1", 1)
        settings = dict(batch=ours.BATCH, nbeta=ours.NBETA, gamma=ours.GAMMA, step_size=ours.STEP_SIZE, seed=0)
        answer = worker.ask(do="curve", problem=str(file), chains=CHAINS, draws=draws, **settings)
        theirs = worker.seconds_to_start + answer["seconds"] * CURVE / points
        worker.close()
    seconds = dict(cold_step=step[0], warm_step=step[1], cold_curve=curve[0], warm_curve=curve[1], peer_curve=theirs)
    return xr.Dataset({name: ((), value, {"units": "s"}) for name, value in seconds.items()})


def _agreement(samplers: list[Comparison], transformer: bool, folder: Path) -> xr.Dataset:
    """The same loss curve in distribution, from the same initial weights; the same lambda-hat, from the same point."""
    instances, curve = 32, [100, 300, 1000]
    W, density = ours.weights(6, 2, instances), ours.densities(instances)
    np.save(folder / "W.npy", W)
    request = dict(do="train", features=6, hidden=2, instances=instances, batch=256, steps=curve[-1], curve=curve)
    notebook = Peer("notebook", 1)
    answer = notebook.ask(**request, density=density.tolist(), seed=0, W=str(folder / "W.npy"))
    notebook.close()
    mine = ours.training(6, 2, instances, batch=256)
    losses = np.stack([_losses(mine.run(step).params, density) for step in curve])
    labels, estimates = ["ours"], [_chain_means(ours.chains(64, 4, DRAWS).run(0))]
    for comparison in samplers:
        peer = Peer(comparison.worker, 1)
        estimates.append(np.array(peer.ask(**_request(comparison, 1.0, 7, folder))["llc_per_chain"]))
        labels.append(comparison.label)
        peer.close()
    value, error = zip(*((e.mean(), e.std(ddof=1) / np.sqrt(e.size)) for e in estimates), strict=True)
    variables = {
        "loss_ours": (("curve_step", "instance"), losses, {"units": "mean over features of (x - x')^2"}),
        "loss_theirs": (
            ("curve_step", "instance"),
            np.array(answer["curve"]),
            {"units": "mean over features of (x - x')^2"},
        ),
        "llc": ("side", list(value), {"units": "1"}),
        "llc_error": ("side", list(error), {"units": "1"}),
    }
    if transformer:
        variables |= transformers.agreement(folder)
    return xr.Dataset(variables, {"curve_step": curve, "side": labels, "two": ["ours", "devinterp 1.3.2"]})


def _losses(params: Any, density: np.ndarray, n: int = 2**14) -> np.ndarray:
    """The loss of each instance at its last checkpoint on a large fresh batch, mean over batch and features."""

    def one(params: Any, density: Any, key: Any) -> Any:
        x = sparse_features(np.ones(6, np.float32), density).sample(key, n).x
        return ((x - jax.nn.relu(x @ params["W"].T @ params["W"] + params["b"][None])) ** 2).mean()

    keys = jax.random.split(jax.random.key(3), len(density))
    return np.asarray(jax.jit(jax.vmap(one))(jax.tree.map(lambda leaf: leaf[:, -1], params), density, keys))


def _chain_means(llc: Any) -> np.ndarray:
    return np.asarray(llc.trace).mean(-1).ravel()
