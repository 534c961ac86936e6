"""Augmentations: same shapes, changed values, the same ones under the same seed; refused where they do not fit."""

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from tests.engine import models
from whetstone.contract import augmentation as kinds
from whetstone.contract.augmentation import Augmentation
from whetstone.contract.learning import Learning
from workers.engine.data.augmentation import UnfitAugmentation, augmented, check_augmentations
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.passes.learning import trainable
from workers.engine.training.course import Course
from workers.engine.training.loop import learn

SHAPES = {
    "images": (8, 3, 20, 24),
    "sound": (8, 2, 400),
    "spectra": (8, 1, 40, 50),
    "table": (8, 30),
}
EACH = [
    ("images", kinds.Flip()),
    ("images", kinds.Flip(direction="vertical")),
    ("images", kinds.Crop()),
    ("images", kinds.Rotate(degrees=45)),
    ("images", kinds.Colour(saturation=0.3, hue=0.1)),
    ("images", kinds.Erase()),
    ("images", kinds.Cutmix()),
    ("images", kinds.Mixup(alpha=1)),
    ("sound", kinds.Gain()),
    ("sound", kinds.Noise()),
    ("sound", kinds.Shift()),
    ("spectra", kinds.SpecAugment()),
    ("table", kinds.TabularNoise()),
    ("table", kinds.FeatureDrop()),
]


def values(name: str) -> dict[str, torch.Tensor]:
    return {"x": torch.rand(SHAPES[name], generator=torch.Generator().manual_seed(1))}


def after(config: Augmentation, inputs: dict[str, torch.Tensor], seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return augmented((config,), inputs).inputs["x"]


@pytest.mark.parametrize(("name", "config"), EACH)
def test_changes_values_as_the_seed_says(name: str, config: Augmentation) -> None:
    inputs = values(name)
    kept = inputs["x"].clone()
    first, again, other = (after(config, inputs, seed) for seed in (0, 0, 1))
    assert first.shape == kept.shape
    assert first.dtype == kept.dtype
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, kept)
    assert torch.equal(inputs["x"], kept)


def test_each_kind_of_the_contract_is_tried() -> None:
    (union, _) = get_args(Augmentation)
    assert {config.kind for _, config in EACH} == {kind.model_fields["kind"].default for kind in get_args(union)}


def learned(name: str, folder: Path, seed: int, *augment: Augmentation) -> torch.Tensor:
    """The weight of a linear model of this kind of input, after two epochs."""
    rank = "N," + ",".join(map(str, SHAPES[name][1:]))
    size = math.prod(SHAPES[name][1:])
    body = f"g (float[{rank}] x) => (float[N,3] y) {{ f = Flatten(x) y = MatMul(f, w) }}"
    graph = Graph(models.with_weights(models.parsed(body), w=np.zeros((size, 3), np.float32)))
    np.savez(folder / "d.npz", **{"train/x": values(name)["x"].numpy(), "train/labels": np.arange(8) % 3})
    data, learning = (
        open_dataset(folder / "d.npz", folder),
        Learning(epochs=2, batch_size=4, seed=seed, augment=augment),
    )
    module, objective = trainable(graph, None, data)
    learn(module, Course(data, learning, objective, 1))
    return module.weights["w"].detach()


@pytest.mark.parametrize(("name", "config"), EACH)
def test_learning_with_it_depends_on_the_seed_alone(name: str, config: Augmentation, tmp_path: Path) -> None:
    first, again = (learned(name, tmp_path, 3, config) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, learned(name, tmp_path, 3))


SOMETIMES = [
    ("images", kinds.Flip(probability=0.3)),
    ("images", kinds.Crop(probability=0.3)),
    ("images", kinds.Rotate(degrees=45, probability=0.3)),
    ("images", kinds.Colour(probability=0.3)),
    ("images", kinds.Erase(probability=0.3)),
    ("sound", kinds.Gain(probability=0.3)),
    ("sound", kinds.Noise(probability=0.3)),
    ("sound", kinds.Shift(probability=0.3)),
]


@pytest.mark.parametrize(("name", "config"), SOMETIMES)
def test_probability_is_that_of_each_sample(name: str, config: Augmentation) -> None:
    inputs = {"x": torch.rand(400, *SHAPES[name][1:], generator=torch.Generator().manual_seed(1))}
    moved = (after(config, inputs) - inputs["x"]).abs().flatten(1).amax(1) > 1e-4
    assert float(moved.float().mean()) == pytest.approx(0.3, abs=0.08)


def test_a_lone_sample_is_augmented_too() -> None:
    for name, config in EACH:
        inputs = {"x": values(name)["x"][:1]}
        assert torch.isfinite(after(config, inputs)).all()


