"""PASCAL Person-Part, six body parts, from which the CVPR 2018 paper starts; with its recipe for hands (see `paper.py`).

  tfds build tfds_builders/person_parts --config=parts --file_format=array_record
  python -m refinenet_jax.main --config=configs/person_parts.py --workdir=runs/person_parts --config.init_from=RESNET
  python -m refinenet_jax.main --config=configs/person_parts.py --workdir=runs/person_parts --job=evaluate

RESNET is a published ResNet-101 trained on ImageNet: any file that `refinenet-jax convert` identifies as one. The hand
datasets then start from this run, such as configs/egohands.py with --config.init_from=runs/person_parts.

Published mean IoU of the seven classes on the 1,817 validation pictures: RefineNet-101 0.686 (CVPR 2017); Light-Weight
RefineNet-50, -101, -152 0.649, 0.667, 0.676 (BMVC 2018). Their recipes differ; the 80 epochs here are documented for EgoHands
only. The paper's project trains on lower arms with their hands and reports an IoU of 0.61: build --config=lower_arms (or
--config=hands) and train with --config.data.name=person_parts/lower_arms. There is no test split.
Other networks are chosen after a colon: --config=configs/person_parts.py:rf_lw101.
"""

from ml_collections import ConfigDict

from configs import paper

TRAIN_PICTURES = 1716


def get_config(variant: str = "rf101") -> ConfigDict:
    config = paper.recipe(variant, "person_parts/parts", TRAIN_PICTURES)
    config.evaluate.split = "validation"
    return config
