"""Draws what the classifier has to name: cars, trucks, pedestrians and cyclists.

Vehicles are convex prisms (a side profile swept across the width) with hidden faces culled, so that they are
right from every side. People and bicycles are flat figures in a vertical plane, as wide as their heading shows.
Each function returns the lamps it drew as (u, v, radius_px, colour); the night makes them glow.
"""

import math

from camera import rgb

GLASS = (46, 58, 70)
TYRE = (24, 24, 26)
SKIN = [(236, 196, 168), (204, 152, 116), (146, 98, 70), (92, 62, 46)]
SUN = (0.45, 0.8, -0.4)


def _shade(normal):
    length = math.sqrt(sum(n * n for n in normal)) or 1.0
    return 0.6 + 0.45 * max(0.0, sum(n * s for n, s in zip(normal, SUN)) / length)


def _faces_camera(camera, point, normal):
    x, y, z = point
    return x * normal[0] + (y - camera.height_m) * normal[1] + z * normal[2] < 0


def _inset(points, share):
    centre = [sum(p[i] for p in points) / len(points) for i in range(3)]
    return [tuple(c + share * (v - c) for v, c in zip(p, centre)) for p in points]


def _prism(draw, camera, frame, profile, half_width, paint, glazed=()):
    """Sweeps `profile` [(forward, up), counter-clockwise seen from the right] across the width.

    `glazed` names faces that carry a window: edge numbers of the profile, or "sides".
    """
    for side in (-1, 1):
        face = [frame.world(s, side * half_width, y) for s, y in profile]
        normal = frame.direction(0, side)
        if _faces_camera(camera, face[0], normal):
            draw.polygon(camera.polygon(face), fill=rgb(paint, _shade(normal)))
            if "sides" in glazed:
                draw.polygon(camera.polygon(_inset(face, 0.78)), fill=GLASS)
    for edge, ((s0, y0), (s1, y1)) in enumerate(zip(profile, profile[1:] + profile[:1])):
        face = [
            frame.world(s, w, y)
            for s, y, w in ((s0, y0, -half_width), (s1, y1, -half_width), (s1, y1, half_width), (s0, y0, half_width))
        ]
        normal = frame.direction(y1 - y0, 0, s0 - s1)
        if _faces_camera(camera, face[0], normal):
            draw.polygon(camera.polygon(face), fill=rgb(paint, _shade(normal)))
            if edge in glazed:
                draw.polygon(camera.polygon(_inset(face, 0.82)), fill=GLASS)


def _shadow(draw, camera, frame, half_length, half_width, ground):
    corners = [frame.world(s * half_length, w * half_width) for s, w in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    draw.polygon(camera.polygon(corners), fill=rgb(ground, 0.55))


def _wheels(draw, camera, frame, axles, radius, half_width, near_side):
    """Draws the wheels of the sides that do (`near_side`) or do not face the camera."""
    for side in (-1, 1):
        if _faces_camera(camera, frame.world(0, side * half_width, radius), frame.direction(0, side)) != near_side:
            continue
        for axle in axles:
            for share, colour in ((1.0, TYRE), (0.5, (150, 150, 152))):
                ring = [
                    frame.world(
                        axle + share * radius * math.cos(a), side * half_width, radius + share * radius * math.sin(a)
                    )
                    for a in (i * math.tau / 14 for i in range(14))
                ]
                draw.polygon(camera.polygon(ring), fill=colour)


def _lamps(draw, camera, frame, front, rear, half_width, up, size):
    """Head lamps at `front` and tail lamps at `rear`, where those ends can be seen."""
    lamps = []
    for forward, ahead, colour in ((front, 1, (255, 244, 214)), (rear, -1, (226, 34, 28))):
        if not _faces_camera(camera, frame.world(forward, 0, up), frame.direction(ahead, 0)):
            continue
        for side in (-1, 1):
            x, y, z = frame.world(forward, side * half_width * 0.78, up)
            (u, v), radius = camera.project(x, y, z), size * camera.scale(z)
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=colour)
            lamps.append((u, v, radius, colour))
    return lamps


def car(draw, camera, frame, rng, paint, ground):
    """A saloon, hatchback or estate: 3.6-4.7 m long, 1.4-1.65 m high."""
    length, height, half_width = rng.uniform(3.6, 4.7), rng.uniform(1.4, 1.65), rng.uniform(0.82, 0.95)
    belt, floor, half = height * rng.uniform(0.55, 0.62), 0.22, length / 2
    boot = rng.choice([0.0, 0.25, 0.8])
    _shadow(draw, camera, frame, half * 1.05, half_width * 1.15, ground)
    _wheels(draw, camera, frame, (-half * 0.62, half * 0.62), 0.31, half_width, False)
    body = [(half, floor), (half, belt * 0.82), (half * 0.45, belt), (-half, belt), (-half, floor)]
    _prism(draw, camera, frame, body, half_width, paint)
    _wheels(draw, camera, frame, (-half * 0.62, half * 0.62), 0.31, half_width, True)
    cabin = [
        (half * 0.5, belt),
        (half * 0.12, height),
        (-half * 0.98 + boot + 0.3, height),
        (-half * 0.98 + boot, belt),
    ]
    _prism(draw, camera, frame, cabin, half_width * 0.93, paint, glazed=("sides", 0, 2))
    return _lamps(draw, camera, frame, half, -half, half_width, belt * 0.7, 0.12)


