"""Write docs/openapi.json, the published description of the API, and tell callers of changes: `make openapi`.

    python -m scripts.openapi "Added: …" "Changed: …"    # with an entry in docs/api-changelog.md
    python -m scripts.openapi --again                     # the newest entry tells of this too, as after a merge

Tests say when the description is out of date, and when it has changed without an entry. An entry is headed by the hash
of the contract that it led to: all of the description but its prose and examples.
"""

import argparse
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
FILE = DOCS / "openapi.json"
CHANGELOG = DOCS / "api-changelog.md"
NOWHERE = Settings(
    database_url="postgresql://nowhere/x",
    broker_url="redis://nowhere",
    storage_url="file:///tmp/whetstone-never-written",
    secret_key=SecretStr("none"),
    fleet_token=SecretStr("none"),
)
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed")
_HEADING = re.compile(r"^## (\d{4}-\d\d-\d\d) `([0-9a-f]{16})`$", re.MULTILINE)
_EMPTY = re.compile(_HEADING.pattern + r"\n+(?=## )", re.MULTILINE)
"""What a merge leaves of two entries at the same place."""

_PROSE = {"description", "summary", "title", "example", "examples"}


def text() -> str:
    """The document as it is kept: in a fixed order, so that a change is seen where it was made."""
    return json.dumps(create_app(NOWHERE).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def contract_hash(document: str) -> str:
    """Of what programs depend on; 16 hexadecimal digits."""
    bare = json.dumps(_without_prose(json.loads(document)), sort_keys=True)
    return hashlib.sha256(bare.encode()).hexdigest()[:16]


def _without_prose(value: Any, *, names: bool = False) -> Any:
    """`names`: the keys are names of fields or schemas, and a field may be called `title`."""
    if isinstance(value, list):
        return [_without_prose(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = value if names else {key: each for key, each in value.items() if key not in _PROSE}
    return {key: _without_prose(each, names=key in ("properties", "schemas")) for key, each in kept.items()}


def newest_hash() -> str:
    """Of the first entry."""
    found = _HEADING.search(CHANGELOG.read_text())
    assert found is not None, CHANGELOG  # noqa: S101 - the file begins with an entry
    return found[2]


def add_entry(lines: list[str], contract: str) -> None:
    """Before all others."""
    written = CHANGELOG.read_text()
    entry = "\n".join((f"## {datetime.now(UTC):%Y-%m-%d} `{contract}`", *(f"- {line}" for line in lines)))
    first = _HEADING.search(written)
    at = first.start() if first else len(written)
    CHANGELOG.write_text(f"{written[:at]}{entry}\n\n{written[at:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", help=f"what callers should know; each begins with one of {KINDS}")
    parser.add_argument("--again", action="store_true", help="the newest entry tells of this change too")
    given = parser.parse_args()
    if wrong := [line for line in given.lines if not line.startswith(KINDS)]:
        parser.error(f"{wrong[0]!r} begins with none of {', '.join(KINDS)}")
    document = text()
    FILE.write_text(document)
    contract = contract_hash(document)
    if given.lines:
        add_entry(given.lines, contract)
    elif given.again:
        CHANGELOG.write_text(_EMPTY.sub("", CHANGELOG.read_text()))
        CHANGELOG.write_text(CHANGELOG.read_text().replace(newest_hash(), contract, 1))
    if newest_hash() != contract:
        sys.exit(f"{CHANGELOG.name} has no entry for this: say what changes for callers, see --help")
    print(FILE)


if __name__ == "__main__":
    main()
