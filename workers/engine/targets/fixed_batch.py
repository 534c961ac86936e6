"""LiteRT, ExecuTorch and ncnn: runtimes whose models take one number of samples at once.

    model = load("litert", "model.tflite", threads=2)
    model.run({"x": batch})

This file stands alone: it needs numpy and the runtime, runs in the Python of a toolkit, and lies in bundles.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

INTERFACE = "interface"
"""What a model says of its own inputs and outputs, where its format has no place for their names."""

NCNN_PARTS = ("model.param", "model.bin", f"{INTERFACE}.json")
BATCH_AND_FOUR = 5
"""Axes of the largest tensor that ncnn takes, with the batch, which it does not have itself."""


class Tensor(NamedTuple):
    """One input or output, as it was converted: `shape` has the samples of one call first."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class ShapeNotTaken(Exception):
    """The model was converted for inputs of another shape."""


class FixedBatch:
    """A loaded model that runs any number of samples, in as many calls as that takes; the last one is filled up."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._inputs: Sequence[Tensor] = model.inputs

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name; they belong to the caller. Raises ShapeNotTaken."""
        samples, calls = self._calls(inputs)
        made = []
        for call in calls:
            self._model.put(call)
            self._model.invoke()
            made.append(self._model.outputs())
        if len(made) == 1 and samples is None:
            return dict(made[0])
        return {name: np.concatenate([each[name] for each in made])[:samples] for name in made[0]}

    def bind(self, inputs: Mapping[str, Any]) -> Callable[[], object]:
        """The same call, with its inputs in place where they fit into one."""
        _, calls = self._calls(inputs)
        if len(calls) == 1:
            self._model.put(calls[0])
            invoke: Callable[[], object] = self._model.invoke
            return invoke

        def all_of_them() -> None:
            for call in calls:
                self._model.put(call)
                self._model.invoke()

        return all_of_them

    def _calls(self, inputs: Mapping[str, Any]) -> tuple[int | None, list[dict[str, Any]]]:
        """How many samples there are, None where the inputs are those of one call, and the inputs of each call."""
        given = {tensor.name: np.asarray(inputs[tensor.name]) for tensor in self._inputs}
        other = [tensor for tensor in self._inputs if given[tensor.name].shape != tensor.shape]
        if not other:
            return None, [given]
        counts = {given[tensor.name].shape[:1] for tensor in other}
        if len(counts) > 1 or any(given[tensor.name].shape[1:] != tensor.shape[1:] for tensor in other):
            wrong = other[0]
            told = f"Input '{wrong.name}' has the shape {wrong.shape} in this file, not {given[wrong.name].shape}."
            raise ShapeNotTaken(told)
        (samples,), batch = counts.pop(), other[0].shape[0]
        return samples, [
            given | {tensor.name: _rows(given[tensor.name], start, batch) for tensor in other}
            for start in range(0, samples, batch)
        ]


def _rows(array: Any, start: int, count: int) -> Any:
    """So many rows from `start` on; the last one stands in for those that are missing."""
    return array[np.minimum(np.arange(start, start + count), len(array) - 1)]


