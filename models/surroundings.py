"""Draws what every scene has, whoever is in it: sky, skyline, verge, road, markings, trees and posts."""

import math

import numpy as np
from PIL import Image

from camera import Frame, rgb

FAR_M = 160.0


def _texture(rng, size, cells, spread):
    """Smooth random brightness, `spread` in grey levels, as a float array [height, width]."""
    width, height = size
    grain = rng.normal(0, spread, (cells, cells * 2)).astype(np.float32)
    return np.asarray(Image.fromarray(grain).resize((width, height), Image.BILINEAR))


def backdrop(rng, camera):
    """Sky above the horizon, verge below it. Returns the picture and the colour of the verge."""
    width, height = camera.width, camera.height
    horizon = int(camera.horizon_px)
    zenith = np.array([(92, 142, 206), (150, 164, 180), (196, 200, 206), (120, 170, 226)][rng.integers(4)], np.float32)
    haze = zenith + (235 - zenith) * rng.uniform(0.3, 0.9)
    verge = np.array(
        [(86, 112, 58), (112, 118, 66), (146, 132, 92), (74, 94, 56), (168, 160, 140)][rng.integers(5)], np.float32
    )
    verge = verge * rng.uniform(0.75, 1.15)
    rows = np.linspace(0, 1, max(horizon, 1), dtype=np.float32)[:, None, None]
    picture = np.empty((height, width, 3), np.float32)
    picture[:horizon] = zenith + (haze - zenith) * rows
    picture[horizon:] = verge
    ground = _texture(rng, (width, height - horizon), 10, 7) + _texture(rng, (width, height - horizon), 60, 7)
    picture[horizon:] += ground[:, :, None]
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), rgb(verge)


