"""Text from files is escaped in all parts of a page."""

import numpy as np

from refinenet_jax.evaluation.report import page

EVIL = "<b onclick='x'>&\"</b>"


def test_markup_is_escaped():
    pieces = [
        page.paragraph(EVIL),
        page.points([EVIL]),
        page.descriptions("facts", [(EVIL, EVIL)]),
        page.table("scores", [EVIL], [[EVIL]]),
        page.figure(EVIL, ""),
        page.folded(EVIL, ""),
        page.swatches(["#000000"], [EVIL]),
        page.picture(np.zeros((2, 3, 3), np.uint8), EVIL),
        page.page(EVIL, EVIL, [(EVIL, "<p>content</p>")]),
    ]
    for piece in pieces:
        assert "&lt;b onclick=" in piece
        assert "<b onclick" not in piece
    assert "<p>content</p>" in pieces[-1]
