"""The fully connected conditional random field of Kraehenbuehl and Koltun (NIPS 2011), as a post-processing step.

Every pair of pixels is connected by two kernels: the bilateral kernel, which is larger the closer the pixels are in position
and color, and the smoothness kernel, for pixels that are very close, whatever their color. Mean-field inference aligns
outlines with edges of the image and removes specks.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from refinenet_jax.errors import UsageError, require
from refinenet_jax.inference import crf_lattice

_CLIP = 1e-5  # lower bound of the probabilities, as in pydensecrf's unary_from_softmax
_REACH = 4.0  # radius of the smoothness kernel in standard deviations; what is beyond weighs less than 1e-4
_PIXEL_LIMIT = 2**25  # pixels, which need 1.2 kB each
# Minimum and maximum of every parameter.
_RANGES = {
    "bilateral_weight": (0, 1e4),
    "bilateral_position_stddev": (0.5, 1e4),
    "bilateral_color_stddev": (0.5, 1e4),
    "smoothness_weight": (0, 1e4),
    "smoothness_stddev": (0.1, 16),
    "iterations": (0, 1000),
}


@dataclasses.dataclass(frozen=True)
class CrfParameters:
    """Weights and standard deviations of the two Gaussian kernels.

    The defaults are those of DeepLab v2 with ResNet-101 (Chen et al., TPAMI 2018) in its scripts for PASCAL VOC: bi_w 4,
    bi_x_std 67, bi_r_std 3, pos_w 3, pos_x_std 1, 10 iterations. The settings that RefineNet's authors and the CVPR 2018 study
    of hands used for a dense CRF are not known.

    Attributes:
      bilateral_weight: weight of the kernel over position and color, 0 to 10,000.
      bilateral_position_stddev: its standard deviation in pixels, 0.5 to 10,000.
      bilateral_color_stddev: its standard deviation in levels (0 to 255) of R, G and B, 0.5 to 10,000.
      smoothness_weight: weight of the kernel over position alone, 0 to 10,000.
      smoothness_stddev: its standard deviation in pixels, 0.1 to 16.
      iterations: number of mean-field iterations, 0 to 1000; 0 returns the network's probabilities, clipped at 1e-5.

    Raises:
      UsageError: a parameter is out of its range.
    """

    bilateral_weight: float = 4.0
    bilateral_position_stddev: float = 67.0
    bilateral_color_stddev: float = 3.0
    smoothness_weight: float = 3.0
    smoothness_stddev: float = 1.0
    iterations: int = 10

    def __post_init__(self):
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            kinds, what = (int, "a whole number") if name == "iterations" else ((int, float), "a number")
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise UsageError(f"The CRF's {name} is {value!r}. Give {what} from {low:g} to {high:g}.")


def crf(image: np.ndarray, probabilities: np.ndarray, parameters: CrfParameters | None = None) -> np.ndarray:
    """Refines the class probabilities of an image by mean-field inference (NIPS 2011, Algorithm 1) with a Potts model.

    Starting from the network's probabilities p, each iteration sets, for every pixel i and class l,

      Q_i(l) proportional to p_i(l) exp(sum over both kernels of weight * sum_j K_ij Q_j(l)).

    As in the authors' code, the kernels are normalized symmetrically, K = D^-1/2 k D^-1/2 with D_ii = sum_j k_ij, so that a
    weight has the same meaning for every image size, and j runs over all pixels including i. The smoothness sums are exact to
    1e-4, without padding beyond the edge of the image. The bilateral sums are approximated on the permutohedral lattice, again
    as in that code: for a frame of EgoHands at 640x360 and a random map Q in [0, 1], averages (K Q)_i at 300 pixels have an
    error of 0.008 in the mean and at most 0.13 with the default parameters, and of 0.006 and 0.04 with 40 pixels and 20
    levels.

    The function is compiled once per image size, number of classes and power of two of smoothness_stddev. It needs about 1.2
    GB for 1280x720 pixels.

    Args:
      image: uint8 [h, w, 3] RGB.
      probabilities: float [h, w, c], probabilities of c classes that sum to 1 at each pixel.
      parameters: weights and standard deviations of the kernels; None for CrfParameters().

    Returns:
      float32 [h, w, c], summing to 1 at each pixel.

    Raises:
      UsageError: an array has the wrong type or size, or values that are no probabilities.
    """
    _check(image, probabilities)
    parameters = parameters or CrfParameters()
    numbers = {name: float(value) for name, value in dataclasses.asdict(parameters).items()}
    numbers["iterations"] = parameters.iterations
    radius = 4  # at least 4 standard deviations; a power of two, since each radius is compiled separately
    while radius < _REACH * parameters.smoothness_stddev:
        radius *= 2
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    places = np.stack([columns.ravel(), rows.ravel()]) / parameters.bilateral_position_stddev
    features = np.concatenate([places, image.reshape(-1, 3).T / parameters.bilateral_color_stddev]).astype(np.float32)
    lattice = crf_lattice.build(features)
    return np.asarray(_mean_field(np.asarray(probabilities, np.float32), lattice, numbers, radius))


def parse_parameters(text: str) -> CrfParameters:
    """Parses the command-line form "default" or "bilateral_weight=5,iterations=4"; other parameters keep their defaults.

    Raises:
      UsageError: a name is unknown, or a value is not a number or out of range.
    """
    values = {}
    for item in text.split(",") if text != "default" else ():
        name, _, value = (part.strip() for part in item.partition("="))
        require(name, _RANGES, "CRF parameter")
        try:
            values[name] = int(value) if name == "iterations" else float(value)
        except ValueError:
            raise UsageError(f"CRF parameter {name}={value!r} is not a number. Write {name}=5, for example.") from None
    return CrfParameters(**values)


@partial(jax.jit, static_argnames="radius")
def _mean_field(
    probabilities: jax.Array, lattice: crf_lattice.Lattice, numbers: dict[str, jax.Array], radius: int
) -> jax.Array:
    height, width = probabilities.shape[:2]
    taps = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / numbers["smoothness_stddev"]) ** 2)

    def bilateral(values: jax.Array) -> jax.Array:
        return crf_lattice.gaussian_filter(lattice, values.ravel()).reshape(height, width)

    def smooth(values: jax.Array) -> jax.Array:  # unrolled, which is many times faster than a convolution on a CPU
        padded = jnp.pad(values, radius)
        across = lax.optimization_barrier(sum(tap * padded[:, i : i + width] for i, tap in enumerate(taps)))
        return sum(tap * across[i : i + height] for i, tap in enumerate(taps))

    kernels = [(numbers["bilateral_weight"], bilateral), (numbers["smoothness_weight"], smooth)]
    ones = jnp.ones((height, width))
    roots = [lax.rsqrt(jnp.maximum(kernel(ones), jnp.finfo(jnp.float32).tiny)) for _, kernel in kernels]

    def message(values: jax.Array) -> jax.Array:
        return sum(w * root * kernel(root * values) for (w, kernel), root in zip(kernels, roots, strict=True))

    # Probabilities sum to 1 and filtering is linear: the background's message is this minus the messages of the other classes.
    all_classes = message(ones)
    logits = jnp.log(jnp.clip(probabilities, _CLIP, 1.0))

    def iterate(_: jax.Array, refined: jax.Array) -> jax.Array:
        others = lax.map(message, jnp.moveaxis(refined[..., 1:], -1, 0))
        messages = jnp.concatenate([all_classes[None] - others.sum(0, keepdims=True), others])
        return jax.nn.softmax(logits + jnp.moveaxis(messages, 0, -1))

    return lax.fori_loop(0, numbers["iterations"], iterate, jax.nn.softmax(logits))


def _check(image: np.ndarray, probabilities: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise UsageError(f"The image is {image.dtype} {list(image.shape)}. Give uint8 [h, w, 3] RGB.")
    height, width = image.shape[:2]
    if height * width > _PIXEL_LIMIT:
        raise UsageError(
            f"The image has {width}x{height} pixels, too many for the CRF. Give at most {_PIXEL_LIMIT / 1e6:.0f} megapixels."
        )
    shape = probabilities.shape
    floating = np.issubdtype(probabilities.dtype, np.floating)
    if not floating or len(shape) != 3 or shape[:2] != image.shape[:2] or shape[-1] < 2:
        raise UsageError(
            f"The probabilities are {probabilities.dtype} {list(shape)}. Give float [{height}, {width}, classes] with two "
            "or more classes."
        )
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1.001):
        raise UsageError("The probabilities are not between 0 and 1. Give the softmax of the logits.")
