"""Of a torch.export archive (.pt2) the part that is data, written anew; what could run on loading is refused.

torch.export.load unpickles sample inputs and whatever is marked `use_pickle`, evaluates the text of symbolic sizes and
compiles the text of guards. So nothing is handed on but plain weights and a graph of which every such text was read
here; sample inputs are left out. See the archive's schema in torch/_export/serde/schema.py.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from workers.engine.importers.archive import check_zip
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat
from workers.engine.importers.instead import FROM_TORCH
from workers.engine.zips import open_zip

MAX_JSON = 256 * 2**20
CHUNK = 2**20
ROOT = "model"
OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.[A-Za-z_]\w*\.\w+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
SYMBOL = re.compile(r"[A-Za-z_]\w{0,63}")
PLAIN_NAME = re.compile(r"(weight|tensor)_\d+")
FUNCTIONS = frozenset(
    (
        *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs"),
        *("FloorDiv", "ModularIndexing", "PythonMod", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "ToFloat"),
        *("CeilToInt", "FloorToInt", "TruncToInt", "RoundToInt", "Identity", "Eq", "Ne", "Lt", "Le", "Gt", "Ge"),
        *("And", "Or", "Not", "Equality", "Unequality", "LessThan", "GreaterThan", "StrictLessThan"),
        *("StrictGreaterThan", "Where", "Piecewise", "ExprCondPair"),
    )
)
"""What symbolic sizes are written with: sympy's and torch's arithmetic."""


def filtered(path: Path, target: Path) -> None:
    """Write to `target` what of the archive is data. Raises UnsafeFile, UnsupportedFormat, InvalidModel."""
    try:
        with open_zip(path) as archive:
            check_zip(archive)
            _filter(archive, target)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidModel(f"The .pt2 archive is damaged: {error}.", hint=FROM_TORCH) from error


def _filter(archive: zipfile.ZipFile, target: Path) -> None:
    names = archive.namelist()
    models = [name for name in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", name)]
    if len(models) != 1:
        raise UnsupportedFormat(f"The .pt2 archive holds {len(models)} programs, not one.", hint=FROM_TORCH)
    root, _, file = models[0].split("/")
    name = file.removesuffix(".json")
    _check_samples(archive, f"{root}/data/sample_inputs/{name}.pt")
    program = _json(archive, models[0])
    check_program(program)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as clean:
        clean.writestr(f"{ROOT}/archive_format", "pt2")
        for part, kind in (("weights", "weights"), ("constants", "constants")):
            config = _json(archive, f"{root}/data/{part}/{name}_{kind}_config.json")
            for stored in _payloads(config):
                _copy(archive, f"{root}/data/{part}/{stored}", clean, f"{ROOT}/data/{part}/{stored}")
            clean.writestr(f"{ROOT}/data/{part}/model_{kind}_config.json", json.dumps(config))
        clean.writestr(f"{ROOT}/models/model.json", json.dumps(program))
        clean.writestr(f"{ROOT}/data/sample_inputs/model.pt", _no_samples())
        for small in ("archive_version", "byteorder", ".data/version"):
            _copy(archive, f"{root}/{small}", clean, f"{ROOT}/{small}")


def _json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    if archive.getinfo(name).file_size > MAX_JSON:
        raise UnsupportedFormat(f"'{name}' in the .pt2 archive is larger than {MAX_JSON} bytes.", hint=FROM_TORCH)
    told = json.loads(archive.read(name))
    if not isinstance(told, dict):
        raise InvalidModel(f"'{name}' in the .pt2 archive is no JSON object.", hint=FROM_TORCH)
    return told


def _check_samples(archive: zipfile.ZipFile, name: str) -> None:
    """They are left out, whatever they are; one that would run something tells what the archive is."""
    if name in archive.namelist() and archive.getinfo(name).file_size <= MAX_JSON:
        try:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(archive.read(name)))
        except Exception as error:
            raise InvalidModel(f"'{name}' in the .pt2 archive is damaged.", hint=FROM_TORCH) from error
        if named:
            raise UnsafeFile(f"The sample inputs in the .pt2 archive would run '{named[0]}'.", hint=FROM_TORCH)


def _no_samples() -> bytes:
    buffer = io.BytesIO()
    torch.save(((), {}), buffer)
    return buffer.getvalue()


def _copy(archive: zipfile.ZipFile, name: str, clean: zipfile.ZipFile, target: str) -> None:
    with archive.open(name) as source, clean.open(target, "w", force_zip64=True) as copy:
        while chunk := source.read(CHUNK):
            copy.write(chunk)


def _payloads(config: dict[str, Any]) -> list[str]:
    """The files that a list of weights names; raises UnsafeFile for pickles."""
    stored = []
    for name, payload in config["config"].items():
        if payload["use_pickle"] is not False:
            raise UnsafeFile(f"'{name}' in the .pt2 archive is a Python pickle.", hint=FROM_TORCH)
        if not PLAIN_NAME.fullmatch(payload["path_name"]):
            raise UnsafeFile(f"'{name}' in the .pt2 archive is no plain tensor.", hint=FROM_TORCH)
        stored.append(payload["path_name"])
    _check_texts(config)
    return list(dict.fromkeys(stored))


def check_program(program: dict[str, Any]) -> None:
    """Check every text in a program that loading would give a meaning, and empty what only people read."""
    if program.get("guards_code"):
        raise UnsafeFile(
            f"The .pt2 archive holds guards, which are code: {str(program['guards_code'][0])[:80]!r}.", hint=FROM_TORCH
        )
    program["graph_module"]["metadata"] = {}
    for part in _objects(program):
        if "target" in part and "inputs" in part:
            part["metadata"] = {}
    _check_texts(program)


def _check_texts(told: Any) -> None:
    for part in _objects(told):
        if isinstance(part.get("expr_str"), str):
            check_expression(part["expr_str"])
        for name in ("target", "as_operator"):
            if isinstance(part.get(name), str):
                _check_operator(part[name])
        for name in ("as_custom_obj", "custom_obj", "token"):
            if name in part:
                raise UnsafeFile("The .pt2 archive holds an object of a class of somebody's own.", hint=FROM_TORCH)


def _check_operator(name: str) -> None:
    if not OPERATOR.fullmatch(name):
        raise UnsafeFile(
            f"The .pt2 archive calls '{name[:80]}', which is none of PyTorch's own operators.",
            hint=f"Replace it by operators of PyTorch, and export again. Or: {FROM_TORCH}",
        )


def check_expression(text: str) -> None:
    """Raises UnsafeFile unless it is arithmetic over symbols and numbers: sympy evaluates it as Python."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        tree = None
    if tree is None or not _is_arithmetic(tree.body):
        raise UnsafeFile(f"A size in the .pt2 archive is no plain arithmetic: {text[:80]!r}.", hint=FROM_TORCH)


def _is_arithmetic(node: ast.expr) -> bool:  # noqa: PLR0911 - one for each kind of node
    match node:
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float)
        case ast.Name(id=name):
            return SYMBOL.fullmatch(name) is not None and not name.startswith("_")
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=told):
            return SYMBOL.fullmatch(name) is not None and all(_is_assumption(each) for each in told)
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            return name in FUNCTIONS and name != "Symbol" and all(map(_is_arithmetic, given))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() | ast.Mod(), right=right):
            return _is_arithmetic(left) and _is_arithmetic(right)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_arithmetic(operand)
        case _:
            return False


def _is_assumption(given: ast.keyword) -> bool:
    return isinstance(given.value, ast.Constant) and isinstance(given.value.value, bool)


def _objects(told: Any) -> Iterator[dict[str, Any]]:
    waiting = [told]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
