"""Averages the weights of several checkpoints of one network (weight averaging, Izmailov et al., UAI 2018).

python -m launch.average_weights OUTPUT.safetensors CHECKPOINT [CHECKPOINT ...] [--hand-bias=-0.405]
"""

import argparse

import jax
import numpy as np

from refinenet_jax import weights
from refinenet_jax.weights.files import read
from refinenet_jax.weights.flat import description_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="file to write")
    parser.add_argument("checkpoints", nargs="+", help="weight files of the same network")
    parser.add_argument(
        "--hand-bias", type=float, default=0.0, help="number to add to the bias of the foreground classes"
    )
    args = parser.parse_args()
    variables = [weights.load(path)[1] for path in args.checkpoints]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, 0, dtype=np.float32), *variables)
    mean["params"]["classifier"]["bias"][1:] += args.hand_bias
    mean = jax.tree.map(np.float16, mean)  # half the size; loaded as float32
    weights.save_weights(args.output, mean, description_of(read(args.checkpoints[-1])))
    print(f"{args.output}: mean of {len(variables)} checkpoints")


if __name__ == "__main__":
    main()
