"""What the converters of the toolkits have in common: a request comes as a file, and so does the answer."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOLD = 1500


def answer(convert: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """`REQUEST.json ANSWER.json`: what `convert` makes of the request, or why it could not."""
    request, answered = map(Path, sys.argv[1:])
    try:
        made = convert(json.loads(request.read_text()))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - converters share no error but this
        made = {"refused": f"{type(error).__name__}: {error}"[-TOLD:]}
    answered.write_text(json.dumps(made))
