"""Writes the bundled classifier as a TensorFlow Lite file, from the ONNX file: the same weights, NHWC, no quantisation.

    python models/to_tflite.py [--onnx models/roadside.onnx] [--out models/roadside.tflite]

Takes the operators of `network.py` (Conv, Clip to 0..6, Add, GlobalAveragePool, Flatten, Gemm) and refuses others. TensorFlow Lite pads a
convolution of stride 2 at the far edges only, the network at all four: such a convolution becomes a PAD and one without padding.
"""

import argparse
import pathlib

import flatbuffers
import numpy as np
import onnx
import tflite
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
# Readers find constants where they lie in the file: aligned as vector registers want them.
ALIGN_BYTES = 16
SCHEMA_VERSION = 3
ELEMENT = {np.dtype(np.float32): tflite.TensorType.FLOAT32, np.dtype(np.int32): tflite.TensorType.INT32}


class Writer:
    """Tensors, constants and operators of one graph, collected in order and written at the end."""

    def __init__(self):
        self.builder = flatbuffers.Builder(1 << 20)
        self.tensors, self.operators, self.codes = [], [], []
        # Buffer 0 is empty: the tensors that are computed.
        self.buffers = [self._buffer(None)]

    def tensor(self, name, shape, dtype=np.float32, constant=None):
        """Index of a new tensor."""
        buffer = 0
        if constant is not None:
            buffer = len(self.buffers)
            self.buffers.append(self._buffer(np.ascontiguousarray(constant, dtype).tobytes()))
        name = self.builder.CreateString(name)
        dims = self._integers(shape)
        tflite.TensorStart(self.builder)
        tflite.TensorAddShape(self.builder, dims)
        tflite.TensorAddType(self.builder, ELEMENT[np.dtype(dtype)])
        tflite.TensorAddBuffer(self.builder, buffer)
        tflite.TensorAddName(self.builder, name)
        self.tensors.append(tflite.TensorEnd(self.builder))
        return len(self.tensors) - 1

    def constant(self, name, value):
        """Index of a tensor that lies in the file."""
        return self.tensor(name, value.shape, value.dtype, value)

    def operator(self, code, inputs, output, kind=tflite.BuiltinOptions.NONE, options=None):
        """One operator; `options` names the fields of the table `kind`, as the schema does."""
        if code not in self.codes:
            self.codes.append(code)
        table = None
        if options is not None:
            name, fields = options
            getattr(tflite, f"{name}Start")(self.builder)
            for field, value in fields.items():
                getattr(tflite, f"{name}Add{field}")(self.builder, value)
            table = getattr(tflite, f"{name}End")(self.builder)
        inputs, outputs = self._integers(inputs), self._integers([output])
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, self.codes.index(code))
        tflite.OperatorAddInputs(self.builder, inputs)
        tflite.OperatorAddOutputs(self.builder, outputs)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(self.builder, kind)
            tflite.OperatorAddBuiltinOptions(self.builder, table)
        self.operators.append(tflite.OperatorEnd(self.builder))

    def finish(self, inputs, outputs, description):
        """The file's bytes."""
        builder = self.builder
        codes = []
        for code in self.codes:
            tflite.OperatorCodeStart(builder)
            # Readers of before 2020 know the first of the two only.
            tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, code)
            tflite.OperatorCodeAddBuiltinCode(builder, code)
            tflite.OperatorCodeAddVersion(builder, 1)
            codes.append(tflite.OperatorCodeEnd(builder))
        parts = [self._tables(part) for part in (self.tensors, self.operators, codes, self.buffers)]
        tensors, operators, codes, buffers = parts
        inputs, outputs = self._integers(inputs), self._integers(outputs)
        name, description = builder.CreateString("roadside"), builder.CreateString(description)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        tflite.SubGraphAddName(builder, name)
        graphs = self._tables([tflite.SubGraphEnd(builder)])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _buffer(self, data):
        if data is not None:
            self.builder.StartVector(1, len(data), ALIGN_BYTES)
            self.builder.head -= len(data)
            self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
            data = self.builder.EndVector()
        tflite.BufferStart(self.builder)
        if data is not None:
            tflite.BufferAddData(self.builder, data)
        return tflite.BufferEnd(self.builder)

    def _integers(self, values):
        return self.builder.CreateNumpyVector(np.asarray(values, np.int32))

    def _tables(self, offsets):
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()


def nhwc(shape):
    """[N, C, H, W] as [N, H, W, C]."""
    return (shape[0], shape[2], shape[3], shape[1])


