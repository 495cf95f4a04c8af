"""Converts a network to a flat program of plain operators, from which ONNX and TFLite files are written.

Other runtimes have one operator for a pool or a depthwise convolution, which is their fastest form and the only one that their
quantizers support. Of each operation that `jax.lax.platform_dependent` selects by platform, the program therefore has the
default form, which is the plain one (`models/layers.py`). Calls are inlined, constants are computed, and batch norm is folded
into the preceding convolutions. Results agree to a few units in the last place; every export is compared with the network
afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.extend import core

_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}


def plain(function: Callable[..., Sequence[jax.Array]], *arguments: jax.ShapeDtypeStruct) -> core.ClosedJaxpr:
    """Converts `function` to a flat program of plain operators, with its constants computed.

    Args:
      function: function of arrays; values in its closure become constants.
      *arguments: shapes and dtypes of its arguments.

    Returns:
      A program; `core.jaxpr_as_fun` converts it to a function from arrays to a list of arrays.
    """
    traced = jax.make_jaxpr(function)(*arguments)
    flat = _retrace(traced, arguments, _inline)
    return _retrace(_fold_constants(flat), arguments, _fold_affine)


def _retrace(program: core.ClosedJaxpr, arguments: Sequence[jax.ShapeDtypeStruct], rule: Callable) -> core.ClosedJaxpr:
    def run(*inputs):
        return [_computed(x) for x in _evaluate(program, inputs, rule)]

    return jax.make_jaxpr(run)(*arguments)


def _evaluate(program: core.ClosedJaxpr, inputs: Sequence[Any], rule: Callable) -> list[Any]:
    """Interprets a program; `rule(equation, values)` returns the results of an equation."""
    jaxpr = program.jaxpr
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *inputs), strict=True))
    return _run(jaxpr.eqns, known, jaxpr.outvars, rule)


def _run(equations: Sequence[core.JaxprEqn], known: dict[core.Var, Any], wanted: Sequence[Any], rule: Callable) -> list:
    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for equation in equations:
        results = rule(equation, [read(atom) for atom in equation.invars])
        known |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in wanted]


def _bind(equation: core.JaxprEqn, values: Sequence[Any]) -> list[Any]:
    results = equation.primitive.bind(*values, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def _inline(equation: core.JaxprEqn, values: list[Any]) -> list[Any]:
    """Replaces calls by their body, and operations with one form per platform by the default form."""
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        return _evaluate(params[_CALLS[name]], values, _inline)
    if name == "platform_index":
        return [params["platforms"].index(None)]
    if name == "cond" and isinstance(values[0], int):
        return _evaluate(params["branches"][values[0]], values[1:], _inline)
    return _bind(equation, values)


def _fold_constants(program: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """Computes everything that does not depend on the inputs."""
    jaxpr = program.jaxpr
    constant = set(jaxpr.constvars)
    split = ([], [])
    for equation in jaxpr.eqns:
        depends = any(isinstance(atom, core.Var) and atom not in constant for atom in equation.invars)
        split[depends].append(equation)
        if not depends:
            constant.update(equation.outvars)
    before, after = split
    used = {atom for equation in after for atom in equation.invars if isinstance(atom, core.Var)}
    kept = [var for var in dict.fromkeys([*jaxpr.constvars, *(v for e in before for v in e.outvars)]) if var in used]
    values = jax.jit(lambda *consts: _run(before, dict(zip(jaxpr.constvars, consts, strict=True)), kept, _bind))(
        *program.consts
    )
    return core.ClosedJaxpr(jaxpr.replace(constvars=kept, eqns=after), [np.asarray(value) for value in values])


@dataclass(frozen=True)
class _Affine:
    """A convolution followed by scale and shift per channel, conv(x) * scale + shift; computed when another operator needs it.

    Attributes:
      equation: equation of the convolution.
      x: input of the convolution.
      kernel: NumPy [kh, kw, i, o].
      scale: NumPy [o].
      shift: NumPy [o].
    """

    equation: core.JaxprEqn
    x: jax.Array
    kernel: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    @cached_property
    def computed(self) -> jax.Array:
        (y,) = _bind(self.equation, [self.x, self.kernel * self.scale])
        return y + self.shift.reshape(1, 1, 1, -1) if self.shift.any() else y


def _computed(value: Any) -> Any:
    return value.computed if isinstance(value, _Affine) else value


def _fold_affine(equation: core.JaxprEqn, values: list[Any]) -> list[Any]:
    """Folds batch norm and biases into the preceding convolutions."""
    name = equation.primitive.name
    if name == "conv_general_dilated" and isinstance(values[1], np.ndarray):
        channels = values[1].shape[-1]
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return [_Affine(equation, _computed(values[0]), values[1], one, zero)]
    if len(values) == 2 and isinstance(values[0], _Affine) and _is_by_channel(values[1], values[0]):
        y, by = values[0], values[1].ravel()
        if name == "mul":
            return [replace(y, scale=y.scale * by, shift=y.shift * by)]
        if name in ("add", "sub"):
            return [replace(y, shift=y.shift + (by if name == "add" else -by))]
    return _bind(equation, [_computed(value) for value in values])


def _is_by_channel(value: Any, y: _Affine) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (1, 1, 1, len(y.scale))
