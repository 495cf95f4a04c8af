"""The official trees: where annotations and pictures are in a folder, and the split of pictures.

    pascal_person_part/pascal_person_part_gt/<id>.png                       3,533 masks of Chen et al.
    pascal_person_part/pascal_person_part_trainval_list/{train,val}_id.txt  their split, by id
    Annotations_Part/<id>.mat                                               10,103 annotations of PASCAL-Part
    VOCdevkit/VOC2010/JPEGImages/<id>.jpg                                   the pictures
    VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt                        the split of PASCAL VOC 2010

An <id> is `2008_003228`.
"""

import collections
import re

from etils import epath

from tfds_builders.lists import first_few, read_list

MASKS = "pascal_person_part_gt"
LISTS = "pascal_person_part_trainval_list"
PICTURES = "JPEGImages"
MAIN = "ImageSets/Main"

_ID = re.compile(r"\d{4}_\d{6}")


def list_files(folder: epath.Path, ending: str) -> dict[str, epath.Path]:
    """Returns files named <id> with the ending, by id; others, such as ._<id> and Thumbs.db, are ignored."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == ending and _ID.fullmatch(path.stem)}


def read_lists(folder: epath.Path, ending: str) -> dict[str, list[str]]:
    """Reads the split into training and validation.

    Args:
      folder: folder of the lists.
      ending: "_id.txt" for the lists of Chen et al., ".txt" for those of VOC.

    Returns:
      The sorted ids of train and validation.

    Raises:
      ValueError: a list is missing, empty or unreadable, or a picture is listed twice.
    """
    lists = {
        split: sorted(match[0] for match in read_list(folder / f"{name}{ending}", _ID, "2008_003228"))
        for split, name in (("train", "train"), ("validation", "val"))
    }
    ids = [*lists["train"], *lists["validation"]]
    if twice := [name for name, count in collections.Counter(ids).items() if count > 1]:
        raise ValueError(f"{folder} has {first_few(twice)} twice in its lists. Unpack it again.")
    return lists


def split_by_lists(ids: list[str], lists: dict[str, list[str]], folder: epath.Path) -> dict[str, list[str]]:
    """Splits ids according to lists.

    Raises:
      ValueError: an id is in no list; the message names `folder`, the folder of the lists.
    """
    if unlisted := sorted(set(ids).difference(*lists.values())):
        raise ValueError(f"{folder} has no list with {first_few(unlisted)}. Use the lists of VOC 2010.")
    return {split: sorted(set(ids) & set(members)) for split, members in lists.items()}


def check_all_there(ids: list[str], files: dict[str, epath.Path], folder: epath.Path, what: str) -> None:
    """Raises ValueError, with names, unless there is a file for each id."""
    if missing := sorted(set(ids) - set(files)):
        raise ValueError(
            f"{folder} lacks the {what} of {len(missing)} pictures: {first_few(missing)}. Unpack it again."
        )
