"""Archives of torch.export and TorchScript, good ones and hostile ones.

Each hostile one, loaded and run as PyTorch does it, makes the file that it is told of.
"""

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

DECLARED = {"inputs.json": json.dumps([{"name": "x", "shape": ["batch", 4], "dtype": "float32"}])}
PROGRAM, WEIGHTS = "m/models/model.json", "m/data/weights/model_weights_config.json"


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.hidden(x)))


class Writes(Net):
    """Writes a file when it is run."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > -1e9:
            x = x + torch.from_file(self.marker, shared=True, size=4)[0] * 0
        return self.last(torch.relu(self.hidden(x)))


class WritesOnLoading(torch.nn.Module):
    """Writes a file when it is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.training = state[1]
        self.marker = f"{torch.from_file(state[0], shared=True, size=4)[0]}"  # what is not used is not run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Runs:
    """A pickle of it makes the file."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def program(path: Path, *, any_batch: bool = True) -> Path:
    varying = ({0: torch.export.Dim("rows", min=1, max=64)},) if any_batch else None
    torch.export.save(torch.export.export(Net().eval(), (torch.ones(2, 4),), dynamic_shapes=varying), path)
    return path


def script(path: Path, module: torch.nn.Module | None = None, *, declared: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript has had its day
        made = torch.jit.script((module or Net()).eval())
        torch.jit.save(made, str(path), _extra_files=DECLARED if declared else {})
    return path


def changed(path: Path, **members: Callable[[bytes], bytes]) -> Path:
    """With members, by their names, made of what they were."""
    kept = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w") as archive:
        for name in kept.namelist():
            change = members.get(name, lambda same: same)
            archive.writestr(name, change(kept.read(name)))
    return path


def edited(edit: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        told = json.loads(text)
        edit(told)
        return json.dumps(told).encode()

    return change


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Runs(marker), buffer)
    return buffer.getvalue()


def samples(path: Path, marker: Path) -> Path:
    return changed(program(path), **{"m/data/sample_inputs/model.pt": lambda _: pickled(marker)})


def weights(path: Path, marker: Path) -> Path:
    def edit(told: dict[str, Any]) -> None:
        told["config"]["hidden.bias"]["use_pickle"] = True
        told["config"]["hidden.bias"]["path_name"] = "weight_1"

    return changed(program(path), **{WEIGHTS: edited(edit), "m/data/weights/weight_1": lambda _: pickled(marker)})


def sizes(path: Path, marker: Path) -> Path:
    def edit(told: dict[str, Any]) -> None:
        size = told["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]
        size["expr_str"] = f"__import__('os').system('touch {marker}')"

    return changed(program(path), **{PROGRAM: edited(edit)})


def guards(path: Path, marker: Path) -> Path:
    def edit(told: dict[str, Any]) -> None:
        told["guards_code"] = [f"__import__('os').system('touch {marker}') == 0"]

    return changed(program(path), **{PROGRAM: edited(edit)})


def calls(path: Path, target: str) -> Path:
    def edit(told: dict[str, Any]) -> None:
        told["graph_module"]["graph"]["nodes"][0]["target"] = target

    return changed(program(path), **{PROGRAM: edited(edit)})


def opaque(path: Path, marker: Path) -> Path:
    def edit(told: dict[str, Any]) -> None:
        told["config"]["c"] = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}

    made = changed(program(path), **{"m/data/constants/model_constants_config.json": edited(edit)})
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("m/data/constants/opaque_obj_0", pickle.dumps(Runs(marker)))
    return made


HOSTILE = {"samples": samples, "weights": weights, "sizes": sizes, "guards": guards, "opaque": opaque}
