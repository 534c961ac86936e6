"""Which operators an archive may call: those that the exporters to ONNX know, and what PyTorch composes of its own.

That leaves out, among others, `aten::from_file` and `aten::save`, which touch files. Nothing has run when this is
asked.
"""

from collections.abc import Iterable
from functools import cache

import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.onnx._internal.torchscript_exporter import registration, utils

from workers.engine.toolkits.converters.model import OPSET, Refused

INSTEAD = (
    "Export it to ONNX where it was made: torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True, "
    "external_data=False)."
)
COMPOSED = "CompositeImplicitAutograd"
SIZES = ("sym_size", "sym_numel", "sym_stride", "_assert_scalar", "_assert_tensor_metadata")
LISTS = (
    *("append", "extend", "insert", "list", "len", "copy", "format", "warn", "add_", "mul_", "sub_", "div_"),
    *("Int", "Float", "Bool", "ScalarImplicit", "IntImplicit", "FloatImplicit", "__is__", "__isnot__", "__not__"),
    *("__contains__", "__getitem__", "__derive_index", "__range_length", "floordiv", "is_floating_point", "dim"),
)
"""What TorchScript computes shapes and lists with."""
PRIMITIVES = frozenset(
    f"prim::{name}"
    for name in (
        *("Constant", "ListConstruct", "ListUnpack", "TupleConstruct", "TupleUnpack", "TupleIndex", "DictConstruct"),
        *("GetAttr", "If", "Loop", "NumToTensor", "unchecked_cast", "unchecked_unwrap_optional", "Uninitialized"),
        *("RaiseException", "dtype", "device", "shape", "layout", "is_cuda", "requires_grad", "data", "min", "max"),
    )
)


@cache
def _known() -> frozenset[str]:
    """Names as `aten::add`, without overload."""
    assert utils  # noqa: S101 - importing it fills the older exporter's list
    older = set(registration.registry.all_functions())
    newer = {str(each).partition(".")[0] for each in ONNXRegistry.from_torchlib(opset_version=OPSET).functions}
    table = torch._C  # noqa: SLF001 - the dispatcher's table has no public face
    composed = {
        name.partition(".")[0]
        for name in table._dispatch_get_all_op_names()  # noqa: SLF001 - as above
        if name.startswith("aten::") and table._dispatch_has_kernel_for_dispatch_key(name, COMPOSED)  # noqa: SLF001
    }
    own = {name for name in older | newer if name.startswith(("aten::", "prims::"))}
    return frozenset(own | composed | {f"aten::{name}" for name in (*SIZES, *LISTS)} | PRIMITIVES)


def check_operators(names: Iterable[str]) -> None:
    """`names` are as `aten::add`. Raises Refused for the first that is not allowed."""
    for name in names:
        if name not in _known():
            why = f"The archive calls '{name}', which is not among the operators that are run here."
            raise Refused("unsafe_file", why, INSTEAD)
