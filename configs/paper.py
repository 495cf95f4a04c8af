"""The recipe of "Analysis of Hand Segmentation in the Wild" (Urooj and Borji, CVPR 2018), shared by its dataset configs.

SGD with momentum 0.9 and weight decay 5e-4 on every parameter; learning rate 5e-5, a tenth of it in the trunk, ten times in
the classifier; batch 1; batch-norm moments frozen; 80 epochs (documented for EgoHands in issue 6 of
github.com/aurooj/Hand-Segmentation-in-the-Wild; the rest is the training code it is based on, github.com/guosheng/refinenet).
Short edges in [450, 1100], crops of 400 pixels, enlarged to 480 before the network. Tested at scales 0.6, 0.8 and 1.0.
"""

from ml_collections import ConfigDict

from configs import common

EPOCHS = 80


def recipe(variant: str, dataset: str, train_examples: int) -> ConfigDict:
    """Returns the recipe for a dataset.

    Args:
      variant: name of the network.
      dataset: name of the dataset, as in `config.data.name`.
      train_examples: number of examples in the training split.
    """
    config = common.get_config()
    config.model.variant = variant
    config.model.input_scale = 1.2
    config.data.name = dataset
    config.batch_size = 1
    config.num_steps = EPOCHS * train_examples
    config.optimizer.factors.trunk = 0.1
    config.optimizer.factors.classifier = 10.0
    config.eval_every = 2 * train_examples
    if dataset.partition("/")[0] in ("egohands", "eyth", "gtea", "hof"):  # the datasets that the paper's scripts score
        config.evaluate.protocols = ("strict", "cvpr18", "seed")
    return config