def truck(draw, camera, frame, rng, paint, ground):
    """A box truck or a flat bed with a load: 6.5-10 m long, 3.0-3.8 m high, cab in front."""
    length, height, half_width = rng.uniform(6.5, 10.0), rng.uniform(3.0, 3.8), rng.uniform(1.15, 1.3)
    half, cab = length / 2, rng.uniform(1.7, 2.2)
    cab_top, floor = height * rng.uniform(0.64, 0.8), 0.55
    box = rgb(
        rng.choice([(232, 232, 228), (206, 208, 212), (196, 44, 40), (36, 84, 160), (238, 186, 40), (62, 128, 74)]),
        rng.uniform(0.75, 1.0),
    )
    axles = (half - 1.2, -half + 1.2, -half + 2.3) if length > 8 else (half - 1.2, -half + 1.6)
    _shadow(draw, camera, frame, half * 1.02, half_width * 1.15, ground)
    _wheels(draw, camera, frame, axles, 0.48, half_width * 0.96, False)

    def draw_cab():
        front = half - cab
        _prism(
            draw,
            camera,
            frame,
            [
                (half, floor * 0.8),
                (half, cab_top * 0.55),
                (half, cab_top * 0.58),
                (half - 0.25, cab_top),
                (front, cab_top),
                (front, floor * 0.8),
            ],
            half_width * 0.95,
            paint,
            glazed=(2,),
        )
        window = [
            (half - 0.15, cab_top * 0.58),
            (half - 0.35, cab_top * 0.92),
            (front + 0.6, cab_top * 0.92),
            (front + 0.6, cab_top * 0.58),
        ]
        for side in (-1, 1):
            face = [frame.world(s, side * half_width * 0.95, y) for s, y in window]
            if _faces_camera(camera, face[0], frame.direction(0, side)):
                draw.polygon(camera.polygon(face), fill=GLASS)

    def draw_load():
        front, bed = half - cab - 0.2, 1.15
        _prism(
            draw,
            camera,
            frame,
            [(front, floor), (front, bed), (-half, bed), (-half, floor)],
            half_width * 0.9,
            (58, 58, 62),
        )
        top = height if rng.random() < 0.75 else height * rng.uniform(0.84, 0.92)
        _prism(draw, camera, frame, [(front, bed), (front, top), (-half, top), (-half, bed)], half_width, box)

    front_nearer = frame.world(half, 0)[2] < frame.world(-half, 0)[2]
    for part in (draw_load, draw_cab) if front_nearer else (draw_cab, draw_load):
        part()
    _wheels(draw, camera, frame, axles, 0.48, half_width * 0.98, True)
    return _lamps(draw, camera, frame, half, -half, half_width, 0.95, 0.13)


class _Figure:
    """A flat figure standing at a frame's origin; positions in metres, x foreshortened by the heading."""

    def __init__(self, draw, camera, frame, share):
        self.draw, self.share = draw, share
        self.u, self.v = camera.project(frame.x, 0.0, frame.z)
        self.scale = camera.scale(frame.z)

    def at(self, x, y):
        return self.u + x * self.share * self.scale, self.v - y * self.scale

    def limb(self, points, thickness_m, colour):
        width = max(2, round(thickness_m * self.scale))
        joints = [self.at(*point) for point in points]
        self.draw.line(joints, fill=colour, width=width, joint="curve")
        for u, v in joints:
            self.draw.ellipse((u - width / 2, v - width / 2, u + width / 2, v + width / 2), fill=colour)

    def disc(self, x, y, radius, colour, flat=1.0):
        (u, v), r = self.at(x, y), radius * self.scale
        self.draw.ellipse((u - r * flat, v - r, u + r * flat, v + r), fill=colour)

    def hoop(self, x, y, radius, thickness_m, colour):
        (u, v), r, width = self.at(x, y), radius * self.scale, max(2, round(thickness_m * self.scale))
        flat = max(abs(self.share), 0.2)
        self.draw.ellipse((u - r * flat, v - r, u + r * flat, v + r), outline=colour, width=width)


