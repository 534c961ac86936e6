"""A thin layer over onnxruntime's quantizers: models in memory in and out, ranges given, temporary files in scratch."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from onnx import ModelProto
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode
from onnxruntime.quantization.registry import IntegerOpsRegistry, QDQRegistry, QLinearOpsRegistry

from whetstone.contract.quantization import ActivationType, Form, Quantize
from workers.engine.passes.quantizing.ranges import Ranges

INFERRED = ("onnx.infer", "onnxruntime.quant")
"""How onnxruntime's quantizers mark a model whose shapes they need not infer again."""

NORMALIZATIONS = {"BatchNormalization", "LayerNormalization", "InstanceNormalization"}
"""Have no integer kernel on CPUs: quantizing their scales to 8 bits would cost accuracy and gain nothing."""
STATIC_OPS = sorted({*QLinearOpsRegistry, *QDQRegistry} - NORMALIZATIONS)
DYNAMIC_OPS = sorted(IntegerOpsRegistry)

NVIDIA_OPS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
"""What is worth quantizing there: the others are fused by the builder, in whatever type their neighbours have."""
FOR_NVIDIA = {"QuantizeBias": False, "DedicatedQDQPair": True, "OpTypesToExcludeOutputQuantization": NVIDIA_OPS}


@contextmanager
def _temporary_files_in(scratch: Path) -> Iterator[None]:
    """The quantizers write models to the system's folder for temporary files, and cannot be told another."""
    before = tempfile.tempdir
    tempfile.tempdir = str(scratch)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _as_told(ranges: Ranges) -> TensorsData:
    """The ranges as the library takes them: float32 scalars."""
    scalars = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, scalars)


def _marked(model: ModelProto) -> ModelProto:
    marked = ModelProto()
    marked.CopyFrom(model)
    marked.metadata_props.add(key=INFERRED[0], value=INFERRED[1])
    return marked


def _finished(quantizer: QDQQuantizer | ONNXQuantizer, original: ModelProto) -> ModelProto:
    """Quantize; then put nodes in the order they run, and metadata and producer back as they were."""
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: ModelProto = quantizer.model.model
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(original.metadata_props)
    quantized.producer_name, quantized.producer_version = original.producer_name, original.producer_version
    return quantized


def ops_with_integer_form(form: Form) -> list[str]:
    """The operators that static quantization changes."""
    return NVIDIA_OPS if form is Form.NVIDIA else STATIC_OPS


def activation_type(config: Quantize) -> ActivationType:
    """The one asked for; int8 for NVIDIA, and uint8 otherwise."""
    default = ActivationType.INT8 if config.form is Form.NVIDIA else ActivationType.UINT8
    return config.activation_type or default


def quantize_static(
    model: ModelProto,
    ranges: Ranges,
    config: Quantize,
    *,
    exclude: Sequence[str],
    scratch: Path,
    only: Sequence[str] = (),
) -> ModelProto:
    """QDQ format, weights int8, activations as asked; `exclude` names nodes to leave, `only` those to take if any.

    `model` must have its shapes inferred.
    """
    kind = activation_type(config)
    symmetric = kind is ActivationType.INT8 if config.symmetric is None else config.symmetric
    options = {"ActivationSymmetric": symmetric, "WeightSymmetric": True}
    with _temporary_files_in(scratch):
        quantizer = QDQQuantizer(
            _marked(model),
            config.per_channel,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if kind is ActivationType.UINT8 else QuantType.QInt8,
            tensors_range=_as_told(ranges),
            nodes_to_quantize=list(only),
            nodes_to_exclude=list(exclude),
            op_types_to_quantize=ops_with_integer_form(config.form),
            extra_options=options | (FOR_NVIDIA if config.form is Form.NVIDIA else {}),
        )
        return _finished(quantizer, model)


def quantize_dynamic(model: ModelProto, *, per_channel: bool, exclude: Sequence[str], scratch: Path) -> ModelProto:
    """Integer operators, weights int8, activations uint8 with ranges found at run time; `exclude` names nodes."""
    with _temporary_files_in(scratch):
        quantizer = ONNXQuantizer(
            _marked(model),
            per_channel,
            reduce_range=False,
            mode=QuantizationMode.IntegerOps,
            static=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=None,
            nodes_to_quantize=[],
            nodes_to_exclude=[*exclude, *(f"{name}_MatMul" for name in exclude)],  # what becomes of a Gemm
            op_types_to_quantize=DYNAMIC_OPS,
            extra_options={"MatMulConstBOnly": True},
        )
        return _finished(quantizer, model)
