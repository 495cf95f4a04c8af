"""Pictures as in `tabletop.py`, with patterns on walls, clothes and things, and skin without creases.

A network trained on `tabletop` alone takes whatever has much detail for a hand: there, hardly anything else has.
"""

import numpy as np

from tfds_builders.synthetic_hands import tabletop

NUM_EXAMPLES = {"train": 4096, "validation": 32, "test": 64}
SEED = 20180620


def make_rng(split: str, index: int) -> np.random.Generator:
    """The random stream of one example, unlike any of `tabletop.py`."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, list(NUM_EXAMPLES).index(split), index])))


def generate(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one example: image uint8 [192, 256, 3] RGB and mask uint8 [192, 256] of BACKGROUND, LEFT, RIGHT."""
    return tabletop.compose(make_rng(split, index), printed=True)
