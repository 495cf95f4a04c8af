"""`refinenet-jax export`: a network as one file for other runtimes, compared with it before it is handed over."""

from refinenet_jax.inference.export.command import add_arguments, run

__all__ = ["add_arguments", "run"]
