"""Finds classes that are left and right of the same thing by their names, so that a mirrored picture exchanges them."""

import re
import unicodedata
from collections.abc import Sequence

# Left and right in class names, in languages of common annotation projects.
_SIDES = """
left/right links/rechts linke/rechte linker/rechter linkes/rechtes gauche/droite gauche/droit
izquierda/derecha izquierdo/derecho izq/der esquerda/direita esquerdo/direito sinistra/destra sinistro/destro
sx/dx vänster/höger venstre/højre venstre/høyre vasen/oikea lewa/prawa lewy/prawy levá/pravá leva/prava
ľavá/pravá lijeva/desna leva/desna stânga/dreapta bal/jobb sol/sağ sol/sag левая/правая левый/правый
ліва/права лява/дясна αριστερό/δεξί αριστερά/δεξιά kiri/kanan trái/phải 左/右 왼/오른 ซ้าย/ขวา يسرى/يمنى يسار/يمين
שמאל/ימין बायाँ/दायाँ बायां/दायां lt/rt lft/rgt l/r
"""
# Words that l and r may be attached to, as in lhand or handr; other words start or end with them by chance.
_THINGS = (
    "h|hn?d|hands?|arms?|forearms?|wrists?|palms?|fingers?|thumbs?|gloves?|sleeves?|elbows?|f(?:oo|ee)t|main|mano|mão"
)
_ATTACHED = re.compile(rf"\b(?:(?P<first>[lr])(?=(?:{_THINGS})\b)|(?<=\b)(?P<thing>{_THINGS})(?P<last>[lr])\b)")
_SIDE = "\0"


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Returns pairs of indices of names that differ only by left and right, in many languages or as l and r (LH, hand_L)."""
    pairs, paired = [], set()
    plain = [_plain(name) for name in names]
    for left, right in (pair.split("/") for pair in _SIDES.split()):
        # Keyed by the name without its side.
        lefts, rights = ({_without(word, name): i for i, name in enumerate(plain)} for word in (left, right))
        for rest, i in lefts.items():
            j = rights.get(rest)
            if rest and j is not None and not {i, j} & paired:
                paired |= {i, j}
                pairs.append((i, j))
    return tuple(sorted(pairs))


def _plain(name: str) -> str:
    """Returns lower-case words separated by spaces; an l or r that is attached to a body part becomes a word."""
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    name = " ".join(re.findall(r"[^\W\d_]+|\d+", name)).casefold()
    return _ATTACHED.sub(lambda m: f"{m['first']} " if m["first"] else f"{m['thing']} {m['last']}", name)


def _without(word: str, name: str) -> str:
    """Returns the name with the word replaced by a mark; '' if it does not occur. Short words must match whole words."""
    word = _plain(word)
    pattern = rf"\b{word}\b" if len(word) < 4 and word.isascii() else re.escape(word)
    marked, count = re.subn(pattern, _SIDE, name)
    return marked if count else ""
