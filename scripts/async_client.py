"""Write the modules of `whetstone/aio` from those of the same name in `whetstone`, but for the transports.

    python -m scripts.async_client

A method that calls the service is awaited there, one that returns an Iterator an async iterator, and what keeps to
threads or the disk for long (a thread pool, hashing a file) runs in a thread. All that has no call in it is imported.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "whetstone"
TARGET = PACKAGE / "aio"
FIRST = "client"
BY_HAND = {"transport"}
AWAITED = {"request", "save", "download"}
ITERATED = {"pages", "stream_events"}
SLOW = {"ThreadPoolExecutor", "file_digest"}
RENAMED = {"Client": "AsyncClient", "Transport": "AsyncTransport", "Iterator": "AsyncIterator"}
TWINS = {"AsyncClient": "client", "AsyncTransport": "transport"}
HEADER = '"""Written by `python -m scripts.async_client` from whetstone/{name}.py: change that."""\n'

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, ast.Module]:
    """The client's module and those that it takes resources from, by name."""
    found = {FIRST: _parsed(FIRST)}
    for node in found[FIRST].body:
        name = (getattr(node, "module", None) or "").removeprefix("whetstone.")
        if isinstance(node, ast.ImportFrom) and (PACKAGE / f"{name}.py").exists() and name not in BY_HAND:
            module = _parsed(name)
            if any(_uses_the_service(each) for each in module.body):
                found[name] = module
    return found


