"""What an hour of work costs, where the operator has set prices: `WHETSTONE_PRICES`."""

from app.core.errors import AppError
from app.settings import Settings
from whetstone.contract.estimates import Price
from whetstone.contract.targets import HardwareClass

HOUR = 3600


class NoPrices(AppError):
    """Money cannot limit anything here: the operator has set no price for the hardware."""

    code, status = "no_prices", 422
    hint = "Limit a search by `minutes` or `trials`, a budget by `minutes`."


def price(settings: Settings, hardware: HardwareClass, seconds: float) -> Price | None:
    """None for hardware without a price."""
    hourly = settings.prices.get(hardware)
    return None if hourly is None else Price(amount=seconds / HOUR * hourly, currency=settings.currency)
