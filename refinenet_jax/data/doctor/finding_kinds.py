"""Kinds of findings of the data doctor: severity, effect and fix."""

import dataclasses

SEVERITIES = ("problem", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
      severity: 'problem' spoils training or its scores, 'warning' may do so, 'note' is for information.
      effect: effect on training or on the scores.
      fix: advice on how to fix it.
    """

    severity: str
    effect: str
    fix: str


# The faults of examples.FAULTS come first; `--allow` accepts these names.
KINDS = {
    "undecodable": Kind("problem", "Training stops at such a file.", "Get these files again, or remove them."),
    "size-mismatch": Kind(
        "problem",
        "The mask does not fit its image, so training stops there.",
        "Pair each image with the mask that was drawn on it, at its size.",
    ),
    "mask-value": Kind(
        "problem",
        "Such pixels belong to no class, so training stops there.",
        "Store class ids, or 255 for void, as PNG; resize masks by nearest neighbor only.",
    ),
    "mask-format": Kind(
        "problem",
        "These masks do not contain class ids.",
        "Follow the message; PNG of one channel with 8 bits is always right, JPEG never.",
    ),
    "missing": Kind(
        "problem",
        "Images are missing in training or in the scores.",
        "Follow the message, or remove the image from its folder and list.",
    ),
    "annotation": Kind("problem", "No mask can be drawn from it.", "Correct the annotation as the message says."),
    "unusable": Kind("problem", "It cannot be read.", "Follow the message."),
    "binary-masks": Kind(
        "problem",
        "255 means void, which is ignored: the network learns that everything is background.",
        "Store class ids, 0 and 1 (mask = mask == 255); for a folder, write `binary: true` in its dataset.yaml.",
    ),
    "inverted": Kind(
        "problem",
        "The network learns the background as the hand, if the masks are inverted.",
        "Check the contact sheet; swap the ids if the masks are inverted.",
    ),
    "absent-class": Kind(
        "problem",
        "The network cannot learn a class that it never sees.",
        "Add examples, correct the class ids, or remove the class.",
    ),
    "mask-as-image": Kind(
        "problem",
        "The network learns to copy its input.",
        "Store the photographs as images instead of the masks, and build the dataset again.",
    ),
    "conflicting-masks": Kind(
        "problem",
        "One picture has two answers: it cannot be learned, and its score is meaningless.",
        "Keep the correct mask, and remove the other examples.",
    ),
    "leak": Kind(
        "problem",
        "The network is tested on pictures that it was trained on: the scores are too high.",
        "Remove the copies from one of the splits.",
    ),
    "near-leak": Kind(
        "problem",
        "Recompressed copies or neighboring frames of training pictures: the scores are too high.",
        "Split by video or place rather than by picture, or remove the copies.",
    ),
    "video-in-several-splits": Kind(
        "problem",
        "Frames of one video share hands, room and light: the scores are too high.",
        "Split by video. If the official split is like this, accept it: --allow video-in-several-splits near-leak",
    ),
    "duplicate-ids": Kind(
        "problem", "Results are stored by id, and overwrite each other.", "Give every example its own id."
    ),
    "all-void": Kind("warning", "There is nothing to learn from such images.", "Remove them."),
    "unmeasured-class": Kind("warning", "This class cannot be scored.", "Add examples of it, or use another split."),
    "unpaired-classes": Kind(
        "warning",
        "Training mirrors pictures: a left hand that keeps its label in the mirror is learned as a right hand.",
        "Write the pairs into dataset.yaml, or `flip_pairs: []` if classes have no sides; or train with"
        " --config.augment.flip=False",
    ),
    "rotation": Kind(
        "warning",
        "Such a mask fits only if it was drawn on the picture as it is shown here.",
        "Check the contact sheet; if it is wrong, rotate the pixels and remove the EXIF tag.",
    ),
    "mostly-empty": Kind(
        "warning",
        "More than half of the images show only background, so the network is biased towards it.",
        "Make sure that no masks were lost; remove some of these images.",
    ),
    "no-foreground": Kind(
        "note", "Correct if there are no hands; wrong if a mask was lost.", "Check the contact sheet."
    ),
    "duplicates": Kind("note", "Copies count twice.", "Keep one of each."),
}
