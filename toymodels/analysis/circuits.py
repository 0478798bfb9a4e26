"""Circuits of attention-only transformers, read off weights and patterns (Elhage et al. 2021).

Row vectors throughout: a head reads x W_V and writes it through W_O; W_QK = W_Q W_K' is (d, d) of rank k, and so is
W_OV = W_V W_O. Parameters are those of `toymodels.models.transformer.Transformer`.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

Head = tuple[int, int]  # (layer, head)
Path = tuple[Head, ...]
EPSILON = 1e-5  # of the model's norms


def qk(params: Any, head: Head) -> tuple[Float[Array, "d k"], Float[Array, "k d"]]:
    """The factors of W_QK = W_Q W_K': score = x_i W_QK x_j'/sqrt(k)."""
    l, h = head
    attention = params[f"attention_{l}"]
    return attention["W_Q"][h], attention["W_K"][h].T


def ov(params: Any, head: Head) -> tuple[Float[Array, "d k"], Float[Array, "k d"]]:
    """The factors of W_OV = W_V W_O: what a position that is attended to adds to the stream."""
    l, h = head
    attention = params[f"attention_{l}"]
    return attention["W_V"][h], attention["W_O"][h]


def copying_score(params: Any, head: Head) -> Float[Array, ""]:
    """sum_i Re l_i/sum_i |l_i| over the eigenvalues l of W_E W_OV W_U, in [-1, 1]; 1: every token raises its own logit.

    On a CPU.
    """
    l = circuit_eigenvalues(params, head)
    return jnp.sum(l.real) / jnp.sum(jnp.abs(l))


def circuit_eigenvalues(params: Any, head: Head) -> Complex[Array, " k"]:
    """The eigenvalues of W_E W_OV W_U that are not zero for want of rank. Elhage et al. 2021, "copying"."""
    V, O = ov(params, head)
    return jnp.linalg.eigvals(O @ params["W_U"] @ params["W_E"] @ V)


def composition(params: Any, first: Head, second: Head) -> dict[str, Float[Array, ""]]:
    """How much of what `first` writes is read by `second`: |W_OV^1 W|_F/(|W_OV^1|_F |W|_F), for W of its Q, K and V.

    Elhage et al. 2021, "composition"; beside `composition_baseline`.
    """
    V1, O1 = ov(params, first)
    Q, K = qk(params, second)
    V2, O2 = ov(params, second)
    return {"Q": _overlap(V1, O1, Q, K), "K": _overlap(V1, O1, K.T, Q.T), "V": _overlap(V1, O1, V2, O2)}


def composition_baseline(key: Any, d: int, k: int, draws: int = 100) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean and standard deviation of the composition of Gaussian matrices of this width and rank."""

    def draw(key: Any) -> Float[Array, ""]:
        a, b, c, e = jax.random.normal(key, (4, d, k))
        return _overlap(a, b.T, c, e.T)

    scores = jax.vmap(draw)(jax.random.split(key, draws))
    return jnp.mean(scores), jnp.std(scores)


def _overlap(A: Array, B: Array, C: Array, D: Array) -> Float[Array, ""]:
    """|A B C D|_F/(|A B|_F |C D|_F) for A, C: (d, k) and B, D: (k, d), at a cost of d k^2."""
    norm = lambda A, M, D: jnp.sqrt(jnp.sum((A.T @ A) * (M @ (D @ D.T) @ M.T)))
    one = jnp.eye(B.shape[0], dtype=A.dtype)
    return norm(A, B @ C, D) / (norm(A, one, B) * norm(C, one, D))


def previous_token_score(pattern: Float[Array, "*heads t t"]) -> Float[Array, "*heads"]:
    """The mean attention from a position to the one before it."""
    return jnp.mean(jnp.diagonal(pattern, -1, axis1=-2, axis2=-1), axis=-1)


def prefix_matching_score(pattern: Float[Array, "*heads t t"], tokens: Int[Array, " t"]) -> Float[Array, "*heads"]:
    """The attention to positions that follow an earlier occurrence of the present token, over positions that have one.

    Olsson et al. 2022. NaN where no token occurs twice.
    """
    t = len(tokens)
    before = jnp.concatenate([jnp.full((1,), -1, tokens.dtype), tokens[:-1]])
    match = (tokens[:, None] == before[None]) & jnp.tril(jnp.ones((t, t), bool))
    rows = jnp.any(match, axis=1)
    found = jnp.sum(jnp.where(match, pattern, 0), axis=(-2, -1))
    return found / jnp.where(jnp.any(rows), jnp.sum(rows), jnp.nan)


