"""HandOverFace (Urooj and Borji, CVPR 2018), with the recipe of that paper (see `paper.py`).

  tfds build tfds_builders/hof --config=resized --file_format=array_record
  python -m refinenet_jax.main --config=configs/hof.py --workdir=runs/hof --config.init_from=START
  python -m refinenet_jax.main --config=configs/hof.py --workdir=runs/hof --job=evaluate

START is a trained network, in the paper runs/person_parts (configs/person_parts.py), or a published ResNet: any file that
`refinenet-jax convert` identifies as one.

Published result from Person-Part weights: hand IoU 0.766 averaged over the 100 test pictures (CVPR 2018, poster). The paper
trains on all of the other 200; here 40 of them are for validation, and `--config.data.train_split=train+validation` trains on
them too. Only the config `hof/paper` has the paper's test pictures; it needs the owners' list (tfds_builders/hof/README.md).
The 80 epochs are documented for EgoHands only. Other networks are chosen after a colon: --config=configs/hof.py:rf_lw_mbv2.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_PICTURES = 160


def get_config(variant: str = "rf101") -> ConfigDict:
    return paper.recipe(variant, "hof/resized", TRAIN_PICTURES)
