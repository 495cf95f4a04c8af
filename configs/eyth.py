"""EgoYouTubeHands (Urooj and Borji, CVPR 2018), with the recipe of that paper (see `paper.py`).

  tfds build tfds_builders/eyth --file_format=array_record
  python -m refinenet_jax.main --config=configs/eyth.py --workdir=runs/eyth --config.init_from=START
  python -m refinenet_jax.main --config=configs/eyth.py --workdir=runs/eyth --job=evaluate

START is a trained network, in the paper runs/person_parts (configs/person_parts.py), or a published ResNet: any file that
`refinenet-jax convert` identifies as one.

Published result from Person-Part weights: hand IoU 0.688 averaged over the 258 test frames (CVPR 2018, poster), except frames
where it is 0. The 80 epochs are documented for EgoHands only. Test frames come from the training videos, see
tfds_builders/eyth/README.md. Other networks are chosen after a colon: --config=configs/eyth.py:rf_lw_mbv2.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_FRAMES = 774


def get_config(variant: str = "rf101") -> ConfigDict:
    return paper.recipe(variant, "eyth/hands", TRAIN_FRAMES)
