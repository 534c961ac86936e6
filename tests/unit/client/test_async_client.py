"""The client for asyncio: written anew from the sync one, with the same surface, call by call."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import whetstone
from scripts import async_client


def test_it_is_what_the_script_writes() -> None:
    """If this fails: python -m scripts.async_client."""
    for path, content in async_client.written().items():
        assert path.read_text() == content, path.name
    assert {path.name for path in async_client.written()} | {"__init__.py", "transport.py"} == {
        path.name for path in async_client.TARGET.glob("*.py")
    }


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    return ((name, each) for name, each in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_"))


def resources(kind: type) -> dict[str, type]:
    """By the attribute of the client that it is, without a call to any service."""
    client = kind("http://localhost:1", "key")
    return {name: type(each) for name, each in vars(client).items() if type(each).__module__.startswith("whetstone")}


SYNC, ASYNC = resources(whetstone.Client), resources(whetstone.AsyncClient)


def test_both_have_the_same_resources() -> None:
    assert SYNC.keys() == ASYNC.keys()
    assert {"models", "datasets", "uploads", "jobs", "webhooks", "keys", "members", "usage"} <= SYNC.keys()
    assert dict(methods(whetstone.Client)).keys() == dict(methods(whetstone.AsyncClient)).keys()


@pytest.mark.parametrize("name", SYNC)
def test_each_has_the_same_methods_awaited_or_iterated(name: str) -> None:
    twins = dict(methods(ASYNC[name]))
    assert twins.keys() == dict(methods(SYNC[name])).keys()
    for method, own in methods(SYNC[name]):
        before, after = inspect.signature(own), inspect.signature(twins[method])
        assert list(map(str, after.parameters)) == list(map(str, before.parameters)), method
        iterated = str(before.return_annotation).startswith("collections.abc.Iterator")
        iterates = inspect.isasyncgenfunction(twins[method]) or "AsyncIterator" in str(after.return_annotation)
        assert iterates if iterated else inspect.iscoroutinefunction(twins[method]), method
