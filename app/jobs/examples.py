"""Orders shown in the API's documentation; being real objects, they cannot be wrong."""

from typing import Any

from whetstone.contract.jobs import Budget, JobSpec, Objective, Recipe
from whetstone.contract.learning import EarlyStopping, Finetune
from whetstone.contract.passes import Simplify
from whetstone.contract.pruning import Granularity, Polynomial, Prune
from whetstone.contract.quantization import Activations, Quantize
from whetstone.contract.targets import Target
from whetstone.contract.tuning import FloatRange, Quantity, Tune

_MODEL = "mdl_01m85xjgsteg48drqmjyjr7bzb"
_DATASET = "dat_01m85xjgsteg48drqmjyjr7bzc"

_ORDERS = {
    "Faster, at most half a point lost": JobSpec(
        model_id=_MODEL,
        dataset_id=_DATASET,
        plan=Recipe(passes=(Simplify(), Quantize())),
        targets=(Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU),
        budget=Budget(max_drop=0.5),
    ),
    "Smaller: prune while learning, fine-tune, quantize": JobSpec(
        name="digits, small",
        model_id=_MODEL,
        dataset_id=_DATASET,
        plan=Recipe(
            passes=(
                Prune(sparsity=0.5, schedule=Polynomial(end_step=200, every=20)),
                Finetune(epochs=20, early_stopping=EarlyStopping(patience=3)),
                Quantize(),
            )
        ),
        budget=Budget(objective=Objective.SIZE, max_drop=1.0),
    ),
    "Tuned: the learning rate and how much is pruned": JobSpec(
        model_id=_MODEL,
        dataset_id=_DATASET,
        plan=Tune(
            passes=(Prune(granularity=Granularity.CHANNEL), Finetune(epochs=5)),
            parameters={
                "0.sparsity": FloatRange(low=0.2, high=0.8),
                "1.learning_rate": FloatRange(low=1e-5, high=1e-2, log=True),
            },
            objectives=(Quantity.DROP, Quantity.LATENCY),
            trials=30,
            parallel=2,
        ),
        budget=Budget(max_drop=1.0),
    ),
    "Without a dataset": JobSpec(
        model_id=_MODEL,
        plan=Recipe(passes=(Quantize(activations=Activations.DYNAMIC),)),
        input_shapes={"x": (1, 3, 224, 224)},
    ),
}

OPENAPI_EXAMPLES: dict[str, Any] = {
    title: {"summary": title, "value": order.model_dump(mode="json", exclude_defaults=True)}
    for title, order in _ORDERS.items()
}
