"""Other operators, the same results; and which rule finds what."""

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.substitution import Rule, Substitute
from workers.engine.graph.graph import Graph
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Context, Outcome
from workers.engine.passes.substitute import SubstitutePass, rules_for

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def substituted(graph: Graph, rule: Rule, context: Context) -> Outcome:
    assert rule in rules_for(graph)
    return SubstitutePass(Substitute(rules=(rule,))).apply(graph, None, context)


def ops(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def assert_same(before: Graph, after: Graph, **inputs: np.ndarray) -> None:
    for old, new in zip(models.run(before, **inputs), models.run(after, **inputs), strict=True):
        assert new.shape == old.shape
        assert np.allclose(new, old, rtol=1e-4, atol=1e-4)


@pytest.fixture
def one_hot() -> Graph:
    body = """g (int32[N,6] ids) => (float[N,6,4] y) {
        last = Constant <value_ints = [-1]> ()
        wide = Unsqueeze (ids, last) hits = Equal (wide, classes) code = Cast <to = 1> (hits)
        rows = MatMul (code, table) moved = Add (rows, shift) y = Tanh (moved) }"""
    weights = {"classes": np.arange(5, dtype=np.int32)[None, None], "table": normal(5, 4), "shift": normal(4)}
    return Graph(models.with_weights(models.parsed(body), **weights))


def test_a_one_hot_product_becomes_rows_of_a_table(one_hot: Graph, context: Context) -> None:
    outcome = substituted(one_hot, Rule.TABLE, context)
    assert [op for op in ops(outcome.graph) if op != "Constant"] == ["Unsqueeze", "Clip", "Squeeze", "Gather"]
    assert "rows of a table of 5, with 2 operators after it" in str(outcome.layers[0].after)
    assert_same(one_hot, outcome.graph, ids=RNG.integers(0, 5, (3, 6), dtype=np.int32))


def test_numbers_that_are_no_class_stay_rows_of_zeros(one_hot: Graph, context: Context) -> None:
    outcome = substituted(one_hot, Rule.TABLE, context)
    assert_same(one_hot, outcome.graph, ids=np.array([[-7, -1, 0, 4, 5, 99]], np.int32))


GELU = """g (float[N,3,8] x) => (float[N,3,8] y) {
    s = Mul (x, x) c = Mul (x, s) k = Mul (bend, c) a = Add (x, k) b = Mul (slope, a) t = Tanh (b)
    p = Add (one, t) h = Mul (half, p) y = Mul (x, h) }"""
NUMBERS = {"bend": 0.044715, "slope": np.sqrt(2 / np.pi), "one": 1.0, "half": 0.5}


def scalars(**numbers: float) -> dict[str, np.ndarray]:
    return {name: np.array(number, np.float32) for name, number in numbers.items()}


def test_gelu_written_as_flax_does_is_written_as_runtimes_know_it(context: Context) -> None:
    graph = Graph(models.with_weights(models.parsed(GELU), **scalars(**NUMBERS)))
    outcome = substituted(graph, Rule.FUNCTION, context)
    assert "Pow" in ops(outcome.graph)
    assert "GELU (by tanh), of 9 operators" in str(outcome.layers[0].after)
    assert_same(graph, outcome.graph, x=4 * normal(2, 3, 8))


def test_what_only_looks_like_gelu_stays(context: Context) -> None:
    graph = Graph(models.with_weights(models.parsed(GELU), **scalars(**NUMBERS | {"bend": 0.05})))
    assert rules_for(graph) == ()
    with pytest.raises(NothingToDo, match="table"):
        SubstitutePass(Substitute()).apply(graph, None, context)


def test_hard_swish_becomes_one_operator(context: Context) -> None:
    body = """g (float[N,4] x) => (float[N,4] y) {
        a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six) }"""
    graph = Graph(models.with_weights(models.parsed(body), **scalars(three=3, zero=0, six=6)))
    outcome = substituted(graph, Rule.FUNCTION, context)
    assert ops(outcome.graph) == ["HardSwish"]
    assert_same(graph, outcome.graph, x=4 * normal(5, 4))


def test_a_function_whose_middle_is_read_elsewhere_stays() -> None:
    body = """g (float[N,4] x) => (float[N,4] y, float[N,4] c) {
        a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six) }"""
    graph = Graph(models.with_weights(models.parsed(body), **scalars(three=3, zero=0, six=6)))
    assert Rule.FUNCTION not in rules_for(graph)


def one_pass(axis: int, scale: tuple[int, ...]) -> Graph:
    """Layer normalization with the variance as E[x²] - E[x]², as flax writes it."""
    body = f"""g (float[N,6,8] x) => (float[N,6,8] y) {{
        axis = Constant <value_ints = [{axis}]> ()
        sum = ReduceSum <keepdims = 1> (x, axis) m = Mul (sum, share) mm = Mul (m, m)
        xx = Mul (x, x) sums = ReduceSum <keepdims = 1> (xx, axis) e = Mul (sums, share)
        d = Sub (e, mm) v = Max (d, zero) ve = Add (v, epsilon) root = Sqrt (ve) r = Reciprocal (root)
        c = Sub (x, m) f = Mul (r, scale) n = Mul (c, f) y = Add (n, shift) }}"""
    length = (6, 8)[axis - 1]
    numbers = scalars(share=1 / length, zero=0, epsilon=1e-6)
    weights = {"scale": normal(*scale), "shift": normal(*scale)}
    return Graph(models.with_weights(models.parsed(body), **numbers, **weights))


@pytest.mark.parametrize(("axis", "scale"), [(2, (8,)), (1, (6, 1)), (1, (1, 6, 1))])
def test_a_normalization_centres_first(axis: int, scale: tuple[int, ...], context: Context) -> None:
    graph = one_pass(axis, scale)
    outcome = substituted(graph, Rule.NORMALIZATION, context)
    assert [layer.after for layer in outcome.layers] == [f"a normalization along axis {axis} that centres first"]
    assert ("Transpose" in ops(outcome.graph)) == (axis == 1)
    assert_same(graph, outcome.graph, x=normal(2, 6, 8))


def test_centring_first_survives_where_a_difference_of_means_does_not(context: Context) -> None:
    graph = one_pass(2, (8,))
    outcome = substituted(graph, Rule.NORMALIZATION, context)
    x = 1000 + normal(4, 6, 8)
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-6)
    exact = exact * graph.weight("scale") + graph.weight("shift")
    before, after = (np.abs(models.run(each, x=x)[0] - exact).max() for each in (graph, outcome.graph))
    assert after < 0.01 < before


