"""A kit and its signed manifest make a bundle."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.provenance import MANIFEST, Envelope
from whetstone.contract.targets import Target
from workers.engine.bundle.tar import prepend
from workers.engine.request import MadeFile
from workers.engine.targets.choose import stem_of

GZIP = "application/gzip"


def kit_name(target: Target) -> str:
    return f"{stem_of(target)}.kit.tar.gz"


def assemble(kits: Path, manifests: Mapping[Target, Envelope], outputs: Path) -> Iterator[MadeFile]:
    """One bundle for each target that has a kit and a manifest."""
    for target, envelope in manifests.items():
        kit = kits / kit_name(target)
        if kit.is_file():
            name = f"{stem_of(target)}.bundle.tar.gz"
            manifest = envelope.model_dump_json(indent=1).encode()
            prepend(f"{stem_of(target)}/{MANIFEST}", manifest, kit, outputs / name)
            yield MadeFile(name=name, kind=ArtifactKind.BUNDLE, media_type=GZIP)
