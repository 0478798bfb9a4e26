"""What a computation costs by the compiler's account, and plans that run nothing."""

import time

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import sweeps
from sweeps import costs, plan, sweep
from toymodels.prng import lowbias32

N = 64
PRODUCT = 2 * N**3
X = jnp.ones((N, N))


def chain(x, length):
    return jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=length)[0]


def open_ended(x, stop):
    return jax.lax.fori_loop(0, stop, lambda _, x: x @ x, x)


def nested(x):
    return jax.lax.scan(lambda x, _: (jax.jit(chain, static_argnums=1)(x, 4), None), x, None, length=5)[0]


@pytest.mark.parametrize(
    ("f", "trips", "products"),
    [
        (lambda x: x @ x, 1, 1),
        (lambda x: chain(x, 3), 1, 3),
        (lambda x: chain(x, 50), 1, 50),
        (lambda x: chain(chain(x, 0) @ x, 4), 1, 5),
        (nested, 1, 20),
        (lambda x: open_ended(x, jnp.int32(x[0, 0])), 7, 7),
        (lambda x: jax.vmap(open_ended, in_axes=(0, None))(jnp.stack([x] * 6), jnp.int32(x[0, 0])), 7, 42),
    ],
)
def test_a_loop_costs_its_body_as_often_as_it_runs(f, trips, products):
    """XLA itself counts it once."""
    assert costs.cost(f, X, trips=trips).flops == pytest.approx(products * PRODUCT, rel=0.03)


def test_every_trip_of_a_loop_launches_its_kernels_again():
    once, often = (costs.cost(lambda x: chain(x, length), X).kernels for length in (1, 100))
    each = (often - once) / 99
    assert 1 <= each <= 3
    assert each == round(each)


@pytest.mark.slow
def test_a_body_is_timed_by_itself_and_what_does_not_change_in_it_too():
    """A product of the same matrices in every trip is not moved out of the loop that is timed."""

    def draws(x, keys):
        return jax.lax.scan(lambda x, key: (x + jax.random.normal(key, (400, 400)).sum(), None), x, keys)[0]

    keys = jax.random.split(jax.random.key(0), 200)
    program = jax.jit(draws).lower(0.0, keys).compile()
    jax.block_until_ready(program(0.0, keys))
    begun = time.perf_counter()
    jax.block_until_ready(program(0.0, keys))
    measured = time.perf_counter() - begun
    assert costs.cost(draws, 0.0, keys).seconds > measured / 8, "other processes may have made it slower"


@pytest.mark.parametrize("generator", ["threefry2x32", lowbias32])
def test_programs_with_keys_and_branches_are_taken_apart(generator):
    def f(x, key):
        def step(carry, _):
            x, key = carry
            key, draw = jax.random.split(key)
            x = jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)
            return (x + jax.random.normal(draw, x.shape), key), key

        return jax.lax.scan(step, (x, key), None, length=6)

    assert costs.cost(f, X, jax.random.key(0, impl=generator)).kernels >= 6


def planned(compute, *, measuring: float | int = 1e3, seconds: float | int = 1e3) -> plan.Planner:
    planner = plan.Planner(measuring)
    with sweeps.run(None, execute=planner), planner.until_stopped(seconds):
        compute()
    return planner


def endless(at):
    """A computation of a week."""
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ x), x[0, 0]), at["x"] * jnp.ones((64, 64)), None, length=10**9)[0]


def test_a_plan_runs_no_block(monkeypatch):
    monkeypatch.setattr(sweep.devices.Program, "apply", property(lambda _: pytest.fail("a block was run")))
    found = planned(lambda: sweeps.map(endless, sweeps.product(x=np.linspace(0, 1, 64)), block=2))
    (stage,) = found.stages
    assert (stage.name, stage.points, stage.block, found.stopped) == ("endless", 64, 2, "")
    assert stage.cost.flops == pytest.approx(2 * 10**9 * PRODUCT, rel=0.1)
    assert stage.hours(1) > 2
    assert stage.hours(4) == pytest.approx(stage.hours(1) / 4)


