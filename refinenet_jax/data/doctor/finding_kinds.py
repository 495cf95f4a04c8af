"""The kinds of things that the data doctor finds: how bad each is, what it does, and the fix."""

import dataclasses

SEVERITIES = ("problem", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
      severity: 'problem' spoils training or its scores, 'warning' may, 'note' is good to know.
      effect: what it does to training or to the scores.
      fix: what to do about it.
    """

    severity: str
    effect: str
    fix: str


# The faults of examples.FAULTS first; `--allow` takes these names.
KINDS = {
    "undecodable": Kind(
        "problem", "Training stops when it comes to such a file.", "Fetch these files again, or take them out."
    ),
    "size-mismatch": Kind(
        "problem",
        "The mask does not lie on its image, so training stops there.",
        "Pair each image with the mask that was drawn on it, at its size.",
    ),
    "mask-value": Kind(
        "problem",
        "Such pixels belong to no class, so training stops there.",
        "Store class ids, or 255 for void, as PNG; resize masks by nearest neighbor only.",
    ),
    "mask-format": Kind(
        "problem",
        "These masks hold no class ids.",
        "Do as the message says; PNG of one channel with 8 bits is always right, JPEG never.",
    ),
    "missing": Kind(
        "problem",
        "Images are left out of training, or out of the scores.",
        "Do as the message says, or take the image out of its folder and list.",
    ),
    "annotation": Kind("problem", "No mask can be drawn from it.", "Correct the annotation as the message says."),
    "unusable": Kind("problem", "It cannot be read.", "Do as the message says."),
    "binary-masks": Kind(
        "problem",
        "255 means void, which is ignored: the network learns that all is background.",
        "Store class ids, 0 and 1 (mask = mask == 255); for a folder, write `binary: true` in its dataset.yaml.",
    ),
    "inverted": Kind(
        "problem",
        "The network learns the background as the hand, if the masks are inverted.",
        "Look at the contact sheet; exchange the ids if they are.",
    ),
    "absent-class": Kind(
        "problem",
        "The network cannot learn a class that it never sees.",
        "Add examples, correct the class ids, or take the class out of the list.",
    ),
    "mask-as-image": Kind(
        "problem",
        "The network learns to copy its input.",
        "Put the photographs in the place of the masks, and build again.",
    ),
    "conflicting-masks": Kind(
        "problem",
        "One picture asks for two answers: it cannot be learned, and its score means nothing.",
        "Keep the right mask, and take the other examples out.",
    ),
    "leak": Kind(
        "problem",
        "The network is tested on pictures that it was trained on: the scores flatter.",
        "Take the copies out of one of the splits.",
    ),
    "near-leak": Kind(
        "problem",
        "As good as trained on: recompressed copies, or neighboring frames. The scores flatter.",
        "Split by video or place rather than by picture, or take the copies out.",
    ),
    "video-in-several-splits": Kind(
        "problem",
        "Frames of one video share hands, room and light: the scores flatter.",
        "Split by video. If the official split is so, accept it: --allow video-in-several-splits near-leak",
    ),
    "duplicate-ids": Kind(
        "problem", "Results are stored by id, and overwrite each other.", "Give every example an id of its own."
    ),
    "all-void": Kind("warning", "Nothing to learn from: such images only take time.", "Take them out."),
    "unmeasured-class": Kind(
        "warning", "No score can be given for this class.", "Add examples of it, or use another split."
    ),
    "unpaired-classes": Kind(
        "warning",
        "Training mirrors pictures: a left that keeps its name in the mirror is learned as a right.",
        "Write the pairs into dataset.yaml, or `flip_pairs: []` if no class has a side; or train with"
        " --config.augment.flip=False",
    ),
    "rotation": Kind(
        "warning",
        "Such a mask fits only if it was drawn on the picture as it is shown here.",
        "Look at the contact sheet; if it is wrong, turn the pixels and drop the EXIF tag.",
    ),
    "mostly-empty": Kind(
        "warning",
        "More than half of the images show nothing but background, which the network then prefers.",
        "Make sure that no masks were lost; thin these images out.",
    ),
    "no-foreground": Kind(
        "note", "Fine if there are no hands to see; wrong if a mask was lost.", "Look at them on the contact sheet."
    ),
    "duplicates": Kind("note", "Copies count twice.", "Keep one of each."),
}