class LiteRt:
    """A .tflite file, through its one signature. Inputs and outputs in 8 bits are floats outside."""

    def __init__(self, file: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only one of the runtimes is installed

        self._interpreter = Interpreter(model_path=str(file), num_threads=threads)
        self._interpreter.allocate_tensors()
        (signature,) = self._interpreter._get_full_signature_list().values()  # noqa: SLF001 - the public one has no places
        facts = {each["index"]: each for each in self._interpreter.get_tensor_details()}
        self._in = {name: facts[place] for name, place in signature["inputs"].items()}
        self._out = {name: facts[place] for name, place in signature["outputs"].items()}
        self.inputs = [
            Tensor(name, tuple(map(int, each["shape"])), np.dtype(each["dtype"]).name)
            for name, each in self._in.items()
        ]
        self.invoke = self._interpreter.invoke

    def put(self, inputs: Mapping[str, Any]) -> None:
        for name, facts in self._in.items():
            self._interpreter.set_tensor(facts["index"], _to_stored(inputs[name], facts))

    def outputs(self) -> dict[str, Any]:
        return {
            name: _from_stored(self._interpreter.get_tensor(facts["index"]), facts) for name, facts in self._out.items()
        }


def _to_stored(array: Any, facts: Mapping[str, Any]) -> Any:
    dtype, (scale, zero) = np.dtype(facts["dtype"]), facts["quantization"]
    if not scale or array.dtype.kind != "f":
        return np.ascontiguousarray(array.astype(dtype, copy=False))
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(dtype)


def _from_stored(array: Any, facts: Mapping[str, Any]) -> Any:
    scale, zero = facts["quantization"]
    return ((array.astype(np.float32) - zero) * scale).astype(np.float32) if scale else array


class ExecuTorch:
    """A .pte file that tells its own interface."""

    def __init__(self, file: Path, threads: int) -> None:
        import torch  # noqa: PLC0415 - only one of the runtimes is installed
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool  # noqa: PLC0415
        from executorch.runtime import Runtime  # noqa: PLC0415

        _unsafe_reset_threadpool(threads)
        self._torch = torch
        self._program = Runtime.get().load_program(str(file))
        self._method = self._program.load_method("forward")
        told = json.loads(self._program.load_method(INTERFACE).execute([])[0])
        self.inputs = [Tensor(name, tuple(shape), dtype) for name, shape, dtype in told["inputs"]]
        self._names = [name for name, *_ in told["outputs"]]
        self._given: list[Any] = []
        self._made: Sequence[Any] = ()

    def put(self, inputs: Mapping[str, Any]) -> None:
        self._given = [self._torch.from_numpy(np.array(inputs[tensor.name])) for tensor in self.inputs]

    def invoke(self) -> None:
        self._made = self._method.execute(self._given)

    def outputs(self) -> dict[str, Any]:
        return {name: made.numpy().copy() for name, made in zip(self._names, self._made, strict=True)}


class Ncnn:
    """A zip of ncnn's two files and of the interface that they were converted for: they know no batch and no names."""

    def __init__(self, file: Path, threads: int) -> None:
        import ncnn  # noqa: PLC0415 - only one of the runtimes is installed

        self._ncnn, self._net = ncnn, ncnn.Net()
        option = self._net.opt
        option.num_threads = threads
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
        option.use_bf16_packed = option.use_bf16_storage = False
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file) as archive:
            param, weights, interface = (archive.extract(part, folder) for part in NCNN_PARTS)
            if self._net.load_param(param) or self._net.load_model(weights):
                raise ValueError("ncnn cannot load the model.")
            told = json.loads(Path(interface).read_text())
        self.inputs = [Tensor(name, tuple(shape), dtype) for name, shape, dtype in told["inputs"]]
        self._told = [Tensor(name, tuple(shape), dtype) for name, shape, dtype in told["outputs"]]
        self._held: list[Any] = []
        self._made: list[Any] = []

    def put(self, inputs: Mapping[str, Any]) -> None:
        """Ncnn reads the memory of these arrays, so they are held."""
        self._held = [np.array(inputs[tensor.name][0]) for tensor in self.inputs]
        self._mats = [self._ncnn.Mat(array) for array in self._held]

    def invoke(self) -> None:
        extractor = self._net.create_extractor()
        for number, mat in enumerate(self._mats):
            extractor.input(f"in{number}", mat)
        found = [extractor.extract(f"out{number}") for number in range(len(self._told))]
        if any(status for status, _ in found):
            raise ValueError("ncnn cannot run the model.")
        self._made = [mat for _, mat in found]

    def outputs(self) -> dict[str, Any]:
        return {
            tensor.name: np.array(mat).reshape(tensor.shape).astype(tensor.dtype)
            for tensor, mat in zip(self._told, self._made, strict=True)
        }


KINDS: dict[str, Callable[[Path, int], Any]] = {"litert": LiteRt, "executorch": ExecuTorch, "ncnn": Ncnn}


def load(runtime: str, file: Path, threads: int) -> FixedBatch:
    return FixedBatch(KINDS[runtime](file, threads))
