"""Texts and recordings, from a folder on the command line to a report, on a real worker."""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from app.embedded.service import Running
from tests.service.actors import new_tenant
from whetstone.client import Client
from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.recordings import LogMel, Recordings
from whetstone.errors import UploadRejected

MOODS = ("bad", "fair", "good")
WORDS = {"[PAD]": 0, **{mood: number for number, mood in enumerate(MOODS, 1)}}
LENGTH = 8


def model(tmp_path: Path, text: str, **weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Path:
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 17]> {text}')
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def texts(folder: Path) -> Path:
    """Ninety texts of one word that tells their mood, and their tokenizer."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    for split in ("train", "test"):
        lines = (json.dumps({"text": f"{mood} {mood}", "mood": mood}) for mood in MOODS * 30)
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_folder_of_texts_makes_an_order(full: Running, tmp_path: Path) -> None:
    data = texts(tmp_path / "moods")
    embeddings = np.zeros((len(WORDS), len(MOODS)), np.float32)
    embeddings[1:] = np.eye(len(MOODS))
    path = model(
        tmp_path,
        f"""agraph (int64[n, {LENGTH}] input_ids) => (float[n, 3] logits) {{
            embedded = Gather(table, input_ids)
            mean = ReduceMean<axes=[1], keepdims=0>(embedded)
            logits = MatMul(mean, w)
        }}""",
        table=embeddings,
        w=np.eye(3, dtype=np.float32),
    )
    (tmp_path / "recipe.json").write_text('[{"kind": "simplify"}]')
    command = [sys.executable, "-m", "whetstone.cli", "optimize", str(path), "--data", str(data)]
    command += ["--recipe", str(tmp_path / "recipe.json"), "--seconds", "1", "-o", str(tmp_path / "out"), "--json"]
    environment = os.environ | {"WHETSTONE_URL": full.url, "WHETSTONE_API_KEY": new_tenant(full)}
    how = f"texts:columns=text,max_length={LENGTH},label.column=mood,pad_token=[PAD]"
    refused = run([*command, "--preprocessing", f"{how},mask=attention_mask"], environment)
    assert refused.returncode == 4
    assert "dataset_mismatch: attention_mask" in refused.stderr
    done = run([*command, "--preprocessing", how], environment)
    assert done.stdout, done.stderr
    (target,) = json.loads(done.stdout)["targets"]
    assert target["accuracy"]["original"] == 1.0
    assert target["accuracy"]["samples"] == 90


def test_recordings_become_spectrograms_where_a_model_takes_them(full_client: Client, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name, hertz in (("high", 2000), ("low", 200)):
            folder = tmp_path / "d" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                tone = np.sin(2 * np.pi * hertz * (np.arange(4000) + number) / 8000)
                with wave.open(str(folder / f"{number}.wav"), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", ""))
                    file.writeframes((tone * 30_000).astype("<i2").tobytes())
    packed = tmp_path / "d.zip"
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-c", str(packed), "train", "test"], cwd=tmp_path / "d", check=True
    )
    how = Recordings(
        input="x", sample_rate=8000, length=4000, features=LogMel(n_fft=256, hop=128, mels=16, channel=True)
    )
    row = full_client.datasets.read(packed, how)
    assert row.facts is not None
    assert row.preprocessing == how
    assert row.facts.fields[0].shape == (1, 16, 32)
    assert row.facts.splits == {Split.TRAIN: 6, Split.TEST: 6}
    preview = full_client.datasets.preview(row.id)
    assert len(preview.pictures) == 12
    assert [(each.name, each.counts) for each in preview.labels] == [
        ("high", {Split.TRAIN: 3, Split.TEST: 3}),
        ("low", {Split.TRAIN: 3, Split.TEST: 3}),
    ]
    with pytest.raises(UploadRejected, match="8000 samples a second; 16000 are declared") as rejected:
        full_client.datasets.read(packed, how.model_copy(update={"sample_rate": 16000}))
    assert rejected.value.failure.code is FailureCode.INVALID_DATASET
