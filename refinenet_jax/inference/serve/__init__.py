"""`refinenet-jax serve`: a web page that finds hands in pictures, clips and a webcam, and a JSON API beside it."""

from refinenet_jax.inference.serve.command import add_arguments, run

__all__ = ["add_arguments", "run"]
