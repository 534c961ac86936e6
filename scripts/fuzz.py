"""Damage good files of every format in all ways, and see that the readers refuse them properly.

    make fuzz MINUTES=10 SEED=1
    python -m scripts.fuzz --seed 1 --only 4711    one case again; its file is kept

Prints the seed, what ended in another way than a result or a typed refusal, and `RESULT cases=… findings=… crashes=…`;
crashes are contained by the sandbox, findings are faults of ours. Ends with 1 if there were findings.
"""

import argparse
import itertools
import secrets
import sys
import time
from pathlib import Path

from tests.engine import fuzzing

KEPT = Path("var/fuzz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", type=int, default=None)
    given = parser.parse_args()
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    end = time.monotonic() + 60 * given.minutes
    numbers = itertools.count() if given.only is None else iter((given.only,))
    cases = findings = crashes = 0
    for found in fuzzing.fuzz(seed, numbers):
        cases += 1
        if found is not None:
            crashed = found.ended.startswith(fuzzing.CRASHED)
            crashes, findings = crashes + crashed, findings + (not crashed)
            print(f"{found.seed} case {found.number}: {found.ended}\n  kept in {keep(seed, found)}", flush=True)
        if time.monotonic() > end:
            break
    print(f"RESULT cases={cases} findings={findings} crashes={crashes} seed={seed}")
    sys.exit(findings > 0)


def keep(seed: int, found: fuzzing.Finding) -> Path:
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{seed}-{found.number}-{found.seed}"
    path.write_bytes(fuzzing.case(seed, found.number, fuzzing.seeds())[1])
    return path


if __name__ == "__main__":
    main()
