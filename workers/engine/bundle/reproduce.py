"""Run both models of this folder by turns, and print what comes out beside what was claimed.

    pip install -r requirements.txt
    python reproduce.py [--seconds 20] [--threads 2]

Needs numpy and the runtime that the models are for. The signature of the manifest is not checked here: `whet verify`
does that; this checks that the files are the ones that the manifest names.
"""

import argparse
import base64
import hashlib
import json
import math
import random
import runpy
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BURST_SECONDS = 0.05
REST_SECONDS = 0.005  # the thread pool of one side spins on for a while, and would slow the other
Z95 = 1.959963984540054
WITHOUT_LABELS = ("agreement", "positions", "cosine")

Outputs = dict[str, Any]


class OnnxRuntime:
    """One model in onnxruntime, with the settings of the claim."""

    def __init__(self, file: Path, settings: dict[str, Any], threads: int) -> None:
        import onnxruntime as ort  # noqa: PLC0415 - only the runtime of this bundle is installed

        streams = settings.get("streams") or 1
        level = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, (settings.get("threads") or threads) // streams)
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, level[settings.get("graph_optimization") or "all"]
        )
        self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self._streams, self._pool = streams, ThreadPoolExecutor(streams)

    def run(self, inputs: Outputs) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))

    def bind(self, inputs: Outputs) -> Callable[[], object]:
        if self._streams == 1:
            return lambda: self._session.run(self._names, inputs)
        return lambda: list(self._pool.map(lambda _: self._session.run(self._names, inputs), range(self._streams)))


class OpenVino:
    """One model in OpenVINO, with the settings of the claim."""

    def __init__(self, file: Path, settings: dict[str, Any], threads: int, precision: str) -> None:
        import openvino as ov  # noqa: PLC0415 - only the runtime of this bundle is installed

        streams = settings.get("streams")
        folder = Path(tempfile.mkdtemp(prefix="whetstone-"))
        with zipfile.ZipFile(file) as archive:
            for part in ("model.xml", "model.bin"):
                archive.extract(part, folder)
        told = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY" if streams is None else "THROUGHPUT",
            "NUM_STREAMS": streams or 1,
            "INFERENCE_NUM_THREADS": settings.get("threads") or threads,
        }
        self._compiled = ov.Core().compile_model(folder / "model.xml", "CPU", told)
        self._requests = [self._compiled.create_infer_request() for _ in range(streams or 1)]
        self._tensor = ov.Tensor

    def run(self, inputs: Outputs) -> Outputs:
        found = self._requests[0].infer(inputs)
        return {name: np.array(found[port]) for port in self._compiled.outputs for name in port.get_names()}

    def bind(self, inputs: Outputs) -> Callable[[], object]:
        for request in self._requests:
            for name, array in inputs.items():
                request.set_tensor(name, self._tensor(array))
        return self._call

    def _call(self) -> None:
        for request in self._requests:
            request.start_async()
        for request in self._requests:
            request.wait()


def load(side: str, contract: dict[str, Any], threads: int, *, in_full: bool = False) -> Any:
    """One of the two models; `in_full` computes in float32, whatever the target does."""
    file, settings = HERE / side / contract["model"], contract["settings"] if side == "result" else {}
    runtime, _, *precision = contract["target"].split("/")
    if runtime == "onnxruntime":
        return OnnxRuntime(file, settings, threads)
    if (beside := HERE / "fixed_batch.py").exists():
        return runpy.run_path(str(beside))["load"](runtime, file, settings.get("threads") or threads)
    return OpenVino(file, settings, threads, precision[0] if precision and not in_full else "f32")


def batches(contract: dict[str, Any]) -> Iterator[tuple[Outputs, Any]]:
    """Inputs by name, and labels where there are any."""
    names = [tensor["name"] for tensor in contract["inputs"]]
    with np.load(HERE / "samples.npz", allow_pickle=False) as stored:
        for group in range(len({key.partition("_")[0] for key in stored.files})):
            inputs = [stored[f"g{group}_i{number}"] for number in range(len(names))]
            labels = stored[f"g{group}_labels"] if f"g{group}_labels" in stored.files else None
            for row in range(len(inputs[0])):
                one = {name: np.ascontiguousarray(array[row]) for name, array in zip(names, inputs, strict=True)}
                yield one, None if labels is None else labels[row]


def decision(outputs: Outputs, samples: int, contract: dict[str, Any], classes: int) -> Any:
    """The class of each sample: the largest entry, or on which side of a threshold its one number lies; else None."""
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    for array in floats.values():
        if array.ndim == 2 and array.shape[0] == samples and array.shape[1] >= classes:  # noqa: PLR2004 - [N, classes]
            return array.argmax(axis=1)
    for name, array in floats.items():
        if classes == 2 and array.size == samples and name in contract["thresholds"]:  # noqa: PLR2004 - two classes
            return (array.reshape(samples) > contract["thresholds"][name]).astype(np.int64)
    return None


