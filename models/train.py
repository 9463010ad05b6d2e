"""Trains the bundled classifier on scenes that scenes.py draws, and writes it as ONNX.

    python models/train.py --out models/roadside.onnx

takes about a quarter of an hour of one idle core, drawing included. Training twice on one machine with the
pinned requirements writes the same file (tried with a short run). Another processor rounds differently, so expect
different bytes there and check the accuracy with models/verify.py.
"""

import argparse
import functools
import os
import pathlib
import time

# One thread: reproducible order of additions, and a neighbour that leaves the other cores alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NPROC", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime

import network
import scenes

SEED = 20
BATCH = 32
PEAK_RATE = 3e-3
WEIGHT_DECAY = 2e-4
SMOOTHING = 0.03
AVERAGING = 0.997
TOLERATED_DIFFERENCE = 1e-3


def loss(weights, x, targets):
    logits, statistics = network.forward(weights, None, x, True)
    return -(targets * jax.nn.log_softmax(logits)).sum(1).mean(), statistics


def adam(weights, gradients, moments, step, rate):
    """One step of AdamW (Loshchilov and Hutter, 2019); biases and normalisation do not decay."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradients)
    one, two = 1 - 0.9**step, 1 - 0.999**step

    def move(w, m, v):
        decay = WEIGHT_DECAY * w if w.ndim > 1 else 0.0
        return w - rate * ((m / one) / (jnp.sqrt(v / two) + 1e-8) + decay)

    return jax.tree.map(move, weights, first, second), (first, second)


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def train_step(weights, moments, averaged, pictures, classes, step, rate):
    """One batch; also keeps a running average of the weights, which generalises better than the last ones."""
    targets = jax.nn.one_hot(classes, len(scenes.LABELS)) * (1 - SMOOTHING) + SMOOTHING / len(scenes.LABELS)
    (value, _), gradients = jax.value_and_grad(loss, has_aux=True)(weights, network.normalise(pictures), targets)
    weights, moments = adam(weights, gradients, moments, step, rate)
    keep = jnp.minimum(AVERAGING, step / (step + 10))
    averaged = jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, averaged, weights)
    return weights, moments, averaged, value


@jax.jit
def statistics_of(weights, pictures):
    return network.forward(weights, None, network.normalise(pictures), True)[1]


@jax.jit
def classify(weights, running, pictures):
    return network.forward(weights, running, network.normalise(pictures), False)[0]


def augmented(pictures, rng):
    """Either resize, mirrored or not, shifted up to four pixels, light and contrast varied: uint8 [N, 96, 96, 3]."""
    batch = pictures[np.arange(len(pictures)), rng.integers(2, size=len(pictures))]
    out = np.empty_like(batch)
    for row, picture in enumerate(batch):
        picture = picture[:, ::-1] if rng.random() < 0.5 else picture
        dy, dx = rng.integers(0, 9, 2)
        picture = np.pad(picture, ((4, 4), (4, 4), (0, 0)), "edge")[dy : dy + 96, dx : dx + 96]
        table = np.clip((np.arange(256) - 110) * rng.uniform(0.88, 1.12) + 110 + rng.uniform(-10, 10), 0, 255)
        out[row] = table.astype(np.uint8)[picture]
    return out


def accuracy(weights, running, pictures, classes):
    """Share that is right, over both resizes."""
    right = 0
    for variant in (0, 1):
        for start in range(0, len(classes), 100):
            logits = classify(weights, running, pictures[start : start + 100, variant])
            right += int((np.asarray(logits).argmax(1) == classes[start : start + 100]).sum())
    return right / (2 * len(classes))


def settle(weights, pictures, rng):
    """Statistics of the normalisation for the averaged weights: the mean over 60 fresh training batches."""
    total = None
    for _ in range(60):
        seen = statistics_of(weights, augmented(pictures[rng.integers(len(pictures), size=BATCH)], rng))
        total = seen if total is None else jax.tree.map(jnp.add, total, seen)
    return jax.tree.map(lambda value: value / 60, total)


def train(pictures, classes, tuning, epochs):
    """Trains for `epochs` passes with a warm-up and a cosine; returns weights and statistics."""
    rng = np.random.default_rng(SEED)
    weights = network.initial(SEED, len(scenes.LABELS))
    weights = jax.tree.map(jnp.asarray, weights)
    averaged = jax.tree.map(jnp.copy, weights)
    moments = (jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights))
    per_epoch, step, began = len(pictures) // BATCH, 0, time.monotonic()
    last = per_epoch * epochs
    for epoch in range(epochs):
        order, losses = rng.permutation(len(pictures)), []
        for batch in range(per_epoch):
            step += 1
            rate = PEAK_RATE * min(1.0, step / 400) * (0.5 + 0.5 * np.cos(np.pi * step / last))
            rows = order[batch * BATCH : (batch + 1) * BATCH]
            weights, moments, averaged, value = train_step(
                weights, moments, averaged, augmented(pictures[rows], rng), classes[rows], float(step), rate
            )
            losses.append(value)
        running = settle(averaged, pictures, rng)
        print(
            f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}, tuning accuracy "
            f"{accuracy(averaged, running, *tuning):.4f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return averaged, settle(averaged, pictures, rng)


def difference(model, weights, running, pictures):
    """Largest absolute difference between ONNX Runtime's logits and ours."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for picture in pictures:
        ours = classify(weights, running, picture[None])
        tensor = np.asarray(network.normalise(picture[None])).transpose(0, 3, 1, 2)
        theirs = session.run(["logits"], {"image": np.ascontiguousarray(tensor)})[0]
        worst = max(worst, float(np.abs(theirs - np.asarray(ours)).max()))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="where the ONNX file goes; the labels go beside it"
    )
    parser.add_argument("--per-class", type=int, default=2400, help="training scenes of each class")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    report = functools.partial(print, flush=True)
    pictures, classes = scenes.dataset(scenes.TRAIN, options.per_class, report)
    tuning = scenes.dataset(scenes.TUNING, 100, report)
    parameters, macs = network.size(len(scenes.LABELS))
    report(f"{parameters} parameters, {macs / 1e6:.2f} million multiply-accumulates")
    weights, running = train(pictures, classes, tuning, options.epochs)
    model = network.to_onnx(weights, running, scenes.LABELS)
    worst = difference(model, weights, running, tuning[0][:50, 0])
    if worst >= TOLERATED_DIFFERENCE:
        raise SystemExit(
            f"the exported model differs from the trained one by {worst:.2e} "
            f"(at most {TOLERATED_DIFFERENCE:.0e}); nothing was written"
        )
    options.out.write_bytes(model.SerializeToString())
    options.out.with_suffix(".labels").write_text("\n".join(scenes.LABELS) + "\n")
    report(f"{options.out}: {options.out.stat().st_size} bytes, differs from training by at most {worst:.1e}")


if __name__ == "__main__":
    main()
