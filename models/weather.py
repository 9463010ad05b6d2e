"""What lies between a clean drawing and what a camera delivers: light, rain, fog, blur, noise, JPEG."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LIGHTS = ("day", "overcast", "dusk", "night", "rain", "fog")
LIGHT_SHARE = (0.34, 0.16, 0.14, 0.13, 0.13, 0.10)


def _glow(size, lamps, spread):
    """Light of lamps [(u, v, radius_px, colour)] as a float picture, computed at a quarter of the size."""
    width, height = size
    layer = Image.new("RGB", (width // 4, height // 4))
    draw = ImageDraw.Draw(layer)
    for u, v, radius, colour in lamps:
        r = max(radius * spread / 4, 1.0)
        draw.ellipse((u / 4 - r, v / 4 - r, u / 4 + r, v / 4 + r), fill=colour)
    layer = layer.filter(ImageFilter.GaussianBlur(max(1.5, width / 160))).resize(size, Image.BILINEAR)
    return np.asarray(layer, np.float32)


def _rain(picture, rng):
    width, height = picture.size
    layer = Image.new("L", picture.size)
    draw = ImageDraw.Draw(layer)
    slant = rng.uniform(-0.3, 0.3)
    for _ in range(int(rng.uniform(40, 160))):
        u, v, length = rng.uniform(0, width), rng.uniform(-20, height), rng.uniform(0.02, 0.07) * height
        draw.line((u, v, u + slant * length, v + length), fill=int(rng.uniform(40, 110)), width=1)
    return np.asarray(layer, np.float32)[:, :, None]


def light_up(picture, rng, camera, lamps):
    """Grades a drawing for a time of day or a weather chosen by `rng`; returns a float picture."""
    light = rng.choice(LIGHTS, p=LIGHT_SHARE)
    values = np.asarray(picture, np.float32)
    height, width = values.shape[:2]
    rows = np.arange(height, dtype=np.float32)[:, None, None] / height
    if light == "day":
        values = (values - 110) * rng.uniform(0.95, 1.2) + 110 * rng.uniform(0.9, 1.15)
    elif light == "overcast":
        grey = values.mean(axis=2, keepdims=True)
        values = (grey + (values - grey) * rng.uniform(0.4, 0.8)) * rng.uniform(0.7, 0.95)
    elif light == "dusk":
        tint = np.array([1.12, 0.86, 0.74] if rng.random() < 0.6 else [0.8, 0.82, 1.08], np.float32)
        values = values * tint * rng.uniform(0.55, 0.8)
    elif light == "night":
        values = values * np.array([0.82, 0.9, 1.12], np.float32) * rng.uniform(0.38, 0.55)
        values[: int(camera.horizon_px)] *= 0.45
        u, v = rng.uniform(0.25, 0.75) * width, rng.uniform(0.6, 0.85) * height
        columns = np.arange(width, dtype=np.float32)[None, :, None]
        pool = np.exp(-(((columns - u) / (0.5 * width)) ** 2) - ((rows * height - v) / (0.3 * height)) ** 2)
        values = values * (1 + rng.uniform(0.3, 0.9) * pool) + _glow((width, height), lamps, rng.uniform(1.5, 3.0))
    elif light == "rain":
        grey = values.mean(axis=2, keepdims=True)
        values = (grey + (values - grey) * 0.6) * rng.uniform(0.55, 0.85) + _rain(picture, rng) * rng.uniform(0.3, 0.8)
    else:
        depth = np.clip((rows - camera.horizon_px / height) / (1.001 - camera.horizon_px / height), 0, 1)
        share = np.where(rows * height < camera.horizon_px, 1.0, np.exp(-depth * rng.uniform(2.5, 5.0)))
        values = values + (rng.uniform(170, 215) - values) * share * rng.uniform(0.35, 0.6)
    return values


def expose(values, rng):
    """Blur, vignette, colour balance and sensor noise; returns a PIL picture."""
    height, width = values.shape[:2]
    unit = width / 320
    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.2) * unit))
    if rng.random() < 0.15:
        kernel = np.zeros((5, 5))
        kernel[2] = 0.2
        picture = picture.filter(
            ImageFilter.Kernel((5, 5), (kernel if rng.random() < 0.6 else kernel.T).ravel().tolist(), 1)
        )
    values = np.asarray(picture, np.float32) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    noise = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), np.float32)
    values = values + noise * np.float32(rng.uniform(1.0, 8.0) if rng.random() < 0.85 else rng.uniform(8.0, 13.0))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def through_jpeg(picture, quality):
    """Encodes with the given quality; returns the file's bytes and the decoded picture."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(quality))
    data = buffer.getvalue()
    return data, Image.open(io.BytesIO(data)).convert("RGB")
