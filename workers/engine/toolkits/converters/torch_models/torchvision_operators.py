"""torchvision from the package index needs operators that a CPU build of PyTorch from elsewhere lacks.

Two schemas are enough for it to be imported: its Python part is all that timm uses, and the operators still raise.
"""

import torch

DECLARED = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call] # torch has no types here
for name in ("nms", "qnms"):
    DECLARED.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
