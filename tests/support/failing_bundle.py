"""A bundle whose user tower fails for some users."""

from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from components.bundle.bundle import Bundle


def fragile(bundle: Bundle) -> Bundle:
    """The bundle with a user tower that fails for users with a dislike, whom the smoke test does not cover."""
    model = onnx.load_from_string(bundle.tower)
    graph = model.graph
    graph.initializer.extend(
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("only", TensorProto.FLOAT, [1], [1.0]),
        ]
    )
    added = [
        helper.make_node("Less", ["signals", "zero"], ["disliked"]),
        helper.make_node("Cast", ["disliked"], ["beyond"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only", "beyond"], ["ones"]),
        helper.make_node("Mul", ["signals", "ones"], ["checked"]),
    ]
    for node in graph.node:
        node.input[:] = ["checked" if name == "signals" else name for name in node.input]
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return replace(bundle, tower=model.SerializeToString())
