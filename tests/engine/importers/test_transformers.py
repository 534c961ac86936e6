"""Hugging Face folders: built by transformers' own code, compared with it, never by code that comes with them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from tests.engine.in_toolkit import made_by, needs
from whetstone.contract.failures import FailureCode
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model
from workers.engine.inspection import inspect_model
from workers.engine.toolkits import environments
from workers.engine.toolkits.running import ToolkitMissing

TOOLKIT = Toolkit.TRANSFORMERS
SOURCES = Path(__file__).with_name("transformers_sources.py")
WORDS = ("batch", "sequence")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(TOOLKIT, SOURCES, tmp_path_factory.mktemp("sources"))


def packed(folder: Path, name: str, kind: str = "zip") -> Path:
    return Path(shutil.make_archive(str(folder / f"packed-{name}"), kind, folder, name))


@needs(TOOLKIT)
@pytest.mark.parametrize(
    ("name", "kind", "inputs", "outputs"),
    [
        (
            "sharded",
            "gztar",
            {"input_ids": WORDS, "attention_mask": WORDS, "token_type_ids": WORDS},
            {"logits": ("batch", 2)},
        ),
        ("llama", "zip", {"input_ids": WORDS, "attention_mask": WORDS}, {"logits": (*WORDS, 100)}),
        (
            "t5",
            "zip",
            {"input_ids": WORDS, "attention_mask": WORDS, "decoder_input_ids": ("batch", "decoder_sequence")},
            {"logits": ("batch", "decoder_sequence", 100), "encoder_last_hidden_state": (*WORDS, 32)},
        ),
        ("vit", "tar", {"pixel_values": ("batch", 3, 32, 32)}, {"logits": ("batch", 2)}),
        ("speech", "zip", {"input_values": ("batch", "samples")}, {"logits": ("batch", None, 32)}),
    ],
)
def test_it_says_what_transformers_says(
    sources: Path, tmp_path: Path, name: str, kind: str, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    facts, _ = inspect_model(packed(sources, name, kind), tmp_path)
    assert facts.format == "transformers"
    assert {given.name: given.shape for given in facts.inputs} == inputs
    assert {made.name: made.shape for made in facts.outputs} == outputs
    assert facts.imported is not None
    assert facts.imported.source.startswith("transformers 5")
    assert (facts.imported.samples, facts.imported.same) == (16, 1)
    assert facts.imported.max_abs_error < 1e-4


def edited(folder: Path, **changes: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def pickled_too(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02never looked at")


def pickled_alone(folder: Path) -> None:
    pickled_too(folder)
    (folder / "model.safetensors").unlink()


def reaching_out(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"classifier.weight": "../../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


CODE = {"AutoModel": "modeling_mine.Mine"}
UNSAFE, UNSUPPORTED, INVALID = FailureCode.UNSAFE_FILE, FailureCode.UNSUPPORTED_FORMAT, FailureCode.INVALID_MODEL


@needs(TOOLKIT)
@pytest.mark.parametrize(
    ("change", "code", "told", "remedy"),
    [
        (lambda at: edited(at, auto_map=CODE), UNSAFE, "`auto_map`", "torch.onnx.export"),
        (lambda at: edited(at, text_config={"auto_map": CODE}), UNSAFE, "`auto_map`", "torch.onnx.export"),
        (lambda at: edited(at, trust_remote_code=True), UNSAFE, "`trust_remote_code`", "torch.onnx.export"),
        (pickled_alone, UNSAFE, "pytorch_model.bin' is a Python pickle", "save_pretrained('folder', safe_serial"),
        (lambda at: edited(at, quantization_config={"bits": 4}), UNSUPPORTED, "quantized", "dequantize"),
        (lambda at: edited(at, architectures=["OsSystem"]), UNSUPPORTED, "called 'OsSystem'", "torch.onnx.export"),
        (lambda at: edited(at, architectures=["PreTrainedModel"]), UNSUPPORTED, "'PreTrainedModel'", "onnx"),
        (lambda at: edited(at, architectures=[]), INVALID, "does not name one", "save_pretrained"),
        (lambda at: edited(at, model_type="mine"), UNSUPPORTED, "the type 'mine'", "torch.onnx.export"),
        (lambda at: edited(at, hidden_size=48), INVALID, "cannot load", "save_pretrained"),
        (without_a_tensor, INVALID, "'classifier.weight' among them", "save_pretrained"),
        (reaching_out, INVALID, "'../../elsewhere.safetensors'", ""),
        (cut_short, INVALID, "cannot load the BertFor", "save_pretrained"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_the_way_out(
    sources: Path, tmp_path: Path, change: Callable[[Path], None], code: FailureCode, told: str, remedy: str
) -> None:
    shutil.copytree(sources / "bert", tmp_path / "bert")
    change(tmp_path / "bert")
    with pytest.raises(EngineError) as refused:
        open_model(packed(tmp_path, "bert"), tmp_path)
    failure = refused.value.as_failure()
    assert (failure.code, told in failure.message) == (code, True), failure
    assert remedy in (failure.hint or "")


@needs(TOOLKIT)
def test_of_two_towers_the_inputs_cannot_be_told(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="A CLIPModel takes 'input_ids' and more"):
        open_model(packed(sources, "both"), tmp_path)


@needs(TOOLKIT)
def test_a_pickle_beside_safetensors_is_not_looked_at(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources / "bert", tmp_path / "bert")
    pickled_too(tmp_path / "bert")
    assert open_model(packed(tmp_path, "bert"), tmp_path).outputs[0].name == "logits"
    assert {path.name for path in (tmp_path / "converted" / "source").iterdir()} == {"config.json", "model.safetensors"}


def test_without_the_toolkit_the_failure_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "empty"))
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "model.safetensors").write_bytes(bytes(16))
    with pytest.raises(ToolkitMissing) as missing:
        open_model(packed(tmp_path, "bert"), tmp_path)
    assert missing.value.as_failure().toolkit is TOOLKIT
    assert "torch.onnx.export" in (missing.value.advice or "")
