"""A short run of the fuzzer; `make fuzz` goes on for as long as it is told to."""

import pytest

from tests.engine import fuzzing

SEED = 20_261_124
CASES = 130


def test_damaged_files_end_in_a_result_or_a_typed_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nfuzzing with seed {SEED}: python -m scripts.fuzz --seed {SEED} --only NUMBER repeats a case")  # noqa: T201
    findings = [found for found in fuzzing.fuzz(SEED, iter(range(CASES))) if found is not None]
    assert not [found for found in findings if not found.ended.startswith(fuzzing.CRASHED)]


def test_what_is_no_typed_refusal_is_found() -> None:
    def wrong(*_: object) -> None:
        raise KeyError("a")

    def crashing(*_: object) -> None:
        import ctypes  # noqa: PLC0415 - in the child alone

        ctypes.string_at(0)

    assert fuzzing.ended(wrong, "file", b"x") == "builtins.KeyError: 'a'"
    assert fuzzing.ended(crashing, "file", b"x") == "crashed: SIGSEGV"
    assert fuzzing.ended(lambda *_: None, "file", b"x") is None
    assert all(fuzzing.ended(seed.reader, seed.name, seed.content) is None for seed in fuzzing.seeds())
