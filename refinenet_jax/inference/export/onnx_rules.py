"""Rules that convert each operator of a plain program to ONNX: rule(graph, equation) -> tensor of the result.

Two or three operators become one node where runtimes fuse it with the convolution before: bias, Relu, Clip. The rules are
written for the networks of this library; every export is compared with its network afterwards.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend import core
from onnx import helper

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.export.onnx_graph import CHANNELS_FIRST, Graph, Tensor


def write(graph: Graph, equation: core.JaxprEqn) -> None:
    """Adds an equation to the graph.

    Raises:
      UsageError: its operator is not supported; networks of this library have no such operator.
    """
    name = equation.primitive.name
    if name not in _RULES:
        raise UsageError(f"ONNX export has no operator for {name!r}, which this network uses. Use --format=stablehlo.")
    graph.tensors[equation.outvars[0]] = _RULES[name](graph, equation)


def _conv(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    x, kernel = equation.invars
    params = equation.params
    weights = graph.value_of(kernel)
    name = graph.node(
        "Conv",
        [graph.read(x, CHANNELS_FIRST), graph.constant(weights.transpose(3, 2, 0, 1))],
        kernel_shape=weights.shape[:2],
        strides=params["window_strides"],
        dilations=params["rhs_dilation"],
        pads=_pads(params["padding"]),
        group=params["feature_group_count"],
    )
    return Tensor(name, CHANNELS_FIRST)


def _max_pool(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    params = equation.params
    name = graph.node(
        "MaxPool",
        [graph.read(equation.invars[0], CHANNELS_FIRST)],
        kernel_shape=params["window_dimensions"][1:3],
        strides=params["window_strides"][1:3],
        pads=_pads(params["padding"][1:3]),
    )
    return Tensor(name, CHANNELS_FIRST)


def _elementwise(kind: str) -> Callable[[Graph, core.JaxprEqn], Tensor]:
    def rule(graph: Graph, equation: core.JaxprEqn) -> Tensor:
        axes = graph.axes_of(equation.invars)
        return Tensor(graph.node(kind, [graph.read(atom, axes) for atom in equation.invars]), axes)

    return rule


def _add(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    """Adds; a constant per channel added to the preceding convolution becomes its bias."""
    y, bias = equation.invars
    value = graph.value_of(bias)
    if value is not None and value.shape[:-1] == (1, 1, 1) and graph.value_of(y) is None and graph.uses[y] == 1:
        node = graph.nodes[-1]
        if node.op_type == "Conv" and node.output[0] == graph.tensor(y).name and len(node.input) == 2:
            node.input.append(graph.constant(value.ravel()))
            return graph.tensor(y)
    return _elementwise("Add")(graph, equation)


def _limit(kind: str) -> Callable[[Graph, core.JaxprEqn], Tensor]:
    """Writes max(x, 0) as Relu and min(max(x, 0), 6) as Clip."""

    def rule(graph: Graph, equation: core.JaxprEqn) -> Tensor:
        bounds = [value for atom in equation.invars if (value := graph.value_of(atom)) is not None and not value.ndim]
        if len(bounds) != 1:
            return _elementwise(kind)(graph, equation)
        (x,) = (atom for atom in equation.invars if graph.value_of(atom) is None)
        tensor, (bound,) = graph.tensor(x), bounds
        last = graph.nodes[-1]
        if kind == "Max" and bound == -np.inf:
            return tensor
        if kind == "Max" and bound == 0:
            name = graph.node("Relu", [tensor.name])
        elif kind == "Min" and last.op_type == "Relu" and last.output[0] == tensor.name and graph.uses[x] == 1:
            graph.nodes.pop()
            name = graph.node("Clip", [last.input[0], graph.constant(np.zeros_like(bound)), graph.constant(bound)])
        else:
            name = graph.node(
                "Clip", [tensor.name, *(["", graph.constant(bound)] if kind == "Min" else [graph.constant(bound)])]
            )
        return Tensor(name, tensor.axes)

    return rule


def _cast(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    tensor = graph.tensor(equation.invars[0])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(equation.params["new_dtype"]))
    return Tensor(graph.node("Cast", [tensor.name], to=kind), tensor.axes)


def _reduce(kind: str) -> Callable[[Graph, core.JaxprEqn], Tensor]:
    def rule(graph: Graph, equation: core.JaxprEqn) -> Tensor:
        tensor, reduced = graph.tensor(equation.invars[0]), equation.params["axes"]
        kept = [axis for axis in tensor.order(range(equation.invars[0].aval.ndim)) if axis not in reduced]
        axes = graph.constant([tensor.axis(axis) for axis in reduced])
        return Tensor(graph.node(kind, [tensor.name, axes], keepdims=0), tuple(np.argsort(np.argsort(kept)).tolist()))

    return rule


def _argmax(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    (axis,) = equation.params["axes"]
    found = graph.node("ArgMax", [graph.read(equation.invars[0])], axis=axis, keepdims=0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(equation.params["index_dtype"]))
    return Tensor(graph.node("Cast", [found], to=kind))


def _gather(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    """Takes whole slices by their index along one axis, as `jnp.take`."""
    x, indices = equation.invars
    (axis,) = equation.params["dimension_numbers"].start_index_map
    tensor, index = graph.tensor(x), graph.constant(graph.value_of(indices)[:, 0].astype(np.int64))
    return Tensor(graph.node("Gather", [tensor.name, index], axis=tensor.axis(axis)), tensor.axes)


def _reverse(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    (x,) = equation.invars
    tensor = graph.tensor(x)
    name = tensor.name
    for axis in equation.params["dimensions"]:
        index = graph.constant(np.arange(x.aval.shape[axis])[::-1].astype(np.int64))
        name = graph.node("Gather", [name, index], axis=tensor.axis(axis))
    return Tensor(name, tensor.axes)


def _slice(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    (x,) = equation.invars
    tensor, params = graph.tensor(x), equation.params
    strides = params["strides"] or (1,) * x.aval.ndim
    bounds = list(zip(params["start_indices"], params["limit_indices"], strides, strict=True))
    cut = [(axis, *bound) for axis, bound in enumerate(bounds) if bound != (0, x.aval.shape[axis], 1)]
    columns = list(zip(*cut, strict=True))
    axes = [tensor.axis(axis) for axis in columns[0]]
    inputs = [tensor.name, *map(graph.constant, (columns[1], columns[2], axes, columns[3]))]
    return Tensor(graph.node("Slice", inputs), tensor.axes)


def _dot(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    """Multiplies one axis of a tensor by a constant matrix, without a transpose if it is one of the last two axes."""
    sums, _ = equation.params["dimension_numbers"]
    x = 0 if graph.value_of(equation.invars[0]) is None else 1
    atom, matrix = equation.invars[x], graph.value_of(equation.invars[1 - x])
    (axis,), (of_matrix,) = sums[x], sums[1 - x]
    matrix = matrix if of_matrix == 0 else matrix.T
    rank = atom.aval.ndim
    axes = graph.tensor(atom).axes or tuple(range(rank))
    if axis not in axes[-2:]:
        axes = (*(a for a in axes if a != axis), axis)
    name = graph.read(atom, Tensor("", axes).axes)
    if axes[-1] == axis:
        product = graph.node("MatMul", [name, graph.constant(matrix)])
    else:
        product = graph.node("MatMul", [graph.constant(matrix.T), name])
    kept = [a for a in range(rank) if a != axis]
    order = [*kept, axis] if x == 0 else [axis, *kept]  # of the result, in terms of the axes of the tensor
    return Tensor(product, tuple(order.index(a) for a in axes))


def _transpose(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    """Changes only the order of axes of the tensor; consumers request the order that they need."""
    tensor, order = graph.tensor(equation.invars[0]), equation.params["permutation"]
    return Tensor(tensor.name, tuple(tensor.order([order.index(axis) for axis in range(len(order))])))


def _broadcast(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    """Adds new axes of size one; ONNX broadcasts the rest implicitly."""
    (x, *_), kept = equation.invars, equation.params["broadcast_dimensions"]
    shape = equation.outvars[0].aval.shape
    new = [axis for axis in range(len(shape)) if axis not in kept]
    return Tensor(graph.node("Unsqueeze", [graph.read(x), graph.constant(new)]))


def _same(graph: Graph, equation: core.JaxprEqn) -> Tensor:
    return graph.tensor(equation.invars[0])


def _pads(padding: Any) -> list[int]:
    return [low for low, _ in padding] + [high for _, high in padding]


_RULES: dict[str, Callable[[Graph, core.JaxprEqn], Tensor]] = {
    "add": _add,
    "argmax": _argmax,
    "broadcast_in_dim": _broadcast,
    "conv_general_dilated": _conv,
    "convert_element_type": _cast,
    "div": _elementwise("Div"),
    "dot_general": _dot,
    "exp": _elementwise("Exp"),
    "gather": _gather,
    "max": _limit("Max"),
    "min": _limit("Min"),
    "mul": _elementwise("Mul"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_max": _max_pool,
    "rev": _reverse,
    "slice": _slice,
    "stop_gradient": _same,
    "sub": _elementwise("Sub"),
    "transpose": _transpose,
}
