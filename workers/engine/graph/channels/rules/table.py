"""Which rule follows channels through which operator. What is not here keeps the channels that reach it."""

from collections.abc import Callable

from workers.engine.graph.channels.rules import elementwise, indexing, layout, linear, normalization, recurrent
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node

Rule = Callable[[Trace, Node], None]

UNARY = (
    "Abs", "Cast", "Celu", "Ceil", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh",
    "ThresholdedRelu", "com.microsoft.Gelu", "com.microsoft.QuickGelu",
)  # fmt: skip

ELEMENTWISE = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip

REDUCTIONS = (
    "ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip

POOLS = ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")


BEGINNING: dict[str, Rule] = {
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "LSTM": recurrent.recurrent,
    "GRU": recurrent.recurrent,
    "RNN": recurrent.recurrent,
    "Gather": indexing.gather,
}
"""Where channels may begin, whether or not any come in."""

CONTINUING: dict[str, Rule] = {
    **dict.fromkeys(UNARY, elementwise.unary),
    **dict.fromkeys(ELEMENTWISE, elementwise.elementwise),
    **dict.fromkeys(REDUCTIONS, normalization.reduction),
    **dict.fromkeys(POOLS, normalization.pooling),
    "BatchNormalization": normalization.per_channel,
    "InstanceNormalization": normalization.per_channel,
    "GroupNormalization": normalization.group,
    "LayerNormalization": normalization.layer,
    "RMSNormalization": normalization.layer,
    "SimplifiedLayerNormalization": normalization.layer,
    "LRN": normalization.across,
    "Softmax": normalization.one_axis,
    "LogSoftmax": normalization.one_axis,
    "Hardmax": normalization.one_axis,
    "Transpose": layout.transpose,
    "Reshape": layout.reshape,
    "Flatten": layout.reshape,
    "Squeeze": layout.reshape,
    "Unsqueeze": layout.reshape,
    "Concat": layout.concat,
    "Split": layout.split,
    "Slice": layout.slice_,
    "Pad": layout.pad,
    "DepthToSpace": layout.depth_to_space,
    "Resize": layout.resize,
    "Tile": layout.tile,
    "Expand": layout.expand,
}
"""What channels go through."""
