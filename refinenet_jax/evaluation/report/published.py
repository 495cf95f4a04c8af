"""Published scores to stand beside ours, where a dataset has any; nobody's network was run again for them.

Urooj and Borji, "Analysis of Hand Segmentation in the Wild" (CVPR 2018): RefineNet-Res101, started from Person-Part and
fine-tuned on the training set named; hand IoU averaged over the images, at scales 0.6, 0.8 and 1.0, by scripts that protocol
cvpr18 follows. The last digit of some is hard to read in the source: they are marked ~.
"""

from typing import NamedTuple

from refinenet_jax.evaluation.cvpr18 import dataset_of


class Published(NamedTuple):
    """A score as it is printed, '~0.503' where its last digit is doubtful."""

    text: str

    @property
    def value(self) -> float:
        return float(self.text.lstrip("~"))

    @property
    def doubtful(self) -> bool:
        return self.text.startswith("~")


DATASETS = {"egohands": "EgoHands", "eyth": "EYTH", "gtea": "GTEA", "hof": "HOF"}

# Trained on -> tested on.
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

# The project this one began with: Light-Weight RefineNet-101, from Person-Part; as its report gives them.
SEED = {"egohands": 0.662, "eyth": 0.468, "gtea": 0.637, "hof": 0.623}


def rows(dataset: str) -> list[list[str]]:
    """What is published of a dataset: network, score, how it was measured; [] where nothing is known."""
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
            "Light-Weight RefineNet-101 from Person-Part (the project this one began with)",
            f"{SEED[name]:.3f}",
            "as its report gives it; compare protocol seed",
        ],
    ]


def small_and_big(dataset: str) -> str:
    """A sentence on small and big hands, '' where nothing is published."""
    name = dataset_of(dataset)
    if name not in SMALL_AND_BIG:
        return ""
    small, big = SMALL_AND_BIG[name]
    return (
        f"Published for {DATASETS[name]} (Urooj and Borji, CVPR 2018): {small:.3f} for small and {big:.3f} for big hands,"
        " mean IoU; where the paper draws the line between them is not known."
    )