def squared_errors(outputs: Outputs, labels: Any) -> Any:
    alike = next(array for array in outputs.values() if array.size == labels.size and len(array) == len(labels))
    error = alike.reshape(len(labels), -1).astype(np.float64) - labels.reshape(len(labels), -1)
    return (error**2).mean(axis=1)


def one_number(outputs: Outputs, samples: int, contract: dict[str, Any]) -> tuple[Any, bool]:
    """A logit or a probability for each sample, and which it is."""
    told = ((name, array) for name, array in outputs.items() if name in contract["thresholds"])
    name, array = next((name, array) for name, array in told if array.dtype.kind == "f" and array.size == samples)
    return array.reshape(samples).astype(np.float64), contract["thresholds"][name] == 0.5  # noqa: PLR2004 - a half


def scored(metric: str, outputs: Outputs, labels: Any, contract: dict[str, Any]) -> Any:
    """What the metric makes of each sample."""
    if metric == "mse":
        return squared_errors(outputs, labels)
    if metric == "accuracy":
        return decision(outputs, len(labels), contract, max(2, int(contract["largest_label"]) + 1)) == labels
    numbers, are_probabilities = one_number(outputs, len(labels), contract)
    if metric == "auc":
        return np.stack([numbers, labels], axis=1)
    if are_probabilities:
        return -np.log(np.clip(np.where(labels == 1, numbers, 1 - numbers), 1e-15, 1))
    return np.logaddexp(0, np.where(labels == 1, -numbers, numbers))


def summary(metric: str, found: Any) -> float:
    """The mean; for auc the share of pairs of a positive and a negative that are in order, equal ones counting half."""
    if metric != "auc":
        return float(found.mean())
    up, down = found[found[:, 1] == 1, 0], np.sort(found[found[:, 1] != 1, 0])
    if not len(up) or not len(down):
        return math.nan
    ends = [np.searchsorted(down, up, side) for side in ("left", "right")]
    return float((ends[0] + ends[1]).mean() / 2 / len(down))


def decided_by(outputs: Outputs, samples: int, contract: dict[str, Any]) -> Any:
    """What is compared of the decisions of both: of samples, or of each position of a sequence; else None."""
    if contract["compared"] == "cosine":
        return None
    if contract["compared"] != "positions":
        return decision(outputs, samples, {"thresholds": {}}, 2)
    wide = (array for array in outputs.values() if array.dtype.kind == "f" and array.ndim > 2)  # noqa: PLR2004 - [N, T, …]
    return next(array.argmax(axis=-1).reshape(samples, -1) for array in wide if array.shape[-1] > 1)


def quality(original: Any, result: Any, contract: dict[str, Any]) -> dict[str, float]:
    """Accuracy or error of both where there are labels, and how alike the outputs are."""
    scores: tuple[list[Any], list[Any]] = ([], [])
    agreed, cosines, signal, noise, metric = [], [], 0.0, 0.0, ""
    for inputs, labels in batches(contract):
        both = original.run(inputs), result.run(inputs)
        samples = contract["batch_size"] if labels is None else len(labels)
        if labels is not None and contract["metric"] not in WITHOUT_LABELS:
            metric = contract["metric"] or ("accuracy" if np.issubdtype(labels.dtype, np.integer) else "mse")
            for side, outputs in zip(scores, both, strict=True):
                side.append(scored(metric, outputs, labels, contract))
        decided = [decided_by(outputs, samples, contract) for outputs in both]
        if decided[0] is not None:
            agreed.append((decided[0] == decided[1]).reshape(samples, -1).mean(axis=1))
        for name, expected in both[0].items():
            one, other = (_finite(array, samples) for array in (expected, both[1][name]))
            signal, noise = signal + float((one**2).sum()), noise + float(((one - other) ** 2).sum())
            norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            alike = (one == other).all(axis=1)
            cosines.append(np.where(alike, 1.0, (one * other).sum(axis=1) / np.where(norms > 0, norms, 1.0)))
    found = {"cosine": float(np.concatenate(cosines).mean())}
    if metric:
        found |= {
            f"{metric}, {side}": summary(metric, np.concatenate(score))
            for side, score in zip(("original", "result"), scores, strict=True)
        }
    if agreed:
        found["agreement %"] = 100 * float(np.concatenate(agreed).mean())
    if noise:
        found["signal to noise, dB"] = 10 * math.log10(max(signal, sys.float_info.min) / noise)
    return found


def _finite(array: Any, samples: int) -> Any:
    """As float64 [samples, numbers], with zeros for what is no number."""
    rows = samples if array.ndim and len(array) == samples else 1
    return np.nan_to_num(array.astype(np.float64).reshape(rows, -1), nan=0.0, posinf=0.0, neginf=0.0)


