"""Composes harder pictures: small hands, people opposite with faces and bare arms, cards, clutter, low-quality cameras.

`generate(split, index)` is a pure function, as in `scene.py`. Compared with it, pictures have features of head-mounted
cameras: the hands of a person opposite, with chest, face and elbows; arms that are bare up to the sleeve of a shirt; three or
four hands at once; many objects; and blur, color casts and JPEG compression.
"""

import dataclasses

import cv2
import numpy as np

from tfds_builders.synthetic_hands import background, hand, props, scene, shading, skeleton, skin, solids

Rng = np.random.Generator
NUM_EXAMPLES = {"train": 2048, "validation": 64, "test": 128}
SEED = 20180619
FULL = np.array([scene.WIDTH, scene.HEIGHT]) * scene.SUPERSAMPLING  # (width, height) of the fine grid


def scatter(rng: Rng, picture: np.ndarray, count: int, largest: float) -> np.ndarray:
    """Draws flat shapes of all sizes and colors (ellipses, polygons, strokes, letters) over sRGB float32 [h, w, 3]."""
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    h, w = picture.shape[:2]
    for _ in range(count):
        spot = (rng.uniform(-0.05, 1.05, 2) * (w, h)).astype(int)
        size = largest * rng.uniform(0.03, 1) ** 2 + 2
        color = background.draw_color(rng).tolist()
        kind = rng.integers(5)
        if kind == 0:
            axes = (size * rng.uniform(0.25, 1, 2)).astype(int) + 1
            cv2.ellipse(picture, spot.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        elif kind < 3:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = spot + size * np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.5, 1, (1, 2))
            cv2.fillPoly(picture, [corners.astype(np.int32)], color, cv2.LINE_AA)
        elif kind == 3:
            end = spot + (rng.uniform(-1, 1, 2) * size * 2).astype(int)
            cv2.line(picture, spot.tolist(), end.tolist(), color, int(rng.integers(1, 9)), cv2.LINE_AA)
        else:
            text = chr(int(rng.integers(48, 91))) * int(rng.integers(1, 5))
            cv2.putText(picture, text, spot.tolist(), 0, size / 40 + 0.2, color, int(rng.integers(1, 4)), cv2.LINE_AA)
    return picture.astype(np.float32)


def draw_wall(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws the background of the table: a room, a plain wall or only shapes; sRGB float32 [h, w, 3]."""
    picture = background.draw(rng, shape)
    picture = scatter(rng, picture, int(rng.integers(0, 30)), rng.uniform(20, 90))
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 2.5))


def draw_table(rng: Rng, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns a table top, sRGB float32 [h, w, 3], and its coverage of each pixel, float32 [h, w, 1]."""
    picture = np.clip(background.surface(rng, shape), 0, 255).astype(np.float32)
    if rng.uniform() < 0.5:
        picture = scatter(rng, picture, int(rng.integers(1, 12)), rng.uniform(10, 60))
    h, w = shape
    edge = h * rng.uniform(0.2, 0.75) + rng.uniform(-0.2, 0.2) * (np.arange(w) - w / 2)
    cover = np.clip(np.arange(h)[:, None] - edge[None], 0, 1).astype(np.float32)[..., None]
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.5)), cover


def draw_person(rng: Rng) -> scene.Person:
    """Returns a person with long, rolled-up, short or no sleeves, the same for both arms."""
    person = scene.draw_person(rng)
    kind = rng.uniform()
    sleeve = rng.uniform(1, 9) if kind < 0.35 else rng.uniform(9, 22) if kind < 0.5 else None
    band = rng.uniform() < 0.15
    return scene.Person(person.tone, hand.Build(person.build.stout, sleeve, band), person.sleeve, person.band)


def draw_cards(rng: Rng) -> tuple[skeleton.Pose, props.Held, bool]:
    """Returns a hand with up to four playing cards or sheets, side by side."""
    count, step = int(rng.integers(1, 5)), rng.uniform(-2.2, 2.2)
    wide, long = rng.uniform((2.6, 3.8), (3.6, 5.5))
    paper = skin.to_linear(background.draw_color(rng) if rng.uniform() < 0.5 else rng.uniform(190, 250) * np.ones(3))
    cards = []
    for i in range(count):
        center = step * (i - (count - 1) / 2) - 0.4, 5.4 + long, -2.85 - 0.12 * i
        shade = rng.uniform(0.75, 1.0)
        cards.append((props.Shape("box", center, (wide, long, 0.05)), (paper * shade).astype(np.float32)))
    return skeleton.flat_hold(rng), cards, rng.uniform() < 0.5


def draw_grasp(rng: Rng) -> tuple[skeleton.Pose, props.Held, bool]:
    """Returns the same as `scene.draw_pose`, with objects in more of the hands."""
    return draw_cards(rng) if rng.uniform() < 0.2 else scene.draw_pose(rng, 0.25)


