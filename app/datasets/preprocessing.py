"""What an upload declares of a file of images or a table: JSON in the query, as the body is the file."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import TypeAdapter, ValidationError

from app.core.errors import AppError
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.problems import FieldProblem

_ADAPTER: TypeAdapter[Preprocessing] = TypeAdapter(Preprocessing)
_KINDS = ("images", "table")


class InvalidPreprocessing(AppError):
    """`preprocessing` does not say how images or a table are read."""

    code, status = "invalid_preprocessing", 422
    hint = "It is JSON of the schema `Images` or `Table`; see /docs."


def read_preprocessing(
    preprocessing: Annotated[
        str | None,
        Query(
            max_length=32_000,
            description="how images or a table are read: JSON of the schema `Images` or `Table`",
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
    """Without the name of the kind, which pydantic puts before each field."""
    return [
        FieldProblem(
            field="/".join(("preprocessing", *(str(part) for part in item["loc"] if part not in _KINDS))),
            message=item["msg"],
        )
        for item in error.errors()
    ]


def _told(error: ValidationError) -> str:
    return "; ".join(f"{problem.field}: {problem.message}" for problem in _fields(error)[:5])
