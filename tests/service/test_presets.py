"""Each domain's example through the whole service, in short: what its preset says is what is done and judged."""

from pathlib import Path

import pytest

from examples import audio, presets, published, text
from examples.presets import CASES
from tests.service import facts
from tests.service.actors import Guest
from whetstone.client import Client
from whetstone.contract.metrics import Metric
from whetstone.contract.models import TensorFacts
from whetstone.contract.presets import PRESETS, CustomPreset, Domain
from whetstone.contract.quantization import Activations, Calibrator, Quantize
from whetstone.contract.reports import JobReport
from whetstone.contract.search import Limit
from whetstone.errors import Invalid


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and sounds are large, and the tests' service takes no more of them; fewer texts are quicker."""
    monkeypatch.setattr(published, "PAGES", {"calibration": 8, "test": 20})
    monkeypatch.setattr(audio, "COUNTS", {"calibration": 16, "test": 24})
    monkeypatch.setattr(text, "OF_EACH", 10)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("domain", list(CASES))
def test_a_domains_example(domain: Domain, full_client: Client, tmp_path: Path) -> None:
    files = CASES[domain].write(tmp_path)
    order = presets.order(full_client, domain, files, Limit(minutes=4, trials=8), seconds=1)
    report = full_client.jobs.wait(full_client.jobs.submit(order).id)
    assert report.preset.domain is domain
    assert report.preset.calibrator is PRESETS[domain].calibrator
    quantized = [config for one in report.candidates for config in one.recipe if isinstance(config, Quantize)]
    dynamic_first = domain in {Domain.TEXT, Domain.TABULAR}
    assert (quantized[0].activations is Activations.DYNAMIC) == dynamic_first
    assert {config.calibrator for config in quantized if config.is_static} <= {report.preset.calibrator}
    assert judged_by(report) is {Domain.TABULAR: Metric.AUC, Domain.AUDIO: None}.get(domain, Metric.ACCURACY)


def judged_by(report: JobReport) -> Metric | None:
    accuracy = report.targets[0].accuracy
    return accuracy.metric if accuracy else None


def test_a_preset_that_does_not_fit_is_refused_at_once(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a reader")
    tokens = (TensorFacts(name="x", dtype="int64", shape=("N", 8)),)
    model = guest.model(client, path, facts.MODEL.model_copy(update={"inputs": tokens}))
    with pytest.raises(Invalid, match="preset `image`") as refused:
        client.jobs.submit(facts.spec(model.id, None, preset=Domain.IMAGE))
    assert refused.value.problem.code == "preset_mismatch"
    with pytest.raises(Invalid, match="needs a dataset with labels"):
        client.jobs.estimate(facts.spec(model.id, None, preset=CustomPreset(metric=Metric.AUC)))
    told = CustomPreset(domain=Domain.TEXT, calibrator=Calibrator.MSE)
    assert told.model_dump() == CustomPreset.model_validate_json(told.model_dump_json()).model_dump()
