"""Every kind of bad upload is refused with its own code; good ones open."""

import gzip
import io
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto

from tests.engine import models
from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model

CODE = FailureCode


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def external(location: str, model: ModelProto | None = None) -> bytes:
    """A model whose first weight is said to lie in `location`."""
    model = model or models.random_mlp()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model.SerializeToString()


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3)}, buffer)
    return buffer.getvalue()


def joblib_file() -> bytes:
    buffer = io.BytesIO()
    joblib.dump({"w": 1}, buffer, compress=3)
    return buffer.getvalue()


def link_to(target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("weights")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
        archive.writestr("m.onnx", external("weights"))
    return buffer.getvalue()


def tarred(name: str, size: int = 9, link: str = "") -> bytes:
    """A .tar.gz of one member, a link if it leads somewhere."""
    buffer, member = io.BytesIO(), tarfile.TarInfo(name)
    member.size, member.type, member.linkname = (0, tarfile.SYMTYPE, link) if link else (size, tarfile.REGTYPE, "")
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(member, io.BytesIO(bytes(size)))
    return buffer.getvalue()


GOOD = models.random_mlp().SerializeToString()
NOT_TENSOR = models.parsed(
    "g (seq(float[N]) x) => (float[N] y) { i = Constant <value_int = 0> () y = SequenceAt(x, i) }"
)

BAD: dict[str, tuple[bytes, FailureCode, str]] = {
    "empty": (b"", CODE.INVALID_MODEL, "empty"),
    "garbage": (bytes(range(255)) * 9, CODE.INVALID_MODEL, "not ONNX"),
    "text": (b"hello world, I am no model", CODE.INVALID_MODEL, "not ONNX"),
    "truncated": (GOOD[: len(GOOD) // 2], CODE.INVALID_MODEL, "breaks off"),
    "pickle": (pickle.dumps({"a": 1}), CODE.UNSAFE_FILE, "pickle"),
    "old pickle": (pickle.dumps({"a": np.float64}, protocol=0), CODE.UNSAFE_FILE, "pickle"),
    "torch": (torch_file(), CODE.UNSAFE_FILE, "pickle"),
    "pt2": (zipped(**{"m/archive_format": b"pt2", "m/models/model.json": b"{}"}), CODE.INVALID_MODEL, ".pt2"),
    "compiled pt2": (
        zipped(**{"m/archive_format": b"pt2", "m/data/aotinductor/model/w.so": b""}),
        CODE.UNSUPPORTED_FORMAT,
        "of another kind",
    ),
    "joblib": (joblib_file(), CODE.UNSUPPORTED_FORMAT, "joblib"),
    "torn xgboost": (b'{"learner":{"attributes":{', CODE.INVALID_MODEL, "XGBoost"),
    "torn xgboost binary": (b"{L\0\0\0\0\0\0\0\x07learner{L", CODE.INVALID_MODEL, "XGBoost"),
    "torn lightgbm": (b"tree\nversion=v4\nnum_class=10\n", CODE.INVALID_MODEL, "LightGBM"),
    "tar without model": (tarred("readme"), CODE.UNSUPPORTED_FORMAT, "SavedModel"),
    "tar slip": (tarred("../saved_model.pb"), CODE.UNSAFE_FILE, "../saved_model.pb"),
    "tar link": (tarred("m/saved_model.pb", link="/etc/passwd"), CODE.UNSAFE_FILE, "link"),
    "tar bomb": (tarred("m/saved_model.pb", size=2**26), CODE.UNSAFE_FILE, "grows too much"),
    "broken tar": (tarred("m/saved_model.pb")[:60], CODE.INVALID_MODEL, "tar"),
    "no tar": (gzip.compress(b"hello"), CODE.INVALID_MODEL, "tar"),
    "safetensors": (struct.pack("<Q", 20) + b'{"a":{}}' + bytes(99), CODE.UNSUPPORTED_FORMAT, "safetensors"),
    "gguf": (b"GGUF" + bytes(99), CODE.UNSUPPORTED_FORMAT, "GGUF"),
    "npz": (zipped(**{"x.npy": b""}), CODE.UNSUPPORTED_FORMAT, "dataset"),
    "zip without model": (zipped(readme=b"hi"), CODE.UNSUPPORTED_FORMAT, "no .onnx"),
    "zip of two": (zipped(**{"a.onnx": GOOD, "b.onnx": GOOD}), CODE.INVALID_MODEL, "a.onnx, b.onnx"),
    "broken zip": (zipped(**{"a.onnx": GOOD})[:-40], CODE.INVALID_MODEL, "zip"),
    "corrupt zip": (
        zipped(**{"a.onnx": GOOD}).replace(b"a.onnx", b"a.onnx", 1)[:200].ljust(200),
        CODE.INVALID_MODEL,
        "zip",
    ),
    "zip slip": (zipped(**{"../a.onnx": GOOD}), CODE.UNSAFE_FILE, "../a.onnx"),
    "absolute": (zipped(**{"/tmp/a.onnx": GOOD}), CODE.UNSAFE_FILE, "/tmp/a.onnx"),  # noqa: S108
    "symlink": (link_to("/etc/passwd"), CODE.UNSAFE_FILE, "link"),
    "bomb": (zipped(**{"a.onnx": bytes(2**24)}), CODE.UNSAFE_FILE, "200-fold"),
    "external absolute": (external("/etc/passwd"), CODE.UNSAFE_FILE, "/etc/passwd"),
    "external up": (external("../w"), CODE.UNSAFE_FILE, "../w"),
    "external missing": (external("w.data"), CODE.INVALID_MODEL, "w.data"),
    "external short": (zipped(**{"m.onnx": external("w"), "w": b"123"}), CODE.INVALID_MODEL, "too short"),
    "opset": (models.relu(onnx.defs.onnx_opset_version() + 1).SerializeToString(), CODE.UNSUPPORTED_OPSET, "newest"),
    "not upgradable": (
        models.with_weights(
            models.parsed("g (float[N,3] x) => (float[N,6] y) { y = Upsample(x, s) }", opset=9),
            s=np.array([1, 2], np.float32),
        )
        .SerializeToString()
        .replace(b"Upsample", b"Scan\0\0\0\0"[:8]),
        CODE.UNSUPPORTED_OP,
        "Scan",
    ),
    "unknown op": (
        models.parsed("g (float[N,3] x) => (float[N,3] y) { [here] y = Foo(x) }").SerializeToString(),
        CODE.UNSUPPORTED_OP,
        "'here' is a Foo",
    ),
    "unknown domain": (
        models.parsed(
            "g (float[N,3] x) => (float[N,3] y) { y = mine.Foo(x) }", domains=', "mine": 1'
        ).SerializeToString(),
        CODE.UNSUPPORTED_OP,
        "mine.Foo",
    ),
    "cycle": (
        models.parsed("g (float[N] x) => (float[N] y) { y = Add(x, z) z = Relu(y) }").SerializeToString(),
        CODE.INVALID_MODEL,
        "topologically",
    ),
    "sequence": (NOT_TENSOR.SerializeToString(), CODE.INVALID_MODEL, "sequence"),
    "no nodes": (
        models.parsed("g (float[N] x) => (float[N] x) { }").SerializeToString(),
        CODE.INVALID_MODEL,
        "no nodes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_with_its_code(tmp_path: Path, case: str) -> None:
    content, code, told = BAD[case]
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        open_model(path, tmp_path)
    assert caught.value.code == code, str(caught.value)
    assert told in str(caught.value)


def test_pickle_is_not_opened_and_the_hint_says_how_to_export(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(torch_file())
    with pytest.raises(EngineError) as caught:
        open_model(path, tmp_path)
    assert "torch.onnx.export" in (caught.value.advice or "")


def test_damaged_models_never_raise_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    content = models.matmul_as_constant().SerializeToString()
    path = tmp_path / "upload"
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            open_model(path, tmp_path)
        except EngineError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_old_opset_is_raised_and_says_so(tmp_path: Path, opset: int) -> None:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = Softmax <axis = 1> (x) }", opset=opset)
    graph = open_model(models.saved(model, tmp_path / "m"), tmp_path)
    assert (graph.opset, graph.upgraded_from) == (17, opset)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    assert np.allclose(models.run(graph, x=x)[0], models.run(model, x=x)[0], atol=1e-6)


def test_zip_with_external_data_opens(tmp_path: Path) -> None:
    model = models.random_mlp()
    weight = model.graph.initializer[0].raw_data
    path = tmp_path / "upload"
    path.write_bytes(zipped(**{"folder/m.onnx": external("w.bin", model), "folder/w.bin": weight}))
    assert open_model(path, tmp_path).weight("w1").tobytes() == weight


def test_functions_of_the_file_are_written_out(tmp_path: Path) -> None:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = mine.twice(x) }", domains=', "mine": 1')
    function = onnx.parser.parse_function(
        '<domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }'
    )
    model.functions.append(function)
    graph = open_model(models.saved(model, tmp_path / "m"), tmp_path)
    assert [node.op_type for node in graph.nodes] == ["Add"]


def test_functions_that_unfold_without_end_are_refused(tmp_path: Path) -> None:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = mine.f30(x) }", domains=', "mine": 1')
    head = '<domain: "mine", opset_import: ["" : 17, "mine": 1]>'
    texts = [f"{head} f{i} (a) => (b) {{ c = mine.f{i - 1}(a) b = mine.f{i - 1}(c) }}" for i in range(1, 31)]
    texts.append(f"{head} f0 (a) => (b) {{ b = Add(a, a) }}")
    model.functions.extend(map(onnx.parser.parse_function, texts))
    with pytest.raises(EngineError) as caught:
        open_model(models.saved(model, tmp_path / "m"), tmp_path)
    assert caught.value.code == CODE.UNSAFE_FILE


def test_contrib_operator_of_the_runtime_is_known(tmp_path: Path) -> None:
    model = models.parsed(
        "g (float[N,3] x) => (float[N,3] y) { y = com.microsoft.FastGelu(x) }", domains=', "com.microsoft": 1'
    )
    assert open_model(models.saved(model, tmp_path / "m"), tmp_path).opset == 17