def test_training_is_planned_over_all_its_steps_and_what_follows_on_made_up_results():
    def compute():
        runs = sweeps.scan(cases.steps, cases.RUNS, cases.begin, np.arange(0, 75_001, 2500), block=2)
        assert runs.outputs.params["W"].shape == (6, 31, 2, 3)
        assert np.array_equal(runs.outputs.step[0], runs.times)
        assert np.isfinite(np.log(runs.outputs.loss)).all()
        sweeps.map(lambda at, checkpoint: {"norm": jnp.sum(checkpoint.params["W"] ** 2)}, runs, name="norm")

    found = planned(compute, measuring=0)
    assert [(stage.name, stage.points) for stage in found.stages] == [("steps", 6), ("norm", 6 * 31)]
    steps = found.stages[0]
    assert steps.cost.kernels >= 75_000
    floor = steps.cost.kernels * 4e-6 / 3600
    assert steps.hours_on(8, 1e6, 4e-6) == pytest.approx(floor), "75,000 steps in sequence wait for their launches"
    assert floor > 75_000 * 4e-6 / 3600
    assert steps.hours_on(8, 1e-3, 4e-6) > floor


def test_code_that_fails_on_made_up_results_leaves_a_plan_of_what_came_before():
    def compute():
        found = sweeps.map(cases.point, cases.GRID, block=2)
        raise RuntimeError(f"no solution below {float(found.value.max()):.1f}")

    found = planned(compute, measuring=0)
    assert [stage.name for stage in found.stages] == ["point"]
    assert "RuntimeError: no solution" in found.stopped
    assert "what comes after point" in printed(found)


def test_errors_before_the_first_stage_and_of_the_plan_itself_are_raised():
    with pytest.raises(RuntimeError, match="mine"):
        planned(lambda: (_ for _ in ()).throw(RuntimeError("mine")))
    huge = lambda at: jnp.zeros((10**9, 10**6)) + at["seed"]
    with pytest.raises(ValueError, match="the results of huge would take"):
        planned(
            lambda: (sweeps.map(cases.point, cases.GRID, block=2), sweeps.map(huge, cases.GRID, name="huge", block=1))
        )


def test_a_plan_without_time_compiles_nothing_and_says_so(monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("something was compiled"))
    found = planned(lambda: sweeps.map(endless, sweeps.product(x=np.linspace(0, 1, 64)), block=2), measuring=0)
    cost = found.stages[0].cost
    assert cost.flops == pytest.approx(2 * 10**9 * PRODUCT, rel=0.1)
    assert cost.estimated == cost.seconds > 0
    monkeypatch.undo()
    assert "~ was not timed" in printed(found)


def test_one_body_is_compiled_once_whatever_its_numbers(monkeypatch):
    compiled, compile = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: (compiled.append(self), compile(self))[1])
    meter = costs.Meter()
    for rate in (0.1, 0.2):
        meter.cost(lambda x, rate=rate: jax.lax.scan(lambda x, _: (rate * x @ x, None), x, None, length=3)[0], X)
    assert len(compiled) == 2, "the body, and what is around it"


@pytest.mark.parametrize("first", [True, False])
def test_code_that_does_not_end_is_left_with_what_was_planned(first):
    def compute():
        if first:
            sweeps.map(cases.point, cases.GRID, block=2)
        while True:
            pass

    found = planned(compute, measuring=0, seconds=2 if first else 0.2)
    assert "of processor time" in found.stopped
    assert len(found.stages) == first
    assert ("what comes after point" if first else "no sweep was reached") in " ".join(printed(found).split())


STAGES = [
    plan.Stage("steps", 240, 16, costs.Cost(1e12, 1e6, 100.0, 0.0, 10**7)),
    plan.Stage("llc", 24, 2, costs.Cost(1e9, 10, 1.0, 0.0, 1)),
]


def printed(planner: plan.Planner, width: int = 80, **machine) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(plan.table("tms", planner, 5e10, **({"devices": 8} | machine)))
    console.file.close()
    return console.export_text()


def test_a_table_fits_80_columns_and_says_what_it_assumes():
    planner = plan.Planner()
    planner.stages = STAGES
    text = printed(planner, tflops=60.0, latency=1e-5)
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for word in ("steps 240 16 1.5e+13 1.0e+06 10.0 20.0%", "hours hours", "8 of 60 TFLOP/s", "wait 1e-05 s"):
        assert word in words
    assert words.split(" all ")[1].split()[4] == f"{1e6 * 1e-5 / 3600 + STAGES[1].hours_on(8, 1200.0, 1e-5):.2g}"
