"""Files -> batches: sources of examples, augmentation, and the Grain pipeline that feeds training."""

from refinenet_jax.data.augment import Augmentation
from refinenet_jax.data.mix import open_mix, require_same_classes
from refinenet_jax.data.paste import CopyPaste
from refinenet_jax.data.pipeline import read_ahead, train_batches
from refinenet_jax.data.sources import VOID, DataError, DatasetInfo, Source, check_masks, open_source

__all__ = [
    "VOID",
    "Augmentation",
    "CopyPaste",
    "DataError",
    "DatasetInfo",
    "Source",
    "check_masks",
    "open_mix",
    "open_source",
    "read_ahead",
    "require_same_classes",
    "train_batches",
]