def race(original: Any, result: Any, contract: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Bursts of both by turns, in random order; the ratio of each round's medians, and its median with an interval."""
    inputs, _ = next(batches(contract))
    calls = [side.bind(inputs) for side in (original, result)]
    longest = max(statistics.median(_burst(call, 5)[1:]) for call in calls)
    runs = max(1, min(1000, int(BURST_SECONDS / max(longest, 1e-6))))
    for call in calls:
        _burst(call, runs)  # warm-up
    times: tuple[list[list[float]], list[list[float]]] = ([], [])
    until, order = time.monotonic() + seconds, random.Random(0)  # noqa: S311 - no secret
    while time.monotonic() < until or len(times[0]) < 6:  # noqa: PLR2004 - fewer rounds give no 95 % interval
        for side in order.sample((0, 1), 2):
            time.sleep(REST_SECONDS)
            times[side].append(_burst(calls[side], runs + 1)[1:])
    streams = contract["settings"].get("streams") or 1
    ratios = [streams * statistics.median(a) / statistics.median(b) for a, b in zip(*times, strict=True)]
    medians = [1000 * statistics.median([each for burst in bursts for each in burst]) for bursts in times]
    return {"ratio": _with_interval(ratios), "original": medians[0], "result": medians[1]}


def _burst(call: Callable[[], object], runs: int) -> list[float]:
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _with_interval(values: list[float]) -> tuple[float, float, float]:
    """The median with its distribution-free 95 % interval (David & Nagaraja, Order Statistics, 7.1)."""
    ordered, half = sorted(values), Z95 * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(ordered) / 2 - half) - 1)
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
    return statistics.median(ordered), ordered[low], ordered[high]


def stated() -> tuple[dict[str, Any], dict[str, str]]:
    """The claim and the hashes that the manifest holds."""
    statement = json.loads(base64.b64decode(json.loads((HERE / "manifest.json").read_text())["payload"]))
    hashes = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    return statement["predicate"]["claims"][0], hashes


def changed(hashes: dict[str, str]) -> list[str]:
    """Files of this folder that are not what the manifest says."""
    files = [file for file in sorted(HERE.rglob("*")) if file.is_file() and file.name != "manifest.json"]
    names = [file.relative_to(HERE).as_posix() for file in files if "__pycache__" not in file.parts]
    return [name for name in names if hashes.get(name) != hashlib.sha256((HERE / name).read_bytes()).hexdigest()]


def claimed(claim: dict[str, Any]) -> dict[str, float | None]:
    fidelity, accuracy = claim["fidelity"], claim["accuracy"]
    found = {"cosine": fidelity["cosine"], "signal to noise, dB": fidelity["sqnr_db"]}
    if fidelity["agreement"]:
        found["agreement %"] = fidelity["agreement"]["value"]
    if accuracy:
        found |= {f"{accuracy['metric']}, {side}": accuracy[side] for side in ("original", "result")}
    return found


def p50(side: dict[str, Any]) -> float:
    found = next((one["ms"] for one in side["latency"]["percentiles"] if one["percent"] == 50), None)  # noqa: PLR2004
    return float(side["latency"]["mean_ms"] if found is None else found)


def main() -> None:
    claim, hashes = stated()
    contract = json.loads((HERE / "contract.json").read_text())
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20, help="how long to time both models")
    options.add_argument("--threads", type=int, default=contract["threads"], help="threads; as claimed if left out")
    told = options.parse_args()
    if wrong := changed(hashes):
        sys.exit(f"not what the manifest says: {', '.join(wrong)}")
    say = sys.stdout.write
    say(f"{contract['target']}, {contract['samples']} of {contract['whole']} samples, ")
    say(f"measured then on: {claim['environment']['cpu']}\nall files are what the manifest names\n\n")
    say(f"{'':24}{'claimed':>24}{'here':>24}\n")
    original, result = (load(side, contract, told.threads) for side in ("original", "result"))
    here = quality(load("original", contract, told.threads, in_full=True), result, contract)
    for name, value in claimed(claim).items():
        shown = ["identical" if one is None else f"{one:.4f}" for one in (value, here.get(name))]
        say(f"{name:24}{shown[0]:>24}{shown[1]:>24}\n")
    if "speedup" not in claim:  # built for a device that was not there: its speed is not claimed
        return
    times, speedup = race(original, result, contract, told.seconds), claim["speedup"]
    for side in ("original", "result"):
        say(f"{f'p50, {side}, ms':24}{p50(claim[side]):>24.4f}{times[side]:>24.4f}\n")
    ratios = (speedup["value"], speedup["low"], speedup["high"]), times["ratio"]
    shown = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in ratios]
    say(f"{'speed-up':24}{shown[0]:>24}{shown[1]:>24}\n")


if __name__ == "__main__":
    main()
