"""ONNX of every opset that exporters have written, imported and simplified; and files that the checker cannot bear."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.engine import fuzzing, models
from whetstone.contract.passes import Simplify
from workers.engine.importers.detect import open_model
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.simplify import SimplifyPass

OLDEST, KEPT_FROM = 7, 13
NEWEST = onnx.defs.onnx_opset_version()
BODY = """
g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1)
    n = BatchNormalization (c, scale, bias, mean, var)
    r = Relu(n)
    p = GlobalAveragePool(r)
    f = Flatten <axis = 1> (p)
    g = Gemm <transB = 1> (f, w2, b2)
    y = Softmax <axis = 1> (g)
}
"""


def network(opset: int) -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    one = np.ones(6, np.float32)
    return models.with_weights(
        models.parsed(BODY, opset=opset),
        w1=draw.standard_normal((6, 3, 3, 3)).astype(np.float32),
        w2=draw.standard_normal((4, 6)).astype(np.float32),
        b2=draw.standard_normal(4).astype(np.float32),
        scale=2 * one,
        bias=one / 2,
        mean=one / 4,
        var=one,
    )


@pytest.mark.parametrize("opset", range(OLDEST, NEWEST + 1))
def test_a_network_of_any_opset_is_imported_and_simplified(tmp_path: Path, context: Context, opset: int) -> None:
    original = network(opset)
    path = models.saved(original, tmp_path / "model.onnx")
    graph = open_model(path, tmp_path)
    assert graph.opset >= KEPT_FROM
    assert graph.upgraded_from == (opset if opset < KEPT_FROM else None)
    simple = SimplifyPass(Simplify()).apply(graph, None, context).graph
    assert len(simple.nodes) < len(original.graph.node)
    x = np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(original.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(models.run(simple, x=x)[0], session.run(None, {"x": x})[0], atol=1e-5)


def nested(depth: int) -> bytes:
    """A branch within a branch within a branch."""
    result = helper.make_tensor_value_info("y", 1, None)
    leaf = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "leaf", [], [result])
    inner = leaf
    for _ in range(depth):
        branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=leaf)
        inner = helper.make_graph([branch], "branch", [], [result])
    return _model(inner)


def _model(graph: onnx.GraphProto) -> bytes:
    graph.input.extend(
        [helper.make_tensor_value_info("x", 1, ["N"]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def huge_shape() -> bytes:
    model = models.relu()
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT)
    tensor.dims.extend([2**40, 2**20])
    return model.SerializeToString()


def negative_shape() -> bytes:
    model = models.relu()
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, raw_data=b"1234")
    tensor.dims.extend([-1, -1])
    return model.SerializeToString()


def unknown_types() -> bytes:
    model = models.relu()
    model.graph.input[0].type.tensor_type.elem_type = 999
    model.graph.initializer.add(name="w", data_type=999, dims=[1])
    return model.SerializeToString()


def empty_types() -> bytes:
    model = models.relu()
    model.graph.input[0].ClearField("type")
    model.graph.output[0].ClearField("type")
    return model.SerializeToString()


def attribute_of_two_kinds() -> bytes:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = Softmax <axis = 1> (x) }")
    attribute = model.graph.node[0].attribute[0]
    attribute.floats.extend([1.0])
    attribute.s = b"\xff\xfe"
    return model.SerializeToString()


def reference_to_nowhere() -> bytes:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = Softmax <axis = 1> (x) }")
    model.graph.node[0].attribute[0].ref_attr_name = "missing"
    return model.SerializeToString()


def itself() -> bytes:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = mine.f(x) }", domains=', "mine": 1')
    head = '<domain: "mine", opset_import: ["" : 17, "mine": 1]>'
    model.functions.append(onnx.parser.parse_function(f"{head} f (a) => (b) {{ b = mine.f(a) }}"))
    return model.SerializeToString()


def long_chain() -> bytes:
    nodes = [helper.make_node("Relu", [f"t{number}"], [f"t{number + 1}"]) for number in range(20_000)]
    ends = [[helper.make_tensor_value_info(name, 1, ["N"])] for name in ("t0", "t20000")]
    graph = helper.make_graph(nodes, "chain", *ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


HARD = {
    "nested": nested(20),
    "huge shape": huge_shape(),
    "negative shape": negative_shape(),
    "unknown types": unknown_types(),
    "empty types": empty_types(),
    "attribute of two kinds": attribute_of_two_kinds(),
    "reference to nowhere": reference_to_nowhere(),
    "itself": itself(),
    "long chain": long_chain(),
    "old and damaged": network(7).SerializeToString().replace(b"GlobalAveragePool", b"GlobalLpPool\0\0\0\0\0"),
}


@pytest.mark.parametrize("name", HARD)
def test_a_file_that_is_hard_on_the_checker_ends_in_a_result_or_a_typed_refusal(name: str) -> None:
    assert fuzzing.ended(open_model, "model.onnx", HARD[name]) is None
