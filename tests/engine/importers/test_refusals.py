"""Files of formats that are not read: each named, with the command that makes one which is."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model

UNSAFE, UNSUPPORTED = FailureCode.UNSAFE_FILE, FailureCode.UNSUPPORTED_FORMAT
GRAPH = b"\x0a\x07\x0a\x01x\x12\x02Op" * 9
"""How many serialized graphs begin; ONNX does not."""

ALONE = {
    "resnet.pdmodel": (GRAPH, UNSUPPORTED, "of PaddlePaddle", "paddle2onnx --model_dir"),
    "resnet-symbol.json": (b'{\n  "nodes": [], "arg_nodes": []}', UNSUPPORTED, "MXNet", "mxnet.onnx.export_model("),
    "resnet-0000.params": (b"\x12\x01" + bytes(90), UNSUPPORTED, "MXNet", "mxnet.onnx.export_model("),
    "old.mlmodel": (GRAPH, UNSUPPORTED, "Core ML", "onnxmltools.convert_coreml("),
    "net.caffemodel": (GRAPH, UNSUPPORTED, "Caffe", "export the model anew"),
    "frozen.pb": (GRAPH, UNSUPPORTED, "frozen TensorFlow", "tf2onnx.convert --graphdef"),
    "model.json": (b'{"format": "layers-model"}', UNSUPPORTED, "TensorFlow.js", "tensorflowjs_converter"),
    "trees.cbm": (b"CBM1" + bytes(90), UNSUPPORTED, "CatBoost", "format='onnx'"),
    "model.engine": (b"ftrt" + bytes(90), UNSUPPORTED, "TensorRT engine", "ONNX file that it was made from"),
    "model.pte": (b"\0\0\0\0ET12" + bytes(90), UNSUPPORTED, "ExecuTorch", "torch.onnx.export("),
    "model.param": (b"7767517\n75 83\n", UNSUPPORTED, "ncnn", "ONNX file that it was made from"),
    "model.gguf": (b"GGUF" + bytes(90), UNSUPPORTED, "GGUF", "save_pretrained("),
    "weights.safetensors": (b"\x40" + bytes(7) + b'{"w":{}}' + bytes(90), UNSUPPORTED, "safetensors", '"architecture"'),
    "model.pkl": (b"\x80\x04\x95abc", UNSAFE, "pickle", "skops.io.dump("),
    "model.pt": (b"\x80\x02}q\0.", UNSAFE, "pickle", "torch.onnx.export("),
    "pytorch_model.bin": (b"\x80\x02}q\0.", UNSAFE, "pickle", "safe_serialization=True"),
    "model.joblib": (b"\x78\x9c" + bytes(90), UNSUPPORTED, "joblib", "skops.io.dump("),
    "notes.xyz": (GRAPH, FailureCode.INVALID_MODEL, "not ONNX", "onnx.checker"),
}
PACKED = {
    "paddle": (("inference.pdmodel", "inference.pdiparams"), UNSUPPORTED, "PaddlePaddle", "paddle2onnx"),
    "mxnet": (("net-symbol.json", "net-0001.params"), UNSUPPORTED, "MXNet", "mxnet.onnx"),
    "coreml": (
        ("m.mlpackage/Manifest.json", "m.mlpackage/Data/com.apple.CoreML/model.mlmodel"),
        UNSUPPORTED,
        "Core ML",
        "onnxmltools",
    ),
    "checkpoint": (("model.ckpt-9.meta", "model.ckpt-9.index"), UNSUPPORTED, "checkpoint", "--checkpoint"),
    "flax": (("config.json", "flax_model.msgpack"), UNSUPPORTED, "Flax", "jax2tf"),
    "bin": (
        ("bert/config.json", "bert/pytorch_model.bin"),
        UNSAFE,
        "'bert/pytorch_model.bin'",
        "safe_serialization=True",
    ),
    "checkpoints": (("epoch.ckpt",), UNSAFE, "pickle", "torch.onnx.export("),
}


def refusal(path: Path, scratch: Path) -> tuple[FailureCode, str, str]:
    with pytest.raises(EngineError) as refused:
        open_model(path, scratch)
    failure = refused.value.as_failure()
    return failure.code, failure.message, failure.hint or ""


@pytest.mark.parametrize("name", ALONE)
def test_a_file_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    content, code, told, remedy = ALONE[name]
    (tmp_path / name).write_bytes(content)
    got, message, hint = refusal(tmp_path / name, tmp_path)
    assert (got, told in message, remedy in hint) == (code, True, True), (message, hint)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", PACKED)
def test_an_archive_is_named_with_the_way_out(tmp_path: Path, name: str, kind: str) -> None:
    members, code, told, remedy = PACKED[name]
    path = tmp_path / "upload"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for member in members:
                zipped.writestr(member, b"{}")
    else:
        with tarfile.open(path, "w:gz") as tarred:
            for member in members:
                info = tarfile.TarInfo(member)
                info.size = 2
                tarred.addfile(info, io.BytesIO(b"{}"))
    got, message, hint = refusal(path, tmp_path)
    assert (got, told in message, remedy in hint) == (code, True, True), (message, hint)
