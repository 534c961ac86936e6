"""Whether original and result look at the same parts of an image: gradient × input of both graphs, compared."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from scipy import stats

from whetstone.contract.insights import Picture, Saliency, SaliencyMaps
from workers.engine.data.samples import Batch
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.trainable import Trainable
from workers.engine.importers.detect import open_model
from workers.engine.measure.decision import Decision
from workers.engine.measure.feed import Feed
from workers.engine.measure.showing import colours_last, drawn, is_image, pictures_of
from workers.engine.measure.statistics import Floats
from workers.engine.passes.learning import COMPUTED_IN_INTEGERS
from workers.engine.targets.runtime import Array

SAMPLES = 8
SHOWN = 4
LARGEST_BATCH = 64
"""Beyond this the values of all layers together may not fit in memory."""

SALIENT = 0.1
"""The share of the pixels that counts as most salient."""

BRIGHTEST = 99
"""Percent of the pixels that are below the brightest colour: one pixel must not make the others dark."""


class NoGradient(EngineError):
    """No gradient reaches the image."""


@dataclass(frozen=True)
class Gaze:
    """The maps of both sides for the same samples, shape [N, H, W], not negative, and the images themselves."""

    images: Array
    original: Floats
    result: Floats

    def report(self) -> Saliency:
        """Raises NoGradient where all maps of a side are flat."""
        pairs = [pair for pair in zip(self.original, self.result, strict=True) if all(np.ptp(map_) for map_ in pair)]
        if not pairs:
            raise NoGradient("The gradient is the same for all pixels of each image.")
        return Saliency(
            samples=len(pairs),
            rank_correlation=float(np.mean([_correlation(*pair) for pair in pairs])),
            overlap=float(np.mean([_overlap(*pair) for pair in pairs])),
            shown=tuple(self._shown()),
        )

    def _shown(self) -> Iterator[SaliencyMaps]:
        images = pictures_of(self.images[:SHOWN])
        for image, original, result in zip(images, self.original, self.result, strict=False):
            yield SaliencyMaps(image=image, original=_heat(original), result=_heat(result))


def saliency(original: Graph, result: Path, decision: Decision, feed: Feed, scratch: Path) -> Saliency | None:
    """Of a few samples; None where there are no images. Where there is no gradient it says why: it must not cost the
    delivery.
    """
    if feed.samples is None:
        return None
    image = next((name for name, stacked in feed.at(np.arange(1)).items() if is_image(stacked)), None)
    if image is None:
        return None
    try:
        return _gaze(original, open_model(result, scratch), decision, feed, image).report()
    except EngineError as error:
        return Saliency(samples=0, missing=str(error))
    except Exception as error:  # noqa: BLE001 - whatever torch throws at a graph is a reason, not a failure
        return Saliency(samples=0, missing=f"The graph could not be differentiated: {error}"[:500])


def _gaze(original: Graph, result: Graph, decision: Decision, feed: Feed, image: str) -> Gaze:
    if feed.batch_size > LARGEST_BATCH:
        raise NoGradient(f"Batches of {feed.batch_size} samples are too large for it.")
    for graph in (original, result):
        _check(graph)
    sides = [
        Trainable(graph, [decision.output]).eval().requires_grad_(requires_grad=False) for graph in (original, result)
    ]
    seen = []
    for batch in replace(feed, at_most=SAMPLES).batches():
        if batch.size < feed.batch_size:
            break
        classes = None if decision.threshold is not None else _decided(sides[0], decision, batch)
        maps = (_map(side, decision, batch, image, classes) for side in sides)
        seen.append((batch.inputs[image], *maps))
    return Gaze(*(np.concatenate(parts) for parts in zip(*seen, strict=True)))


def _check(graph: Graph) -> None:
    """Integers whose scale follows the values have a gradient, that of the scale, which says nothing of the pixels."""
    for node in graph.nodes:
        if node.op_type in COMPUTED_IN_INTEGERS:
            raise NoGradient(f"Node '{name_of(node)}' is a {node.op_type}, which no gradient passes.")


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in batch.inputs.items()}


@torch.no_grad()
def _decided(side: Trainable, decision: Decision, batch: Batch) -> torch.Tensor:
    scores: torch.Tensor = side(_tensors(batch))[decision.output]
    return scores.argmax(dim=1, keepdim=True)


def _map(side: Trainable, decision: Decision, batch: Batch, image: str, classes: torch.Tensor | None) -> Floats:
    """|gradient × input| of the score of the class that the original decides on, summed over colours, shape [N, H, W]
    (Shrikumar et al. 2016, "Not just a black box", equation 2).
    """
    inputs = _tensors(batch)
    pixels = inputs[image]
    if not pixels.is_floating_point():
        raise NoGradient(f"Input '{image}' is {batch.inputs[image].dtype}: there is no gradient of whole numbers.")
    scores = side(inputs | {image: pixels.requires_grad_()})[decision.output]
    score = scores.sum() if classes is None else scores.gather(1, classes).sum()
    if not score.requires_grad:
        raise NoGradient("An operator between image and output passes no gradient.")
    (gradient,) = torch.autograd.grad(score, pixels)
    product = (gradient * pixels.detach()).abs().double().numpy()
    return np.asarray(colours_last(product).sum(axis=-1))


def _correlation(original: Floats, result: Floats) -> float:
    """Spearman's, of the pixels (as Adebayo et al. 2018 compare maps)."""
    return float(stats.spearmanr(original, result, axis=None).statistic)


def _overlap(original: Floats, result: Floats) -> float:
    """The share of the most salient tenth of the pixels that both have; a tenth by chance."""
    most = max(1, int(SALIENT * original.size))
    tops = [set(np.argsort(-map_, axis=None, kind="stable")[:most].tolist()) for map_ in (original, result)]
    return len(tops[0] & tops[1]) / most


def _heat(map_: Floats) -> Picture:
    brightest = np.percentile(map_, BRIGHTEST) or map_.max() or 1.0
    return drawn(mpl.colormaps["inferno"](np.clip(map_ / brightest, 0, 1), bytes=True)[..., :3])
