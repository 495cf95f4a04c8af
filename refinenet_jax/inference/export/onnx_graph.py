"""An ONNX graph as it is written, node by node.

ONNX convolves and pools [b, c, h, w], JAX here [b, h, w, c]: a tensor remembers which of the two it is, and is transposed only
where an operator needs the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from jax.extend import core
from onnx import helper, numpy_helper

_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_AXIS_IF_FIRST = (0, 2, 3, 1)  # where an axis of [b, h, w, c] is in [b, c, h, w]


@dataclass(frozen=True)
class Tensor:
    """Name of a value in the graph, and whether it is [b, c, h, w] where the program has [b, h, w, c]."""

    name: str
    channels_first: bool = False

    def axis(self, axis: int) -> int:
        """Where an axis of the program's array is."""
        return _AXIS_IF_FIRST[axis] if self.channels_first else axis

    def order(self, values: Sequence[Any]) -> list[Any]:
        """One value for each of the program's axes, in this tensor's order."""
        return [values[axis] for axis in _TO_FIRST] if self.channels_first else list(values)


class Graph:
    """Nodes and constants.

    Attributes:
      nodes: in order.
      initializers: the constants that nodes use.
      constants: variable of the program -> its value.
      tensors: variable of the program -> where it is in the graph.
      uses: variable of the program -> how often it is read.
    """

    def __init__(self, program: core.ClosedJaxpr, inputs: Sequence[str]):
        jaxpr = program.jaxpr
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.constants = {v: np.asarray(c) for v, c in zip(jaxpr.constvars, program.consts, strict=True)}
        self.tensors = {var: Tensor(name) for var, name in zip(jaxpr.invars, inputs, strict=True)}
        self.uses: dict[core.Var, int] = {}
        self._turned: dict[str, str] = {}
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
        """The constant that an argument is, None if it is computed."""
        return np.asarray(atom.val) if isinstance(atom, core.Literal) else self.constants.get(atom)

    def tensor(self, atom: core.Var) -> Tensor:
        """An argument that is computed, as it lies."""
        return self.tensors[atom]

    def any_channels_first(self, atoms: Sequence[Any]) -> bool:
        """Whether a computed one of the arguments lies [b, c, h, w]."""
        return any(self.value_of(atom) is None and self.tensors[atom].channels_first for atom in atoms)

    def read(self, atom: core.Literal | core.Var, channels_first: bool = False) -> str:
        """Name of an argument in one order or the other."""
        value = self.value_of(atom)
        if value is not None:
            return self.constant(value.transpose(_TO_FIRST) if channels_first and value.ndim == 4 else value)
        tensor = self.tensors[atom]
        if tensor.channels_first == channels_first:
            return tensor.name
        if tensor.name not in self._turned:
            order = _TO_FIRST if channels_first else _TO_LAST
            self._turned[tensor.name] = self.node("Transpose", [tensor.name], perm=order)
        return self._turned[tensor.name]
