"""The classic case: an MLP 784-128-10 on 28×28 images, trained here and written as ONNX, with its dataset as .npz.

    python examples/digits.py FOLDER      writes FOLDER/digits.onnx and FOLDER/digits.npz

Images: scikit-learn's digits, enlarged from 8×8. The dataset's splits are declared: what the model was trained on is
`train`, and `test` was never seen.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = 10
HIDDEN = 128
SIDE = 28

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Data = dict[str, tuple[Images, Labels]]


def write(folder: Path) -> tuple[Path, Path]:
    """Train the model and write it and its dataset; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    model, dataset = folder / "digits.onnx", folder / "digits.npz"
    data = load()
    onnx.save(train(data["train"]), model)
    save(data, dataset)
    return model, dataset


def load() -> Data:
    """train, calibration and test: images [N, 1, 28, 28] in 0…1 and labels [N]."""
    images, labels = digits()
    images, held_images, labels, held_labels = train_test_split(
        images, labels, test_size=0.35, random_state=0, stratify=labels
    )
    return {
        "train": (images, labels),
        "calibration": (images[:300], labels[:300]),
        "test": (held_images, held_labels),
    }


def digits() -> tuple[Images, Labels]:
    """scikit-learn's 1,797 digits; each pixel becomes 3×3, with a margin of 2."""
    small, labels = load_digits(return_X_y=True)
    large = np.kron(small.reshape(-1, 8, 8) / 16, np.ones((3, 3)))
    padded = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    return padded[:, None].astype(np.float32), labels.astype(np.int64)


def train(data: tuple[Images, Labels], steps: int = 1500) -> onnx.ModelProto:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a net is slower on several
    images, labels = (torch.from_numpy(array) for array in data)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps):
        batch = torch.randint(len(labels), (128,))
        loss = torch.nn.functional.cross_entropy(net(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return as_onnx(net)


def as_onnx(net: torch.nn.Sequential) -> onnx.ModelProto:
    weights = [tensor.detach().numpy() for tensor in net.parameters()]
    names = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"], "flatten"),
        helper.make_node("Gemm", ["pixels", *names[:2]], ["hidden"], "hidden", transB=1),
        helper.make_node("Relu", ["hidden"], ["active"], "relu"),
        helper.make_node("Gemm", ["active", *names[2:]], ["logits"], "output", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for value, name in zip(weights, names, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="digits example")
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def save(data: Data, path: Path) -> None:
    arrays = {}
    for split, (images, labels) in data.items():
        arrays |= {f"{split}/image": images, f"{split}/labels": labels}
    np.savez(path, **arrays)


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
