"""A small network on synthetic pictures: the complete workflow in some minutes on two CPU cores.

  tfds build tfds_builders/synthetic_hands --file_format=array_record
  python -m refinenet_jax.main --config=configs/demo.py --workdir=runs/demo
  python -m refinenet_jax.main --config=configs/demo.py --workdir=runs/demo --job=evaluate

`bash launch/demo.sh` runs all of it. Expected: hand IoU of at least 0.80 on the 128 test pictures.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "rf_lw_mbv2") -> ConfigDict:
    config = common.get_config()
    config.model.variant = variant
    config.model.batch_norm = "local"  # trained from scratch: there are no moments to freeze
    config.model.dropout = 0.0
    config.data.name = "synthetic_hands/hands"

    # Half the size is enough for these hands, and needs a quarter of the compute.
    config.augment.crop_size = 96
    config.augment.short_edge = ()
    config.augment.scales = (0.45, 0.55, 0.65)
    config.evaluate.scales = (0.5, 0.6, 0.7)
    config.loss_resolution = "labels"

    config.batch_size = 4
    config.num_steps = 1800
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_all = False
    config.optimizer.factors.cascade = 0.1
    config.optimizer.factors.classifier = 0.1
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 8e-3
    config.schedule.warmup_steps = 40

    config.log_every = 50
    config.eval_every = config.num_steps
    config.checkpoint_every = 200
    return config
