"""Tests of launch/pretrained_data.py: what becomes of forearms, faces and cut-outs."""

import cv2
import numpy as np
import pytest

from launch.pretrained_data import HAND, VOID, crop_to_wrist, cut_at_wrist, faces_and_legs_to_background


def _arm(turns=0, wrist=26):
    """A hand at the top, with a forearm down to the lower edge: fingers, a palm of radius 40 at row 150, a wrist, a forearm."""
    mask = np.zeros((480, 400), np.uint8)
    for x in (165, 188, 212, 235):
        cv2.line(mask, (x, 60), (x, 150), HAND, 16)
    cv2.circle(mask, (200, 150), 40, HAND, -1)
    forearm = [(200 - wrist, 170), (200 + wrist, 170), (200 + wrist, 215), (245, 480), (155, 480), (200 - wrist, 215)]
    cv2.fillPoly(mask, [np.array(forearm)], HAND)
    return np.ascontiguousarray(np.rot90(mask, turns))


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_forearm_becomes_background_and_the_wrist_void(turns):
    arm = _arm(turns)
    cut = np.rot90(cut_at_wrist(arm), -turns)
    arm = np.rot90(arm, -turns)
    np.testing.assert_array_equal(cut[arm == 0], 0)
    assert (cut[:175][arm[:175] == HAND] == HAND).mean() > 0.97  # its corners lie beyond the wrist, along the skin
    assert (cut[205:225][arm[205:225] == HAND] == VOID).all()
    assert (cut[260:][arm[260:] == HAND] == 0).mean() > 0.97  # but for the outermost pixels


def test_forearm_without_a_wrist_is_void():
    """An arm as wide as the palm: where the hand ends cannot be seen."""
    cut = cut_at_wrist(_arm(wrist=42))
    assert (cut[260:] != HAND).all()
    assert (cut[300:, 200] == VOID).all()


def test_void_and_hands_without_forearm_stay():
    mask = _arm()
    mask[190:] = 0
    mask[:, :10] = VOID
    cut = cut_at_wrist(mask)
    assert (cut[:, :10] == VOID).all()
    assert (cut[mask == HAND] == HAND).mean() > 0.95


def test_face_and_legs_become_background_and_other_skin_stays_void():
    mask = np.zeros((800, 500), np.uint8)
    mask[60:130, 220:280] = VOID  # face
    mask[400:430, 120:150] = VOID  # hand
    mask[130:200, 230:270] = VOID  # neck and chest
    mask[500:700, 200:230] = VOID  # a leg
    out = faces_and_legs_to_background(mask)
    assert (out[60:140] == 0).all()
    np.testing.assert_array_equal(out[160:500], mask[160:500])
    assert (out[530:] == 0).all()
    low = np.where(np.arange(800)[:, None] < 300, 0, out).astype(np.uint8)
    np.testing.assert_array_equal(faces_and_legs_to_background(low), low)


@pytest.mark.parametrize("edge", ["bottom", "right"])
def test_cut_outs_end_at_the_wrist(edge):
    mask = np.zeros((100, 100), np.uint8)
    mask[10:80, 20:60] = HAND
    image, cropped = crop_to_wrist(np.zeros((100, 100, 3), np.uint8), mask, edge)
    assert image.shape[:2] == cropped.shape
    assert (cropped[-1] == HAND).any() == (edge == "bottom")
    assert (cropped[:, -1] == HAND).any() == (edge == "right")
    assert (cropped == HAND).sum() > 0.9 * (mask == HAND).sum()
