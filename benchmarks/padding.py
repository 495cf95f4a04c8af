"""How much of what is computed is padding, where pictures of 1,000 sizes go through a few shapes.

python -m benchmarks.padding
"""

import numpy as np

from refinenet_jax.inference import fitting, shapes

COUNT = 1000
SHAPES = (6, 8, 10, 12, 16)
ASPECTS = ((4, 3), (3, 4), (16, 9), (9, 16), (1, 1), (3, 2))
LONGEST_SIDE = 640


def sizes() -> dict[str, list[tuple[int, int]]]:
    """Sizes (h, w) by how they are drawn."""
    rng = np.random.default_rng(0)
    uniform = [tuple(size) for size in rng.integers(240, 641, (COUNT, 2)).tolist()]
    photographs = []
    for _ in range(COUNT):
        width, height = ASPECTS[rng.integers(len(ASPECTS))]
        photographs.append(fitting.fitted_size((height, width), int(rng.integers(320, 1281))))
    drawn = {"sides uniform in 240..640": uniform, "photographs of six aspects, long side 320..1280": photographs}
    fitted = {
        f"{name}, brought to a longest side of {LONGEST_SIDE}": [fitting.fitted_size(size, LONGEST_SIDE) for size in of]
        for name, of in drawn.items()
    }
    return drawn | fitted


def main() -> None:
    print(f"| sizes | {' | '.join(f'{limit} shapes' for limit in SHAPES)} |\n|{'---|' * (len(SHAPES) + 1)}")
    for name, of_images in sizes().items():
        shares = []
        for limit in SHAPES:
            plan = shapes.plan(of_images, limit=limit)
            computed = sum(int(np.prod(plan[size])) for size in of_images)
            shares.append(f"{1 - sum(h * w for h, w in of_images) / computed:.1%}".replace("%", " %"))
        print(f"| {name} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
