"""The whole search on a small trained net: it finds what helps, explains the rest, and stops when told."""

from pathlib import Path

import numpy as np

from tests.engine import models
from whetstone.contract.jobs import Budget, Measurement, Objective
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Activations, Precision, Quantize
from whetstone.contract.search import Ended, Limit
from whetstone.contract.steps import InputRole, Searched, SearchRecipe
from whetstone.contract.targets import AS_USUAL, Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.graph.graph import Graph
from workers.engine.request import Message, Progress, Request, Tried, Trying
from workers.engine.search.keeping import Best, Kept, Place
from workers.engine.search.run import search


def ordered(task: SearchRecipe, folder: Path, model: Path, data: Path | None) -> tuple[Searched, list[Message], Path]:
    outputs = folder / "outputs"
    outputs.mkdir(parents=True)
    inputs = {InputRole.MODEL: model} | ({InputRole.DATASET: data} if data else {})
    told: list[Message] = []
    done = search(Request(task=task, inputs=inputs, outputs=outputs, scratch=folder), task, told.append)
    assert isinstance(done.result, Searched)
    assert {made.name for made in done.outputs} <= {path.name for path in outputs.iterdir()}
    return done.result, told, outputs


def small(**fields: object) -> SearchRecipe:
    defaults = {
        "limit": Limit(minutes=1, trials=5),
        "targets": (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU),
        "budget": Budget(objective=Objective.SIZE, max_drop=3),
        "measurement": Measurement(threads=1),
    }
    return SearchRecipe.model_validate(defaults | fields)


def test_it_finds_a_smaller_model_for_each_target(tmp_path: Path, trained: Graph, digits_file: Path) -> None:
    model = models.saved(trained, tmp_path / "model.onnx")
    found, told, outputs = ordered(small(), tmp_path, model, digits_file)
    assert [winner.target for winner in found.winners] == [Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU]
    for winner in found.winners:
        assert winner.passes[-1].config.kind == "quantize"
        assert (outputs / winner.file).stat().st_size < 0.4 * model.stat().st_size
    assert sum(candidate.target is Target.OPENVINO_CPU for candidate in found.candidates) == 5
    assert sum(candidate.chosen for candidate in found.candidates) == 2
    assert all(candidate.because for candidate in found.candidates)
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)


def test_a_safer_runner_up_is_handed_over_beside_the_best(tmp_path: Path, trained: Graph, digits_file: Path) -> None:
    """Of two that are kept the smaller one lost more than half of what may be lost."""
    model = models.saved(trained, tmp_path / "model.onnx")
    task = small(targets=(Target.ONNXRUNTIME_CPU,), limit=Limit(minutes=1, trials=3))
    proposals = [Proposal(recipe=(Simplify(),)), Proposal(recipe=(Simplify(), Quantize()))]
    losses = {proposals[0]: 0.2, proposals[1]: 2.0}
    tried = []
    for proposal, lost in losses.items():
        ratio = 1 + lost
        score = Score(lost=lost, allowed=3, speedup=1, size_ratio=ratio, latency_ms=1, size=100, full=True)
        tried.append(Trial(proposal=proposal, marks=(Mark(target=Target.ONNXRUNTIME_CPU, score=score),), seconds=1))
    best = Best(tmp_path / "best", None)
    for proposal, place in zip(proposals, (Place.SAFE, Place.BEST), strict=True):
        kept = Kept(
            target=Target.ONNXRUNTIME_CPU,
            place=place,
            settings=AS_USUAL,
            proposal=proposal,
            file=f"{place}.onnx",
            passes=(),
        )
        best.put(model, kept)
    packed = best.pack(tmp_path / "best.zip")
    task = task.model_copy(update={"tried": tuple(tried), "stop": Ended.REQUESTED})
    (tmp_path / "outputs").mkdir()
    inputs = {InputRole.MODEL: model, InputRole.DATASET: digits_file, InputRole.CHECKPOINT: tmp_path / packed.name}
    request = Request(task=task, inputs=inputs, outputs=tmp_path / "outputs", scratch=tmp_path)
    done = search(request, task, lambda _: None)
    assert isinstance(done.result, Searched)
    (winner,) = done.result.winners
    assert winner.runner_up is not None
    assert winner.runner_up.file != winner.file
    assert {made.name for made in done.outputs} == {winner.file, winner.runner_up.file}


