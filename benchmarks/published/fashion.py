"""Three networks trained here on Fashion-MNIST: the classic small cases, with more than enough labelled data."""

from functools import partial
from pathlib import Path

from benchmarks.published.published import NotHere, Published, save
from examples import fashion

TRAIN, TEST = 10_000, 2_000
LEARNS_FROM = 20_000
"""Images that the networks are trained on: of all 60,000 it takes three times as long."""


def write(name: str, folder: Path) -> None:
    if not fashion.is_there():
        raise NotHere("needs Fashion-MNIST: apt-get install dataset-fashion-mnist, or name its folder in FASHION_MNIST")
    (x, labels), (held, held_labels) = fashion.images("train"), fashion.images("t10k")
    fashion.export(fashion.train(fashion.NETWORKS[name], LEARNS_FROM), folder / "model.onnx")
    save(
        folder,
        train={"x": x[:TRAIN], "labels": labels[:TRAIN]},
        calibration={"x": x[: fashion.CALIBRATION], "labels": labels[: fashion.CALIBRATION]},
        test={"x": held[:TEST], "labels": held_labels[:TEST]},
    )


MODELS = {
    f"fashion_{name}": Published(
        task=f"clothes, 10 classes: {name.upper()}",
        inputs="Fashion-MNIST, its test images",
        packages=("trained here",),
        write=partial(write, name),
    )
    for name in fashion.NETWORKS
}
