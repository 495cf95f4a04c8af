"""Your own pictures, with the recipe of the CVPR 2018 paper (see `paper.py`).

  my_hands/
    images/     0001.jpg  0002.jpg  ...       or images/video1/0001.jpg, to keep videos within one split
    masks/      0001.png  0002.png  ...       class ids: 0 background, 1 hand, 255 void
    dataset.yaml                              optional: classes: [background, left hand, right hand]

  refinenet-jax check ./my_hands
  python -m refinenet_jax.main --config=configs/folder.py --config.data.name=./my_hands --config.init_from=START \\
    --workdir=runs/my_hands
  python -m refinenet_jax.main --workdir=runs/my_hands --job=evaluate

START is a trained network: another run, or a published ResNet, any file that `refinenet-jax convert` identifies as one.
docs/own_data.md shows other layouts (VOC, LabelMe, COCO), masks of 0 and 255, and how splits are made.
Other networks are chosen after a colon: --config=configs/folder.py:rf_lw_mbv2
A tenth of the pictures is for validation and a tenth for testing, unless lists or folders define other splits.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_PICTURES = 250  # a guess, 20,000 steps; set --config.num_steps for your data


def get_config(variant: str = "rf101") -> ConfigDict:
    return paper.recipe(variant, "", TRAIN_PICTURES)  # --config.data.name=./my_hands
