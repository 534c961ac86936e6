"""Accuracy and fidelity from outputs that are written down here."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine import models
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy
from workers.engine.graph.graph import Graph
from workers.engine.measure.accuracy import ClassMeter, ErrorMeter, LabelsFitNoOutput, OneClassOnly, meter_for
from workers.engine.measure.decision import Decision, decision_output, thresholds_of
from workers.engine.measure.fidelity import FidelityMeter, NoDecision, NotFinite, ShapesDiffer
from workers.engine.measure.ranking import paired_auc
from workers.engine.measure.reading import Reading, reading_of

Floats = NDArray[np.float32]


def scores(*decisions: int, classes: int = 3) -> Floats:
    return np.eye(classes, dtype=np.float32)[list(decisions)]


def floats(*values: object) -> Floats:
    return np.array(values, np.float32)


def test_accuracy_is_paired_and_told_per_class() -> None:
    meter = ClassMeter(Decision("y"))
    meter.add({"y": scores(0, 1)}, {"y": scores(0, 2)}, np.array([0, 1]))
    meter.add({"y": scores(1, 0)}, {"y": scores(1, 2)}, np.array([1, 2]))
    found = meter.accuracy()
    assert (found.metric, found.samples, found.original, found.result) == (Metric.ACCURACY, 4, 0.75, 0.75)
    assert found.drop.value == 0
    assert found.drop.low < 0 < found.drop.high
    told = [(one.label, one.samples, one.original, one.result) for one in found.per_class]
    assert told == [(0, 1, 1.0, 1.0), (1, 2, 1.0, 0.5), (2, 1, 0.0, 1.0)]


def test_a_loss_is_a_positive_drop_in_points() -> None:
    meter = ClassMeter(Decision("y"))
    meter.add({"y": scores(*[0] * 10)}, {"y": scores(*[0] * 9, 1)}, np.zeros(10, np.int64))
    assert meter.accuracy().drop.value == pytest.approx(10)


def test_a_larger_error_is_a_positive_drop_in_percent() -> None:
    meter = ErrorMeter("y")
    meter.add({"y": floats([1.0], [3.0])}, {"y": floats([1.0], [4.0])}, floats(0.0, 2.0))
    found = meter.accuracy()
    assert (found.metric, found.original, found.result) == (Metric.MSE, 1.0, 2.5)
    assert found.drop.value == pytest.approx(150)


def test_labels_choose_what_is_compared() -> None:
    outputs = {
        "boxes": np.zeros((4, 7, 4), np.float32),
        "few": np.zeros((4, 2), np.float32),
        "logits": scores(0, 1, 2, 0),
    }
    meter = meter_for(outputs, np.array([0, 1, 2, 0]), 2, Reading({}))
    assert isinstance(meter, ClassMeter)
    assert meter._decision == Decision("logits")
    meter = meter_for(outputs, np.zeros((4, 2), np.float32), 0, Reading({}))
    assert isinstance(meter, ErrorMeter)
    assert meter._output == "few"


@pytest.mark.parametrize("labels", [np.array([0, 7]), np.zeros((2, 5), np.float32)])
def test_labels_that_fit_no_output_are_refused(labels: NDArray[np.generic]) -> None:
    with pytest.raises(LabelsFitNoOutput, match=r"fit no output of the model: y \[2, 3\]"):
        meter_for({"y": scores(0, 1)}, labels, 7, Reading({"y": 0.0}))


def test_a_decision_is_a_row_of_scores_per_sample() -> None:
    assert decision_output({"ids": np.zeros((2, 3), np.int64), "y": scores(0, 1)}, 2) == "y"
    assert decision_output({"y": np.zeros((2, 1), np.float32), "z": np.zeros(2, np.float32)}, 2) is None


@pytest.mark.parametrize(
    ("last", "threshold"), [("", 0.0), ("y = Sigmoid(z)", 0.5), ("s = Sigmoid(z) y = Flatten(s)", 0.5)]
)
def test_one_number_decides_between_two_classes(last: str, threshold: float) -> None:
    product = "z" if last else "y"
    body = f"g (float[N,3] x) => (float[N,1] y) <float[3,1] w = {{1, 1, 1}}> {{ {product} = MatMul(x, w) {last} }}"
    thresholds = thresholds_of(Graph(models.parsed(body)))
    assert thresholds == {"y": threshold}
    outputs = {"y": np.array([[0.2], [0.7], [-3.0], [0.4]], np.float32)}
    meter = meter_for(outputs, np.array([0, 1, 0, 1]), 1, Reading(thresholds))
    meter.add(outputs, {"y": -outputs["y"]}, np.array([0, 1, 0, 1]))
    assert meter.accuracy().original == 0.75
    assert Decision("y", threshold).of(outputs).tolist() == ([0, 1, 0, 0] if threshold else [1, 1, 0, 1])


def test_identical_outputs_have_perfect_fidelity() -> None:
    meter = FidelityMeter(synthetic=True)
    meter.add({"y": scores(0, 1)}, {"y": scores(0, 1)}, 2)
    found = meter.fidelity()
    assert found.agreement is not None
    assert (found.agreement.value, found.cosine, found.sqnr_db, found.max_abs_error) == (100, 1, None, 0)
    assert found.synthetic_inputs


def test_fidelity_of_known_outputs() -> None:
    meter = FidelityMeter(synthetic=False)
    meter.add({"y": floats([3.0, 4.0], [1.0, 0.0])}, {"y": floats([4.0, 3.0], [1.0, 0.0])}, 2)
    found = meter.fidelity()
    assert found.agreement is not None
    assert found.agreement.value == 50
    assert found.cosine == pytest.approx((24 / 25 + 1) / 2)
    assert found.sqnr_db == pytest.approx(10 * np.log10(26 / 2))
    assert found.max_abs_error == 1


def test_outputs_without_a_decision_have_no_agreement() -> None:
    meter = FidelityMeter(synthetic=False)
    meter.add({"y": np.ones((2, 3, 4), np.float32)}, {"y": np.zeros((2, 3, 4), np.float32)}, 2)
    found = meter.fidelity()
    assert (found.agreement, found.cosine) == (None, 0)


def test_a_silent_original_still_gives_a_finite_ratio() -> None:
    meter = FidelityMeter(synthetic=False)
    meter.add({"y": np.zeros((1, 2, 2), np.float32)}, {"y": np.ones((1, 2, 2), np.float32)}, 1)
    assert meter.fidelity().sqnr_db == pytest.approx(-3082, abs=10)


def test_values_that_are_no_numbers_must_be_the_same_in_both() -> None:
    masked = floats([-np.inf, 1.0], [np.nan, 2.0])
    meter = FidelityMeter(synthetic=False)
    meter.add({"y": masked}, {"y": masked}, 2)
    assert meter.fidelity().sqnr_db is None
    with pytest.raises(NotFinite, match="Output 'y' holds NaN"):
        meter.add({"y": floats([1.0, 1.0])}, {"y": floats([np.nan, 1.0])}, 1)
    with pytest.raises(NotFinite):
        meter.add({"y": masked}, {"y": floats([-5.0, 1.0], [np.nan, 2.0])}, 2)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapesDiffer, match=r"\[1, 3\] instead of \[2, 3\]"):
        FidelityMeter(synthetic=False).add({"y": scores(0, 1)}, {"y": scores(0)}, 2)


LABELS = np.array([0, 0, 1, 1, 0, 1])
RIGHT = floats(0.1, 0.2, 0.8, 0.9, 0.3, 0.7).reshape(-1, 1)
WRONG = floats(0.1, 0.75, 0.8, 0.9, 0.3, 0.7).reshape(-1, 1)
"""One of nine pairs is in the wrong order."""


def binary(metric: Metric, threshold: float, original: Floats, result: Floats) -> Accuracy:
    meter = meter_for({"y": original}, LABELS, 1, Reading({"y": threshold}, metric))
    for rows in (slice(0, 2), slice(2, 6)):
        meter.add({"y": original[rows]}, {"y": result[rows]}, LABELS[rows])
    return meter.accuracy()


def test_the_area_under_the_curve_counts_pairs_in_order() -> None:
    found = binary(Metric.AUC, 0.0, RIGHT, WRONG)
    assert (found.original, found.result) == (1.0, pytest.approx(8 / 9))
    assert found.drop.value == pytest.approx(100 / 9)
    assert found.drop.low < found.drop.value < found.drop.high
    assert binary(Metric.AUC, 0.0, RIGHT, np.zeros_like(RIGHT)).result == 0.5  # all are equal
    same = binary(Metric.AUC, 0.0, WRONG, WRONG).drop
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_the_interval_of_two_areas_holds_what_drawing_anew_gives() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    first = labels + random.normal(0, 1.5, 400)
    second = first + random.normal(0, 0.7, 400)
    before, after, drop = paired_auc(first, second, labels == 1)
    drawn = []
    for _ in range(500):
        rows = random.integers(0, 400, 400)
        one, other, _ = paired_auc(first[rows], second[rows], labels[rows] == 1)
        drawn.append(one - other)
    assert drop.value == pytest.approx(before - after)
    assert (drop.high - drop.low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.15)


def test_log_loss_is_that_of_logits_and_of_probabilities() -> None:
    logits = np.log(RIGHT / (1 - RIGHT))
    expected = -np.log(np.where(LABELS == 1, RIGHT[:, 0], 1 - RIGHT[:, 0])).mean()
    for threshold, scores_ in ((0.5, RIGHT), (0.0, logits)):
        found = binary(Metric.LOG_LOSS, threshold, scores_, scores_)
        assert found.original == pytest.approx(expected, rel=1e-5)
        assert found.drop.value == 0
    sure = binary(Metric.LOG_LOSS, 0.5, RIGHT, 1 - RIGHT.round())
    assert sure.result == pytest.approx(-np.log(1e-15))


def test_what_cannot_be_ranked_is_refused() -> None:
    meter = meter_for({"y": RIGHT}, LABELS, 1, Reading({"y": 0.0}, Metric.AUC))
    meter.add({"y": RIGHT}, {"y": RIGHT}, np.ones(6, np.int64))
    with pytest.raises(OneClassOnly, match="All 6 labels are 1"):
        meter.accuracy()
    with pytest.raises(LabelsFitNoOutput):
        meter_for({"y": scores(0, 1)}, np.array([0, 1]), 1, Reading({"y": 0.0}, Metric.AUC))


def test_an_embedding_decides_nothing() -> None:
    meter = FidelityMeter(synthetic=False, metric=Metric.COSINE)
    meter.add({"y": scores(0, 1)}, {"y": scores(0, 2)}, 2)
    assert meter.fidelity().agreement is None


def test_a_sequence_decides_at_each_position() -> None:
    original, result = np.stack([scores(0, 1, 2, 0)] * 2), np.stack([scores(0, 1, 2, 0), scores(0, 1, 0, 2)])
    meter = FidelityMeter(synthetic=False, metric=Metric.POSITIONS)
    meter.add({"y": original}, {"y": result}, 2)
    agreement = meter.fidelity().agreement
    assert agreement is not None
    assert agreement.value == pytest.approx(75)
    empty = FidelityMeter(synthetic=False, metric=Metric.POSITIONS)
    empty.add({"y": scores(0, 1)}, {"y": scores(0, 1)}, 2)
    with pytest.raises(NoDecision, match="positions"):
        empty.fidelity()


@pytest.mark.parametrize(
    ("last", "embeds"),
    [
        ("y = MatMul(x, w)", False),
        ("z = MatMul(x, w) y = Softmax<axis = 1>(z)", False),
        ("z = MatMul(x, w) y = Tanh(z)", True),
        ("z = MatMul(x, w) y = LpNormalization<axis = 1>(z)", True),
        ("z = MatMul(x, w) n = ReduceL2<axes = [1]>(z) c = Clip(n, low) y = Div(z, c)", True),
        ("z = MatMul(x, w) y = Div(z, low)", False),
    ],
)
def test_the_graph_tells_an_embedding_from_scores(last: str, embeds: bool) -> None:  # noqa: FBT001 - a fact
    weights = "float[3,2] w = {1, 1, 1, 0, 0, 0}, float low = {0.001}"
    reading = reading_of(Graph(models.parsed(f"g (float[N,3] x) => (float[N,2] y) <{weights}> {{ {last} }}")))
    assert reading.embeds == embeds
    assert reading.without_labels is (Metric.COSINE if embeds else None)
    assert reading.by_labels
