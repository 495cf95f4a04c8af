"""Finds classes that are left and right of the same thing by their names, so that a mirrored picture exchanges them."""

import re
from collections.abc import Sequence

_LEFT, _RIGHT = re.compile(r"left|\bl\b"), re.compile(r"right|\br\b")
# Words that l and r may be attached to, as in lhand or handr; other words start or end with them by chance.
_THINGS = "h|hn?d|hands?|arms?|forearms?|wrists?|palms?|fingers?|thumbs?|gloves?|sleeves?|elbows?|f(?:oo|ee)t"
_ATTACHED = re.compile(rf"\b(?:(?P<first>[lr])(?=(?:{_THINGS})\b)|(?<=\b)(?P<thing>{_THINGS})(?P<last>[lr])\b)")


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Returns pairs of indices of names that differ only by left and right, or l and r (LH, hand_L)."""
    # Keyed by the name without its side.
    lefts, rights = (
        {side.sub("\0", name): i for i, name in enumerate(map(_plain, names)) if side.search(name)}
        for side in (_LEFT, _RIGHT)
    )
    return tuple(sorted((i, rights[rest]) for rest, i in lefts.items() if rest in rights))


def _plain(name: str) -> str:
    """Returns lower-case words separated by spaces; an l or r that is attached to a body part becomes a word."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    name = " ".join(re.findall(r"[^\W\d_]+|\d+", name)).casefold()
    return _ATTACHED.sub(lambda m: f"{m['first']} " if m["first"] else f"{m['thing']} {m['last']}", name)
