"""What TensorRT-RTX 1.7 really wrote, read back: kernels, warnings and causes. No toolkit is needed for that."""

import pytest

from whetstone.contract.failures import FailureCode
from whetstone.contract.reports import Kernel
from workers.engine.targets.tensorrt_words import IN_FORM, NO_FP8, failure_of, kernels_in, notes_in

LAYERS = """Layers:
Name: __mye447_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: 
Name: conv1_myl0_2, LayerType: correlation, Inputs: [ { Name: r.1_4_myl0, Dimensions: [-1,4,28,28], Strides: [3136,1,112,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: __mye1361_dconst_myl0, Dimensions: [16,4,3,3], Datatype: Int8, Format: (NHWC) Channel major format }, { Name: __mye1266dconst_myl0, Dimensions: [1,16,1,1], Datatype: Float, Format: (NHWC) Channel major format }], Outputs: [ { Name: __mye1257_5_myl0, Datatype: Float, Format: (NHWC) Channel major format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: conv1]\x1f[ONNX Layer: qx_DQ]\x1f[ONNX Layer: conv1]
Name: __myl_Mean_myl0_4, LayerType: kgen, Inputs: [ { Name: a, Datatype: Half, Format: (Linear) Row major linear format }], Constants: [], Outputs: [ { Name: b, Datatype: Half, Format: (Linear) Row major linear format }], TacticName: x, StreamId: 0, Metadata: [ONNX Layer: gap]

I/O Tensors:
 Name: x, IOMode: Input, DataType: Float, Dimensions: [-1,1,28,28], Location: Device
"""  # noqa: E501, W291 - as it came
FP8 = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:1500: run_passes] Cannot compile for target(s) "
    "sm86, because the model contains HW-specific datatypes: fp8_e4m3. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
NO_PROFILE = (
    "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic inputs, but no "
    "profile has been defined. In validate at /_src/optimizer/api/network.cpp:4023)"
)


def error(op: str, text: str, node: str = "n", index: int = 0) -> dict[str, object]:
    return {"node": node, "index": index, "op": op, "text": text}


def refused(*errors: dict[str, object], names: tuple[str, ...] = ()) -> tuple[FailureCode, str, str | None, str | None]:
    failure = failure_of({"errors": errors, "log": []}, names).as_failure()
    return failure.code, failure.message, failure.layer, failure.hint


def test_kernels_are_what_computes_with_the_type_that_they_take() -> None:
    assert list(kernels_in(LAYERS)) == [
        Kernel(name="conv1_myl0_2", kind="correlation", precision="i8", nodes=("conv1", "qx_DQ")),
        Kernel(name="__myl_Mean_myl0_4", kind="kgen", precision="f16", nodes=("gap",)),
    ]
    assert list(kernels_in("")) == []


def test_a_warning_is_told_once_and_an_error_is_none() -> None:
    log = [("WARNING", "a "), ("ERROR", "b"), ("WARNING", "a")]
    assert list(notes_in([{"severity": severity, "text": text} for severity, text in log])) == ["a"]


def test_the_parser_names_node_and_operator() -> None:
    code, message, layer, hint = refused(error("Det", "false", "thedet"))
    assert (code, layer) == (FailureCode.UNSUPPORTED_OP, "thedet")
    assert message == "TensorRT's parser refuses Det 'thedet'."
    assert hint is not None


def test_a_node_without_a_name_is_found_by_its_place() -> None:
    _, message, layer, _ = refused(error("Det", "false", "", 1), names=("first", "second"))
    assert layer == "second"
    assert "Det 'second'" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Assertion failed: creator && getVersion(creator) == CreatorVersion::kV3ONE: NonZero plugin was not found.",
            "NonZero 'n' (NonZero plugin was not found)",
        ),
        (
            'creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
            "NonZero 'n' (Plugin not found, are the plugin name, version, and namespace correct?)",
        ),
    ],
)
def test_of_an_assertion_only_its_words_are_told(text: str, told: str) -> None:
    assert refused(error("NonZero", text))[1] == f"TensorRT's parser refuses {told}."


def test_all_that_is_refused_is_told_and_the_first_node_named() -> None:
    text = 'Assertion failed: convertDtype(t) && "Failed to convert ONNX date type to TensorRT data type."'
    _, message, layer, _ = refused(error("", text, "", -1), error("StringNormalizer", "false", "sn"))
    assert layer == "sn"
    assert "an input or output (Failed to convert ONNX date type to TensorRT data type); StringNormalizer" in message


def test_integers_in_another_form_are_sent_to_nvidias() -> None:
    asymmetric = "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported."
    assert refused(error("QuantizeLinear", asymmetric))[3] == IN_FORM
    assert refused(error("DynamicQuantizeLinear", "false"))[3] == IN_FORM


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (FP8, "GPUs of sm86 do not compute in fp8_e4m3.", NO_FP8),
        (
            NO_PROFILE,
            "TensorRT cannot build the engine: Network has dynamic inputs, but no profile has been defined",
            None,
        ),
        ("something else", "TensorRT cannot build the engine: something else", None),
    ],
)
def test_the_builders_error_without_its_wrapping(text: str, message: str, hint: str | None) -> None:
    log = [{"severity": "WARNING", "text": "no matter"}, {"severity": "ERROR", "text": text}]
    failure = failure_of({"errors": [], "log": log}, ()).as_failure()
    assert (failure.code, failure.message, failure.hint) == (FailureCode.TARGET_BUILD_FAILED, message, hint)
