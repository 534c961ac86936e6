"""Labels of resources: read from a query, changed, and selected by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from pydantic import TypeAdapter, ValidationError

from app.core.errors import AppError
from whetstone.contract.labels import KEY_PATTERN, MOST_LABELS, VALUE_PATTERN, Labels, ResourceChange

MOST_REQUIREMENTS = 20
RELABELLED = {"name": "resnet50 int8", "labels": {"team": "vision", "stage": "prod"}, "remove_labels": ["old"]}
"""An example of a change."""

_ADAPTER: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)
_VALUES = r"[A-Za-z0-9._, -]*"
_PART = re.compile(
    rf"\s*(?:!\s*(?P<absent>{KEY_PATTERN})"
    rf"|(?P<set>{KEY_PATTERN})\s+(?P<how>in|notin)\s*\((?P<values>{_VALUES})\)"
    rf"|(?P<key>{KEY_PATTERN})\s*(?:(?P<sign>==|=|!=)\s*(?P<value>{VALUE_PATTERN}))?)\s*"
)
_VALUE = re.compile(VALUE_PATTERN)


class InvalidLabels(AppError):
    """A label is `key=value`: up to 63 letters, digits, dots, underscores and dashes each, beginning and ending with a
    letter or digit. The key may have a domain and a slash before it, the value may be empty.
    """

    code, status = "invalid_labels", 422


class InvalidSelector(AppError):
    """The label selector cannot be read."""

    code, status = "invalid_selector", 422
    hint = "Write as for Kubernetes: `team=vision,stage!=test,tier in (a, b),!old`."


class TooManyLabels(AppError):
    """A resource has at most 64 labels."""

    code, status = "too_many_labels", 422
    hint = "Take some away in the same request, by `remove_labels`."


@dataclass(frozen=True)
class Requirement:
    """One of these must be there, or none: `key` or `key=value`."""

    pairs: tuple[str, ...]
    wanted: bool


def read_labels(
    label: Annotated[
        list[str], Query(max_length=MOST_LABELS, description="`key=value`; may be repeated", examples=[["team=vision"]])
    ] = [],  # noqa: B006 - the framework copies it
) -> dict[str, str]:
    pairs = [text.partition("=") for text in label]
    if not all(sign for _, sign, _ in pairs):
        raise InvalidLabels
    try:
        return _ADAPTER.validate_python({key: value for key, _, value in pairs})
    except ValidationError as error:
        raise InvalidLabels from error


LabelsDep = Annotated[dict[str, str], Depends(read_labels)]


def changed(now: dict[str, str], wanted: ResourceChange) -> dict[str, str]:
    """Raises TooManyLabels."""
    labels = {key: value for key, value in now.items() if key not in wanted.remove_labels} | wanted.labels
    if len(labels) > MOST_LABELS:
        raise TooManyLabels
    return labels


def parse(selector: str) -> tuple[Requirement, ...]:
    """By the grammar of Kubernetes' label selectors. Raises InvalidSelector."""
    found = tuple(_requirements(selector))
    if len(found) > MOST_REQUIREMENTS:
        raise InvalidSelector(f"A selector has at most {MOST_REQUIREMENTS} requirements.")
    return found


def _requirements(selector: str) -> Iterator[Requirement]:
    at = 0
    while at <= len(selector):
        part = _PART.match(selector, at)
        if part is None or (part.end() < len(selector) and selector[part.end()] != ","):
            raise InvalidSelector(f"The label selector cannot be read from character {at + 1} on.")
        yield _requirement(part)
        at = part.end() + 1


def _requirement(part: re.Match[str]) -> Requirement:
    if part["absent"]:
        return Requirement((part["absent"],), wanted=False)
    if part["set"]:
        values = [value.strip() for value in part["values"].split(",")]
        if not all(_VALUE.fullmatch(value) for value in values):
            raise InvalidSelector(f"The values of {part['set']} cannot be read.")
        return Requirement(tuple(f"{part['set']}={value}" for value in values), wanted=part["how"] == "in")
    if part["sign"] is None:
        return Requirement((part["key"],), wanted=True)
    return Requirement((f"{part['key']}={part['value'] or ''}",), wanted=part["sign"] != "!=")
