"""torchvision's and timm's MobileNet-v2 under the names of Light-Weight RefineNet's, which `names.py` maps to ours."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights.matlab_names import EPSILON, Renamed

Readers = dict[str, Callable[[], np.ndarray]]

_BLOCKS = [(stage, block) for stage, (_, _, count, _) in enumerate(STAGES, start=2) for block in range(count)]
# Modules of a block: expansion, depthwise convolution and projection, each followed by its batch norm.
_PUBLISHED = ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1")
_TORCHVISION = ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3")
_TORCHVISION_FIRST = ("conv.0.0", "conv.0.1", "conv.1", "conv.2")  # without expansion
_TIMM = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_TIMM_FIRST = ("conv_dw", "bn1", "conv_pw", "bn2")


def to_published(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Renames the arrays of torchvision's or timm's MobileNet-v2 1.0; those of other networks are returned as they are.

    Names outside the trunk (the last 1x1 convolution, the classifier) stay. The first block's expansion, which both leave out,
    is added as the identity.
    """
    for last, modules in (
        ("features.17.conv.2.weight", _torchvision_modules),
        ("blocks.6.0.conv_pwl.weight", _timm_modules),  # other networks of timm have this name, with other shapes
    ):
        if last in arrays and arrays[last].shape == (320, 960, 1, 1):
            published = dict(modules())
            readers = identity_expansion()
            for name in arrays:
                module, _, leaf = name.rpartition(".")
                readers[f"{published.get(module, module)}.{leaf}"] = partial(arrays.__getitem__, name)
            return Renamed(readers)
    return arrays


def identity_expansion() -> Readers:
    """The first block's expansion where a network has none: 32 channels, unchanged."""
    kernel = np.eye(32, dtype=np.float32)[:, :, None, None]
    return {"layer2.0.output.0.0.weight": kernel.copy} | shift("layer2.0.output.0.1", np.zeros(32, np.float32))


def shift(module: str, bias: np.ndarray) -> Readers:
    """Batch norm that adds `bias` and does nothing else, for a convolution into which its own was folded."""
    one = np.ones_like(bias)
    values = {"weight": one, "bias": bias, "running_mean": 0 * one, "running_var": (1 - EPSILON) * one}
    return {f"{module}.{name}": array.copy for name, array in values.items()}


def _torchvision_modules() -> Iterator[tuple[str, str]]:
    yield from (("features.0.0", "layer1.0"), ("features.0.1", "layer1.1"))
    for number, (stage, block) in enumerate(_BLOCKS, start=1):
        theirs = _TORCHVISION_FIRST if number == 1 else _TORCHVISION
        yield from _block_modules(f"features.{number}", theirs, stage, block)


def _timm_modules() -> Iterator[tuple[str, str]]:
    yield from (("conv_stem", "layer1.0"), ("bn1", "layer1.1"))
    for stage, block in _BLOCKS:
        yield from _block_modules(f"blocks.{stage - 2}.{block}", _TIMM_FIRST if stage == 2 else _TIMM, stage, block)


def _block_modules(prefix: str, theirs: tuple[str, ...], stage: int, block: int) -> Iterator[tuple[str, str]]:
    """Pairs of their module and the published one."""
    for module, published in zip(theirs, _PUBLISHED[-len(theirs) :], strict=True):
        yield f"{prefix}.{module}", f"layer{stage}.{block}.output.{published}"
