"""`Prefer: wait=N` (RFC 7240): hold the answer until the inspection has ended, N seconds at most."""

import re
from typing import Annotated

from fastapi import Depends, Header

MAX_WAIT = 60.0


def read_wait(
    prefer: Annotated[str | None, Header(description="`wait=N`: answer after the inspection, N ≤ 60 seconds")] = None,
) -> float:
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,4})", prefer or "")
    return min(float(found.group(1)), MAX_WAIT) if found else 0.0


Wait = Annotated[float, Depends(read_wait)]
