"""Reports and their parts, made up but complete."""

from datetime import UTC, datetime

import numpy as np

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.insights import (
    Calibration,
    CalibrationBin,
    Importance,
    LayerNoise,
    Picture,
    Reliability,
    WorstSample,
)
from whetstone.contract.learning import Finetune
from whetstone.contract.metrics import Metric
from whetstone.contract.passes import Simplify
from whetstone.contract.provenance import Delivery, Descriptor, Digest, Statement
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Partial, Quantize
from whetstone.contract.reports import (
    Accuracy,
    BuiltReport,
    Candidate,
    ClassAccuracy,
    Conditions,
    Conversion,
    Curve,
    EngineKey,
    Environment,
    Estimate,
    Fidelity,
    JobReport,
    Kernel,
    Latency,
    LayerChange,
    LoadPoint,
    Measured,
    OperatorTime,
    PassReport,
    Percentile,
    ScenarioReport,
    ShapeRange,
    TargetReport,
    UnderLoad,
    Verdict,
    VerdictKind,
)
from whetstone.contract.scenarios import MultiStream, Offline, Server
from whetstone.contract.search import Ended
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Study, TrialRead, TrialState, Tune

SOME_ID = "01h455vb4pex5vsknk084sn02q"
AGREEMENT = Estimate(value=99.6, low=99.1, high=99.8)
DROP = Estimate(value=0.12, low=-0.21, high=0.45)
IMPROVED = Verdict(kind=VerdictKind.IMPROVED, reason="The result is 2 times as fast.")


def latency(*, scale: float = 1.0, samples: int = 1000) -> Latency:
    claimed = [(50, 1.0, 11), (90, 1.4, 64), (99, 2.2, 662)]
    return Latency(
        samples=samples,
        mean_ms=1.1 * scale,
        min_ms=0.9 * scale,
        percentiles=tuple(
            Percentile(percent=percent, ms=ms * scale, low_ms=0.98 * ms * scale, high_ms=1.02 * ms * scale)
            for percent, ms, needed in claimed
            if samples >= needed
        ),
        unclaimed={f"p{percent}": needed for percent, _, needed in claimed if samples < needed},
        curve=tuple(scale * (0.9 + 0.4 * (place / 100) ** 2) for place in range(101)),
    )


def measured(*, size: int = 1_263_000, latency: Latency = latency(), operator: str = "conv1") -> Measured:  # noqa: B008
    return Measured(
        size=size,
        cold_load_ms=31.5,
        warm_load_ms=12.25,
        peak_memory=96_000_000,
        latency=latency,
        units={"CPUExecutionProvider": 2},
        precisions={"f32": 1, "u8": 1},
        operators=(
            OperatorTime(name=operator, op="Conv", ms=0.8, unit="CPUExecutionProvider", precision="u8"),
            OperatorTime(name="softmax", op="Softmax", ms=0.0, unit="CPUExecutionProvider", precision="f32"),
        ),
    )


def accuracy(metric: Metric = Metric.ACCURACY, drop: Estimate = DROP) -> Accuracy:
    return Accuracy(
        metric=metric,
        samples=2000,
        original=0.9071,
        result=0.9059,
        drop=drop,
        per_class=(ClassAccuracy(label=0, samples=200, original=0.85, result=0.84),),
    )


def fidelity(
    *,
    agreement: Estimate | None = AGREEMENT,
    cosine: float = 0.9991,
    sqnr_db: float | None = 31.2,
    synthetic: bool = False,
) -> Fidelity:
    return Fidelity(
        samples=2000,
        synthetic_inputs=synthetic,
        agreement=agreement,
        cosine=cosine,
        sqnr_db=sqnr_db,
        max_abs_error=0.4,
    )


def conditions(*reasons: str) -> Conditions:
    return Conditions(
        batch_size=1,
        threads=2,
        rounds=120,
        warmup_runs=300,
        seconds=22.4,
        load_before=0.02,
        valid=not reasons,
        invalid_because=reasons,
    )


ENVIRONMENT = Environment(
    cpu="EPYC", cores=2, memory=24_000_000_000, system="Linux", isa=("avx2",), versions={"onnxruntime": "1.32.0"}
)
BUILT = Verdict(kind=VerdictKind.BUILT, reason="Built, not run: its speed is not known.")


