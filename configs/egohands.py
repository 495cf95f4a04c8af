"""EgoHands (Bambach et al., ICCV 2015), with the recipe of the CVPR 2018 paper (see `paper.py`).

  tfds build tfds_builders/egohands --config=hands --file_format=array_record
  python -m refinenet_jax.main --config=configs/egohands.py --workdir=runs/egohands --config.init_from=START
  python -m refinenet_jax.main --config=configs/egohands.py --workdir=runs/egohands --job=evaluate

START is a trained network, in the paper runs/person_parts (configs/person_parts.py), or a published ResNet: any file that
`refinenet-jax convert` identifies as one.

Published result from Person-Part weights: hand IoU 0.814 averaged over the 800 test frames (CVPR 2018, poster).
Other networks are chosen after a colon: --config=configs/egohands.py:rf_lw_mbv2.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_FRAMES = 3600


def get_config(variant: str = "rf101") -> ConfigDict:
    return paper.recipe(variant, "egohands/hands", TRAIN_FRAMES)
