"""The OpenAPI document: what the framework writes, with errors as they really are."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.errors import MEDIA_TYPE
from whetstone.contract.problems import Problem

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_INVALID = Problem(
    title="Unprocessable Content",
    status=422,
    code="invalid_request",
    detail="budget/max_drop: Input should be greater than or equal to 0",
    hint="See the schema of this route at /docs.",
)
_OTHER = {
    "description": "Any other trouble, such as a body that is too large, or a database that is away",
    "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
}


def document(app: FastAPI) -> dict[str, Any]:
    """Made once. A request that does not fit its schema is answered by a problem, not as the framework believes."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        for item in made["paths"].values():
            for operation in item.values():
                _correct(operation["responses"])
        for name in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(name, None)
        app.openapi_schema = made
    return app.openapi_schema


def _correct(responses: dict[str, Any]) -> None:
    invalid = responses.get("422")
    if invalid is not None:
        content = invalid["content"]
        content.pop("application/json", None)  # the framework's own kind of error, which is never sent
        problem = content.setdefault(MEDIA_TYPE, {})
        problem["schema"] = _PROBLEM
        problem.setdefault("examples", {})["invalid_request"] = {"value": _INVALID.model_dump(exclude_none=True)}
    for status, response in responses.items():
        if status.isdecimal() and int(status) >= 400:  # noqa: PLR2004 - where errors begin
            response["content"][MEDIA_TYPE]["schema"] = _PROBLEM
            response["content"].pop("application/json", None)
    responses["default"] = _OTHER