def built_report(**changes: object) -> BuiltReport:
    report = BuiltReport(
        target=Target.TENSORRT_RTX_SM89,
        verdict=BUILT,
        key=EngineKey(runtime="tensorrt-rtx", version="1.7.1.116", compute_capability="sm89"),
        size=435_076,
        graph_size=355_358,
        build_seconds=2.5,
        shapes=(ShapeRange(input="x", least=(1, 3, 32), usual=(8, 3, 32), most=(64, 3, 32)),),
        kernels=(Kernel(name="conv1_myl0_2", kind="correlation", precision="i8", nodes=("conv1", "relu1")),),
        precisions={"i8": 1},
        notes=("Something may be slow.",),
        accuracy=accuracy(),
        fidelity=fidelity(),
        environment=ENVIRONMENT,
    )
    return report.model_copy(update=changes)


def target_report(**changes: object) -> TargetReport:
    report = TargetReport(
        target=Target.ONNXRUNTIME_CPU,
        verdict=IMPROVED,
        original=measured(),
        result=measured(size=355_358, latency=latency(scale=0.5)),
        speedup=Estimate(value=2.0, low=1.94, high=2.07),
        size_ratio=3.55,
        accuracy=accuracy(),
        fidelity=fidelity(),
        conversion=Conversion(samples=32, max_abs_error=1e-6, max_relative_error=1e-7, tolerance=1e-3),
        conditions=conditions(),
        environment=ENVIRONMENT,
    )
    return report.model_copy(update=changes)


def worst(*, picture: bool = True, values: str = "1, 2, 3") -> WorstSample:
    """The smallest PNG there is: one white point."""
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEA5jVRYwAAAABJRU5ErkJggg=="
    shown = {"picture": Picture(png=png, width=1, height=1)} if picture else {"values": {"ids": values}}
    return WorstSample(place=17, label=3, original=3, result=5, before=0.984, after=0.125, **shown)


def calibration() -> Calibration:
    bins = (
        CalibrationBin(samples=500, confidence=0.55, accuracy=0.6),
        CalibrationBin(samples=1500, confidence=0.95, accuracy=0.9),
    )
    return Calibration(
        samples=2000, original=Reliability(error=0.05, bins=bins), result=Reliability(error=0.0725, bins=bins[1:])
    )


def loads() -> tuple[ScenarioReport, ...]:
    """A sweep of two batches, and a server that only one side is quick enough for."""
    few = latency(samples=40)
    ratio = Estimate(value=1.5, low=1.4, high=1.6)
    sweep = tuple(
        LoadPoint(
            setting=batch,
            original=UnderLoad(throughput=100 * batch, latency=few),
            result=UnderLoad(throughput=150 * batch, latency=latency()),
            ratio=ratio,
        )
        for batch in (1, 2)
    )
    late = UnderLoad(throughput=80, latency=few, valid=False, invalid_because="9 of 40 calls were late", unfinished=2)
    served = LoadPoint(setting=100, original=late, result=UnderLoad(throughput=100, latency=few, valid=True))
    common = {"seconds": 4.5, "budget": 5, "ended": "all settings were measured"}
    return (
        ScenarioReport(scenario=Offline(), points=sweep, disturbed=0.4, **common),
        ScenarioReport(scenario=Server(rate=100, latency_ms=20), points=(served,), **common),
        ScenarioReport(scenario=MultiStream(), points=(), seconds=0, budget=5, ended="the runtime <gave up>"),
    )


def pass_reports(layer: str = "conv1") -> tuple[PassReport, ...]:
    costs = {"seconds": 61.2, "params": 1000, "nonzero_params": 500, "macs": 70_000, "size": 1_263_000}
    epochs = (1.0, 2.0, 3.0)
    return (
        PassReport(
            index=0,
            config=Prune(),
            summary="Half of the weights are zero.",
            layers=(LayerChange(name=layer, op="Conv", change="pruned", before="0.0 % zero", after="50.0 % zero"),),
            noise=(LayerNoise(name=layer, sqnr_db=12.5), LayerNoise(name="fc", sqnr_db=None)),
            importance=(Importance(name=layer, units=4, cut=2, kept_scores=(0.9, 0.5), cut_scores=(0.2, 0.1)),),
            **costs,
        ),
        PassReport(
            index=1,
            config=Finetune(),
            summary="Trained for 3 epochs.",
            curves=(
                Curve(name="training", x_label="epoch", y_label="loss", x=epochs, y=(1.0, 0.5, 0.4)),
                Curve(name="validation", x_label="epoch", y_label="loss", x=epochs, y=(1.1, 0.6, 0.5)),
                Curve(name="accuracy", x_label="epoch", y_label="accuracy", x=epochs, y=(0.8, 0.9, 0.91)),
                Curve(name="nothing", x_label="epoch", y_label="nothing", x=(), y=()),
            ),
            **costs,
        ),
        PassReport(
            index=2,
            config=Quantize(),
            summary="All layers but one compute in int8.",
            notes=("The ranges come from 256 samples.",),
            layers=(
                LayerChange(name=layer, op="Conv", change="quantized", before="float32", after="int8"),
                LayerChange(name="fc", op="Gemm", change="kept", before="float32", kept_because="excluded by name"),
            ),
            **costs,
        ),
    )


