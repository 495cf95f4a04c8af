"""GTEA (Fathi et al., CVPR 2011), hands up to the wrist, with the recipe of the CVPR 2018 paper (see `paper.py`).

  tfds build tfds_builders/gtea --config=wrist --file_format=array_record
  python -m refinenet_jax.main --config=configs/gtea.py --workdir=runs/gtea --config.init_from=START
  python -m refinenet_jax.main --config=configs/gtea.py --workdir=runs/gtea --job=evaluate

START is a trained network, in the paper runs/person_parts (configs/person_parts.py), or a published ResNet: any file that
`refinenet-jax convert` identifies as one.

Published result from Person-Part weights: hand IoU 0.821 averaged over the 204 test frames (CVPR 2018, poster). The 80 epochs
are documented for EgoHands only, and the paper's choice of validation frames is unknown, see tfds_builders/gtea/README.md.
Other networks are chosen after a colon: --config=configs/gtea.py:rf_lw_mbv2.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_FRAMES = 366


def get_config(variant: str = "rf101") -> ConfigDict:
    return paper.recipe(variant, "gtea/wrist", TRAIN_FRAMES)
