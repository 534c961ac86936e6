"""Made-up findings for tests of the control plane, which must not depend on the engine."""

from whetstone.contract.datasets import DatasetFacts, FieldFacts, Split
from whetstone.contract.jobs import JobSpec, Recipe
from whetstone.contract.models import LayerFacts, ModelFacts, TensorFacts
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.quantization import Activations, Quantize
from whetstone.contract.reports import (
    BuiltReport,
    Conditions,
    Conversion,
    EngineKey,
    Environment,
    Estimate,
    Fidelity,
    Kernel,
    Latency,
    Measured,
    PassReport,
    TargetReport,
    Verdict,
    VerdictKind,
)
from whetstone.contract.targets import Target

MODEL = ModelFacts(
    format="onnx",
    producer="test",
    ir_version=10,
    opset=17,
    inputs=(TensorFacts(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorFacts(name="y", dtype="float32", shape=("batch", 2)),),
    params=10,
    macs=8,
    nodes=1,
    ops={"Gemm": 1},
    layers=(LayerFacts(name="dense", op="Gemm", weight="w", shape=(4, 2), params=8, macs=8),),
)
DATASET = DatasetFacts(
    format="npz",
    fields=(FieldFacts(name="x", dtype="float32", shape=(4,)),),
    labels=FieldFacts(name="labels", dtype="int64", shape=()),
    classes=2,
    splits={Split.TRAIN: 70, Split.CALIBRATION: 10, Split.TEST: 20},
    made_splits=True,
    samples=100,
)
UNLABELLED = DATASET.model_copy(update={"labels": None, "classes": None})
FIDELITY = Fidelity(samples=1, synthetic_inputs=True, agreement=None, cosine=1, sqnr_db=None, max_abs_error=0)
ENVIRONMENT = Environment(cpu="a", cores=1, memory=1, system="b", isa=(), versions={})
DYNAMIC = Quantize(activations=Activations.DYNAMIC)


def spec(model_id: str, dataset_id: str | None = None, *passes: Pass, **fields: object) -> JobSpec:
    plan = Recipe(passes=passes or (DYNAMIC,))
    return JobSpec.model_validate({"model_id": model_id, "dataset_id": dataset_id, "plan": plan, **fields})


def pass_report() -> PassReport:
    return PassReport(
        index=0, config=Simplify(), summary="nothing", seconds=0.1, params=10, nonzero_params=10, macs=8, size=100
    )


def target_report(target: Target, kind: VerdictKind = VerdictKind.IMPROVED) -> TargetReport:
    one = Estimate(value=1.5, low=1.4, high=1.6)
    latency = Latency(samples=5, mean_ms=1, min_ms=1, percentiles=())
    side = Measured(
        size=100,
        cold_load_ms=1,
        warm_load_ms=1,
        peak_memory=1,
        latency=latency,
        units={},
        precisions={},
        operators=(),
    )
    return TargetReport(
        target=target,
        verdict=Verdict(kind=kind, reason="because"),
        original=side,
        result=side,
        speedup=one,
        size_ratio=2,
        accuracy=None,
        fidelity=FIDELITY,
        conversion=Conversion(samples=1, max_abs_error=0, max_relative_error=0, tolerance=0.001),
        conditions=Conditions(batch_size=1, threads=1, rounds=1, warmup_runs=1, seconds=1, load_before=0, valid=True),
        environment=ENVIRONMENT,
    )


def built_report(target: Target, kind: VerdictKind = VerdictKind.BUILT) -> BuiltReport:
    return BuiltReport(
        target=target,
        verdict=Verdict(kind=kind, reason="because"),
        key=EngineKey(runtime="tensorrt-rtx", version="1", compute_capability="sm89"),
        size=100,
        graph_size=100,
        build_seconds=1,
        shapes=(),
        kernels=(Kernel(name="k", kind="gemm", precision="i8"),),
        precisions={"i8": 1},
        accuracy=None,
        fidelity=FIDELITY,
        environment=ENVIRONMENT,
    )
