"""An ONNX graph, written node by node.

ONNX convolves and pools [b, c, h, w], JAX here [b, h, w, c]. A tensor stores the order of its axes, and is transposed only if
an operator needs another order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

Axes = tuple[int, ...]  # for each axis of a tensor, the axis of the program's array; () for the same order
CHANNELS_FIRST = (0, 3, 1, 2)  # [b, c, h, w] of [b, h, w, c]


@dataclass(frozen=True)
class Tensor:
    """A value in the graph, with its name and the order of its axes."""

    name: str
    axes: Axes = ()

    def __post_init__(self):
        if self.axes == tuple(range(len(self.axes))):
            object.__setattr__(self, "axes", ())

    def axis(self, axis: int) -> int:
        """Returns the position of an axis of the program's array."""
        return self.axes.index(axis) if self.axes else axis

    def order(self, values: Sequence[Any]) -> list[Any]:
        """Reorders one value per axis of the program's array to this tensor's order."""
        return [values[axis] for axis in self.axes] if self.axes else list(values)


class Graph:
    """Nodes and constants of a graph.

    Attributes:
      nodes: nodes in order of execution.
      initializers: constants used by nodes.
      constants: variable of the program -> its value.
      tensors: variable of the program -> its tensor in the graph.
      uses: variable of the program -> number of times it is read.
    """

    def __init__(self, program: core.ClosedJaxpr, inputs: Sequence[str]):
        jaxpr = program.jaxpr
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.constants = {v: np.asarray(c) for v, c in zip(jaxpr.constvars, program.consts, strict=True)}
        self.tensors = {var: Tensor(name) for var, name in zip(jaxpr.invars, inputs, strict=True)}
        self.uses: dict[core.Var, int] = {}
        self._transposed: dict[tuple, str] = {}
        for atom in [*(atom for equation in jaxpr.eqns for atom in equation.invars), *jaxpr.outvars]:
            if isinstance(atom, core.Var):
                self.uses[atom] = self.uses.get(atom, 0) + 1

    def node(self, kind: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: np.ndarray | Sequence[int]) -> str:
        """Adds a constant (integers as int64); returns its name."""
        name = f"constant_{len(self.initializers)}"
        value = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def value_of(self, atom: core.Literal | core.Var) -> np.ndarray | None:
        """Returns the value of an argument that is constant; None if it is computed."""
        return np.asarray(atom.val) if isinstance(atom, core.Literal) else self.constants.get(atom)

    def tensor(self, atom: core.Var) -> Tensor:
        """Returns the tensor of a computed argument in its current order of axes."""
        return self.tensors[atom]

    def axes_of(self, atoms: Sequence[Any]) -> Axes:
        """Returns a common order of axes for arguments: that of the first computed one that differs from the program's."""
        return next((a for atom in atoms if self.value_of(atom) is None and (a := self.tensors[atom].axes)), ())

    def read(self, atom: core.Literal | core.Var, axes: Axes = ()) -> str:
        """Returns the name of an argument with its axes in the given order."""
        value = self.value_of(atom)
        if value is not None:
            return self.constant(value.transpose(axes) if axes and value.ndim == len(axes) else value)
        tensor = self.tensors[atom]
        if tensor.axes == axes:
            return tensor.name
        key = tensor.name, tensor.axes, axes
        if key not in self._transposed:
            order = [tensor.axis(axis) for axis in axes or range(len(tensor.axes))]
            self._transposed[key] = self.node("Transpose", [tensor.name], perm=order)
        return self._transposed[key]
