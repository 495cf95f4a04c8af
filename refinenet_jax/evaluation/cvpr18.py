"""Predictions and counts as in the published scripts of "Analysis of Hand Segmentation in the Wild" (CVPR 2018).

The scripts are in github.com/aurooj/Hand-Segmentation-in-the-Wild, refinenet_files/, and build on
github.com/guosheng/refinenet, main/: `demo_refinenet_test_example_*.m` runs the network at three scales,
`multiscale_evaluation.m` fuses the saved maps, and `computeAccuracy*.m` (one for each dataset) with `getIOU.m` computes
figures. This module computes the counts of an image; `protocols.cvpr18` computes the figures.

Where MATLAB's imresize was given a factor, the size that follows from it is used here, which can shift the far edge by a
fraction of a pixel. Score maps are upsampled as the scripts do on a CPU.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax import models, parallel
from refinenet_jax.data.examples import VOID, Source
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.inference.segmenter import Segmenter, merge_classes
from refinenet_jax.models import resize

SCALES = (0.6, 0.8, 1.0)
SHORT_EDGE = (450, 600)  # pixels: bounds before the scales
FLOOR = -20.0  # lower bound of the logarithm of a score

# Height and width of the fused maps in `multiscale_evaluation.m`, to which the truth is resized; in other datasets, whose
# pictures have 216x384 pixels, the prediction is resized to the truth.
SIZES = {"egohands": (216, 384), "gtea": (405, 720)}


def dataset_of(name: str) -> str:
    """Returns the dataset whose script applies: 'egohands' for 'egohands/left_right:1.0.0'."""
    return name.partition("/")[0].partition(":")[0].lower()


def hands(
    model: models.RefineNet, variables: dict, image: jax.Array, size: tuple[int, int], merged: Sequence[int] = ()
) -> jax.Array:
    """Predicts hands as `demo_refinenet_test_example_*.m` and `multiscale_evaluation.m` do.

    The softmax maps at each of SCALES, rounded to bytes, are resized in the logarithm, with a floor, and averaged. Pixels whose
    most probable class is not background are hands, including a void channel (`logical(predict_mask_data)`).

    Args:
      model: network; the authors' networks have an input_scale of 1.2 and the normalization 'minus_128'.
      variables: variables of the network.
      image: uint8 RGB [b, h, w, 3].
      size: height and width of the maps.
      merged: class of each channel if classes are merged; empty otherwise.

    Returns:
      uint8 [b, *size], 1 where there is a hand.
    """
    total = jnp.zeros(())
    for scale in SCALES:
        scores = jax.nn.softmax(model.apply(variables, prepare(model, image, scale)))
        if merged:
            scores = jax.nn.softmax(jnp.log(merge_classes(scores, merged)))
        scores = jnp.floor(255 * scores + 0.5)  # as they are saved, im2uint8
        if scores.shape[1:3] != size:
            with jax.default_matmul_precision("highest"):
                scores = jnp.exp(resize.bicubic(jnp.maximum(jnp.log(scores), FLOOR), size))
        total = total + scores
    return (jnp.argmax(total, -1) != 0).astype(jnp.uint8)


def prepare(model: models.RefineNet, image: jax.Array, scale: float) -> jax.Array:
    """Resizes a picture as the scripts do: short edge within SHORT_EDGE, then the scale, then the network's input scale.

    Args:
      model: network with its input_scale and normalization.
      image: uint8 RGB [b, h, w, 3].
      scale: one of SCALES.

    Returns:
      float32 [b, h', w', 3].
    """
    short_edge = min(image.shape[1:3])
    factor = min(max(short_edge, SHORT_EDGE[0]), SHORT_EDGE[1]) / short_edge * scale
    size = tuple(math.ceil(round(n * factor, 6)) for n in image.shape[1:3])
    image = imresize(image, size)
    image = imresize(image, tuple(math.floor(n * model.input_scale + 0.5) for n in size))
    return models.normalize(image, model.normalization)


def imresize(image: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes bytes as MATLAB's `imresize`: bicubic, antialiased, rounded after each direction, the smaller factor first.

    Args:
      image: integers from 0 to 255, [b, h, w, c].
      size: new height and width.

    Returns:
      Integers as float32 [b, *size, c].
    """
    image = image.astype(jnp.float32)
    for axis in sorted((0, 1), key=lambda axis: size[axis] / image.shape[1 + axis]):
        step = (size[0], image.shape[2]) if axis == 0 else (image.shape[1], size[1])
        if step != image.shape[1:3]:
            with jax.default_matmul_precision("highest"):
                image = jnp.clip(jnp.floor(resize.bicubic(image, step) + 0.5), 0, 255)
    return image


