"""A network and pictures with the interfaces of the real ones, so small that a training step compiles in a second."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.errors import require
from refinenet_jax.models import VARIANTS

COLORS = np.array([(40, 40, 40), (220, 60, 60), (60, 220, 60)], np.uint8)
SQUARES = DatasetInfo("squares", ("background", "red", "green"))
HANDS = DatasetInfo("sides", ("background", "left", "right"), ((1, 2),))


def _waves(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initial weights without random numbers, which take seconds to compile."""
    del key
    return 0.4 * jnp.sin(jnp.arange(np.prod(shape), dtype=dtype) ** 2).reshape(shape)


Conv = partial(nn.Conv, kernel_init=_waves)


class Trunk(nn.Module):
    norm: type

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(8, (4, 4), strides=4, use_bias=False, name="conv1")(x)
        return nn.relu(self.norm(name="bn1")(x))


class Cascade(nn.Module):
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.relu(Conv(8, (1, 1), name="conv")(x))
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Tiny(nn.Module):
    """As `RefineNet`: trunk, cascade, classifier; float32 [b, h, w, 3] -> logits [b, ceil(h/4), ceil(w/4), c]."""

    num_classes: int
    batch_norm: str = "frozen"
    dropout: float = 0.0
    input_scale: float = 1.0
    normalization: str = "imagenet"
    pool_order: str = "pool_conv"
    pool_stages: int = 4
    stride_on: str = "3x3"
    resize: str = "bilinear"
    remat: bool = False
    precision: str = "default"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train or self.batch_norm == "frozen",
            axis_name="batch" if train and self.batch_norm == "synchronized" else None,
            momentum=0.9,
            epsilon=1e-5,
        )
        x = Cascade(self.dropout, name="cascade")(Trunk(norm, name="trunk")(x), train)
        return Conv(self.num_classes, (3, 3), name="classifier")(x)


def create_model(name: str, num_classes: int, *, batch_norm="frozen", dropout=0.5, dtype="float32", **options) -> Tiny:
    """In the place of `models.create_model`."""
    del dtype
    require(name, VARIANTS, "variant")
    return Tiny(num_classes, batch_norm, dropout, **options)


def variables(num_classes: int = 3, seed: int = 0) -> dict:
    """Random variables, NumPy, with moments unlike 0 and 1 and a classifier that is seldom undecided."""
    shapes = jax.eval_shape(Tiny(num_classes).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    rng = np.random.default_rng(seed)
    tree = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)
    tree["batch_stats"]["trunk"]["bn1"]["var"] = rng.uniform(0.5, 2, 8).astype(np.float32)
    tree["params"]["trunk"]["bn1"]["scale"] = rng.uniform(0.5, 2, 8).astype(np.float32)
    return tree


def segmenter(info: DatasetInfo = HANDS, model: Tiny | None = None, **settings):
    """A segmenter for the classes of a dataset, with random variables."""
    from refinenet_jax.inference.segmenter import Segmenter

    return Segmenter(model or Tiny(3), variables(), info.class_names, info.flip_pairs, **settings)


def write_checkpoint(folder, class_names=SQUARES.class_names, seed: int = 0, **description) -> str:
    """Writes a run folder with one checkpoint of random variables; returns its path."""
    from refinenet_jax import checkpoint  # imports Orbax

    facts = {"variant": "rf101", "class_names": class_names, "flip_pairs": (), "dtype": "float32", "scales": (1.0,)}
    checkpoint.write_model(folder, {**facts, "flip": False, **description}, variables(len(class_names), seed))
    return str(folder)


def scores(counts, class_names=("background", "hand"), videos=None, **more):
    """A table of scores with the given confusion matrices and equal outlines, of images 0, 1, ..."""
    from refinenet_jax.evaluation.scores import Scores

    n = len(counts)
    outlines = np.tile(np.array([10, 8, 12, 9, 5, 20]), (n, 1))
    ids = tuple(map(str, range(n)))
    return Scores(class_names, ids, tuple(videos or [""] * n), np.array(counts, np.int64), outlines, **more)


class Pictures(list):
    """A source: pictures of the given sizes on which rectangles have the color of their class, with some void."""

    def __init__(self, sizes, info: DatasetInfo = SQUARES, seed: int = 0):
        super().__init__(_picture(i, size, np.random.default_rng([seed, i])) for i, size in enumerate(sizes))
        self.info = info


def _picture(index: int, size: tuple[int, int], rng: np.random.Generator) -> dict:
    height, width = size
    mask = np.zeros(size, np.uint8)
    for class_id in (1, 2):
        top, left = rng.integers(0, max(height // 2, 1)), rng.integers(0, max(width // 2, 1))
        mask[top : top + height // 2, left : left + width // 3] = class_id
    image = (COLORS[mask].astype(int) + rng.integers(-30, 31, (*size, 3))).clip(0, 255).astype(np.uint8)
    mask[: index % 3, :] = 255
    return {"image": image, "mask": mask, "id": f"picture-{index}"}


def batch(size: int = 8, shape: tuple[int, int] = (16, 24), seed: int = 0) -> dict[str, np.ndarray]:
    """A training batch of noise with unequally much void: the first example has none, the last nothing else."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, (size, *shape), np.uint8)
    for i in range(size):
        mask[i, : i * shape[0] // max(size - 1, 1)] = 255
    image = rng.integers(0, 256, (size, *shape, 3), np.uint8)
    return {"image": image, "mask": mask, "weight": np.ones(size, np.float32), "id": np.array(["x"] * size)}
