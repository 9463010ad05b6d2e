"""Checks the bundled classifier with ONNX Runtime on held-out scenes and on the committed frames.

    python models/verify.py

Exit status 0 if every accuracy is at least 95 %, 1 if not.
"""

import argparse
import io
import json
import pathlib
import sys
import time

import numpy as np
import onnxruntime
from PIL import Image

import scenes

HERE = pathlib.Path(__file__).parent
LEAST_ACCURACY = 0.95
RESIZES = ("interpolated", "antialiased")


def open_model(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def classify(session, picture):
    """Class index of a uint8 RGB picture [96, 96, 3]."""
    tensor = (picture.astype(np.float32) / 255 - 0.5) / 0.5
    return int(session.run(["logits"], {"image": np.ascontiguousarray(tensor.transpose(2, 0, 1)[None])})[0].argmax())


def confusion(session, pictures, classes, variant):
    """Counts [true class, answered class] for one of the two resizes."""
    counts = np.zeros((len(scenes.LABELS), len(scenes.LABELS)), int)
    for picture, true in zip(pictures[:, variant], classes):
        counts[true, classify(session, picture)] += 1
    return counts


def committed(folder):
    """The frames in the repository, resized both ways, with their class indices and names."""
    labels = json.loads((folder / "labels.json").read_text())
    decoded = [Image.open(io.BytesIO((folder / name).read_bytes())).convert("RGB") for name in labels]
    pictures = np.stack([np.stack([scenes.interpolated(p), scenes.antialiased(p)]) for p in decoded])
    return pictures, np.array([scenes.LABELS.index(label) for label in labels.values()]), list(labels)


def report(title, counts):
    """Prints one confusion matrix; returns the accuracy."""
    accuracy = counts.trace() / counts.sum()
    print(f"{title}: {counts.trace()} of {counts.sum()} right, {accuracy:.2%}")
    for label, row in zip(scenes.LABELS, counts):
        print(f"  {label:<11}" + "".join(f"{count:6}" for count in row))
    return accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=HERE / "roadside.onnx")
    parser.add_argument("--frames", type=pathlib.Path, default=HERE / "frames")
    parser.add_argument("--per-class", type=int, default=400, help="held-out scenes of each class")
    options = parser.parse_args()
    session = open_model(options.model)
    pictures, classes = scenes.dataset(scenes.HELD_OUT, options.per_class)
    frames, frame_classes, names = committed(options.frames)
    worst = 1.0
    for variant, resize in enumerate(RESIZES):
        worst = min(worst, report(f"held-out scenes, {resize}", confusion(session, pictures, classes, variant)))
        worst = min(worst, report(f"committed frames, {resize}", confusion(session, frames, frame_classes, variant)))
        for name, picture, true in zip(names, frames[:, variant], frame_classes):
            answer = classify(session, picture)
            if answer != true:
                print(f"  {name}: answered {scenes.LABELS[answer]}")
    began = time.perf_counter()
    for picture in frames[:, 0]:
        classify(session, picture)
    print(f"one classification: {(time.perf_counter() - began) / len(frames) * 1e3:.2f} ms on one thread")
    if worst < LEAST_ACCURACY:
        print(f"FAILED: {worst:.2%} is under {LEAST_ACCURACY:.0%}; train again (models/README.md)")
    return 0 if worst >= LEAST_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
