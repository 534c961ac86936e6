"""What an upload is: read, checked, counted, and loaded once by the runtime."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as KernelMissing

from whetstone.calibration.session import Session
from whetstone.contract.datasets import DatasetFacts
from whetstone.contract.models import LayerFacts, ModelFacts, Refusal
from whetstone.contract.preprocessing import Preprocessing, StatisticsFile
from whetstone.contract.previews import DatasetPreview
from whetstone.contract.targets import Target
from workers.engine.data.preview import preview_of
from workers.engine.data.samples import open_dataset
from workers.engine.data.statistics import read_statistics, statistics_facts
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, count_params, layers_of
from workers.engine.graph.macs import count_macs, macs_by_node
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.storage import elements
from workers.engine.importers.detect import compare_with_source, open_model
from workers.engine.importers.errors import InvalidModel, UnsupportedOp
from workers.engine.importers.formats import format_of
from workers.engine.targets.openvino_cpu import unreadable


def _refusals(graph: Graph, scratch: Path) -> tuple[Refusal, ...]:
    """A model that onnxruntime refuses cannot be measured, whatever the standard says of it: it is rejected. Those
    that others refuse can still go elsewhere.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "model.onnx"
        graph.save(path)
        _check_loads(path)
        found = unreadable(path)
    return () if found is None else (Refusal(runtime=Target.OPENVINO_CPU.runtime, because=found[0], ops=found[1]),)


def _check_loads(path: Path) -> None:
    try:
        Session(path, optimized=False)
    except KernelMissing as error:
        raise UnsupportedOp(f"onnxruntime has no kernel for a part of the model: {reason_of(error)}") from error
    except Exception as error:  # every other kind of its errors means that the model is wrong
        raise InvalidModel(f"onnxruntime cannot load the model: {reason_of(error)}") from error


def _layer_facts(graph: Graph, layer: Layer, macs: dict[str, int | None]) -> LayerFacts:
    names = (layer.weight, layer.bias) if layer.bias else (layer.weight,)
    return LayerFacts(
        name=layer.name,
        op=layer.op,
        weight=layer.weight,
        shape=layer.shape,
        params=sum(elements(graph.constants[name]) for name in names),
        macs=macs.get(layer.name, 0),
    )


def model_facts(graph: Graph, file_format: str) -> ModelFacts:
    """Read from the graph alone."""
    macs = macs_by_node(graph)
    model = graph.model
    return ModelFacts(
        format=file_format,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opset=graph.opset,
        inputs=graph.inputs,
        outputs=graph.outputs,
        params=count_params(graph),
        macs=count_macs(graph),
        nodes=len(graph.nodes),
        ops=dict(Counter(node.op_type for node in graph.nodes).most_common()),
        layers=tuple(_layer_facts(graph, layer, macs) for layer in layers_of(graph)),
    )


class Inspected(NamedTuple):
    """What was found, and the graph that it was found in."""

    facts: ModelFacts
    graph: Graph


def inspect_model(path: Path, scratch: Path) -> Inspected:
    """Facts of an uploaded model; `opset` is the one it is worked on in. Raises the importers' errors."""
    graph = open_model(path, scratch)
    refusals, imported = _refusals(graph, scratch), compare_with_source(path, graph, scratch)
    facts = model_facts(graph, format_of(path)).model_copy(update={"refusals": refusals, "imported": imported})
    return Inspected(facts, graph)


def inspect_dataset(path: Path, scratch: Path, how: Preprocessing | None = None) -> tuple[DatasetFacts, DatasetPreview]:
    """Facts of an uploaded dataset, and a look into it. Raises InvalidDataset."""
    if isinstance(how, StatisticsFile):
        return statistics_facts(read_statistics(path)), DatasetPreview(splits={}, rows=())
    samples = open_dataset(path, scratch, how)
    return samples.facts(), preview_of(samples)
