"""Compares the plain and CPU forms of the most expensive operations of `models/`, forward and with all gradients.

    python -m benchmarks.operations [--rounds=7] [--dtype=float32] [--only=depthwise]

Prints a Markdown table with the median milliseconds of each form on this machine. On a GPU the rows of the depthwise
convolution determine `DEPTHWISE_ON_CUDA` in `models/layers.py`; the others show what a GPU would gain or lose with the CPU
forms.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks import tables
from refinenet_jax.models import cpu
from refinenet_jax.models.layers import plain_conv, plain_max_pool

_POOL = "5x5 pool", partial(plain_max_pool, size=5), cpu.max_pool_5x5
_CONV = "3x3 convolution", plain_conv, cpu.winograd.conv3x3


def _depthwise(size: int, channels: int, stride: int = 1) -> tuple:
    """Returns the row for grouped and shifted forms of a depthwise convolution of 8 crops."""
    return (
        f"depthwise 3x3, stride {stride}",
        partial(plain_conv, stride=stride, groups=channels),
        partial(cpu.sum_of_shifted_products, stride=stride),
        ((8, size, size, channels), (3, 3, 1, channels)),
    )


# operation, plain form, CPU form, shapes of its arrays
ROWS = (
    (*_POOL, ((1, 100, 100, 256),)),
    (*_POOL, ((8, 24, 24, 256),)),
    (*_CONV, ((1, 100, 100, 256), (3, 3, 256, 256))),
    (*_CONV, ((1, 25, 25, 256), (3, 3, 256, 256))),
    (*_CONV, ((1, 100, 100, 64), (3, 3, 64, 64))),
    ("3x3 convolution to 2", plain_conv, cpu.conv3x3_to_few, ((1, 100, 100, 256), (3, 3, 256, 2))),
    ("1x1 convolution", plain_conv, cpu.conv1x1, ((1, 100, 100, 256), (1, 1, 256, 256))),
    _depthwise(120, 96, stride=2),
    _depthwise(48, 96),
    _depthwise(24, 192),
    _depthwise(12, 576),
    ("depthwise 3x3, own gradient", _depthwise(48, 96)[1], cpu.depthwise_conv, _depthwise(48, 96)[3]),
)


def _with_gradients(function: Callable[..., jax.Array]) -> Callable:
    """Returns a function for all gradients, with a cotangent that depends on the output, as in a network."""

    def squares(*arrays: jax.Array) -> jax.Array:
        return (function(*(nn.relu(array) for array in arrays)) ** 2).sum()

    def run(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return jax.grad(squares, tuple(range(len(arrays))))(*arrays)

    return run


def measure(functions: list[Callable], arrays: list[jax.Array], rounds: int) -> list[float]:
    """Returns the median milliseconds of each function."""
    compiled = [jax.jit(function) for function in functions]
    for function in compiled:
        jax.block_until_ready(function(*arrays))
    times: list[list[float]] = [[] for _ in compiled]
    for _ in range(rounds):
        for function, of_one in zip(compiled, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(function(*arrays))
            of_one.append(1000 * (time.perf_counter() - began))
    return [median(of_one) for of_one in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="TEXT", help="operations whose names contain this")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tables.header("operation", "input", "forward, plain", "CPU form", "with gradients, plain", "CPU form")
    for name, plain, for_cpu, shapes in (row for row in ROWS if args.only in row[0]):
        arrays = [jnp.asarray(rng.standard_normal(shape), args.dtype) for shape in shapes]
        forward = measure([plain, for_cpu], arrays, args.rounds)
        both = measure([_with_gradients(plain), _with_gradients(for_cpu)], arrays, args.rounds)
        tables.row(name, "x".join(map(str, shapes[0])), *(f"{value:.1f}" for value in (*forward, *both)))


if __name__ == "__main__":
    main()
