"""Keeping the best graphs of each target in one file, from which a search can go on or end."""

import shutil
import zipfile
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.reports import PassReport
from whetstone.contract.targets import RuntimeSettings, Target
from whetstone.contract.trials import Proposal
from whetstone.contract.types import Contract, FileName
from workers.engine.request import MadeFile

INDEX = "best.json"
ZIP = "application/zip"


class Place(StrEnum):
    """What a graph is kept as: the best of a target, or the best of those that lost little."""

    BEST = "best"
    SAFE = "safe"


class Kept(Contract):
    """A candidate of one target: the file that holds its graph, how it is loaded, and what each pass did."""

    target: Target
    place: Place = Place.BEST
    settings: RuntimeSettings
    proposal: Proposal
    file: FileName
    passes: tuple[PassReport, ...]


_KEPT: TypeAdapter[tuple[Kept, ...]] = TypeAdapter(tuple[Kept, ...])


class Best:
    """The best of each target, their graphs in files of `folder`. Several targets and places may share a file."""

    def __init__(self, folder: Path, archive: Path | None) -> None:
        """`archive` is what an earlier attempt packed."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._of: dict[tuple[Target, Place], Kept] = {}
        if archive is not None:
            with zipfile.ZipFile(archive) as packed:
                found = _KEPT.validate_json(packed.read(INDEX))
                packed.extractall(folder, [kept.file for kept in found])
            self._of = {(kept.target, kept.place): kept for kept in found}

    def of(self, target: Target, place: Place = Place.BEST) -> Kept | None:
        return self._of.get((target, place))

    def path(self, kept: Kept) -> Path:
        return self._folder / kept.file

    def put(self, graph: Path, kept: Kept) -> None:
        """Takes the place of what was there. `graph` is copied under the name that `kept` gives."""
        if not self.path(kept).exists():
            shutil.copyfile(graph, self.path(kept))
        self._of[kept.target, kept.place] = kept
        wanted = {kept.file for kept in self._of.values()}
        for path in self._folder.iterdir():
            if path.name not in wanted:
                path.unlink()

    def pack(self, path: Path) -> MadeFile:
        """All of it in one file that is not compressed: weights hardly shrink."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
            packed.writestr(INDEX, _KEPT.dump_json(tuple(self._of.values())))
            for name in sorted({kept.file for kept in self._of.values()}):
                packed.write(self._folder / name, name)
        return MadeFile(name=path.name, kind=ArtifactKind.CHECKPOINT, media_type=ZIP)
