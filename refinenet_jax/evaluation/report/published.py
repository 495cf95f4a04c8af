"""Published scores of the datasets, as printed by their authors.

Urooj and Borji, "Analysis of Hand Segmentation in the Wild" (CVPR 2018): RefineNet-Res101, pre-trained on Person-Part and
fine-tuned on the named training set; hand IoU averaged over the images, at scales 0.6, 0.8 and 1.0, with the scripts that
protocol cvpr18 follows. Where the last digit is hard to read in the source, the score is marked ~.
"""

from typing import NamedTuple

from refinenet_jax.evaluation.cvpr18 import dataset_of


class Published(NamedTuple):
    """A score as printed, '~0.503' if its last digit is uncertain."""

    text: str

    @property
    def value(self) -> float:
        return float(self.text.lstrip("~"))

    @property
    def is_uncertain(self) -> bool:
        return self.text.startswith("~")


DATASETS = {"egohands": "EgoHands", "eyth": "EYTH", "gtea": "GTEA", "hof": "HOF"}

# Training dataset -> test dataset.
MATRIX = {
    "egohands": {
        "egohands": Published("0.814"),
        "eyth": Published("0.428"),
        "gtea": Published("0.774"),
        "hof": Published("~0.503"),
    },
    "eyth": {
        "egohands": Published("0.670"),
        "eyth": Published("0.688"),
        "gtea": Published("0.666"),
        "hof": Published("0.528"),
    },
    "gtea": {
        "egohands": Published("~0.152"),
        "eyth": Published("0.440"),
        "gtea": Published("0.821"),
        "hof": Published("~0.26"),
    },
    "hof": {
        "egohands": Published("0.578"),
        "eyth": Published("~0.423"),
        "gtea": Published("0.431"),
        "hof": Published("0.766"),
    },
}

# The same paper: mean IoU of images with small and with big hands.
SMALL_AND_BIG = {"egohands": (0.787, 0.750), "eyth": (0.537, 0.867), "gtea": (0.732, 0.894), "hof": (0.713, 0.792)}

# Light-Weight RefineNet-101 pre-trained on Person-Part, from the report of adarsh1001/Hand_Segmentation_RefineNet.
SEED = {"egohands": 0.662, "eyth": 0.468, "gtea": 0.637, "hof": 0.623}


def rows(dataset: str) -> list[list[str]]:
    """Returns the published results of a dataset: network, score, how it was measured; [] if there are none."""
    name = dataset_of(dataset)
    if name not in MATRIX:
        return []
    return [
        [
            "RefineNet-Res101 from Person-Part (Urooj and Borji, CVPR 2018)",
            MATRIX[name][name].text,
            "hand IoU, mean per image; compare protocol cvpr18",
        ],
        [
            "Light-Weight RefineNet-101 from Person-Part (adarsh1001/Hand_Segmentation_RefineNet)",
            f"{SEED[name]:.3f}",
            "from its report; compare protocol seed",
        ],
    ]


def small_and_big(dataset: str) -> str:
    """Returns a sentence on small and big hands, '' if nothing is published."""
    name = dataset_of(dataset)
    if name not in SMALL_AND_BIG:
        return ""
    small, big = SMALL_AND_BIG[name]
    return (
        f"Published for {DATASETS[name]} (Urooj and Borji, CVPR 2018): {small:.3f} for small and {big:.3f} for big hands,"
        " mean IoU; the threshold between them is not published."
    )