def patterns(model: Any, params: Any, x: Array) -> list[Float[Array, "h t t"]]:
    """The attention pattern of every layer on one sequence."""
    _, seen = model.apply({"params": params}, x, mutable=["intermediates"])
    found = seen["intermediates"]
    return [found[f"attention_{l}"]["pattern"][0] for l in range(len(found))]


class Expansion(NamedTuple):
    """logits = sum_p terms[p] + constant, the last from the biases of the norms. The direct path is ()."""

    terms: dict[Path, Float[Array, "t outputs"]]
    constant: Float[Array, "t outputs"]


def path_expansion(model: Any, params: Any, x: Array) -> Expansion:
    """The logits of an attention-only model as a sum over paths, with its patterns and the scales of its norms held.

    E W_OV^{h_1} ... W_OV^{h_k} W_U moved by A^{h_k} ... A^{h_1}, for every subset of heads in rising layers, prod_l
    (1 + H_l) of them. Elhage et al. 2021, "path expansion".
    """
    if any(name.startswith("W_in") for name in params):
        raise ValueError("got a model with MLPs, through which no sum over paths is exact: write mlp=0")
    A = patterns(model, params, x)
    norms = _held_norms(model, params, x, A)
    through = lambda head, stream: _head(params, head, A, norms[head[0]](stream))
    heads = [[(l, h) for h in range(len(A[l]))] for l in range(len(A))]
    terms = {}
    for choice in itertools.product(*[[None, *layer] for layer in heads]):
        path = tuple(head for head in choice if head is not None)
        stream = _embedding(model, params, x)
        for head in path:
            stream = through(head, stream)
        terms[path] = norms[-1](stream) @ params["W_U"]
    constant = jnp.zeros_like(_embedding(model, params, x))
    for l, layer in enumerate(heads):
        read = norms[l](constant) + _bias(params, f"norm_{l}")
        constant = constant + sum(_head(params, head, A, read) for head in layer)
    return Expansion(terms, (norms[-1](constant) + _bias(params, "norm_U")) @ params["W_U"])


def _head(params: Any, head: Head, A: list[Array], read: Float[Array, "t d"]) -> Float[Array, "t d"]:
    V, O = ov(params, head)
    return A[head[0]][head[1]] @ (read @ V @ O)


def _embedding(model: Any, params: Any, x: Array) -> Float[Array, "t d"]:
    stream = params["W_E"][x] if jnp.issubdtype(x.dtype, jnp.integer) else x @ params["W_E"]
    return stream + params["W_pos"][: len(x)] if model.positions == "absolute" else stream


def _bias(params: Any, name: str) -> Array | float:
    return params[name]["bias"][None] if name in params else 0.0


def _held_norms(model: Any, params: Any, x: Array, A: list[Array]) -> list[Any]:
    """The linear part of every norm, x -> (x - mean x)/scale g, with the scale of the stream that comes there."""
    stream, norms = _embedding(model, params, x), []
    for l, name in enumerate([*(f"norm_{l}" for l in range(len(A))), "norm_U"]):
        if name not in params:
            norms.append(lambda stream: stream)
        else:
            scale = jnp.sqrt(jnp.var(stream, axis=-1, keepdims=True) + EPSILON) / params[name]["scale"][None]
            norms.append(lambda stream, scale=scale: (stream - jnp.mean(stream, axis=-1, keepdims=True)) / scale)
        if l < len(A):
            read = norms[l](stream) + _bias(params, name)
            stream = stream + sum(_head(params, (l, h), A, read) for h in range(len(A[l])))
    return norms


def ablate(params: Any, heads: Sequence[Head]) -> Any:
    """The parameters with the output of these heads set to zero."""
    for l, h in heads:
        attention = params[f"attention_{l}"]
        params = params | {f"attention_{l}": attention | {"W_O": attention["W_O"].at[h].set(0)}}
    return params
