"""What is stated of the files that a step of a job made."""

from collections.abc import Iterable
from datetime import UTC, datetime

from app.fleet.tables import StepRow
from app.jobs.tables import JobRow
from whetstone.contract.passes import Pass
from whetstone.contract.provenance import Delivery, Descriptor, Digest, Statement
from whetstone.contract.reports import BuiltReport, Latency, Measured, TargetReport
from whetstone.contract.steps import Delivered, OutputFile


def statement(
    job: JobRow,
    step: StepRow,
    outputs: tuple[OutputFile, ...],
    recipe: tuple[Pass, ...],
    claims: Iterable[TargetReport | BuiltReport],
) -> Statement:
    """The subjects are the outputs, and for a target also what its bundle will hold."""
    subjects = {output.name: output.sha256 for output in outputs}
    if isinstance(step.result, Delivered):
        subjects |= {packed.name: packed.sha256 for packed in step.result.packed}
    return Statement(
        subject=tuple(_descriptor(name, sha256) for name, sha256 in sorted(subjects.items())),
        predicate=Delivery(
            job_id=job.id,
            step_id=step.id,
            made_at=datetime.now(UTC),
            model_id=job.model_id,
            dataset_id=job.dataset_id,
            inputs=_inputs(job),
            recipe=recipe,
            claims=tuple(_brief(claim) for claim in claims),
        ),
    )


def _inputs(job: JobRow) -> tuple[Descriptor, ...]:
    model = _descriptor(job.model.filename, job.model.file.sha256)
    return (model,) if job.dataset is None else (model, _descriptor(job.dataset.filename, job.dataset.file.sha256))


def _descriptor(name: str, sha256: str) -> Descriptor:
    return Descriptor(name=name, digest=Digest(sha256=sha256))


def _brief(claim: TargetReport | BuiltReport) -> TargetReport | BuiltReport:
    """Without what is for drawing: a manifest is read by people, too. Others get to read it, so no samples either."""
    if isinstance(claim, BuiltReport):
        return claim.model_copy(update={"kernels": (), "layers": ()})
    sides = {"original": _side(claim.original), "result": _side(claim.result)}
    return claim.model_copy(
        update={**sides, "calibration": None, "layers": (), "worst": (), "saliency": None, "scenarios": ()}
    )


def _side(measured: Measured) -> Measured:
    latency: Latency = measured.latency.model_copy(update={"curve": ()})
    return measured.model_copy(update={"latency": latency, "operators": ()})
