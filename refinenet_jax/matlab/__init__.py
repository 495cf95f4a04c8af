"""Files of MATLAB, read without trusting them: `mat5` reads v5 to v7, `mat73` reads v7.3; both give a tree of values.

Weights and annotations come in such files. A room of its own, which imports no other.
"""

from refinenet_jax.matlab.values import COPY_AGAIN, Numbers, Refused, limit_of_bytes, structs

__all__ = ["COPY_AGAIN", "Numbers", "Refused", "limit_of_bytes", "structs"]
