"""A pinhole camera beside a road, and the one colour helper that everything drawn shares.

World axes in metres: X to the right, Y up from the ground, Z away from the camera. Picture axes in
pixels: u to the right, v down. The camera looks along Z; its pitch is expressed by where the horizon
lies in the picture, which is exact for the ground plane and good enough for what stands on it.
"""

import math

NEAREST_M = 0.4


def rgb(colour, brightness=1.0):
    """The colour as a tuple of three bytes, scaled by `brightness` and clamped."""
    return tuple(max(0, min(255, int(channel * brightness))) for channel in colour)


class Camera:
    """Projects world points: u = cx + f X / Z, v = horizon + f (height - Y) / Z."""

    def __init__(self, width, height, focal_px, horizon_px, height_m):
        self.width, self.height = width, height
        self.focal_px, self.horizon_px, self.height_m = focal_px, horizon_px, height_m

    def project(self, x, y, z):
        """Picture position of one world point; what lies behind the camera is moved in front of it."""
        scale = self.focal_px / max(z, NEAREST_M)
        return self.width / 2 + x * scale, self.horizon_px + (self.height_m - y) * scale

    def scale(self, z):
        """Pixels per metre at depth `z`."""
        return self.focal_px / max(z, NEAREST_M)

    def polygon(self, points):
        """Projects a polygon after cutting away what lies nearer than `NEAREST_M` (may be empty)."""
        kept = []
        for (x0, y0, z0), (x1, y1, z1) in zip(points, points[1:] + points[:1]):
            if z0 >= NEAREST_M:
                kept.append((x0, y0, z0))
            if (z0 >= NEAREST_M) != (z1 >= NEAREST_M):
                t = (NEAREST_M - z0) / (z1 - z0)
                kept.append((x0 + t * (x1 - x0), y0 + t * (y1 - y0), NEAREST_M))
        return [self.project(*point) for point in kept] if len(kept) >= 3 else []


class Frame:
    """A right-handed ground frame: origin in the world, `heading` from Z towards X, in radians."""

    def __init__(self, x, z, heading):
        self.x, self.z, self.heading = x, z, heading
        self._sin, self._cos = math.sin(heading), math.cos(heading)

    def world(self, forward, right, up=0.0):
        """World point of a position given along, across and above this frame, in metres."""
        return (
            self.x + forward * self._sin + right * self._cos,
            up,
            self.z + forward * self._cos - right * self._sin,
        )

    def direction(self, forward, right, up=0.0):
        """World direction of a vector in this frame."""
        return forward * self._sin + right * self._cos, up, forward * self._cos - right * self._sin