def pedestrian(draw, camera, frame, rng, paint, ground):
    """Someone standing or walking, 1.55-1.92 m tall; `paint` is the coat."""
    size = rng.uniform(1.55, 1.92) / 1.75
    facing = rng.choice([-1.0, 1.0])
    figure = _Figure(draw, camera, frame, facing * size)
    trousers = rgb(rng.choice([(44, 48, 66), (30, 30, 34), (92, 82, 70), (70, 92, 128), (120, 116, 110)]))
    skin, hair = rgb(SKIN[rng.integers(4)]), rgb(
        rng.choice([(34, 26, 22), (92, 62, 36), (188, 150, 92), (150, 150, 150)])
    )
    stride = rng.uniform(0.02, 0.34)
    u, v, r = figure.u, figure.v, 0.34 * figure.scale
    draw.ellipse((u - r, v - r * 0.28, u + r, v + r * 0.28), fill=rgb(ground, 0.6))

    def y(metres):
        return metres * size

    swing = stride * 0.8
    figure.limb([(-0.02, y(1.38)), (-swing, y(1.1)), (-swing + 0.06, y(0.86))], 0.1, rgb(paint, 0.75))
    figure.limb([(0, y(0.88)), (-stride * 0.45, y(0.48)), (-stride, y(0.06))], 0.15, rgb(trousers, 0.8))
    figure.limb([(0, y(0.88)), (stride * 0.6, y(0.48)), (stride * 0.9, y(0.06))], 0.16, trousers)
    if rng.random() < 0.25:
        draw.polygon(
            [figure.at(*p) for p in ((-0.16, y(1.0)), (0.16, y(1.0)), (0.27, y(0.5)), (-0.27, y(0.5)))],
            fill=rgb(paint, 0.9),
        )
    broad = rng.uniform(0.17, 0.24)
    hem = y(rng.uniform(0.72, 0.92))
    draw.polygon(
        [figure.at(*p) for p in ((-broad, y(1.44)), (broad, y(1.44)), (broad * 0.85, hem), (-broad * 0.85, hem))],
        fill=paint,
    )
    figure.disc(0, y(1.43), broad * size * 0.98, paint, 0.98)
    if rng.random() < 0.3:
        figure.disc(-broad, y(1.2), 0.17, rgb(rng.integers(20, 200, 3)))
    figure.limb([(0.04, y(1.38)), (swing, y(1.1)), (swing + 0.1, y(0.88))], 0.1, rgb(paint, 0.88))
    figure.disc(0.02, y(1.63), 0.125 * size, skin, 0.86)
    figure.disc(-0.02, y(1.69), 0.11 * size, hair, 0.95)
    return []


def cyclist(draw, camera, frame, rng, paint, ground):
    """A rider leaning forward on a bicycle, seen from the side or obliquely; `paint` is the shirt."""
    size = rng.uniform(0.93, 1.06)
    share = rng.uniform(0.62, 1.0) * rng.choice([-1.0, 1.0])
    figure = _Figure(draw, camera, frame, share)
    figure.scale *= size
    steel = rgb(rng.choice([(30, 30, 34), (190, 40, 36), (40, 90, 170), (220, 220, 216), (40, 130, 90)]))
    shorts, skin = rgb(rng.choice([(26, 26, 32), (54, 60, 84), (96, 90, 80)])), rgb(SKIN[rng.integers(4)])
    helmet = rgb(rng.integers(20, 250, 3))
    u, v, r = figure.u, figure.v, figure.scale
    draw.ellipse(
        (u - r * 0.85 * abs(share), v - r * 0.08, u + r * 0.85 * abs(share), v + r * 0.08), fill=rgb(ground, 0.6)
    )
    hub, saddle, crank, bars = (-0.52, 0.34), (-0.2, 0.94), (-0.06, 0.32), (0.42, 1.0)
    turn = rng.uniform(0, math.tau)
    pedal = [(crank[0] + 0.17 * math.cos(turn + k), crank[1] + 0.17 * math.sin(turn + k)) for k in (0, math.pi)]
    knees = [((saddle[0] + p[0]) / 2 + 0.24, (saddle[1] + p[1]) / 2 + 0.12) for p in pedal]
    figure.limb([saddle, knees[1], pedal[1]], 0.13, rgb(shorts, 0.7))
    for x in (hub[0], 0.54):
        figure.hoop(x, 0.34, 0.34, 0.055, TYRE)
    for a, b in (
        (hub, crank),
        (crank, saddle),
        (hub, (-0.16, 0.8)),
        ((-0.16, 0.8), (0.36, 0.84)),
        (crank, (0.36, 0.84)),
        ((0.54, 0.34), bars),
    ):
        figure.limb([a, b], 0.05, steel)
    lean = rng.uniform(0.12, 0.34)
    shoulder = (saddle[0] + lean + 0.1, 1.46 - lean * 0.25)
    figure.limb([saddle, shoulder], 0.3, paint)
    figure.limb([shoulder, ((shoulder[0] + bars[0]) / 2, 1.12), bars], 0.1, rgb(paint, 0.85))
    figure.limb([saddle, knees[0], pedal[0]], 0.15, shorts)
    figure.disc(shoulder[0] + 0.12, shoulder[1] + 0.24, 0.125, skin, 0.88)
    figure.disc(shoulder[0] + 0.1, shoulder[1] + 0.3, 0.13, helmet, 1.0)
    return []
