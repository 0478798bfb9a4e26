"""Hamiltonian Monte Carlo and the No-U-Turn sampler: BlackJAX's kernels under the contract of `Sampler`.

HMC is Duane et al. 1987, NUTS Hoffman and Gelman 2014 with the multinomial draws of Betancourt 2017; step size and
diagonal mass are adapted as in Stan, by windows, each chain in its `init`. A step of hmc costs `leapfrog` gradients;
one of nuts 2^k - 1, k at most `max_doublings`, and under vmap as many as the longest trajectory of all chains.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree, Scalar

from slt.samplers.base import Info, Number, Params, Potential, Sampler, promoted, refuse_minibatches, require


class Hamiltonian(NamedTuple):
    """A position, the loss there, and BlackJAX's state: `kernel` holds the free coordinates alone, as one vector.

    h: the leapfrog step.  inverse_mass: one number a free coordinate. Both are what the adaptation left.
    """

    params: Params
    loss: Scalar
    grad: Params
    kernel: Any
    h: Float[Array, ""]
    inverse_mass: Float[Array, " free"]


def hmc(step_size: Number, *, leapfrog: int = 10, adaptation: int = 0) -> Sampler:
    """`leapfrog` steps of h = sqrt(step_size), then a Metropolis test; leapfrog=1 is mala(step_size).

    With `adaptation` steps in `init`, h begins at sqrt(step_size) and is tuned, as are the masses.
    """
    require(">= 1", leapfrog=leapfrog)
    return _sampler("hmc", step_size, adaptation, {"num_integration_steps": leapfrog})


def nuts(step_size: Number = 1.0, *, adaptation: int = 300, max_doublings: int = 10) -> Sampler:
    """Leapfrog steps of h until the trajectory turns back, and a draw from it; h and the masses are tuned in `init`.

    h begins at sqrt(step_size), and stays there with adaptation=0. `acceptance` is the mean over the trajectory.
    """
    require(">= 1", max_doublings=max_doublings)
    return _sampler("nuts", step_size, adaptation, {"max_num_doublings": max_doublings})


def _sampler(name: str, step_size: Number, adaptation: int, trajectory: dict[str, Any]) -> Sampler:
    require("> 0", step_size=step_size)
    require(">= 0", adaptation=adaptation)
    algorithm = getattr(blackjax, name)
    kernel = algorithm.build_kernel()

    def adapt(key: Key[Array, ""], position: Array, density: Callable[[Array], Scalar]) -> tuple[Any, Array, Array]:
        """BlackJAX's state, h and inverse masses after the windows."""
        h: Any = jnp.sqrt(jnp.asarray(step_size, position.dtype))
        if not adaptation:
            return algorithm.init(position, density), h, jnp.ones_like(position)
        keep_nothing = lambda state, info, adapted: ()
        windows: Any = blackjax.window_adaptation(
            algorithm, density, initial_step_size=h, adaptation_info_fn=keep_nothing, **trajectory
        )
        (state, tuned), _ = windows.run(_raw(key), position, adaptation)
        return state, tuned["step_size"], tuned["inverse_mass_matrix"]

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Hamiltonian:
        _refuse(name, potential)
        params = promoted(params)
        position = ravel_pytree(params)[0][_free(params, potential.mask)]
        position = position.astype(jnp.result_type(float))  # BlackJAX's kernels take no narrower one
        adapted = adapt(key, position, _density(params, potential))
        return _at(Hamiltonian(params, jnp.zeros(()), params, *adapted), potential)

    def step(key: Key[Array, ""], state: Hamiltonian, potential: Potential) -> tuple[Hamiltonian, Info]:
        density = _density(state.params, potential)
        inner, info = kernel(_raw(key), state.kernel, density, state.h, state.inverse_mass, **trajectory)
        return _at(state._replace(kernel=inner), potential), Info(state.loss, info.acceptance_rate)

    return Sampler(init, step, rejects=True)


def _raw(key: Key[Array, ""]) -> Array:
    """An untyped key: under vmap, JAX's check for used keys misreads BlackJAX's loops over typed ones."""
    return jax.random.bits(key, jax.random.PRNGKey(0).shape, jnp.uint32)


def _at(state: Hamiltonian, potential: Potential) -> Hamiltonian:
    """The state with parameters, loss and grad U at its kernel's position: the kernel knows U there, but not L."""
    params = _filled(state.params, potential.mask)(state.kernel.position)
    grad = _filled(jax.tree.map(jnp.zeros_like, params), potential.mask)(-state.kernel.logdensity_grad)
    return state._replace(params=params, loss=_value(params, potential)[1], grad=grad)


def _density(params: Params, potential: Potential) -> Callable[[Array], Scalar]:
    """-U as a function of the free coordinates, the frozen ones being those of `params`."""
    fill = _filled(params, potential.mask)
    return lambda position: -_value(fill(position), potential)[0].astype(position.dtype)


def _value(params: Params, potential: Potential) -> tuple[Scalar, Scalar]:
    """(U, L); an exact potential ignores the key."""
    return potential.value(jax.random.key(0), params)


def _filled(params: Params, mask: PyTree | None) -> Callable[[Array], Params]:
    """The parameters as a function of their free coordinates."""
    flat, unravel = ravel_pytree(params)
    free = _free(params, mask)
    return lambda position: unravel(flat.at[free].set(position.astype(flat.dtype)))


def _free(params: Params, mask: PyTree | None) -> np.ndarray:
    """Indices of the free coordinates among those of the flat parameters."""
    spread = jax.tree.broadcast(True if mask is None else mask, params)
    flags = jax.tree.map(lambda m, w: np.broadcast_to(np.asarray(m), np.shape(w)).ravel(), spread, params)
    return np.flatnonzero(np.concatenate(jax.tree.leaves(flags)))


def _refuse(name: str, potential: Potential) -> None:
    refuse_minibatches(name, potential)
    if any(isinstance(m, Tracer) for m in jax.tree.leaves(potential.mask)):
        raise ValueError(
            f"got a traced mask: {name} must know it; make it outside jit and vmap, or take mala(step_size)"
        )
