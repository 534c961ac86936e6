"""What work costs, where the operator has set prices: `WHETSTONE_PRICES`, an amount an hour for each hardware class."""

from collections.abc import Iterable

from app.settings import Settings
from app.usage.pricing import NoPrices, price
from whetstone.contract.estimates import Price, StepEstimate
from whetstone.contract.jobs import JobSpec
from whetstone.contract.problems import FieldProblem
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import HardwareClass, hardware_of


def price_of(steps: Iterable[StepEstimate], settings: Settings) -> Price | None:
    """None where some step runs on hardware without a price."""
    amount = 0.0
    for step in steps:
        hardware = HardwareClass.CPU if step.target is None else hardware_of(step.target)
        found = price(settings, hardware, step.seconds)
        if found is None:
            return None
        amount += found.amount
    return Price(amount=amount, currency=settings.currency)


def affordable(limit: Limit, settings: Settings) -> Limit:
    """Money turned into minutes of the hardware that searches. Raises NoPrices."""
    if limit.money is None:
        return limit
    hourly = settings.prices.get(HardwareClass.CPU)
    if hourly is None:
        raise NoPrices(errors=(FieldProblem(field="plan/limit/money", message="no price is set"),))
    return limit.model_copy(update={"minutes": min(limit.minutes, 60 * limit.money / hourly)})


def within_money(spec: JobSpec, settings: Settings) -> JobSpec:
    """The order with a limit of minutes that keeps its limit of money. Raises NoPrices."""
    if not isinstance(spec.plan, Search):
        return spec
    plan = spec.plan.model_copy(update={"limit": affordable(spec.plan.limit, settings)})
    return spec.model_copy(update={"plan": plan})
