"""Whatever the network: units whose weights are zero can be cut out, and no output changes."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import models
from tests.engine.graph.channels.networks import BLOCKS, SIDE, grown, silenced
from workers.engine.graph.channels.cut import cut
from workers.engine.graph.channels.groups import Channels, find_channels
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Graph
from workers.engine.graph.macs import count_macs

NOT_CUT = {"shuffled", "unknown"}
RANDOM = np.random.default_rng(0)


def check_cut(channels: Channels, units: set[int], before: Graph) -> Graph:
    after = cut(channels, units)
    onnx.checker.check_model(after.model)
    for batch in (1, 3):
        x = RANDOM.standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)
        (expected,), (found,) = models.run(before, x=x), models.run(after, x=x)
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4 * max(1, abs(expected).max()))
    return after


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(st.integers(0, len(BLOCKS) - 1), min_size=1, max_size=5),
    flat=st.booleans(),
    seed=st.integers(0, 100),
    share=st.sampled_from([0.3, 0.6]),
)
def test_cutting_units_of_zeros_changes_nothing(blocks: list[int], flat: bool, seed: int, share: float) -> None:  # noqa: FBT001
    graph = grown(blocks, flat=flat, seed=seed)
    channels = find_channels(graph)
    random = np.random.default_rng(seed)
    together: set[int] = set()
    for group in channels.groups:
        units = set(random.permutation(group.units)[: max(1, int(share * len(group.units)))].tolist())
        if any(floor <= units | together for floor in channels.floors):
            continue
        together |= units
        check_cut(channels, units, silenced(channels, units, roles=set(Role)))
    if together:
        after = check_cut(channels, together, silenced(channels, together, roles=set(Role)))
        assert (count_macs(after) or 0) < (count_macs(graph) or 0)


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=[block.__name__ for block in BLOCKS])
def test_every_block_alone_can_be_cut(number: int) -> None:
    """Zeros in what reads a channel are enough: nothing else may depend on it."""
    channels = find_channels(grown([number], flat=False, seed=number))
    units = {unit for group in channels.groups for unit in group.units[: len(group.units) // 2]}
    assert bool(units) or BLOCKS[number].__name__ in NOT_CUT
    check_cut(channels, units, silenced(channels, units, roles={Role.IN}))


def test_the_graph_itself_stays_as_it_was() -> None:
    graph = grown(range(len(BLOCKS)), flat=True, seed=1)
    before = graph.model.SerializeToString()
    channels = find_channels(graph)
    own = channels.graph.model.SerializeToString()
    cut(channels, {channels.groups[0].units[0]})
    assert graph.model.SerializeToString() == before
    assert channels.graph.model.SerializeToString() == own
