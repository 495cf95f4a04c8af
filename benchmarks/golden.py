"""How far the networks on this device are from the published ones, at each precision of float32 products.

    python -m benchmarks.golden [--networks rf_lw50_c2 rf_lw_mbv2_c21] [--precisions highest default]

Prints a Markdown table. Logits: the largest difference, in standard deviations of the published ones; loss and gradients:
relative differences, of the gradients the largest of all parameters' norms. Exits with 1 where logits at `highest` differ by
more than the tests allow on a CPU.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import tables
from refinenet_jax import models, weights
from refinenet_jax.models.resize import half_pixel
from refinenet_jax.training.losses import cross_entropy
from refinenet_jax.weights.names import pytorch_name

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
VARIANTS = {"rf_lw50_c2": "rf_lw50", "rf_lw_mbv2_c21": "rf_lw_mbv2"}
ALLOWED = 1e-4  # standard deviations, of logits at `highest`


def differences(network: str, precision: str, gradients: bool = True) -> list[float]:
    """Differences of logits, loss and, if wanted, gradients, as in the table."""
    sys.path.append(str(GOLDEN))
    from weights_rule import state_dict

    expected = np.load(GOLDEN / f"{network}.npz")
    classes = expected["logits"].shape[-1]
    model = models.create_model(VARIANTS[network], classes, dropout=0.0, precision=precision)
    variables = weights.load_weights(state_dict(GOLDEN / f"{network}.json"), model)
    image, label = models.normalize(expected["image"]), jnp.asarray(expected["label"])

    @jax.jit
    def compute(variables: dict) -> tuple:
        def loss(params: dict) -> tuple[jax.Array, jax.Array]:
            logits = model.apply({**variables, "params": params}, image)
            total, pixels = cross_entropy(half_pixel(logits, label.shape[1:]), label)
            return total / pixels, logits

        if not gradients:
            return *loss(variables["params"]), {}
        (value, logits), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, logits, jax.tree.map(jnp.linalg.norm, gradient)

    value, logits, norms = compute(variables)
    theirs = dict(zip(expected["grad_names"].tolist(), expected["grad_norms"].tolist(), strict=True))
    of_gradients = [
        abs(float(norm) / theirs[pytorch_name(tuple(key.key for key in path), model.trunk_name)] - 1)
        for path, norm in jax.tree_util.tree_leaves_with_path(norms)
    ]
    of_logits = float(abs(logits - expected["logits"]).max() / expected["logits"].std())
    of_loss = abs(float(value) / float(expected["loss"]) - 1)
    return [of_logits, of_loss, *([max(of_gradients)] if gradients else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--precisions", nargs="+", default=["highest", "default"], choices=models.PRECISIONS)
    parser.add_argument("--gradients", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    print(f"On {jax.devices()[0].device_kind}:\n")
    tables.header("network", "precision", "logits", "loss", "gradients", "s")
    is_close = True
    for precision in args.precisions:
        for network in args.networks:
            began = time.perf_counter()
            off = differences(network, precision, args.gradients)
            seconds = time.perf_counter() - began
            cells = [*(f"{value:.1e}" for value in off), *["-"] * (3 - len(off))]
            tables.row(network, precision, *cells, f"{seconds:.0f}")
            is_close &= precision != "highest" or off[0] < ALLOWED
    sys.exit(0 if is_close else f"logits at `highest` differ by more than {ALLOWED} standard deviations")


if __name__ == "__main__":
    main()