def imbinarize(image: np.ndarray) -> np.ndarray:
    """Thresholds uint8 [h, w] at Otsu's threshold (1979) as MATLAB's `imbinarize`; returns bool [h, w].

    If several thresholds are equally good, their mean is used; if there is only one value, everything above 0 is true.
    """
    shares = np.bincount(image.ravel(), minlength=256) / image.size
    below, moments = np.cumsum(shares), np.cumsum(shares * np.arange(1, 257))
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (moments[-1] * below - moments) ** 2 / (below * (1 - below))
    best = np.nanmax(np.where(np.isfinite(between), between, np.nan), initial=-np.inf)
    threshold = np.flatnonzero(between == best).mean() if np.isfinite(best) else 0.0
    return image > threshold


def compare(truth: np.ndarray, prediction: np.ndarray, dataset: str) -> np.ndarray:
    """Returns the counts of one image as the dataset's script computes them.

    `computeAccuracyEgoHands.m` and `computeAccuracyGTEA.m` resize the truth to the prediction and threshold it
    with Otsu's method; `computeAccuracyEYTH.m` resizes the prediction to the truth. In HOF both have the same size; all other
    datasets are treated as EYTH. The truth of GTEA was read from JPEG and is thresholded at 128 when the dataset is built;
    Otsu's threshold gives the same 204 test masks, pixel for pixel.

    Args:
      truth: uint8 [h, w], class ids; everything but background is hand. Void is not counted; if the truth is resized, void
        is background (these datasets have none).
      prediction: uint8 [h', w'], class ids.
      dataset: see `dataset_of`.

    Returns:
      int64 [2, 2], truth in the rows.
    """
    hand, found = (truth != 0) & (truth != VOID), prediction != 0
    counted = truth != VOID
    if truth.shape != prediction.shape:
        if dataset in SIZES:
            hand = imbinarize(_resized(hand, prediction.shape))
            counted = np.ones(hand.shape, bool)
        else:
            found = _resized(found, truth.shape) > 128  # as imresize of a logical array
    pairs = (2 * hand + found)[counted]
    return np.bincount(pairs, minlength=4).reshape(2, 2)


def count(
    segmenter: Segmenter,
    source: Source,
    batch_size: int,
    progress: Callable[[int], object] = lambda done: None,
    save: Callable[[str, np.ndarray], object] = lambda name, mask: None,
) -> np.ndarray:
    """Returns the counts of every image of a source. Several processes share the work, and each returns all counts.

    Pictures are not padded, so every size is compiled separately.

    Args:
      segmenter: only its network, variables and merged classes are used.
      source: pictures and truth.
      batch_size: number of pictures of one size per batch; 0 for one on each device.
      progress: called with the number of pictures done since the last call.
      save: called with the id and the mask, uint8 [h, w], of each picture.

    Returns:
      int64 [n, 2, 2], in the source's order.

    Raises:
      UsageError: a picture cannot be read or a mask cannot be saved; raised on all processes.
    """
    dataset = dataset_of(source.info.name)
    mine = parallel.share(len(source))
    counts = np.zeros((len(mine), 2, 2), np.int64)
    done = 0

    model, merged = segmenter.model, segmenter.merged
    if merged and model.num_classes > len(merged):  # the last channel is void
        merged += (len(segmenter.class_names),)

    @functools.cache
    def find(size: tuple[int, int]) -> Callable:
        return parallel.parallel_map(lambda variables, image: hands(model, variables, image, size, merged))

    with parallel.raise_on_all_processes():
        for batch in _batches(read_ahead(source.__getitem__, mine), batch_size or jax.local_device_count()):
            size = SIZES.get(dataset, batch[0]["image"].shape[:2])
            masks = np.asarray(find(size)(segmenter.variables, np.stack([example["image"] for example in batch])))
            for example, mask in zip(batch, masks, strict=True):
                counts[done] = compare(example["mask"], mask, dataset)
                save(example["id"], mask)
                done += 1
            progress(len(batch))
    return parallel.gather_rows(np.array(mine, np.int64), counts, len(source))


def _batches(examples: Iterable[dict], batch_size: int) -> Iterator[list[dict]]:
    """Yields batches of neighboring images of one size; remainders have one image per device, so two programs are enough."""
    for _, group in itertools.groupby(examples, key=lambda example: example["image"].shape):
        while batch := list(itertools.islice(group, batch_size)):
            length = batch_size if len(batch) == batch_size else jax.local_device_count()
            yield from (batch[start : start + length] for start in range(0, len(batch), length))


def _resized(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool [h, w] -> uint8 [*size], from 0 to 255."""
    pixels = np.where(region, np.uint8(255), np.uint8(0))[None, ..., None]
    return np.asarray(_imresize(pixels, size)[0, ..., 0]).astype(np.uint8)


_imresize = jax.jit(imresize, static_argnums=1)