@pytest.mark.parametrize(("name", "config"), EACH)
def test_survives_json(name: str, config: Augmentation) -> None:
    del name
    adapter: TypeAdapter[Augmentation] = TypeAdapter(Augmentation)
    assert adapter.validate_json(adapter.dump_json(config)) == config


def test_flip_mirrors() -> None:
    images = values("images")["x"]
    assert torch.allclose(after(kinds.Flip(probability=1), {"x": images}), images.flip(3))
    assert torch.allclose(after(kinds.Flip(probability=1, direction="vertical"), {"x": images}), images.flip(2))


def test_mixup_blends_with_partners() -> None:
    inputs = values("images")
    torch.manual_seed(0)
    mixed = augmented((kinds.Mixup(alpha=1),), inputs)
    assert mixed.partners is not None
    expected = mixed.share * inputs["x"] + (1 - mixed.share) * inputs["x"][mixed.partners]
    assert torch.allclose(mixed.inputs["x"], expected)


def test_cutmix_keeps_the_share_it_tells() -> None:
    inputs = {"x": torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 20, 24).contiguous()}
    torch.manual_seed(3)
    mixed = augmented((kinds.Cutmix(),), inputs)
    assert mixed.partners is not None
    moved = mixed.partners != torch.arange(8)
    kept = (mixed.inputs["x"] == inputs["x"]).float().mean((1, 2, 3))
    assert kept[moved].tolist() == pytest.approx([mixed.share] * int(moved.sum()))


def test_noise_has_the_distance_asked_for() -> None:
    sound = torch.randn(64, 4000, generator=torch.Generator().manual_seed(0))
    noise = after(kinds.Noise(quietest_db=20, loudest_db=20), {"x": sound}) - sound
    ratio = 10 * torch.log10(sound.square().mean() / noise.square().mean())
    assert float(ratio) == pytest.approx(20, abs=0.2)


def test_shift_moves_and_leaves_silence() -> None:
    ramp = torch.arange(1.0, 101.0).repeat(4, 1)
    for row in after(kinds.Shift(share=0.3), {"x": ramp}):
        heard = row[row > 0]
        assert len(heard) >= 70
        assert (heard.diff() == 1).all()


def test_covered_bands_are_no_wider_than_asked() -> None:
    spectra = torch.ones(50, 40, 50)
    covered = after(kinds.SpecAugment(time_bands=0, frequency_share=0.25), {"x": spectra})[:, :, 0] == 0
    assert 1 <= int(covered.sum(1).max()) <= 10


def test_share_of_dropped_features() -> None:
    table = torch.ones(1000, 10)
    assert float(after(kinds.FeatureDrop(probability=0.3), {"x": table}).mean()) == pytest.approx(0.7, abs=0.02)


def check(folder: Path, *configs: Augmentation, **arrays: object) -> None:
    np.savez(folder / "d.npz", **arrays)  # type: ignore[arg-type]
    check_augmentations(configs, open_dataset(folder / "d.npz", folder))


IMAGES = np.zeros((10, 1, 8, 8), np.float32)
IDS = np.zeros((10, 8), np.int64)


@pytest.mark.parametrize(
    ("configs", "arrays", "told"),
    [
        ((kinds.Gain(),), {"x": IMAGES}, "'gain' takes 2 or 3 axes with the batch; 'x' has 4"),
        ((kinds.FeatureDrop(),), {"x": IDS}, "'feature_drop' takes floating point values"),
        ((kinds.Mixup(),), {"x": IMAGES, "ids": IDS}, "'mixup' blends every input"),
        ((kinds.Cutmix(input="x"),), {"x": IMAGES, "ids": IDS}, "models with one input"),
        ((kinds.Flip(),), {"x": IMAGES, "ids": IDS}, "'flip' must name its input: there are 'x', 'ids'"),
        ((kinds.Flip(input="y"),), {"x": IMAGES}, "for the input 'y'; there are only 'x'"),
        ((kinds.Colour(hue=0.1),), {"x": IMAGES}, "Saturation and hue are for 3 channels; 'x' has 1"),
        ((kinds.Mixup(), kinds.Cutmix()), {"x": IMAGES}, "Only one of 'mixup' and 'cutmix'"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, configs: tuple[Augmentation, ...], arrays: dict[str, object], told: str
) -> None:
    with pytest.raises(UnfitAugmentation, match=told):
        check(tmp_path, *configs, **arrays)


def test_colours_out_of_the_told_range_are_refused() -> None:
    with pytest.raises(DatasetMismatch, match=r"values from 0.0 to 1.0; there are some from .* to 2"):
        after(kinds.Colour(), {"x": torch.linspace(0, 2, 64).reshape(1, 1, 8, 8)})


def test_ranges_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must be above low"):
        kinds.Colour(low=1, high=0)
    with pytest.raises(ValueError, match="must not be above quietest_db"):
        kinds.Noise(quietest_db=5, loudest_db=10)
