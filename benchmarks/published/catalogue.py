"""All models of the scoreboard, by name."""

from benchmarks.published import captcha, faces, fashion, files, imagenet, music, pages, pitch, text
from benchmarks.published.published import Published

CATALOGUE: dict[str, Published] = {
    name: model
    for family in (fashion, imagenet, captcha, faces, text, pitch, pages, files, music)
    for name, model in family.MODELS.items()
}

QUICK = ("mtcnn_rnet", "crepe_tiny", "rapidocr_cls")
"""Small ones of three kinds, for a look that takes minutes."""
