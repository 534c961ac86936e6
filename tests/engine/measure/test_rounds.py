"""How two sides are timed by turns, with sides whose times are known."""

import random

import pytest

from workers.engine.measure.rounds import GOOD_ROUNDS, LONGEST_BURST, WARMUP_WINDOWS, Rounds, burst_length, compare
from workers.engine.measure.sessions import SESSIONS, Sessions


class Clockwork:
    """A side whose calls take `call_ms`, up to `jitter` of it more, and three times as long in every other burst."""

    def __init__(self, name: str, call_ms: float, *, jitter: float = 0.0, unsteady: bool = False) -> None:
        self.diary: list[str] = []
        self._name, self._call_ms, self._jitter, self._unsteady = name, call_ms, jitter, unsteady
        self._bursts = 0
        self._random = random.Random(name)  # noqa: S311

    def burst(self, runs: int, settle: int = 0) -> list[float]:
        self.diary.append(f"{self._name}{settle}")
        self._bursts += 1
        call_ms = self._call_ms * (3 if self._unsteady and self._bursts % 2 else 1)
        return [call_ms * (1 + self._jitter * self._random.random()) for _ in range(runs)]


def run(original: Clockwork, result: Clockwork, seconds: float = 0.4) -> Rounds:
    result.diary = original.diary
    return compare(original, result, seconds=seconds, order=random.Random(0), watch=len)  # noqa: S311


def rounds_of(original: float, result: float, *, settled: bool = True) -> Rounds:
    return Rounds(1, settled, [[original] * 3] * 4, [[result] * 3] * 4, 1.0)


def test_the_speedup_is_the_ratio_of_the_sides() -> None:
    rounds = run(Clockwork("a", 4.0, jitter=0.05), Clockwork("b", 2.0, jitter=0.05))
    assert rounds.speedup.value == pytest.approx(2.0, rel=0.05)
    assert rounds.speedup.low <= rounds.speedup.value <= rounds.speedup.high
    assert rounds.settled


def test_clear_cases_stop_early() -> None:
    rounds = run(Clockwork("a", 1.0), Clockwork("b", 0.5), seconds=60)
    assert len(rounds) == GOOD_ROUNDS
    assert rounds.decided


def test_each_round_has_both_sides_in_random_order_after_a_settling_call() -> None:
    original = Clockwork("a", 1.0, jitter=0.5)
    rounds = run(original, Clockwork("b", 1.0, jitter=0.5))
    timed = [entry for entry in original.diary if entry.endswith("1")]
    pairs = [tuple(timed[at : at + 2]) for at in range(0, len(timed), 2)]
    assert len(pairs) == len(rounds)
    assert set(pairs) == {("a1", "b1"), ("b1", "a1")}


def test_a_slow_model_gets_the_bursts_that_show_it_is_warm() -> None:
    """Where the time for warming up is over after the first call."""
    rounds = run(Clockwork("a", 2000.0), Clockwork("b", 1000.0), seconds=0.0)
    assert rounds.settled
    assert rounds.warmup_runs == 2 + 2 * WARMUP_WINDOWS


def test_a_side_that_never_settles_is_timed_all_the_same() -> None:
    rounds = run(Clockwork("a", 1.0), Clockwork("b", 50.0, unsteady=True))
    assert not rounds.settled
    assert len(rounds) >= 1


def test_a_call_longer_than_the_time_gives_one_round() -> None:
    rounds = run(Clockwork("a", 1e5), Clockwork("b", 1e5), seconds=1e-6)
    assert (len(rounds), len(rounds.original[0])) == (1, 1)


@pytest.mark.parametrize(
    ("call_ms", "seconds", "runs"),
    [(1.0, 30, 50), (0.001, 30, LONGEST_BURST), (200, 30, 1), (1.0, 0.5, 20), (1, 0.01, 1)],
)
def test_bursts_are_short_but_not_too_short(call_ms: float, seconds: float, runs: int) -> None:
    assert burst_length(call_ms, seconds) == runs


def test_sessions_give_the_interval() -> None:
    sessions = Sessions(tuple(rounds_of(original, 1.0) for original in (2.0, 2.1, 2.2, 2.05, 1.95, 2.15)))
    assert sessions.speedup.value == pytest.approx(2.075)
    assert (sessions.speedup.low, sessions.speedup.high) == (1.95, 2.2)
    assert (sessions.rounds, len(sessions.original), sessions.seconds) == (24, 72, 6.0)
    assert sessions.doubts() == ()


def test_too_few_sessions_are_told() -> None:
    (reason,) = Sessions((rounds_of(2, 1),) * 2).doubts()
    assert reason.startswith("too few rounds: 2 of 6")


def test_one_disturbed_session_is_forgiven_several_are_not() -> None:
    calm = [rounds_of(2, 1)] * (SESSIONS - 1)
    assert Sessions((*calm, rounds_of(9, 1))).doubts() == ()
    (reason,) = Sessions((*calm[:3], *[rounds_of(9, 1)] * 3)).doubts()
    assert reason.startswith("unstable: the original varied by")


def test_a_warm_up_that_does_not_settle_is_told() -> None:
    (reason,) = Sessions((rounds_of(2, 1, settled=False),) * SESSIONS).doubts()
    assert reason == "unstable: the warm-up did not settle in 6 of 6 sessions"