def put_arm(rng: Rng, picture, mask, person: scene.Person, view: hand.View, grasp, light: shading.Light) -> None:
    """Draws an arm over picture and mask, in place; one in seven moves."""
    pose, held, _ = grasp
    layer = scene.draw_arm(rng, person, view, pose, held, light)
    kernel = scene.motion_kernel(rng, 13) if rng.uniform() < 0.15 else None
    scene.composite(picture, mask, layer, scene.LEFT if view.is_left else scene.RIGHT, light, kernel)


def put_chest(rng: Rng, picture, mask, person: scene.Person, view: hand.View, light: shading.Light) -> None:
    """Draws the head and the chest, in a patterned shirt of the color of the sleeve, over the picture."""
    pieces = props.draw_head(rng, view, person.tone)
    clothes = [(solid, person.sleeve) for solid, _ in pieces[: props.NUM_CLOTHES]]
    shirt = scene.draw_props(clothes, light, 10.0)
    if shirt.cover.size and rng.uniform() < 0.6:
        pattern = background.surface(rng, shirt.cover.shape)
        if rng.uniform() < 0.4:
            pattern = scatter(rng, pattern, 40, 40)
        shirt.color[:] = shirt.color * (0.3 + np.clip(pattern / 255, 0, 1))
    scene.composite(picture, mask, shirt, scene.BACKGROUND, light)
    head = [(dataclasses.replace(solid, part=i), color) for i, (solid, color) in enumerate(pieces[props.NUM_CLOTHES :])]
    face = scene.draw_props(head, light, 6.0)
    scene.composite(picture, mask, face, scene.BACKGROUND, light)


def opposite_view(rng: Rng, head: hand.View, is_left: bool, from_palm: bool) -> tuple[hand.View, np.ndarray, float]:
    """Returns the view of an arm of a person with the head at `head`, the elbow (x, y), and the length of the forearm in cm."""
    scale, side = head.scale, 1 if is_left else -1  # the left hand of a person opposite is at the right
    spot = np.array(head.wrist)
    elbow = spot + scale * rng.uniform((18, 40), (34, 56)) * (side, 1)
    target = spot + scale * rng.uniform((-8, 34), (24, 66)) * (side, 1)
    planar = np.sqrt(((target - elbow) ** 2).sum()) / scale - 6.0  # to the wrist
    forearm = rng.uniform(24, 29)
    pitch = float(np.arccos(np.clip(planar / forearm, 0.45, 1.0)))
    roll = np.pi + rng.uniform(-0.6, 0.6) if from_palm else rng.uniform(-1.3, 1.3)
    view = scene.aim(rng, elbow / FULL, target / FULL, roll, pitch * rng.uniform(0.6, 1), scale * 1.1, is_left, False)
    return view, elbow, max(planar / max(np.cos(pitch), 0.45), 16.0)


def put_opposite(rng: Rng, picture, mask, light: shading.Light) -> list:
    """Draws a person who faces the camera; returns the arms to draw later, which are in front of the table."""
    person = draw_person(rng)
    turn = hand.rotation(2, rng.uniform(-0.25, 0.25)) @ hand.rotation(1, rng.uniform(-0.6, 0.6))
    turn = turn @ hand.rotation(0, rng.uniform(-0.2, 0.5))
    spot = tuple(rng.uniform((0.15, -0.2), (0.85, 0.25)) * FULL)
    head = hand.View(turn, np.eye(3), spot, rng.uniform(3.0, 7.5), False)
    put_chest(rng, picture, mask, person, head, light)
    return [(person, head, is_left) for is_left in rng.permutation([False, True]).tolist() if rng.uniform() < 0.85]


def put_opposite_arm(
    rng: Rng, picture, mask, person: scene.Person, head: hand.View, is_left: bool, light: shading.Light
) -> None:
    """Draws the upper arm, forearm and hand of a person who faces the camera."""
    grasp = draw_grasp(rng)
    view, elbow, forearm = opposite_view(rng, head, is_left, grasp[2])
    shoulder = np.array(head.wrist) + head.scale * np.array([18.0 if is_left else -18.0, 27.0])
    sleeve = person.build.sleeve
    color = person.sleeve if sleeve is not None else person.tone.back
    ends = (np.append(shoulder, 0), np.append(elbow, 0))
    upper = [(solids.make_cone(*ends, 5.2 * head.scale, 3.9 * head.scale, 0), color)]
    if sleeve is None:  # draw a short one
        hem = shoulder + (elbow - shoulder) * rng.uniform(0.3, 0.8)
        cuff = solids.make_cone(ends[0], np.append(hem, 0), 6.0 * head.scale, 5.6 * head.scale, 1)
        upper.append((cuff, person.sleeve))
    scene.composite(picture, mask, scene.draw_props(upper, light, 4.0), scene.BACKGROUND, light)
    sleeve = None if sleeve is None or sleeve > forearm - 3 else sleeve
    build = hand.Build(person.build.stout, sleeve, person.build.band, forearm)
    put_arm(rng, picture, mask, scene.Person(person.tone, build, person.sleeve, person.band), view, grasp, light)


