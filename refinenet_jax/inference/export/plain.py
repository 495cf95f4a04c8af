"""A traced network in the plain forms that converters and other runtimes know.

`models/` writes its hot operations as what XLA runs fastest: pools as running maxima of shifted slices, depthwise
convolutions as nine shifted products, other convolutions as matrix products, all under rules for gradients and, on a CPU, in
loops over the batch. Other runtimes have an operator of their own for each, which is faster there and the only thing that
their quantisers understand. So the network is traced once, by JAX alone, and written again with the plain operators, batch
norm folded into the convolutions before it. What comes out computes the same to a few units of the last place; every export
is compared with the network afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}


def plain(function: Callable[..., Sequence[jax.Array]], *arguments: jax.ShapeDtypeStruct) -> core.ClosedJaxpr:
    """`function` as a flat program of plain operators with its constants computed.

    Args:
      function: of arrays; what it closes over becomes constants.
      *arguments: shapes and dtypes.

    Returns:
      A program that `core.jaxpr_as_fun` makes a function of: arrays -> list of arrays.
    """
    traced = jax.make_jaxpr(function)(*arguments)
    flat = _retrace(traced, arguments, _inline)
    return _retrace(_fold_constants(flat), arguments, _fold_affine)


def _retrace(program: core.ClosedJaxpr, arguments: Sequence[jax.ShapeDtypeStruct], rule: Callable) -> core.ClosedJaxpr:
    def run(*inputs):
        return [_computed(x) for x in _evaluate(program, inputs, rule)]

    return jax.make_jaxpr(run)(*arguments)


def _evaluate(program: core.ClosedJaxpr, inputs: Sequence[Any], rule: Callable) -> list[Any]:
    """Interprets a program; `rule(equation, values)` gives the results of an equation."""
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
    """Calls give way to what they call, the hot operations to their plain forms."""
    name = equation.primitive.name
    if name in _CALLS:
        return _evaluate(equation.params[_CALLS[name]], values, _inline)
    if name == "custom_vjp_call":
        called = equation.params["call_jaxpr"]
        form = _PLAIN_FORMS.get(called.jaxpr.debug_info.func_name)
        return [form(equation, *values)] if form else _evaluate(called, values, _inline)
    if name == "dot_general" and _is_conv1x1(equation):
        x, kernel = values
        return [lax.conv_general_dilated(x, kernel[None, None], (1, 1), "VALID", dimension_numbers=_LAYOUT)]
    return _bind(equation, values)


def _max_pool_5x5(equation: core.JaxprEqn, x: jax.Array) -> jax.Array:
    window, padding = (1, 5, 5, 1), ((0, 0), (2, 2), (2, 2), (0, 0))
    return lax.reduce_window(x, -np.inf, lax.max, window, (1, 1, 1, 1), padding)


def _depthwise_conv(equation: core.JaxprEqn, x: jax.Array, kernel: jax.Array) -> jax.Array:
    stride = 1 if equation.outvars[0].aval.shape[1:3] == x.shape[1:3] else 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT, feature_group_count=x.shape[-1]
    )


def _conv3x3(equation: core.JaxprEqn, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT)


def _relu(equation: core.JaxprEqn, x: jax.Array) -> jax.Array:
    return lax.max(x, np.float32(0))


# By the names of the functions of models/ that have a rule of their own for gradients; others are inlined.
_PLAIN_FORMS = {
    "max_pool_5x5": _max_pool_5x5,
    "_shifted_products": _depthwise_conv,
    "conv3x3": _conv3x3,
    "conv3x3_to_few": _conv3x3,
    "shared_relu": _relu,
}


def _is_conv1x1(equation: core.JaxprEqn) -> bool:
    x, kernel = (atom.aval for atom in equation.invars)
    return x.ndim == 4 and kernel.ndim == 2 and equation.params["dimension_numbers"] == (((3,), (0,)), ((), ()))


def _fold_constants(program: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """All that does not depend on the inputs, computed in one go."""
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
    """A convolution with what is done to each of its channels, conv(x) * scale + shift; computed when something else needs it.

    Attributes:
      equation: of the convolution.
      x: its input.
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
    """Batch norm and biases go into the convolutions before them."""
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