def skyline(draw, rng, camera):
    """Clouds, hills, and sometimes buildings."""
    width, horizon = camera.width, camera.horizon_px
    for _ in range(rng.integers(0, 4)):
        u, v, r = rng.uniform(0, width), rng.uniform(0, horizon * 0.8), rng.uniform(0.03, 0.1) * width
        for _ in range(4):
            du, s = rng.uniform(-r, r), rng.uniform(0.4, 1.0)
            draw.ellipse(
                (u + du - r * s, v - r * s * 0.35, u + du + r * s, v + r * s * 0.35), fill=rgb((228, 230, 234))
            )
    if rng.random() < 0.6:
        tone = rgb([(96, 116, 110), (110, 128, 140), (84, 104, 78)][rng.integers(3)], rng.uniform(0.8, 1.15))
        phase, amplitude = rng.uniform(0, math.tau, 3), rng.uniform(0.01, 0.05, 3) * camera.height
        ridge = [
            (
                u,
                horizon
                - 2
                - sum(
                    a * (1 + math.sin(u / width * (3 + 4 * k) + p)) / 2
                    for k, (a, p) in enumerate(zip(amplitude, phase))
                ),
            )
            for u in range(0, width + 16, 16)
        ]
        draw.polygon([(0, horizon + 1), *ridge, (width, horizon + 1)], fill=tone)
    if rng.random() < 0.4:
        u = rng.uniform(-0.1, 0.3) * width
        while u < width * rng.uniform(0.6, 1.2):
            w, h = rng.uniform(0.05, 0.16) * width, rng.uniform(0.04, 0.2) * camera.height
            tone = rgb(
                rng.uniform(0.6, 1.1)
                * np.array([(168, 150, 132), (150, 154, 160), (178, 110, 86), (200, 196, 186)][rng.integers(4)])
            )
            draw.rectangle((u, horizon - h, u + w, horizon + 2), fill=tone)
            for row in range(int(h // 14)):
                for column in range(int(w // 14)):
                    draw.rectangle(
                        (
                            u + 5 + column * 14,
                            horizon - h + 5 + row * 14,
                            u + 10 + column * 14,
                            horizon - h + 11 + row * 14,
                        ),
                        fill=rgb(tone, 0.6),
                    )
            u += w + rng.uniform(0.0, 0.15) * width


def road(draw, rng, camera, frame, lanes, lane_width):
    """Asphalt along `frame`, kerbs, edge lines and dashes. Returns the colour of the asphalt."""
    half = lanes * lane_width / 2
    asphalt = rgb(np.full(3, rng.uniform(70, 130)) + rng.uniform(-6, 8, 3))
    paint = rgb((224, 222, 212), rng.uniform(0.75, 1.0))

    def strip(near, far, left, right, colour):
        corners = [frame.world(near, left), frame.world(far, left), frame.world(far, right), frame.world(near, right)]
        points = camera.polygon(corners)
        if points:
            draw.polygon(points, fill=colour)

    shoulder = rng.uniform(0.3, 2.2)
    strip(
        -FAR_M,
        FAR_M,
        -half - shoulder,
        half + shoulder,
        rgb([(150, 142, 126), (164, 164, 162), (124, 116, 98)][rng.integers(3)]),
    )
    strip(-FAR_M, FAR_M, -half, half, asphalt)
    for _ in range(rng.integers(0, 5)):
        near, left = rng.uniform(-8, 20), rng.uniform(-half, half - 0.6)
        strip(
            near, near + rng.uniform(0.5, 6), left, left + rng.uniform(0.3, 1.2), rgb(asphalt, rng.uniform(0.75, 1.15))
        )
    if rng.random() < 0.8:
        for side in (-1, 1):
            strip(-FAR_M, FAR_M, side * (half - 0.3) - 0.07, side * (half - 0.3) + 0.07, paint)
    dash, gap = rng.uniform(1.5, 4), rng.uniform(1.5, 6)
    for lane in range(1, lanes):
        across, along = -half + lane * lane_width, -20.0 + rng.uniform(0, 5)
        while along < 70:
            strip(along, along + dash, across - 0.08, across + 0.08, paint)
            along += dash + gap
    if rng.random() < 0.15:
        start = rng.uniform(-3, 10)
        for bar in np.arange(-half + 0.4, half - 0.4, 1.0):
            strip(start, start + 3, bar, bar + 0.5, paint)
    return asphalt


def tree(draw, rng, camera, x, z):
    """A broad-leaved tree or a conifer, 3-9 m high."""
    height, scale = rng.uniform(3, 9), camera.scale(z)
    u, v = camera.project(x, 0.0, z)
    trunk, leaf = rgb((84, 64, 48), rng.uniform(0.7, 1.2)), np.array(
        [(58, 92, 48), (78, 104, 52), (48, 78, 56), (128, 106, 52)][rng.integers(4)]
    )
    draw.line((u, v, u, v - height * 0.5 * scale), fill=trunk, width=max(2, int(0.25 * scale)))
    if rng.random() < 0.35:
        for level in range(3):
            top, base, reach = (
                height * (1 - 0.22 * level),
                height * (0.62 - 0.22 * level),
                height * (0.12 + 0.06 * level),
            )
            draw.polygon(
                [(u, v - top * scale), (u - reach * scale, v - base * scale), (u + reach * scale, v - base * scale)],
                fill=rgb(leaf, 0.8 + 0.1 * level),
            )
        return
    for _ in range(7):
        r = height * rng.uniform(0.12, 0.24) * scale
        du, dv = rng.uniform(-0.22, 0.22) * height * scale, height * rng.uniform(0.5, 0.9) * scale
        draw.ellipse((u + du - r, v - dv - r, u + du + r, v - dv + r), fill=rgb(leaf, rng.uniform(0.75, 1.2)))


def post(draw, rng, camera, x, z):
    """A lamp post, a sign on a pole, a marker post or a bush: upright things that are nobody."""
    scale, kind = camera.scale(z), rng.integers(4)
    u, v = camera.project(x, 0.0, z)
    grey = rgb(np.full(3, rng.uniform(90, 190)))
    if kind == 0:
        top, arm = v - rng.uniform(5, 8) * scale, rng.choice([-1, 1]) * 1.4 * scale
        draw.line([(u, v), (u, top), (u + arm, top)], fill=grey, width=max(2, int(0.14 * scale)))
    elif kind == 1:
        top, r = v - rng.uniform(1.9, 2.6) * scale, rng.uniform(0.28, 0.42) * scale
        draw.line([(u, v), (u, top)], fill=grey, width=max(2, int(0.07 * scale)))
        rim, plate = [
            ((196, 30, 30), (240, 240, 236)),
            ((30, 80, 170), (30, 80, 170)),
            ((230, 180, 30), (230, 180, 30)),
        ][rng.integers(3)]
        draw.ellipse((u - r, top - r, u + r, top + r), fill=rim)
        draw.ellipse((u - r * 0.7, top - r * 0.7, u + r * 0.7, top + r * 0.7), fill=plate)
    elif kind == 2:
        top, w = v - rng.uniform(0.8, 1.1) * scale, max(1.5, 0.06 * scale)
        draw.rectangle((u - w, top, u + w, v), fill=(222, 222, 218))
        draw.rectangle((u - w, top + 0.15 * scale, u + w, top + 0.3 * scale), fill=(40, 40, 42))
    else:
        leaf = np.array([(62, 88, 48), (84, 100, 56)][rng.integers(2)])
        for _ in range(5):
            r, du = rng.uniform(0.3, 0.6) * scale, rng.uniform(-0.7, 0.7) * scale
            draw.ellipse((u + du - r, v - 1.6 * r, u + du + r, v + 0.2 * r), fill=rgb(leaf, rng.uniform(0.8, 1.2)))


def roadside(draw, rng, camera, frame, half_road, nearest_m):
    """Trees and posts off the road and no nearer than `nearest_m`, the farthest first."""
    things = []
    for _ in range(rng.integers(2, 12)):
        along, side = rng.uniform(-20, 80), rng.choice([-1, 1])
        x, _, z = frame.world(along, side * (half_road + rng.uniform(1.5, 14)))
        if z > nearest_m:
            things.append((z, x, tree if rng.random() < 0.5 else post))
    for z, x, draw_thing in sorted(things, key=lambda thing: -thing[0]):
        draw_thing(draw, rng, camera, x, z)
    if rng.random() < 0.2:
        side = rng.choice([-1, 1]) * (half_road + 0.9)
        rail = [
            frame.world(-FAR_M, side, 0.45),
            frame.world(FAR_M, side, 0.45),
            frame.world(FAR_M, side, 0.75),
            frame.world(-FAR_M, side, 0.75),
        ]
        points = camera.polygon(rail)
        if points and frame.world(0, side)[2] > nearest_m:
            draw.polygon(points, fill=(168, 172, 176))


def road_frame(anchor_x, anchor_z, heading, across):
    """The road's frame such that the anchor lies `across` metres right of its middle."""
    middle = Frame(anchor_x, anchor_z, heading).world(0, -across)
    return Frame(middle[0], middle[2], heading)