def own_view(rng: Rng, is_left: bool, from_palm: bool) -> hand.View:
    """Returns the view of a wearer's hand, from below or from the side, often cropped by the edge of the picture."""
    below = rng.uniform() < 0.8
    entry = np.array([rng.uniform(0.35, 1.1), 1.15]) if below else np.array([1.1, rng.uniform(0.55, 1.0)])
    target = rng.uniform((0.4, 0.35), (0.92, 0.98))
    roll = np.pi + rng.uniform(-0.5, 0.5) if from_palm else rng.uniform(-0.7, 1.3)
    scale = rng.uniform(6, 17)
    return scene.aim(rng, entry, target, roll, rng.uniform(-0.8, 0.3), scale, is_left, mirror=is_left)


def side_view(rng: Rng, is_left: bool, from_palm: bool) -> hand.View:
    """Returns the view of a hand of a person outside the picture, from any edge."""
    angle = rng.uniform(0, 2 * np.pi)
    entry = 0.5 + 0.75 * np.array([np.cos(angle), np.sin(angle)])
    target = rng.uniform((0.15, 0.15), (0.85, 0.85))
    roll = np.pi + rng.uniform(-0.6, 0.6) if from_palm else rng.uniform(-1.0, 1.2)
    return scene.aim(rng, entry, target, roll, rng.uniform(-0.5, 0.5), rng.uniform(4, 12), is_left, mirror=False)


def put_things(rng: Rng, picture, mask, light: shading.Light, count: int) -> None:
    """Draws objects lying around, small and large."""
    for _ in range(count):
        things = props.draw_object(rng, tuple(FULL[::-1].tolist()), (2.5, 10.0))
        layer = scene.draw_props(things, light, rng.uniform(2, 10))
        scene.composite(picture, mask, layer, scene.BACKGROUND, light)


def degrade(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Simulates a low-quality camera (color cast, gamma, defocus, JPEG) on uint8 [h, w, 3]."""
    cast = 1 + rng.uniform(-0.15, 0.15, 3) * (rng.uniform() < 0.7)
    curve = np.clip((np.arange(256)[:, None] / 255) ** rng.uniform(0.7, 1.5) * 255 * cast, 0, 255)
    image = cv2.LUT(image, np.round(curve).astype(np.uint8)[:, None])
    if rng.uniform() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.uniform() < 0.6:
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image


def generate(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Generates one example.

    Args:
      split: a key of NUM_EXAMPLES.
      index: number of the example in the split.

    Returns:
      image uint8 [192, 256, 3] RGB and mask uint8 [192, 256] of BACKGROUND, LEFT, RIGHT.
    """
    rng, shape = scene.make_rng(split, index, SEED), (scene.HEIGHT, scene.WIDTH)
    light = scene.draw_light(rng)
    level = 0.35 * light.ambient + 0.75 * light.key * light.direction[2] + 0.2
    picture = (skin.to_linear(draw_wall(rng, shape)) * level).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    arms = put_opposite(rng, picture, mask, light) if rng.uniform() < 0.55 else []
    if rng.uniform() < 0.8:
        table, cover = draw_table(rng, shape)
        picture += cover * ((skin.to_linear(table) * level).astype(np.float32) - picture)
    put_things(rng, picture, mask, light, int(rng.integers(0, 6)))
    if rng.uniform() < 0.12:  # skin other than hands
        limb = props.draw_limb(rng, tuple(FULL[::-1].tolist()), skin.draw_tone(rng))
        scene.composite(picture, mask, scene.draw_props(limb, light, 12.0), scene.BACKGROUND, light)
    for person, head, is_left in arms:
        put_opposite_arm(rng, picture, mask, person, head, is_left, light)
    if rng.uniform() < 0.15:
        person, is_left, grasp = draw_person(rng), bool(rng.integers(2)), draw_grasp(rng)
        put_arm(rng, picture, mask, person, side_view(rng, is_left, grasp[2]), grasp, light)
    wearer = draw_person(rng)
    for is_left in rng.permutation([False, True]).tolist():
        if rng.uniform() < 0.6:
            grasp = draw_grasp(rng)
            put_arm(rng, picture, mask, wearer, own_view(rng, is_left, grasp[2]), grasp, light)
    if rng.uniform() < 0.25:
        put_things(rng, picture, mask, light, 1)
    return degrade(rng, scene.photograph(rng, picture)), mask
