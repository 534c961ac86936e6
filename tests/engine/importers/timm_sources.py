"""Makes folders of timm's architectures, declared and saved: in the Python of the toolkit `timm`."""

import json
from pathlib import Path

import safetensors.torch
import torch

DECLARED = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    DECLARED.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402 - needs what was just declared

MADE = {
    "test_resnet": ({"num_classes": 7}, {"num_classes": 7, "pretrained_cfg": {"input_size": [3, 64, 64]}}),
    "test_vit": (
        {"num_classes": 5, "img_size": 64, "in_chans": 1},
        {"num_classes": 5, "model_args": {"img_size": 64, "in_chans": 1}, "input_size": [1, 64, 64]},
    ),
}
for name, (arguments, declared) in MADE.items():
    torch.manual_seed(0)
    Path(name).mkdir()
    model = timm.create_model(name, pretrained=False, **arguments)
    safetensors.torch.save_model(model, f"{name}/model.safetensors")
    (Path(name) / "config.json").write_text(json.dumps({"architecture": name, **declared}))
