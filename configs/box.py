"""The network that comes with the package (`refinenet_jax/box`), from drawn pictures alone: no real pixel is in it.

  tfds build tfds_builders/synthetic_hands --config=hands --file_format=array_record
  tfds build tfds_builders/synthetic_hands --config=tabletop --file_format=array_record
  tfds build tfds_builders/synthetic_hands --config=printed_tabletop --file_format=array_record
  python -m refinenet_jax.main --config=configs/box.py --workdir=runs/box
  python -m refinenet_jax.main --config=configs/box.py --workdir=runs/box --job=evaluate

What it reaches is in `refinenet_jax/box/model_card.md`. Longer is better: --config.num_steps=50000 on a machine of its own.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "rf_lw_mbv2") -> ConfigDict:
    config = common.get_config()
    config.model.variant = variant
    config.model.batch_norm = "local"  # trained from nothing: there are no moments to freeze
    config.model.dropout = 0.0
    config.data.name = "synthetic_hands/printed_tabletop"
    config.data.mix = (
        ("synthetic_hands/printed_tabletop", 2.0),
        ("synthetic_hands/tabletop", 1.0),
        ("synthetic_hands/hands", 1.0),
    )

    # Hands from 15 to 150 pixels; colours and sharpness as far apart as cameras are.
    config.augment.crop_size = 96
    config.augment.short_edge = ()
    config.augment.scales = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
    config.augment.colour_jitter = 0.4
    config.augment.blur = 0.2
    config.evaluate.longest_side = 176  # chosen on real frames, as model_card.md tells
    config.evaluate.scales = (0.85, 1.0, 1.2)
    config.loss_resolution = "labels"

    config.batch_size = 8
    config.num_steps = 5000
    config.ema_decay = 0.998
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_all = False
    config.optimizer.factors.cascade = 0.1
    config.optimizer.factors.classifier = 0.1
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 3e-3  # at 8e-3 it collapsed after 850 steps
    config.schedule.warmup_steps = 200

    config.log_every = 50
    config.eval_every = config.num_steps
    config.checkpoint_every = 100
    return config
