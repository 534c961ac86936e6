"""Images in class folders: what each becomes, whose class and split it is, and every way a file can be wrong."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from whetstone.contract.datasets import Split
from whetstone.contract.preprocessing import Channels, Fit, Images, ImageType, Interpolation, Layout
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import Samples, open_dataset

SMALL = Images(input="x", height=4, width=4)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def image(color: tuple[int, ...] = RED, size: tuple[int, int] = (4, 4), form: str = "PNG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color if mode == "RGB" else 0).save(out, form)
    return out.getvalue()


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def opened(tmp_path: Path, files: Mapping[str, bytes], how: Images = SMALL) -> Samples:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return open_dataset(tmp_path / "d.zip", tmp_path, how)


def one(tmp_path: Path, picture: bytes, how: Images) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    (batch,) = opened(tmp_path, {"x.png": picture}, how).batches(Split.TEST, 1)
    return batch.inputs[how.input][0]


def test_classes_count_from_0_in_the_order_of_their_names(tmp_path: Path) -> None:
    samples = opened(tmp_path, {f"{name}/{n}.png": image() for name in ("dog", "cat", "eel") for n in range(10)})
    facts = samples.facts()
    assert (facts.format, facts.classes, facts.class_names) == ("images", 3, ("cat", "dog", "eel"))
    assert facts.splits == {Split.TRAIN: 21, Split.CALIBRATION: 3, Split.TEST: 6}
    assert facts.fields[0].shape == (3, 4, 4)
    assert np.bincount(samples.labels(Split.TEST)).tolist() == [2, 2, 2]


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    files = {f"{name}/{n}.png": image(color) for n in range(9) for name, color in (("r", RED), ("g", GREEN))}
    for batch in opened(tmp_path, files).batches(Split.TRAIN, 5, shuffle_seed=1, with_labels=True):
        assert (batch.inputs["x"][:, 0, 0, 0] == batch.required_labels).all()  # g is 0, r is 1


@pytest.mark.parametrize("root", ["", "photos/"])
def test_given_splits_are_kept(tmp_path: Path, root: str) -> None:
    files = {f"{root}{split}/{name}/1.png": image() for split in ("train", "test") for name in ("a", "b")}
    facts = opened(tmp_path, files | {f"{root}.DS_Store": b"x", "__MACOSX/a/1.png": b"x"}).facts()
    assert (facts.splits, facts.made_splits) == ({Split.TRAIN: 2, Split.TEST: 2}, False)
    assert facts.class_names == ("a", "b")


def test_a_class_may_be_missing_from_a_split(tmp_path: Path) -> None:
    files = dict.fromkeys(("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png"), image())
    assert opened(tmp_path, files).labels(Split.TEST).tolist() == [2]


def test_images_in_no_folder_have_no_labels(tmp_path: Path) -> None:
    assert opened(tmp_path, {"1.png": image(), "2.png": image()}).facts().labels is None


def test_a_tar_is_read_like_a_zip(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        for name in ("a/1.png", "b/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(image())
            archive.addfile(member, io.BytesIO(image()))
        link = tarfile.TarInfo("c/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    facts = open_dataset(tmp_path / "d.tar", tmp_path, SMALL).facts()
    assert (facts.samples, facts.class_names) == (2, ("a", "b"))


def test_the_usual_preprocessing_of_imagenet(tmp_path: Path) -> None:
    """Resize(256), CenterCrop(224), ToTensor, Normalize: written out by hand."""
    picture, mean, std = noise(400, 300), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    how = Images(input="x", height=224, width=224, resize=256, mean=mean, std=std)
    resized = picture.resize((341, 256), Image.Resampling.BILINEAR)
    cut = np.asarray(resized)[16:240, 58:282].astype(np.float64) / 255
    expected = ((cut - mean) / std).transpose(2, 0, 1)
    found = one(tmp_path, encoded(picture), how)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("width", "height"), [(9, 4), (4, 9), (3, 50), (1, 1), (333, 7)])
@pytest.mark.parametrize("fit", list(Fit))
def test_every_shape_comes_to_its_size(tmp_path: Path, width: int, height: int, fit: Fit) -> None:
    how = Images(input="x", height=5, width=7, fit=fit, interpolation=Interpolation.BICUBIC)
    assert one(tmp_path, encoded(noise(width, height)), how).shape == (3, 5, 7)


def test_padding_is_black_and_at_the_sides(tmp_path: Path) -> None:
    how = Images(input="x", height=4, width=8, fit=Fit.PAD, dtype=ImageType.UINT8)
    assert one(tmp_path, image(RED), how)[0].tolist() == [[0, 0, 255, 255, 255, 255, 0, 0]] * 4


def test_layout_channels_and_type(tmp_path: Path) -> None:
    how = Images(input="x", height=4, width=4, dtype=ImageType.UINT8, layout=Layout.HWC, channels=Channels.BGR)
    found = one(tmp_path, image(RED), how)
    assert (found.shape, found.dtype, found[0, 0].tolist()) == ((4, 4, 3), np.uint8, [0, 0, 255])
    gray = one(tmp_path, image(RED), how.model_copy(update={"channels": Channels.GRAY, "layout": Layout.CHW}))
    assert (gray.shape, int(gray[0, 0, 0])) == ((1, 4, 4), 76)  # ITU-R 601: 0.299 of 255


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_formats(tmp_path: Path, form: str) -> None:
    assert one(tmp_path, image(form=form), SMALL)[0].mean() == pytest.approx(1, abs=0.02)


WRONG: dict[str, tuple[dict[str, bytes], str]] = {
    "nothing": ({}, "0 files"),
    "no image": ({"a/1.png": b"text"}, "'a/1.png' cannot be read"),
    "a broken image": ({"a/1.png": image(size=(64, 64))[:-40]}, "'a/1.png' cannot be read"),
    "a format that may run code": ({"a/1.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "cannot be read"),
    "16 bits": ({"a/1.png": image(mode="I;16")}, "more than 8 bits"),
    "too deep": ({"a/b/c/1.png": image(), "a/b/d/1.png": image(), "e/b/c/1.png": image()}, "too deep"),
    "some in folders": ({"a/1.png": image(), "2.png": image()}, "'2.png' is in no class folder"),
    "too many pixels": ({"a/1.png": image(size=(20_000, 6_000))}, "at most 100000000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    files, told = WRONG[name]
    with pytest.raises(InvalidDataset, match=told):
        opened(tmp_path, files)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    for content in (b"text" * 1000, b"PK\x03\x04" + b"\0" * 100, b"PK\x05\x06" + b"\xff" * 18):
        (tmp_path / "d.zip").write_bytes(content)
        with pytest.raises(InvalidDataset):
            open_dataset(tmp_path / "d.zip", tmp_path, SMALL)


def test_what_does_not_fit_is_told_before_anything_is_written(tmp_path: Path) -> None:
    how = Images(input="x", height=4096, width=4096)
    with pytest.raises(InvalidDataset, match=r"400 images of 4096 × 4096 as float32 take 75\.0 GiB"):
        opened(tmp_path, {f"a/{number}.png": b"" for number in range(400)}, how)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "uint8", "mean": [0.5]},
        {"mean": [0.5, 0.5]},
        {"channels": "gray", "std": [1, 1, 1]},
        {"std": [0]},
        {"fit": "pad", "resize": 10},
        {"resize": 3},
        {"height": 0},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Images.model_validate({"input": "x", "height": 4, "width": 4, **wrong})
