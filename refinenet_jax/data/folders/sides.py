"""Which classes are the left and the right of one thing, by their names: a mirrored picture exchanges them."""

import re
import unicodedata
from collections.abc import Sequence

# Left and right as people name classes, in the languages of common annotation projects.
_WORDS = (
    ("left", "right"),
    ("links", "rechts"),
    ("linke", "rechte"),
    ("linker", "rechter"),
    ("linkes", "rechtes"),
    ("gauche", "droite"),
    ("gauche", "droit"),
    ("izquierda", "derecha"),
    ("izquierdo", "derecho"),
    ("izq", "der"),
    ("esquerda", "direita"),
    ("esquerdo", "direito"),
    ("sinistra", "destra"),
    ("sinistro", "destro"),
    ("sx", "dx"),
    ("vänster", "höger"),
    ("venstre", "højre"),
    ("venstre", "høyre"),
    ("vasen", "oikea"),
    ("lewa", "prawa"),
    ("lewy", "prawy"),
    ("levá", "pravá"),
    ("leva", "prava"),
    ("ľavá", "pravá"),
    ("lijeva", "desna"),
    ("leva", "desna"),
    ("stânga", "dreapta"),
    ("bal", "jobb"),
    ("sol", "sağ"),
    ("sol", "sag"),
    ("левая", "правая"),
    ("левый", "правый"),
    ("ліва", "права"),
    ("лява", "дясна"),
    ("αριστερό", "δεξί"),
    ("αριστερά", "δεξιά"),
    ("kiri", "kanan"),
    ("trái", "phải"),
    ("左", "右"),
    ("왼", "오른"),
    ("ซ้าย", "ขวา"),
    ("يسرى", "يمنى"),
    ("يسار", "يمين"),
    ("שמאל", "ימין"),
    ("बायाँ", "दायाँ"),
    ("बायां", "दायां"),
    ("lt", "rt"),
    ("lft", "rgt"),
    ("l", "r"),
)
# What l and r may be attached to, as in lhand or handr; other words begin or end so by chance.
_THINGS = (
    "h|hn?d|hands?|arms?|forearms?|wrists?|palms?|fingers?|thumbs?|gloves?|sleeves?|elbows?|f(?:oo|ee)t|main|mano|mão"
)
_ATTACHED = re.compile(rf"\b(?:(?P<first>[lr])(?=(?:{_THINGS})\b)|(?<=\b)(?P<thing>{_THINGS})(?P<last>[lr])\b)")
_SIDE = "\0"


def left_right_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of indices of names that differ by left and right alone: words of many languages, l and r, LH, rhand, hand_L."""
    pairs, paired = [], set()
    plain = [_plain(name) for name in names]
    for left, right in _WORDS:
        # By what is left of a name without its side.
        lefts, rights = ({_without(word, name): i for i, name in enumerate(plain)} for word in (left, right))
        for rest, i in lefts.items():
            j = rights.get(rest)
            if rest and j is not None and not {i, j} & paired:
                paired |= {i, j}
                pairs.append((i, j))
    return tuple(sorted(pairs))


def _plain(name: str) -> str:
    """Words in small letters with spaces between them; an l or r that is attached to a part of the body stands alone."""
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    name = " ".join(re.findall(r"[^\W\d_]+|\d+", name)).casefold()
    return _ATTACHED.sub(lambda m: f"{m['first']} " if m["first"] else f"{m['thing']} {m['last']}", name)


def _without(word: str, name: str) -> str:
    """The name with a mark in the place of the word; empty without the word. Short words must stand alone."""
    word = _plain(word)
    pattern = rf"\b{word}\b" if len(word) < 4 and word.isascii() else re.escape(word)
    marked, count = re.subn(pattern, _SIDE, name)
    return marked if count else ""
