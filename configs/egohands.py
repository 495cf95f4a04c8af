"""EgoHands (Bambach et al., ICCV 2015) with the recipe of "Analysis of Hand Segmentation in the Wild" (CVPR 2018).

  tfds build tfds_builders/egohands --config=hands --file_format=array_record
  python -m refinenet_jax.main --config=configs/egohands.py --workdir=runs/egohands

Published, from Person-Part weights: hand IoU 0.814 averaged over the 800 test frames (CVPR 2018, poster).
Other networks behind a colon: --config=configs/egohands.py:rf_lw_mbv2

SGD with momentum 0.9 and weight decay 5e-4 on every parameter; learning rate 5e-5, a tenth of it in the trunk, ten times in
the classifier; batch 1; batch-norm moments frozen; 80 epochs (github.com/aurooj/Hand-Segmentation-in-the-Wild, issue 6, and
the training code it builds on, github.com/guosheng/refinenet). Crops of 400 pixels, enlarged to 480 before the network.
"""

from ml_collections import ConfigDict

from configs import common

TRAIN_FRAMES = 3600
EPOCHS = 80


def get_config(variant: str = "rf101") -> ConfigDict:
    config = common.get_config()
    config.model.variant = variant
    config.model.input_scale = 1.2
    config.data.name = "egohands/hands"
    config.batch_size = 1
    config.num_steps = EPOCHS * TRAIN_FRAMES
    config.optimizer.factors.trunk = 0.1
    config.optimizer.factors.classifier = 10.0
    config.eval_every = 2 * TRAIN_FRAMES
    config.evaluate.batch_size = 4
    return config