def test_a_wide_window_on_one_channel_becomes_a_product(context: Context) -> None:
    """With its activation and normalization, which cost nothing behind a product."""
    body = """g (float[N,1,400,1] x) => (float[N,16,84,1] y) {
        c = Conv <kernel_shape = [70, 1], strides = [4, 1], pads = [1, 0, 2, 0]> (x, w, b)
        r = Relu (c) y = BatchNormalization <epsilon = 0.001> (r, scale, shift, mean, variance) }"""
    weights = {"w": normal(16, 1, 70, 1), "b": normal(16), "scale": normal(16), "shift": normal(16), "mean": normal(16)}
    graph = Graph(models.with_weights(models.parsed(body), **weights, variance=np.abs(normal(16))))
    outcome = substituted(graph, Rule.PATCHES, context)
    assert {"MatMul", "Gather"} <= set(ops(outcome.graph))
    assert not {"Conv", "BatchNormalization"} & set(ops(outcome.graph))
    assert "a product of 21 rows of 82 samples" in str(outcome.layers[0].after)
    assert_same(graph, outcome.graph, x=normal(3, 1, 400, 1))


@pytest.mark.parametrize(
    ("kernel", "channels"), [((1, 16, 1, 63), "narrow"), ((8, 1, 1, 70), "few"), ((16, 2, 1, 70), "two")]
)
def test_other_convolutions_are_left_alone(kernel: tuple[int, ...], channels: str) -> None:
    out, into, _, width = kernel
    body = f"g (float[N,{into},1,300] x) => (float[N,{out},1,{301 - width}] y) {{ y = Conv (x, w) }}"
    assert rules_for(Graph(models.with_weights(models.parsed(body), w=normal(*kernel)))) == (), channels


