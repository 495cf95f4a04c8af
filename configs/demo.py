"""A small network on pictures made here: the whole way in some minutes on two CPU cores.

  tfds build tfds_builders/synthetic_hands --file_format=array_record
  python -m refinenet_jax.main --config=configs/demo.py --workdir=runs/demo
  python -m refinenet_jax.main --config=configs/demo.py --workdir=runs/demo --job=evaluate

`bash launch/demo.sh` does all of it. Expected: hand IoU of at least 0.80 on the 128 test pictures.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "rf_lw_mbv2") -> ConfigDict:
    config = common.get_config()
    config.model.variant = variant
    config.model.batch_norm = "local"  # trained from nothing: there are no moments to freeze
    config.model.dropout = 0.0
    config.data.name = "synthetic_hands/hands"

    config.augment.crop_size = 128
    config.augment.short_edge = None
    config.augment.scales = (0.7, 0.85, 1.0)
    config.augment.crop = "random"
    config.loss_resolution = "labels"

    config.batch_size = 16
    config.num_steps = 250
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_all = False
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 2e-3
    config.schedule.warmup_steps = 20

    config.log_every = 10
    config.eval_every = 125
    config.checkpoint_every = 50
    config.evaluate.batch_size = 16
    return config
