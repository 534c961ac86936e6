"""All models of the scoreboard, by name, and where they are kept."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.published import captcha, faces, fashion, files, imagenet, music, pages, pitch, text
from benchmarks.published.published import Published

FOLDER = Path(__file__).parents[2] / "var" / "bench" / "models"
CATALOGUE: dict[str, Published] = {
    name: model
    for family in (fashion, imagenet, captcha, faces, text, pitch, pages, files, music)
    for name, model in family.MODELS.items()
}

QUICK = ("mtcnn_rnet", "crepe_tiny", "rapidocr_cls")
"""Small ones of three kinds, for a look that takes minutes."""


def names(text: str) -> Sequence[str]:
    """Of models, with commas between: an argument of a command."""
    found = text.split(",")
    if unknown := set(found) - CATALOGUE.keys():
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}. There are: {', '.join(CATALOGUE)}")
    return found


def written(name: str) -> Path:
    """The folder with the model and its data, made once. Raises NotHere."""
    folder = FOLDER / name
    if not folder.exists():
        part = folder.with_name(f"{name}.part")
        part.mkdir(parents=True, exist_ok=True)
        CATALOGUE[name].write(part)
        part.rename(folder)
    return folder
