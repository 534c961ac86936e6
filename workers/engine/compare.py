"""A check's step for one target: a candidate beside the baseline, both measured, neither judged."""

from whetstone.contract.checks import SideBySide
from whetstone.contract.steps import Compare, Compared, InputRole
from workers.engine.data.fit import given_samples
from workers.engine.deliver import Stage, Tell, Trial
from workers.engine.importers.detect import open_model
from workers.engine.measure.environment import describe
from workers.engine.measure.feed import Feed
from workers.engine.request import Done, Request


def compare(request: Request, task: Compare, tell: Tell) -> Done:
    """Both are run with the same settings, on the same samples, interleaved. No file is handed over.

    Raises: what `deliver` does.
    """
    stage = Stage(tell, 0.0, 0.1, f"converting for {task.target}")
    folder = request.scratch / "given"
    folder.mkdir()
    candidate = folder / "candidate.onnx"
    graph = open_model(request.inputs[InputRole.RESULT], folder)
    Feed(graph.inputs, task.measurement.batch_size, task.input_shapes, given_samples(request)).check()
    graph.save(candidate)
    trial = Trial(request, task, task.settings, yardstick=task.target)
    stage.at(1.0)
    _, seen, _ = trial.put_beside(candidate, "candidate", task.settings, tell, (0.1, 1.0))
    return Done(
        result=Compared(
            seen=SideBySide(
                target=task.target,
                settings=task.settings,
                baseline=seen.original,
                candidate=seen.result,
                speedup=seen.speedup,
                accuracy=seen.accuracy,
                fidelity=seen.fidelity,
                conditions=seen.conditions,
                environment=describe(task.target),
            )
        )
    )