def _parsed(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{name}.py").read_text())


def _uses_the_service(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(each, ast.Attribute) and each.attr == "_client" for each in ast.walk(node)
    )


class Surface:
    """Which methods are awaited, which are iterated over, and which run in a thread, by name."""

    def __init__(self, parsed: dict[str, ast.Module]) -> None:
        self.classes = {
            each.name: name
            for name, module in parsed.items()
            for each in module.body
            if isinstance(each, ast.ClassDef) and (_uses_the_service(each) or each.name == "Client")
        }
        functions = [
            each for module in parsed.values() for each in ast.walk(module) if isinstance(each, ast.FunctionDef)
        ]
        self.threaded = {each.name for each in functions if SLOW & set(_names(each))}
        methods = [each for each in functions if _is_method(each) and each.name not in self.threaded]
        self.iterated = ITERATED | {each.name for each in methods if _returns_iterator(each)}
        self.awaited = set(AWAITED)
        methods = [each for each in methods if each.name not in self.iterated]
        while found := {each.name for each in methods if self.waits(each)} - self.awaited:
            self.awaited |= found

    def waits(self, function: ast.AST) -> bool:
        """Whether something in it has to be awaited."""
        return any(
            self.is_awaited(each) or self.is_iterated(each) or self.is_threaded(each) for each in ast.walk(function)
        )

    def is_awaited(self, node: ast.AST) -> bool:
        return self._calls(node, self.awaited) or ast.unparse(node).startswith("time.sleep(")

    def is_iterated(self, node: ast.AST) -> bool:
        return self._calls(node, self.iterated)

    def is_threaded(self, node: ast.AST) -> bool:
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.threaded
        return named or self._calls(node, self.threaded)

    def _calls(self, node: ast.AST, names: set[str]) -> bool:
        """A method of these names, of `self`, what it has, or a resource that is made on the spot."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names):
            return False
        root: ast.AST = node.func.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Call):
            return isinstance(root.func, ast.Name) and root.func.id in self.classes
        return isinstance(root, ast.Name) and root.id == "self"


def _names(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr


def _is_method(function: Function) -> bool:
    return bool(function.args.args) and function.args.args[0].arg == "self"


def _returns_iterator(function: Function) -> bool:
    return function.returns is not None and ast.unparse(function.returns).startswith("Iterator[")


class Rewriter(ast.NodeTransformer):
    """From the calls of one class to the awaited ones."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        waits = node.name not in self._surface.threaded and self._surface.waits(node)
        passes_on = _returns_iterator(node) and not any(
            isinstance(e, ast.Yield | ast.YieldFrom) for e in ast.walk(node)
        )
        if node.name in self._surface.threaded:
            return node
        changed = self.generic_visit(node)
        if not waits or passes_on:
            return changed
        return ast.copy_location(ast.AsyncFunctionDef(**dict(ast.iter_fields(changed))), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        surface = self._surface
        collected = len(node.args) == 1 and surface.is_iterated(node.args[0]) and isinstance(node.func, ast.Name)
        awaited, threaded, sleeps = surface.is_awaited(node), surface.is_threaded(node), _sleeps(node)
        self.generic_visit(node)
        if collected:
            each = ast.Name("each", ast.Load())
            node.args = [ast.ListComp(each, [ast.comprehension(ast.Name("each", ast.Store()), node.args[0], [], 1)])]
            return node
        if threaded:
            thread = ast.parse("asyncio.to_thread", mode="eval").body
            return ast.Await(ast.Call(thread, [node.func, *node.args], node.keywords))
        if sleeps:
            node.func = ast.parse("asyncio.sleep", mode="eval").body
        return ast.Await(node) if awaited else node

    def visit_For(self, node: ast.For) -> ast.AST:
        iterated = self._surface.is_iterated(node.iter)
        changed = self.generic_visit(node)
        return ast.AsyncFor(**dict(ast.iter_fields(changed))) if iterated else changed

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """`yield from` is not for async generators."""
        if not isinstance(node.value, ast.YieldFrom):
            return self.generic_visit(node)
        kind = ast.AsyncFor if self._surface.is_iterated(node.value.value) else ast.For
        body = ast.parse("yield each").body
        source = self.visit(node.value.value)
        return kind(target=ast.Name("each", ast.Store()), iter=source, body=body, orelse=[])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = RENAMED.get(node.id, node.id)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(RENAMED["Client"]) if node.value == "Client" else node


def _sleeps(node: ast.Call) -> bool:
    return ast.unparse(node.func) == "time.sleep"


def rewritten(name: str, module: ast.Module, surface: Surface) -> str:
    """The async module: the classes that call the service, and imports of all that they use."""
    mine = [each for each in module.body if isinstance(each, ast.ClassDef) and surface.classes.get(each.name) == name]
    used = {found for each in mine for found in _names(each)}
    here = {*_defined(module)} - {each.name for each in mine}
    lines = ["import asyncio"]
    lines += [f"from whetstone.{name} import {', '.join(sorted(used & here))}"] if used & here else []
    lines += map(ast.unparse, _imports(module, surface))
    for each in mine:
        changed = Rewriter(surface).visit(each)
        changed.name = RENAMED.get(each.name, each.name)
        lines.append(ast.unparse(ast.fix_missing_locations(changed)))
    return HEADER.format(name=name) + "\n".join(lines)


def _defined(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _imports(module: ast.Module, surface: Surface) -> Iterator[ast.stmt]:
    """Those of the module; twins come from beside it, and what is only for types where it is."""
    for node in module.body:
        if isinstance(node, ast.If):
            yield ast.If(node.test, list(_imports(ast.Module(node.body, []), surface)), [])
        elif isinstance(node, ast.ImportFrom):
            yield from _parted(node, surface)
        elif isinstance(node, ast.Import):
            yield node


def _parted(node: ast.ImportFrom, surface: Surface) -> Iterator[ast.ImportFrom]:
    for each in node.names:
        name = RENAMED.get(each.name, each.name)
        home = TWINS.get(name) or surface.classes.get(each.name)
        module = f"whetstone.aio.{home}" if home and node.module != "whetstone.contract" else node.module
        yield ast.ImportFrom(module, [ast.alias(name, each.asname)], 0)


def _tidied(text: str, name: str) -> str:
    """Sorted imports without those that are not needed, and formatted."""
    options = ["--quiet", "--stdin-filename", str(TARGET / f"{name}.py"), "-"]
    for command in (["check", "--fix-only", "--select", "F401,I,UP034"], ["format"]):
        run = [sys.executable, "-m", "ruff", *command, *options]
        text = subprocess.run(run, input=text, capture_output=True, text=True, check=True).stdout
    return text


def written() -> dict[Path, str]:
    """What each file must hold."""
    parsed = modules()
    surface = Surface(parsed)
    return {TARGET / f"{name}.py": _tidied(rewritten(name, module, surface), name) for name, module in parsed.items()}


if __name__ == "__main__":
    for path, content in written().items():
        path.write_text(content)
        print(path)
