"""The classifier: inverted residuals with depthwise convolutions after MobileNet-V2 (Sandler et al., 2018), at 96 x 96.

Trained in NHWC with batch normalisation; exported to ONNX in NCHW with the normalisation folded into the convolutions.
"""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = (1, 3, 96, 96)
SCALE, MEAN, STD = 1 / 255, 0.5, 0.5
STEM, HEAD = 16, 160
# (channels out, expansion, stride) of each inverted residual; it adds its input where shapes allow.
BLOCKS = ((16, 2, 2), (16, 3, 1), (32, 3, 2), (32, 4, 1), (64, 4, 2), (64, 4, 1), (64, 4, 1))
EPSILON = 1e-3
OPSET = 13


def layers():
    """Every convolution in order: (name, kind, channels in, channels out, stride, ReLU6 follows, adds the input of)."""
    found, channels = [("stem", "full", 3, STEM, 2, True, None)], STEM
    for number, (out, expansion, stride) in enumerate(BLOCKS):
        name, wide = f"block{number}", channels * expansion
        adds = f"{name}_expand" if stride == 1 and out == channels else None
        found.append((f"{name}_expand", "point", channels, wide, 1, True, None))
        found.append((f"{name}_depthwise", "depthwise", wide, wide, stride, True, None))
        found.append((f"{name}_project", "point", wide, out, 1, False, adds))
        channels = out
    found.append(("head", "point", channels, HEAD, 1, True, None))
    return found


def kernel_shape(kind, channels_in, channels_out):
    """Shape of the weights during training: [kh, kw, in, out], [in, out] or [3, 3, channels]."""
    return {
        "full": (3, 3, channels_in, channels_out),
        "point": (channels_in, channels_out),
        "depthwise": (3, 3, channels_in),
    }[kind]


def initial(seed, classes):
    """Weights before training (He initialisation)."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, kind, cin, cout, _, _, _ in layers():
        fan_in = {"full": 9 * cin, "point": cin, "depthwise": 9}[kind]
        weights[name] = {
            "kernel": rng.normal(0, (2 / fan_in) ** 0.5, kernel_shape(kind, cin, cout)).astype(np.float32),
            "gamma": np.ones(cout, np.float32),
            "beta": np.zeros(cout, np.float32),
        }
    weights["classify"] = {
        "kernel": rng.normal(0, 0.05, (HEAD, classes)).astype(np.float32),
        "bias": np.zeros(classes, np.float32),
    }
    return weights


def _convolve(x, kind, kernel, stride):
    if kind == "point":
        return x @ kernel
    if kind == "full":
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    # A depthwise convolution as nine shifted products: XLA's grouped convolution is many times slower on a CPU.
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = x.shape[1], x.shape[2]
    return sum(
        padded[:, i : i + rows : stride, j : j + columns : stride] * kernel[i, j] for i in range(3) for j in range(3)
    )


def forward(weights, running, x, training):
    """Logits [N, classes] of normalised pictures [N, H, W, 3], and the statistics seen (training) or used."""
    statistics, inputs = {}, {}
    for name, kind, _, _, stride, active, adds in layers():
        inputs[name] = x
        layer = weights[name]
        x = _convolve(x, kind, layer["kernel"], stride)
        if training:
            mean = x.mean((0, 1, 2))
            statistics[name] = {"mean": mean, "variance": jnp.square(x - mean).mean((0, 1, 2))}
        else:
            statistics[name] = running[name]
        used = statistics[name]
        x = (x - used["mean"]) * (layer["gamma"] / jnp.sqrt(used["variance"] + EPSILON)) + layer["beta"]
        if active:
            x = jnp.clip(x, 0, 6)
        if adds:
            x = x + inputs[adds]
    pooled = x.mean((1, 2))
    return pooled @ weights["classify"]["kernel"] + weights["classify"]["bias"], statistics


def normalise(pictures):
    """uint8 RGB [N, H, W, 3] to what the network expects: (x * SCALE - MEAN) / STD."""
    return (pictures.astype(jnp.float32) * SCALE - MEAN) / STD


def _folded(layer, used, kind):
    """Kernel in ONNX's order and bias, with the batch normalisation multiplied in."""
    gain = np.asarray(layer["gamma"]) / np.sqrt(np.asarray(used["variance"]) + EPSILON)
    kernel = np.asarray(layer["kernel"]) * gain
    kernel = {
        "full": lambda k: k.transpose(3, 2, 0, 1),
        "point": lambda k: k.T[:, :, None, None],
        "depthwise": lambda k: k.transpose(2, 0, 1)[:, None],
    }[kind](kernel)
    bias = np.asarray(layer["beta"]) - np.asarray(used["mean"]) * gain
    return np.ascontiguousarray(kernel, np.float32), bias.astype(np.float32)


def to_onnx(weights, running, labels):
    """The ONNX model: input "image" f32 [1, 3, 96, 96] RGB, output "logits" f32 [1, classes], all shapes static."""
    nodes, tensors, at, before = [], [], "image", {}

    def constant(name, value):
        tensors.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    low, high = constant("relu6_low", 0.0), constant("relu6_high", 6.0)
    for name, kind, _, cout, stride, active, adds in layers():
        before[name] = at
        kernel, bias = _folded(weights[name], running[name], kind)
        side, edge = (1, 0) if kind == "point" else (3, 1)
        nodes.append(
            helper.make_node(
                "Conv",
                [at, constant(f"{name}_kernel", kernel), constant(f"{name}_bias", bias)],
                [name],
                name,
                kernel_shape=[side, side],
                strides=[stride, stride],
                pads=[edge] * 4,
                group=cout if kind == "depthwise" else 1,
            )
        )
        at = name
        if active:
            nodes.append(helper.make_node("Clip", [at, low, high], [f"{name}_relu6"], f"{name}_relu6"))
            at = f"{name}_relu6"
        if adds:
            nodes.append(helper.make_node("Add", [at, before[adds]], [f"{name}_sum"], f"{name}_sum"))
            at = f"{name}_sum"
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], "flatten", axis=1))
    kernel, bias = weights["classify"]["kernel"], weights["classify"]["bias"]
    nodes.append(
        helper.make_node(
            "Gemm",
            ["features", constant("classify_kernel", kernel), constant("classify_bias", bias)],
            ["logits"],
            "classify",
        )
    )
    graph = helper.make_graph(
        nodes,
        "roadside",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, INPUT)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, len(labels)))],
        tensors,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="flumeway models/train.py"
    )
    helper.set_model_props(
        model,
        {"labels": "\n".join(labels), "layout": "NCHW", "colour": "RGB", "normalisation": "(x * 1/255 - 0.5) / 0.5"},
    )
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def size(classes):
    """(parameters after folding, multiply-accumulates of one picture)."""
    parameters, macs, side = HEAD * classes + classes, HEAD * classes, INPUT[2]
    for _, kind, cin, cout, stride, _, _ in layers():
        side = side // stride
        count = int(np.prod(kernel_shape(kind, cin, cout)))
        parameters += count + cout
        macs += count * side * side
    return parameters, macs