class Converter:
    """Goes through the graph; `at` tells for each ONNX value its tensor and its shape in NHWC."""

    def __init__(self, model):
        self.graph = model.graph
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.writer = Writer()
        self.at = {}

    def run(self):
        (image,), (answer,) = self.graph.input, self.graph.output
        shape = nhwc([dim.dim_value for dim in image.type.tensor_type.shape.dim])
        self.at[image.name] = (self.writer.tensor(image.name, shape), shape)
        nodes = list(self.graph.node)
        while nodes:
            node = nodes.pop(0)
            active = bool(nodes) and nodes[0].op_type == "Clip" and nodes[0].input[0] == node.output[0]
            if active:
                self._check_relu6(nodes[0])
            output = nodes.pop(0).output[0] if active else node.output[0]
            getattr(self, f"_{node.op_type.lower()}", self._unknown)(node, output, active)
        ends = [self.at[name][0] for name in (image.name, answer.name)]
        return self.writer.finish(ends[:1], ends[1:], "flumeway models/to_tflite.py: roadside.onnx in NHWC")

    def _unknown(self, node, _output, _active):
        raise SystemExit(f"to_tflite.py: {node.op_type} ({node.name}) is not an operator of network.py")

    def _check_relu6(self, clip):
        if [float(self.weights[name]) for name in clip.input[1:]] != [0, 6]:
            raise SystemExit(f"to_tflite.py: {clip.name} does not clip to 0..6")

    def _add_tensor(self, name, shape):
        self.at[name] = (self.writer.tensor(name, shape), shape)
        return self.at[name][0]

    def _conv(self, node, output, active):
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        stride, edge, groups = attributes["strides"][0], attributes["pads"][0], attributes["group"]
        source, shape = self.at[node.input[0]]
        kernel, bias = (self.weights[name] for name in node.input[1:])
        rows, columns = ((size + 2 * edge - kernel.shape[2]) // stride + 1 for size in shape[1:3])
        if edge and stride > 1:
            edges = np.array([[0, 0], [edge, edge], [edge, edge], [0, 0]], np.int32)
            padded = (shape[0], shape[1] + 2 * edge, shape[2] + 2 * edge, shape[3])
            source, before = self.writer.tensor(f"{node.name}_padded", padded), source
            edges = self.writer.constant(f"{node.name}_edges", edges)
            kind = tflite.BuiltinOptions.PadOptions
            self.writer.operator(tflite.BuiltinOperator.PAD, [before, edges], source, kind, ("PadOptions", {}))
        same = edge and stride == 1
        fields = {
            "Padding": tflite.Padding.SAME if same else tflite.Padding.VALID,
            "StrideW": stride,
            "StrideH": stride,
            "FusedActivationFunction": self._activation(active),
            "DilationWFactor": 1,
            "DilationHFactor": 1,
        }
        name, code, kind = "Conv2DOptions", tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOptions.Conv2DOptions
        kernel = kernel.transpose(0, 2, 3, 1)
        if groups > 1:
            name, code = "DepthwiseConv2DOptions", tflite.BuiltinOperator.DEPTHWISE_CONV_2D
            kind = tflite.BuiltinOptions.DepthwiseConv2DOptions
            fields["DepthMultiplier"] = 1
            kernel = kernel.transpose(3, 1, 2, 0)
        constants = [self.writer.constant(f"{node.name}_kernel", kernel), self.writer.constant(f"{node.name}_bias", bias)]
        target = self._add_tensor(output, (shape[0], rows, columns, bias.size))
        self.writer.operator(code, [source, *constants], target, kind, (name, fields))

    def _add(self, node, output, active):
        sources = [self.at[name] for name in node.input]
        target = self._add_tensor(output, sources[0][1])
        options = ("AddOptions", {"FusedActivationFunction": self._activation(active)})
        code, kind = tflite.BuiltinOperator.ADD, tflite.BuiltinOptions.AddOptions
        self.writer.operator(code, [source for source, _ in sources], target, kind, options)

    def _globalaveragepool(self, node, output, _active):
        source, (batch, rows, columns, channels) = self.at[node.input[0]]
        target = self._add_tensor(output, (batch, 1, 1, channels))
        fields = {"Padding": tflite.Padding.VALID, "StrideW": 1, "StrideH": 1, "FilterWidth": columns, "FilterHeight": rows}
        code, kind = tflite.BuiltinOperator.AVERAGE_POOL_2D, tflite.BuiltinOptions.Pool2DOptions
        self.writer.operator(code, [source], target, kind, ("Pool2DOptions", fields))

    def _flatten(self, node, output, _active):
        source, shape = self.at[node.input[0]]
        if shape[1:3] != (1, 1):
            raise SystemExit(f"to_tflite.py: {node.name} would mix up layouts")
        flat = (shape[0], shape[3])
        wanted = self.writer.constant(f"{node.name}_shape", np.array(flat, np.int32))
        target = self._add_tensor(output, flat)
        code, kind = tflite.BuiltinOperator.RESHAPE, tflite.BuiltinOptions.ReshapeOptions
        self.writer.operator(code, [source, wanted], target, kind, ("ReshapeOptions", {}))

    def _gemm(self, node, output, active):
        source, shape = self.at[node.input[0]]
        kernel, bias = (self.weights[name] for name in node.input[1:])
        constants = [self.writer.constant(f"{node.name}_kernel", kernel.T), self.writer.constant(f"{node.name}_bias", bias)]
        target = self._add_tensor(output, (shape[0], bias.size))
        options = ("FullyConnectedOptions", {"FusedActivationFunction": self._activation(active)})
        code, kind = tflite.BuiltinOperator.FULLY_CONNECTED, tflite.BuiltinOptions.FullyConnectedOptions
        self.writer.operator(code, [source, *constants], target, kind, options)

    @staticmethod
    def _activation(active):
        return tflite.ActivationFunctionType.RELU6 if active else tflite.ActivationFunctionType.NONE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=pathlib.Path, default=HERE / "roadside.onnx")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "roadside.tflite")
    arguments = parser.parse_args()
    data = Converter(onnx.load(arguments.onnx)).run()
    arguments.out.write_bytes(data)
    print(f"{arguments.out}: {len(data)} bytes")


if __name__ == "__main__":
    main()
