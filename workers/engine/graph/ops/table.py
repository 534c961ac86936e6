"""Every op that can be run. To add one: a function in the file of its kind, a line in that file's table."""

from workers.engine.graph.ops.activations import ACTIVATIONS
from workers.engine.graph.ops.arithmetic import ARITHMETIC
from workers.engine.graph.ops.attention import ATTENTION
from workers.engine.graph.ops.audio import AUDIO
from workers.engine.graph.ops.casts import CASTS
from workers.engine.graph.ops.control import CONTROL
from workers.engine.graph.ops.convolution import CONVOLUTIONS
from workers.engine.graph.ops.detection import DETECTION
from workers.engine.graph.ops.host import HOST
from workers.engine.graph.ops.indexing import INDEXING
from workers.engine.graph.ops.integers import INTEGERS
from workers.engine.graph.ops.layout import LAYOUT
from workers.engine.graph.ops.linear import LINEAR
from workers.engine.graph.ops.losses import LOSSES
from workers.engine.graph.ops.node import Op, host_op
from workers.engine.graph.ops.normalization import NORMALIZATIONS
from workers.engine.graph.ops.pooling import POOLS
from workers.engine.graph.ops.quantization import QUANTIZATION
from workers.engine.graph.ops.randomness import RANDOMNESS
from workers.engine.graph.ops.recurrent import RECURRENT
from workers.engine.graph.ops.reduction import REDUCTIONS
from workers.engine.graph.ops.resizing import RESIZING
from workers.engine.graph.ops.sequences import SEQUENCES

OPS: dict[str, Op] = {
    **{name: host_op(run) for name, run in HOST.items()},
    **ACTIVATIONS,
    **ARITHMETIC,
    **ATTENTION,
    **AUDIO,
    **CASTS,
    **CONTROL,
    **CONVOLUTIONS,
    **DETECTION,
    **INDEXING,
    **INTEGERS,
    **LAYOUT,
    **LINEAR,
    **LOSSES,
    **NORMALIZATIONS,
    **POOLS,
    **QUANTIZATION,
    **RANDOMNESS,
    **RECURRENT,
    **REDUCTIONS,
    **RESIZING,
    **SEQUENCES,
}
"""Those that have no function in torch run in numpy."""
