"""What work costs."""

import pytest

from app.jobs.prices import affordable, price_of
from app.settings import Settings
from app.usage.pricing import NoPrices
from whetstone.contract.estimates import Basis, StepEstimate
from whetstone.contract.jobs import StepKind
from whetstone.contract.search import Limit
from whetstone.contract.targets import Target


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As an operator sets them, in the environment."""
    for name in ("DATABASE_URL", "BROKER_URL", "STORAGE_URL", "SECRET_KEY", "FLEET_TOKEN"):
        monkeypatch.setenv(f"WHETSTONE_{name}", "x")
    monkeypatch.setenv("WHETSTONE_PRICES", '{"cpu": 0.6}')
    monkeypatch.setenv("WHETSTONE_CURRENCY", "CHF")
    return Settings.model_validate({})


def step(kind: StepKind, seconds: float, target: Target | None = None) -> StepEstimate:
    return StepEstimate(kind=kind, target=target, seconds=seconds, memory=1, basis=Basis.RULE, learned_from=0)


def test_a_job_costs_what_its_steps_take(settings: Settings) -> None:
    steps = (step(StepKind.SEARCH, 300), step(StepKind.DELIVER, 60, Target.ONNXRUNTIME_CPU))
    price = price_of(steps, settings)
    assert price is not None
    assert (price.amount, price.currency) == (pytest.approx(0.06), "CHF")
    assert price_of(steps, settings.model_copy(update={"prices": {}})) is None


def test_money_is_minutes(settings: Settings) -> None:
    assert affordable(Limit(minutes=60, money=0.1), settings).minutes == pytest.approx(10)
    assert affordable(Limit(minutes=5, money=0.1), settings).minutes == 5
    assert affordable(Limit(minutes=5), settings) == Limit(minutes=5)
    with pytest.raises(NoPrices):
        affordable(Limit(money=1), settings.model_copy(update={"prices": {}}))
