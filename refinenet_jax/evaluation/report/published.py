"""Published scores of the datasets, as printed by their authors.

Urooj and Borji, "Analysis of Hand Segmentation in the Wild" (CVPR 2018): RefineNet-Res101, pre-trained on Person-Part and
fine-tuned on the named training set; hand IoU averaged over the images, at scales 0.6, 0.8 and 1.0, with the scripts that
protocol cvpr18 follows. Where the last digit is hard to read in the source, the score is marked ~.
"""

from refinenet_jax.evaluation.cvpr18 import dataset_of

DATASETS = {"egohands": "EgoHands", "eyth": "EYTH", "gtea": "GTEA", "hof": "HOF"}

# Training dataset -> test dataset -> score as printed.
MATRIX = {
    "egohands": {"egohands": "0.814", "eyth": "0.428", "gtea": "0.774", "hof": "~0.503"},
    "eyth": {"egohands": "0.670", "eyth": "0.688", "gtea": "0.666", "hof": "0.528"},
    "gtea": {"egohands": "~0.152", "eyth": "0.440", "gtea": "0.821", "hof": "~0.26"},
    "hof": {"egohands": "0.578", "eyth": "~0.423", "gtea": "0.431", "hof": "0.766"},
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
            MATRIX[name][name],
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
