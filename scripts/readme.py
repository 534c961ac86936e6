"""Put what a command printed into the README: `make demo | python scripts/readme.py demo`.

demo: from the published model's heading on; overhead: all. The block lies between <!-- NAME:begin --> and :end.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
STARTS = {"demo": re.compile("─ published"), "overhead": re.compile("What the service adds")}


def main(name: str) -> None:
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stdin.read()).splitlines()]
    start = next(number for number, line in enumerate(lines) if STARTS[name].search(line))
    block = "\n".join(lines[start:]).strip()
    text = re.sub(
        rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)",
        lambda found: f"{found[1]}```text\n{block}\n```\n{found[2]}",
        README.read_text(),
        flags=re.DOTALL,
    )
    README.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
