"""What a user says of data on the command line: the file or folder, and how samples are made of it."""

import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from whetstone.contract.preprocessing import Preprocessing

HOW = "write a .json or .toml file, or KIND:FIELD=VALUE,… such as images:input=image,height=224,width=224"
LISTS = ("mean", "std", "columns")
PreprocessingOption = Annotated[
    str | None,
    typer.Option(
        help="how samples are made of the data: a .json or .toml file, or images:input=image,height=224,width=224, "
        "texts:columns=text,max_length=128,mask=attention_mask, recordings:input=x,sample_rate=16000,length=16000 or "
        "array:input=x; several values have a slash between them"
    ),
]


def preprocessing_given(given: str | None) -> Preprocessing | None:
    """A file, or `KIND:FIELD=VALUE,…`, where FIELD may be a path such as `features.mels`. Raises BadParameter."""
    if given is None:
        return None
    kind, colon, told = given.partition(":")
    fields = _in_short(kind, told) if colon and kind.isidentifier() else _in_file(Path(given))
    try:
        return TypeAdapter[Preprocessing](Preprocessing).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{given}: {place}: {first['msg']}; {HOW}") from error


def _in_file(path: Path) -> Any:
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}; {HOW}")
    try:
        return tomllib.loads(path.read_text()) if path.suffix == ".toml" else _json(path.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error


def _json(content: bytes) -> Any:
    return TypeAdapter[Any](Any).validate_json(content)


def _in_short(kind: str, told: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": kind}
    for pair in filter(None, told.split(",")):
        path, _, value = pair.partition("=")
        *above, name = path.split(".")
        place = fields
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{path}: '{part}' has a value of its own; {HOW}")
        place[name] = value.split("/") if name in LISTS else value
    return fields


@contextmanager
def as_one_file(path: Path) -> Iterator[Path]:
    """The file itself; of a folder, all that lies in it packed into a .zip, which goes afterwards."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise typer.BadParameter(f"there is no file or folder {path}")
    with tempfile.TemporaryDirectory(prefix="whet-") as folder:
        packed = Path(folder) / f"{path.resolve().name}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for each in sorted(path.rglob("*")):
                if each.is_file() and not each.name.startswith("."):
                    archive.write(each, each.relative_to(path))
        yield packed
