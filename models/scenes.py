"""Draws roadside scenes for the bundled classifier, each from its split, class and number alone.

`python models/scenes.py --frames models/frames` writes the committed held-out frames again, and
`--sheet FILE` a contact sheet for people to look at.
"""

import argparse
import json
import math
import pathlib

import numpy as np
from PIL import Image, ImageDraw

import road_users
import surroundings
import weather
from camera import Camera, Frame, rgb

LABELS = ("empty road", "car", "truck", "pedestrian", "cyclist")
# Splits never share a random stream: a scene's seed is (split, class, number).
TRAIN, TUNING, HELD_OUT, FRAMES = 1, 2, 3, 4
INPUT_SIZE = 96
LARGEST_FRAME_BYTES = 20_000
FRAME_SIZES = ((320, 240), (320, 240), (480, 270), (240, 240), (400, 300), (160, 120))
# Height of the user in metres that the apparent size refers to, and that size as a share of the picture's height.
APPARENT = {
    "car": (1.5, 0.14, 0.32),
    "truck": (3.4, 0.26, 0.48),
    "pedestrian": (1.75, 0.26, 0.56),
    "cyclist": (1.75, 0.26, 0.54),
}
PAINTS = (
    (206, 38, 36),
    (36, 84, 176),
    (236, 236, 232),
    (26, 26, 30),
    (150, 154, 160),
    (240, 190, 40),
    (48, 130, 74),
    (226, 112, 34),
    (92, 44, 110),
    (70, 160, 190),
    (120, 82, 54),
)


def _paint(rng, grounds):
    """A colour that stands out from the ground: who cannot be seen cannot be classified."""
    while True:
        paint = np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.8, 1.1)
        if all(np.abs(paint - ground).max() > 45 for ground in grounds):
            return rgb(paint)


def _layout(kind, rng, size):
    """Camera, place and heading of a user of this kind, and the road under it."""
    width, height = size
    metres, least, most = APPARENT[kind]
    focal = rng.uniform(0.9, 1.5) * height
    horizon = rng.uniform(0.18, 0.46)
    share = rng.uniform(least, most)
    z = focal * metres / (share * height)
    foot = rng.uniform(max(horizon + 0.12, share * 0.95), 0.94)
    camera = Camera(width, height, focal, horizon * height, max(0.9, (foot - horizon) * height * z / focal))
    heading = rng.choice([-1, 1]) * (rng.uniform(0, 0.65) if rng.random() < 0.6 else rng.uniform(0.85, 1.57))
    x = (rng.uniform(0.22, 0.78) - 0.5) * width * z / focal
    lanes, lane_width = int(rng.integers(1, 4)), rng.uniform(2.9, 3.6)
    half = lanes * lane_width / 2
    beside = kind in ("pedestrian", "cyclist") and rng.random() < 0.6
    across = (
        rng.choice([-1, 1]) * (half + rng.uniform(-0.6, 1.5))
        if beside
        else (rng.integers(lanes) + 0.5) * lane_width - half
    )
    return camera, x, z, heading, surroundings.road_frame(x, z, heading, across), lanes, lane_width


def draw_scene(label, rng, size):
    """One picture of `size` (width, height) as a camera would deliver it, before JPEG."""
    # Drawn at twice the size and reduced, so that edges are as soft as a lens makes them.
    canvas = (size[0] * 2, size[1] * 2)
    # An empty road is laid out as if for somebody, so that the road itself tells nothing about its users.
    kind = label if label in APPARENT else rng.choice(list(APPARENT))
    camera, x, z, heading, frame, lanes, lane_width = _layout(kind, rng, canvas)
    picture, verge = surroundings.backdrop(rng, camera)
    draw = ImageDraw.Draw(picture)
    surroundings.skyline(draw, rng, camera)
    asphalt = surroundings.road(draw, rng, camera, frame, lanes, lane_width)
    surroundings.roadside(draw, rng, camera, frame, lanes * lane_width / 2, z * 1.15)
    lamps = []
    if label in APPARENT:
        course = heading + (math.pi if rng.random() < 0.5 else 0.0) + rng.normal(0, 0.06)
        # Long vehicles reach towards the camera: the apparent size holds for the nearest end.
        reach = {"car": 2.0, "truck": 4.0}.get(kind, 0.0) * abs(math.cos(course))
        place = Frame(x * (z + reach) / z, z + reach, course)
        lamps = getattr(road_users, kind)(draw, camera, place, rng, _paint(rng, (asphalt, verge)), asphalt)
    if rng.random() < 0.25:
        side = rng.choice([-1, 1])
        near = z * rng.uniform(0.5, 0.9)
        edge = side * rng.uniform(0.42, 0.5) * canvas[0] * near / camera.focal_px
        surroundings.post(draw, rng, camera, edge, near)
    picture = picture.reduce(2)
    camera = Camera(size[0], size[1], camera.focal_px / 2, camera.horizon_px / 2, camera.height_m)
    lamps = [(u / 2, v / 2, r / 2, colour) for u, v, r, colour in lamps]
    return weather.expose(weather.light_up(picture, rng, camera, lamps), rng)