def test_nothing_better_is_the_original(tmp_path: Path, trained: Graph, digits_file: Path) -> None:
    """With nothing allowed to be lost but much to be gained from, only Simplify is tried."""
    model = models.saved(trained, tmp_path / "model.onnx")
    task = small(limit=Limit(minutes=1, trials=1), targets=(Target.ONNXRUNTIME_CPU,))
    found, _, outputs = ordered(task, tmp_path, model, digits_file)
    (winner,) = found.winners
    assert winner.passes == ()
    kept = models.run(Graph(models.onnx.load(outputs / winner.file)), x=np.zeros((1, 1, 28, 28), np.float32))
    assert np.array_equal(kept[0], models.run(trained, x=np.zeros((1, 1, 28, 28), np.float32))[0])


def test_without_data_it_goes_by_fidelity(tmp_path: Path, trained: Graph) -> None:
    model = models.saved(trained, tmp_path / "model.onnx")
    task = small(targets=(Target.ONNXRUNTIME_CPU,), budget=Budget(objective=Objective.SIZE, max_drop=5))
    found, _, _ = ordered(task, tmp_path, model, None)
    assert any(candidate.chosen for candidate in found.candidates)
    assert all(
        config.activations is not Activations.STATIC or config.precision is not Precision.INT8
        for candidate in found.candidates
        for config in candidate.recipe
        if isinstance(config, Quantize)
    )


def test_a_recipe_that_fails_is_told_and_the_search_goes_on(tmp_path: Path, digits_file: Path) -> None:
    body = "g (float[N,1,28,28] x) => (float[N,1,28,28] y) { y = Relu(x) }"
    model = models.saved(models.parsed(body), tmp_path / "model.onnx")
    found, _, _ = ordered(small(targets=(Target.ONNXRUNTIME_CPU,)), tmp_path, model, digits_file)
    failed = [candidate for candidate in found.candidates if candidate.lost is None]
    assert failed
    assert all("Could not be tried" in candidate.because for candidate in failed)
    assert found.winners[0].passes == ()


def test_it_goes_on_where_it_was(tmp_path: Path, trained: Graph, digits_file: Path) -> None:
    """Two searches of two trials, the second after the first, find what one of four does."""
    model = models.saved(trained, tmp_path / "model.onnx")
    whole, told, _ = ordered(small(limit=Limit(minutes=1, trials=4)), tmp_path / "whole", model, digits_file)
    _, first, outputs = ordered(small(limit=Limit(minutes=1, trials=2)), tmp_path / "first", model, digits_file)
    noted = [message for message in first if isinstance(message, Tried)]
    best = [message.best for message in noted if message.best]
    task = small(
        limit=Limit(minutes=1, trials=4), tried=tuple(message.trial for message in noted), spent=noted[-1].spent
    )
    folder = tmp_path / "second"
    (folder / "outputs").mkdir(parents=True)
    inputs = {InputRole.MODEL: model, InputRole.DATASET: digits_file, InputRole.CHECKPOINT: outputs / best[-1].name}
    second: list[Message] = []
    request = Request(task=task, inputs=inputs, outputs=folder / "outputs", scratch=folder)
    found = search(request, task, second.append).result
    assert isinstance(found, Searched)
    assert [one.recipe for one in found.candidates] == [one.recipe for one in whole.candidates]
    assert [one.lost for one in found.candidates] == [one.lost for one in whole.candidates]
    began = [message.proposal for message in second if isinstance(message, Trying)]
    assert began == [message.proposal for message in told if isinstance(message, Trying)][2:]
    assert found.summary.seconds > task.spent
    ended = task.model_copy(update={"stop": Ended.REQUESTED})
    (tmp_path / "third").mkdir()
    request = request.model_copy(update={"outputs": tmp_path / "third"})
    at_once = search(request, ended, lambda _: None).result
    assert isinstance(at_once, Searched)
    assert at_once.summary.ended is Ended.REQUESTED
    assert len(at_once.candidates) == 4
    assert all(winner.passes for winner in at_once.winners)
