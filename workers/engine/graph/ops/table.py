"""Every op that can be trained through. To add one: a function in the file of its kind, a line in that file's table."""

from workers.engine.graph.ops.activations import ACTIVATIONS
from workers.engine.graph.ops.arithmetic import ARITHMETIC
from workers.engine.graph.ops.convolution import CONVOLUTIONS
from workers.engine.graph.ops.layout import LAYOUT
from workers.engine.graph.ops.linear import LINEAR
from workers.engine.graph.ops.node import Op
from workers.engine.graph.ops.normalization import NORMALIZATIONS
from workers.engine.graph.ops.pooling import POOLS
from workers.engine.graph.ops.quantization import QUANTIZATION
from workers.engine.graph.ops.reduction import REDUCTIONS

OPS: dict[str, Op] = {
    **ACTIVATIONS,
    **ARITHMETIC,
    **CONVOLUTIONS,
    **LAYOUT,
    **LINEAR,
    **NORMALIZATIONS,
    **POOLS,
    **QUANTIZATION,
    **REDUCTIONS,
}