def interpolated(picture):
    """Bilinear resize to the model's input that reads four pixels per output pixel, half-pixel centres."""
    sx, sy = picture.width / INPUT_SIZE, picture.height / INPUT_SIZE
    return np.asarray(picture.transform((INPUT_SIZE, INPUT_SIZE), Image.AFFINE, (sx, 0, 0, 0, sy, 0), Image.BILINEAR))


def antialiased(picture):
    """Bilinear resize to the model's input with the filter widened to the scale, as Pillow does."""
    return np.asarray(picture.resize((INPUT_SIZE, INPUT_SIZE), Image.BILINEAR))


def sample(split, label_index, number):
    """One scene through JPEG: both resized versions, uint8 [2, 96, 96, 3] (interpolated, antialiased)."""
    rng = np.random.default_rng((split, label_index, number))
    size = FRAME_SIZES[rng.integers(len(FRAME_SIZES))]
    picture = draw_scene(LABELS[label_index], rng, size)
    _, decoded = weather.through_jpeg(picture, rng.integers(45, 96))
    return np.stack([interpolated(decoded), antialiased(decoded)])


def dataset(split, per_class, progress=None):
    """Scenes of every class: uint8 [5 x per_class, 2, 96, 96, 3] and int32 class indices."""
    pictures = np.empty((len(LABELS) * per_class, 2, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    classes = np.tile(np.arange(len(LABELS), dtype=np.int32), per_class)
    for row in range(len(pictures)):
        pictures[row] = sample(split, int(classes[row]), row // len(LABELS))
        if progress and (row + 1) % 1000 == 0:
            progress(f"drew {row + 1} of {len(pictures)} scenes")
    return pictures, classes


def committed_frame(label_index, number):
    """Bytes of one of the JPEG frames that are kept in the repository: 320 x 240, quality 85.

    Where sensor noise makes the file too large, quality gives way: leaving the scene out would favour the easy ones.
    """
    picture = draw_scene(LABELS[label_index], np.random.default_rng((FRAMES, label_index, number)), (320, 240))
    for quality in range(85, 40, -5):
        data, _ = weather.through_jpeg(picture, quality)
        if len(data) <= LARGEST_FRAME_BYTES:
            break
    return data


def write_frames(folder, per_class):
    folder.mkdir(parents=True, exist_ok=True)
    labels = {}
    for number in range(per_class):
        for index, label in enumerate(LABELS):
            name = f"{label.replace(' ', '-')}-{number:02}.jpg"
            (folder / name).write_bytes(committed_frame(index, number))
            labels[name] = label
    (folder / "labels.json").write_text(json.dumps(labels, indent=2, sort_keys=True) + "\n")


def write_sheet(path, rows):
    sheet = Image.new("RGB", (len(LABELS) * 324, rows * 244))
    for row in range(rows):
        for index, label in enumerate(LABELS):
            sheet.paste(
                draw_scene(label, np.random.default_rng((TUNING, index, row)), (320, 240)), (index * 324, row * 244)
            )
    sheet.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=pathlib.Path, help="folder for the held-out JPEG frames and labels.json")
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--sheet", type=pathlib.Path, help="write a contact sheet (PNG or JPEG) here")
    parser.add_argument("--rows", type=int, default=6)
    options = parser.parse_args()
    if options.frames:
        write_frames(options.frames, options.per_class)
    if options.sheet:
        write_sheet(options.sheet, options.rows)


if __name__ == "__main__":
    main()