def test_a_very_large_kernel_becomes_a_sum(context: Context) -> None:
    body = "g (float[N,512,40] x) => (float[N,3,9] y) { y = Conv (x, w, b) }"
    graph = Graph(models.with_weights(models.parsed(body), w=normal(3, 512, 32) / 100, b=normal(3)))
    outcome = substituted(graph, Rule.CHANNELS, context)
    assert ops(outcome.graph) == ["Split", "Conv", "Conv", "Add"]
    assert_same(graph, outcome.graph, x=normal(2, 512, 40))


@pytest.mark.parametrize("inputs", ["x, w", "x, w, b"])
def test_a_transposed_convolution_without_overlap_becomes_pixels(inputs: str, context: Context) -> None:
    body = f"""g (float[N,5,4,6] x) => (float[N,3,8,12] y) {{
        y = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> ({inputs}) }}"""
    weights = {"w": normal(5, 3, 2, 2)} | ({"b": normal(3)} if "b" in inputs else {})
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    outcome = substituted(graph, Rule.PIXELS, context)
    assert ops(outcome.graph) == ["Conv", "DepthToSpace"]
    assert_same(graph, outcome.graph, x=normal(2, 5, 4, 6))


@pytest.mark.parametrize("more", ["strides = [1, 1]", "strides = [2, 2], pads = [1, 1, 0, 0]"])
def test_windows_that_overlap_or_are_cut_off_stay(more: str) -> None:
    body = f"g (float[N,5,4,6] x) => (float[N,3,H,W] y) {{ y = ConvTranspose <kernel_shape = [2, 2], {more}> (x, w) }}"
    assert rules_for(Graph(models.with_weights(models.parsed(body), w=normal(5, 3, 2, 2)))) == ()


def test_a_stack_that_is_turned_is_stacked_where_it_will_lie(context: Context) -> None:
    body = """g (float[N,7,9,1] a, float[N,7,9,1] b) => (float[N,2,7,5] y) {
        begin = Constant <value_ints = [0]> () end = Constant <value_ints = [5]> ()
        axis = Constant <value_ints = [2]> () s = Concat <axis = -1> (a, b)
        c = Slice (s, begin, end, axis) y = Transpose <perm = [0, 3, 1, 2]> (c) }"""
    graph = Graph(models.parsed(body))
    outcome = substituted(graph, Rule.LAYOUT, context)
    assert [op for op in ops(outcome.graph) if op != "Constant"] == ["Reshape", "Reshape", "Concat", "Slice"]
    assert_same(graph, outcome.graph, a=normal(3, 7, 9, 1), b=normal(3, 7, 9, 1))


def test_a_turn_that_moves_values_stays() -> None:
    body = """g (float[N,7,9,1] a, float[N,7,9,1] b) => (float[N,2,9,7] y) {
        s = Concat <axis = 3> (a, b) y = Transpose <perm = [0, 3, 2, 1]> (s) }"""
    assert rules_for(Graph(models.parsed(body))) == ()


def test_the_graph_given_is_not_touched(one_hot: Graph, context: Context) -> None:
    before = one_hot.model.SerializeToString()
    substituted(one_hot, Rule.TABLE, context)
    assert one_hot.model.SerializeToString() == before


def test_names_of_factorized_layers_are_not_taken(context: Context) -> None:
    """Factorizing calls what it puts before a layer `.part1`."""
    body = """g (float[N,4,1,1] x) => (float[N,3,2,2] y) {
        t = Conv (x, thin) y = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (t, w) }"""
    model = models.with_weights(models.parsed(body), thin=normal(5, 4, 1, 1), w=normal(5, 3, 2, 2))
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "y.part1"
    graph = Graph(model)
    outcome = substituted(graph, Rule.PIXELS, context)
    assert_same(graph, outcome.graph, x=normal(2, 4, 1, 1))


def test_places_of_a_cut_keep_their_type(context: Context) -> None:
    body = """g (float[N,7,9,1] a, float[N,7,9,1] b) => (float[N,2,7,5] y) {
        s = Concat <axis = -1> (a, b) c = Slice (s, begin, end, axis) y = Transpose <perm = [0, 3, 1, 2]> (c) }"""
    weights = {name: np.array([value], np.int32) for name, value in {"begin": 0, "end": 5, "axis": 2}.items()}
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    outcome = substituted(graph, Rule.LAYOUT, context)
    assert_same(graph, outcome.graph, a=normal(3, 7, 9, 1), b=normal(3, 7, 9, 1))
