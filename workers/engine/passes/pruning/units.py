"""How much each channel or head matters, by all the weights that go with it."""

from collections.abc import Callable, Iterable

import numpy as np

from whetstone.contract.pruning import Criterion, Normalization, Prune
from workers.engine.data.samples import Samples
from workers.engine.graph.channels.groups import Channels, Group, Slices
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.learning import labelled, trainable
from workers.engine.passes.pruning.gradients import Products, each_batch
from workers.engine.passes.pruning.scores import Scores, normalized, random_scores
from workers.engine.training.objective import Objective

Read = Callable[[str], Array]
Learner = tuple[Trainable, Objective]
EPSILON = 1e-5
SCALE, VARIANCE = 1, 4


def _sums(values: Array, axis: int) -> Scores:
    """Per index along an axis, the sum of everything else."""
    others = tuple(place for place in range(values.ndim) if place != axis)
    return np.asarray(values.astype(np.float64).sum(axis=others))


def _by_unit(group: Group, parts: Iterable[tuple[Slices, Scores]]) -> Scores:
    """Add up what each index of each slice has to say, unit by unit."""
    place = {unit: number for number, unit in enumerate(group.units)}
    found = np.zeros(len(group.units))
    for slices, values in parts:
        index = np.array([place.get(unit, -1) for unit in slices.units.tolist()])
        np.add.at(found, index[index >= 0], values[index >= 0])
    return found


def _folded(channels: Channels, slices: Slices, values: Array, read: Read) -> Array:
    """A weight as it is once the batch-norm right behind it is folded in."""
    readers = channels.graph.consumers(slices.site.node)
    if slices.site.role is not Role.OUT or len(readers) != 1 or readers[0].op_type != "BatchNormalization":
        return values
    node = readers[0]
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), EPSILON)
    scale, variance = (read(node.input[index]).astype(np.float64) for index in (SCALE, VARIANCE))
    scale = scale / np.sqrt(variance + epsilon)
    return values.astype(np.float64) * scale.reshape([-1 if axis == slices.axis else 1 for axis in range(values.ndim)])


def has_batch_norm(channels: Channels, group: Group) -> bool:
    return any(_is_scale(slices) for slices in channels.slices_of(group))


def _is_scale(slices: Slices) -> bool:
    return slices.site.op == "BatchNormalization" and slices.site.index == SCALE


def _norm(channels: Channels, group: Group, read: Read, power: int, *, equalized: bool) -> Scores:
    """L1 or L2 over all matrices that make a unit or take it in; the geometric mean of both sides if `equalized`."""
    matrices = [slices for slices in channels.slices_of(group) if slices.site.role is not Role.VECTOR]

    def total(*roles: Role) -> Scores:
        own = [each for each in matrices if each.site.role in roles]
        values = (np.abs(_folded(channels, each, read(each.site.constant), read)) ** power for each in own)
        sums = _by_unit(group, ((each, _sums(v, each.axis)) for each, v in zip(own, values, strict=True)))
        return np.asarray(sums ** (1 / power))

    return np.sqrt(total(Role.OUT) * total(Role.IN)) if equalized else total(Role.OUT, Role.IN)


def _changes(
    channels: Channels, groups: tuple[Group, ...], learner: Learner, samples: Samples, count: int
) -> list[Scores]:
    """Per unit the mean over batches of |Σ gradient · weight| over the weights that make it."""
    total = [np.zeros(len(group.units)) for group in groups]
    making = [[s for s in channels.slices_of(group) if s.site.role is Role.OUT] for group in groups]

    def add(products: Products) -> None:
        for number, group in enumerate(groups):
            known = [each for each in making[number] if each.site.constant in products]
            parts = ((each, _sums(products[each.site.constant], each.axis)) for each in known)
            total[number] += np.abs(_by_unit(group, parts))

    batches = each_batch(channels.graph, learner, samples, count, add)
    return [scores / batches for scores in total]


def learner_for(graph: Graph, data: Samples | None) -> Learner:
    """What gives gradients. Raises NeedsDataset without labels."""
    return trainable(graph, None, labelled(data))


def unit_scores(
    channels: Channels,
    groups: tuple[Group, ...],
    config: Prune,
    *,
    data: Samples | None,
    read: Read | None = None,
    learner: Learner | None = None,
) -> list[Scores]:
    """The scores of the units of each group, by weights as `read` gives them, normalized."""
    read = read or channels.graph.weight
    match config.criterion:
        case Criterion.L1 | Criterion.L2:
            power = 1 if config.criterion is Criterion.L1 else 2
            equalized = config.normalization is Normalization.EQUALIZED
            raw = [_norm(channels, group, read, power, equalized=equalized) for group in groups]
        case Criterion.TAYLOR:
            known = learner or learner_for(channels.graph, data)
            raw = _changes(channels, groups, known, labelled(data), config.calibration_samples)
        case Criterion.BATCH_NORM:
            raw = [_scales(channels, group, read) for group in groups]
        case Criterion.RANDOM:
            raw = [random_scores(config.seed, group.name, (len(group.units),)) for group in groups]
    return [normalized(scores, config.normalization or Normalization.LAYER) for scores in raw]


def _scales(channels: Channels, group: Group, read: Read) -> Scores:
    scales = [slices for slices in channels.slices_of(group) if _is_scale(slices)]
    return _by_unit(group, ((each, np.abs(read(each.site.constant).astype(np.float64))) for each in scales))
