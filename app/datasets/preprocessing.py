"""What an upload declares of its file: JSON in the query, as the body is the file."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import TypeAdapter, ValidationError

from app.core.errors import AppError
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.problems import FieldProblem

_ADAPTER: TypeAdapter[Preprocessing] = TypeAdapter(Preprocessing)
_TAGS = ("images", "table", "texts", "recordings", "array", "statistics", "raw", "log_mel")


class InvalidPreprocessing(AppError):
    """`preprocessing` does not say how the file is read."""

    code, status = "invalid_preprocessing", 422
    hint = "It is JSON of the schema `Images`, `Table`, `Texts`, `Recordings` or `SingleArray`; see /docs."


def read_preprocessing(
    preprocessing: Annotated[
        str | None,
        Query(
            max_length=32_000,
            description="how the file is read: JSON of `Images`, `Table`, `Texts`, `Recordings` or `SingleArray`",
            examples=['{"kind": "images", "input": "image", "height": 224, "width": 224}'],
        ),
    ] = None,
) -> Preprocessing | None:
    if preprocessing is None:
        return None
    try:
        return _ADAPTER.validate_json(preprocessing)
    except ValidationError as error:
        raise InvalidPreprocessing(_told(error), errors=_fields(error)) from error


PreprocessingDep = Annotated[Preprocessing | None, Depends(read_preprocessing)]


def _fields(error: ValidationError) -> list[FieldProblem]:
    """Without the names of kinds, which pydantic puts before their fields."""
    return [
        FieldProblem(
            field="/".join(("preprocessing", *(str(part) for part in item["loc"] if part not in _TAGS))),
            message=item["msg"],
        )
        for item in error.errors()
    ]


def _told(error: ValidationError) -> str:
    return "; ".join(f"{problem.field}: {problem.message}" for problem in _fields(error)[:5])
