"""Codes by RFC 6238, each good once."""

import pytest

from app.identity.second_factor import STEP, matching_step

SECRET = b"12345678901234567890"  # of the RFC's appendix B, whose codes have eight digits: these are their last six


@pytest.mark.parametrize(
    ("now", "code"), [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (2000000000, "279037")]
)
def test_the_codes_of_the_standard(now: int, code: str) -> None:
    assert matching_step(SECRET, code, now, 0) == now // STEP
    assert matching_step(SECRET, f"{code[:3]} {code[3:]}", now, 0) == now // STEP
    assert matching_step(SECRET, code[::-1], now, 0) is None


@pytest.mark.parametrize(("late", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_one_step(late: int, *, good: bool) -> None:
    now = 1111111109
    step = matching_step(SECRET, "081804", now + late * STEP, 0)
    assert step == (now // STEP if good else None)


def test_a_code_is_good_once() -> None:
    now = 1111111109
    for last, good in ((now // STEP - 1, True), (now // STEP, False), (now // STEP + 1, False)):
        assert (matching_step(SECRET, "081804", now, last) is not None) is good
