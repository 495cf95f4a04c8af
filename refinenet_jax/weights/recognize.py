"""Recognizes the network of a weights file by the names and shapes in it, never by the file name."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from refinenet_jax import models
from refinenet_jax.weights import names
from refinenet_jax.weights.flat import DESCRIPTION, description_of
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the blocks of the third stage
# What a classifier of ImageNet has after its trunk: ResNet's last layer; MobileNet-v2's last two, torchvision's and timm's.
_UNUSED = re.compile(r"(fc|classifier|features\.18|conv_head|bn2)\.")
_HANDS = ("background", "hand")
_PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclasses.dataclass(frozen=True)
class Network:
    """Network that a file of weights belongs to.

    Attributes:
      variant: of VARIANTS; None for a trunk alone, which several variants share.
      trunk: as in `RefineNet.trunk_name`.
      num_classes: channels of the classifier, None for a trunk alone. The authors' MATLAB networks have one more than classes,
        the last, for void: nothing is trained to be it.
      class_names: conventional names of the datasets' classes, because no file stores them; `convert --classes` overrides them.
      options: of `create_model`.
      arrays: by PyTorch's names, or ours.
      ours: whether the names are ours.
      unused: arrays in a trunk's file that belong to the classifier after it.
      file: the file itself, with its format and facts; None where there is none.
    """

    variant: str | None
    trunk: str
    num_classes: int | None
    class_names: tuple[str, ...]
    options: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    ours: bool = False
    unused: tuple[str, ...] = ()
    file: WeightsFile | None = None


def recognize(file: WeightsFile) -> Network:
    """Returns the network that a file holds.

    Raises:
      WeightsError: it is none of those known, or of two naming schemes.
    """
    if (description := description_of(file)) is not None:
        return Network(
            description["variant"],
            models.VARIANTS[description["variant"]][0],
            description.get("num_classes", len(description["class_names"])),
            tuple(description["class_names"]),
            models.options_of(description),
            {name: array for name, array in file.arrays.items() if name != DESCRIPTION},
            ours=True,
        )
    arrays, options, matlab = file.arrays, {}, names.is_matlab(file.arrays)
    if matlab:
        if mixed := [name for name in arrays if name.endswith((".weight", ".running_mean"))]:
            raise WeightsError(f"It has MatConvNet's names and PyTorch's ({mixed[0]}): one file of two networks.")
        options = _matlab_options(arrays, file.facts)
        arrays = names.from_matlab(arrays)
    arrays = names.from_other_mobilenets(arrays)
    trunk = _trunk(arrays)
    classifier = {"segm.weight", "clf_conv.weight"} & arrays.keys()
    adapt = next((name for name in ("p_ims1d2_outl1_dimred.weight", "conv8.weight") if name in arrays), None)
    if not classifier and adapt is None:
        return Network(None, trunk, None, (), options, arrays, unused=tuple(filter(_UNUSED.match, arrays)))
    if not classifier or adapt is None:
        has, lacks = ("classifier", "cascade") if classifier else ("cascade", "classifier")
        raise WeightsError(f"It has a {has} and a trunk, but no {lacks}: part of a network.")
    light = arrays[adapt].shape[-1] == 1
    variant = next((name for name, (t, is_light) in models.VARIANTS.items() if (t, is_light) == (trunk, light)), None)
    if variant is None:
        raise WeightsError(
            f"A {'light-weight' if light else 'full'} cascade on {trunk} is none of {', '.join(models.VARIANTS)}."
        )
    stages = [int(n) for name in arrays for n in re.findall(r"(?:_pool|crp\d)\.0\.(\d)_", name)]
    options["pool_stages"] = max(stages, default=0)
    if options["pool_stages"] not in models.OPTIONS["pool_stages"]:
        raise WeightsError(f"Its chained pooling has {options['pool_stages']} stages; known are 4 and 2.")
    channels = arrays[classifier.pop()].shape[0]
    return Network(variant, trunk, channels, _class_names(channels, matlab), options, arrays)


def _matlab_options(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `create_model` that follow from MATLAB's names and the facts of `read_matconvnet`."""
    is_improved = any("_pb" in name for name in arrays)
    if is_improved and any(re.search(r"_pool\d_outvar_dimred", name) for name in arrays):
        raise WeightsError("Some of its pooling is conv_pool (.._pb1_filter), some pool_conv (.._dimred_filter).")
    strides = facts.get("strides", {})
    first, second = strides.get("res3a_branch2a", 2), strides.get("res3a_branch2b", 1)
    if (first, second) not in ((2, 1), (1, 2)):
        raise WeightsError(f"Convolutions of its block res3a have the strides {first:g} and {second:g}, not 2 and 1.")
    return {
        "pool_order": "conv_pool" if is_improved else "pool_conv",
        "stride_on": "1x1" if first == 2 else "3x3",
        "resize": "bicubic",
        "normalization": "minus_128",
        "input_scale": float(facts.get("net_input_img_scales", 1.0)),
    }


def _trunk(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the trunk's name."""
    if "layer1.0.weight" in arrays and "layer2.0.output.0.0.weight" in arrays:
        return "mobilenet_v2"
    blocks = {int(n) for name in arrays for n in re.findall(r"^layer3\.(\d+)\.conv3\.weight$", name)}
    if "conv1.weight" in arrays and len(blocks) in _DEPTHS:
        return f"resnet{_DEPTHS[len(blocks)]}"
    what = f"a trunk of {len(blocks)} blocks in its third stage" if blocks else "no trunk that is known here"
    raise WeightsError(
        f"It holds {what}; known are ResNet-50, -101 and -152 (with their plain 7x7 stem) and MobileNet-v2 1.0. "
        f"Its {len(arrays)} arrays begin with {', '.join(list(arrays)[:4]) or 'nothing'}."
    )


def _class_names(channels: int, matlab: bool) -> tuple[str, ...]:
    """Returns the names of the classes by their number; in MATLAB's hand and VOC networks void follows."""
    known = {2: _HANDS, 7: _PARTS, 21: _VOC} | ({3: _HANDS, 22: _VOC} if matlab else {})
    return known.get(channels, ("background", *(f"class {i}" for i in range(1, channels))))
