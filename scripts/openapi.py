"""Write docs/openapi.json, the published description of the API: `make openapi`. A test says when it is out of date."""

import json
from pathlib import Path

from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"
NOWHERE = Settings(
    database_url="postgresql://nowhere/x",
    broker_url="redis://nowhere",
    storage_url="file:///tmp/whetstone-never-written",
    secret_key=SecretStr("none"),
    fleet_token=SecretStr("none"),
)


def text() -> str:
    """The document as it is kept: in a fixed order, so that a change is seen where it was made."""
    return json.dumps(create_app(NOWHERE).openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(FILE)
