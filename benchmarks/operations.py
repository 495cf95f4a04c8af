"""The hot operations of `models/` beside the plain form of each, forward and with all gradients, in turns.

    python -m benchmarks.operations [--rounds=7]

Prints a Markdown table: the median milliseconds of each form on this machine.
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

from refinenet_jax.models import convolution, pooling


def _plain_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))


# what, plain form, form of the package, shapes of its arrays
ROWS = (
    ("5x5 pool", _plain_pool, pooling.max_pool_5x5, ((1, 100, 100, 256),)),
    ("5x5 pool", _plain_pool, pooling.max_pool_5x5, ((8, 24, 24, 256),)),
    ("3x3 convolution", convolution.conv, convolution.conv3x3, ((1, 100, 100, 256), (3, 3, 256, 256))),
    ("3x3 convolution", convolution.conv, convolution.conv3x3, ((1, 25, 25, 256), (3, 3, 256, 256))),
    ("3x3 convolution", convolution.conv, convolution.conv3x3, ((1, 100, 100, 64), (3, 3, 64, 64))),
    ("3x3 convolution to 2", convolution.conv, convolution.conv3x3, ((1, 100, 100, 256), (3, 3, 256, 2))),
    ("1x1 convolution", convolution.conv, convolution.conv1x1, ((1, 100, 100, 256), (1, 1, 256, 256))),
    (
        "depthwise 3x3",
        partial(convolution.conv, groups=96),
        partial(convolution.depthwise_conv, stride=1),
        ((8, 48, 48, 96), (3, 3, 1, 96)),
    ),
)


def _with_gradients(function: Callable[..., jax.Array]) -> Callable:
    """All gradients under a cotangent that depends on the output, as the layers behind it make one."""

    def squares(*arrays: jax.Array) -> jax.Array:
        return (function(*(nn.relu(array) for array in arrays)) ** 2).sum()

    def run(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return jax.grad(squares, tuple(range(len(arrays))))(*arrays)

    return run


def measure(functions: list[Callable], arrays: list[jax.Array], rounds: int) -> list[float]:
    """Median milliseconds of each."""
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
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    print("| operation | input | forward, plain | here | with gradients, plain | here |\n|---|---|---|---|---|---|")
    for name, plain, ours, shapes in ROWS:
        arrays = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]
        forward = measure([plain, ours], arrays, rounds)
        both = measure([_with_gradients(plain), _with_gradients(ours)], arrays, rounds)
        cells = " | ".join(f"{value:.1f}" for value in (*forward, *both))
        print(f"| {name} | {'x'.join(map(str, shapes[0]))} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
