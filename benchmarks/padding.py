"""Counts the programs needed for pictures of 1,000 sizes, and the share of padding in the computation.

python -m benchmarks.padding
"""

import numpy as np

from benchmarks import tables
from refinenet_jax.inference.fitting import canvas_size, fitted_size

COUNT = 1000
ASPECTS = ((4, 3), (3, 4), (16, 9), (9, 16), (1, 1), (3, 2))
LONGEST_SIDES = (448, 640)


def sizes() -> dict[str, list[tuple[int, int]]]:
    """Returns sizes (h, w) by their distribution."""
    rng = np.random.default_rng(0)
    uniform = [tuple(size) for size in rng.integers(240, 641, (COUNT, 2)).tolist()]
    photographs = []
    for _ in range(COUNT):
        width, height = ASPECTS[rng.integers(len(ASPECTS))]
        photographs.append(fitted_size((height, width), int(rng.integers(320, 1281))))
    cameras = [(480, 640), (720, 1280), (1080, 1920), (2160, 3840), (3024, 4032), (4032, 3024), (405, 720), (216, 384)]
    return {
        "sides uniform in 240..640": uniform,
        "photographs of six aspects, long side 320..1280": photographs,
        "eight common cameras": cameras,
    }


def main() -> None:
    tables.header("sizes", "longest side", "programs", "padding")
    for name, given in sizes().items():
        for longest_side in (0, *LONGEST_SIDES):
            fitted = [fitted_size(size, longest_side) for size in given]
            canvases = [canvas_size(size) for size in fitted]
            share = 1 - sum(h * w for h, w in fitted) / sum(h * w for h, w in canvases)
            tables.row(name, longest_side or "own size", len(set(canvases)), f"{100 * share:.1f} %")


if __name__ == "__main__":
    main()
