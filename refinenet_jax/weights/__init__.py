"""Reads other people's checkpoints into our variables, and writes ours to one file."""

from refinenet_jax.weights.flat import save_weights
from refinenet_jax.weights.loading import load, load_weights, network_in
from refinenet_jax.weights.weights_file import WeightsError

__all__ = ["WeightsError", "load", "load_weights", "network_in", "save_weights"]
