"""Float16 for GPUs. Needs only onnx, so that a machine without TensorFlow can convert what it measures."""

from __future__ import annotations

import onnx


def halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Convert the convolutions and all before them; pools and head stay float32, so that contributions add up.

    The converter can be told which nodes to keep, but it still casts their inputs and outputs to float16. So it gets
    only the part to convert, and the rest is added again afterwards.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415  # needed only here

    graph = onnx.shape_inference.infer_shapes(proto).graph
    below, above = _cut(graph)
    wanted = {name for node in above for name in node.input} | {output.name for output in graph.output}
    made = {name for node in below for name in node.output}
    bounds = [value for value in (*graph.value_info, *graph.output) if value.name in wanted & made]
    imports = {"opset_imports": proto.opset_import, "ir_version": proto.ir_version}
    trunk = onnx.helper.make_graph(below, graph.name, graph.input, bounds, _constants(graph, below))
    smaller = convert_float_to_float16(onnx.helper.make_model(trunk, **imports), keep_io_types=True).graph
    constants = _constants(graph, above)
    own = {constant.name: f"float32/{constant.name}" for constant in constants}  # as opposed to those below
    for constant in constants:
        constant.name = own[constant.name]
    for node in above:
        node.input[:] = [own.get(name, name) for name in node.input]
    constants = [*smaller.initializer, *constants]
    whole = onnx.helper.make_graph([*smaller.node, *above], graph.name, graph.input, graph.output, constants)
    return onnx.helper.make_model(whole, **imports)


def _cut(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Separate the convolutions and all before them from the rest; both in the order of computation."""
    leading, below, above = set(), [], []
    for node in reversed(graph.node):
        if node.op_type == "Conv" or leading & set(node.output):
            leading |= set(node.input)
            below.insert(0, node)
        else:
            above.insert(0, node)
    return below, above


def _constants(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> list[onnx.TensorProto]:
    """Pick the constants that these nodes use."""
    used = {name for node in nodes for name in node.input}
    return [constant for constant in graph.initializer if constant.name in used]