def job_report(**changes: object) -> JobReport:
    report = JobReport(
        job_id=f"job_{SOME_ID}",
        job_name="fashion",
        model_id=f"mdl_{SOME_ID}",
        model_name="cnn.onnx",
        model_sha256="ab" * 32,
        dataset_id=f"dat_{SOME_ID}",
        dataset_name="fashion.npz",
        dataset_sha256="cd" * 32,
        verdict=IMPROVED,
        passes=pass_reports(),
        targets=(target_report(),),
        created_at=datetime(2026, 11, 24, 5, tzinfo=UTC),
    )
    return report.model_copy(update=changes)


def statement(digests: dict[str, str], *claims: TargetReport | BuiltReport) -> Statement:
    """Of files by name and SHA-256."""
    return Statement(
        subject=tuple(Descriptor(name=name, digest=Digest(sha256=digest)) for name, digest in digests.items()),
        predicate=Delivery(
            job_id=f"job_{SOME_ID}",
            step_id=f"stp_{SOME_ID}",
            made_at=datetime(2026, 11, 24, tzinfo=UTC),
            model_id=f"mdl_{SOME_ID}",
            dataset_id=None,
            inputs=(),
            recipe=(),
            claims=claims,
        ),
    )


def candidates(because: str = "Chosen: best.") -> tuple[Candidate, ...]:
    """One chosen, one dropped, one that could not be tried."""
    recipe = (Simplify(), Quantize(exclude=("conv1", "conv2"), partial=Partial()))
    common = {"recipe": recipe, "target": Target.ONNXRUNTIME_CPU, "because": because}
    return (
        Candidate.model_validate(
            common | {"lost": 0.2, "speedup": 2.0, "size_ratio": 3.5, "front": True, "chosen": True}
        ),
        Candidate.model_validate(
            common | {"lost": 9.0, "speedup": 1.1, "size_ratio": 1.0, "front": False, "chosen": False}
        ),
        Candidate.model_validate(
            common | {"lost": None, "speedup": None, "size_ratio": None, "front": False, "chosen": False}
        ),
    )


def study(trials: int = 24, objectives: tuple[str, ...] = ("validation_loss", "size"), layer: str = "conv1") -> Study:
    """The learning rate matters, the batch size hardly; one trial failed, one was pruned."""
    space = {
        "1.learning_rate": {"kind": "float", "low": 1e-5, "high": 0.1, "log": True},
        "1.batch_size": {"kind": "int", "low": 8, "high": 64, "step": 8},
        "0.exclude": {"kind": "choice", "values": [[], [layer]]},
    }
    passes = (Prune(), Finetune(epochs=3))
    tune = Tune.model_validate({"passes": passes, "parameters": space, "objectives": objectives, "trials": trials})
    generator = np.random.default_rng(0)
    rows = []
    for number in range(trials):
        power, batch = generator.uniform(-5, -1), int(generator.integers(1, 9)) * 8
        values = {"1.learning_rate": 10**power, "1.batch_size": batch, "0.exclude": [layer]}
        seen = ((power + 3) ** 2 + 0.001 * batch, 0.9 - 0.1 * power)[: len(objectives)]
        rows.append(TrialRead(number=number, state=TrialState.COMPLETE, parameters=values, values=seen, over=0.0))
    failure = Failure(code=FailureCode.TRAINING_DIVERGED, message="The loss became infinite.")
    rows[3] = rows[3].model_copy(update={"state": TrialState.FAILED, "values": None, "failure": failure})
    rows[5] = rows[5].model_copy(update={"state": TrialState.PRUNED, "values": None, "reported": (2.0, 1.9)})
    best = min((row for row in rows if row.values), key=lambda row: row.values or ())
    found = [row for row in rows if row.values]
    front = tuple(one.number for one in found if not any(_beats(other.values, one.values) for other in found))
    return Study(tune=tune, trials=tuple(rows), front=front, chosen=best.number, ended=Ended.TRIALS)


def _beats(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one or (), other or (), strict=True))
