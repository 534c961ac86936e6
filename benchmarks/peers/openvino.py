"""OpenVINO with the model as it is, and with what its own quantizer makes of it."""

import zipfile
from pathlib import Path

import openvino as ov

from benchmarks.peers.peer import calibration, openvino_by_default
from workers.engine.targets.choose import runtime_for


def plain(model: Path, artifact: Path) -> None:
    runtime_for(openvino_by_default()).convert(model, artifact)


def quantized(model: Path, data: Path, artifact: Path) -> None:
    import nncf  # noqa: PLC0415 - of the benchmarks' own packages

    found = nncf.quantize(ov.Core().read_model(model), nncf.Dataset(list(calibration(data))))
    xml = artifact.with_name("model.xml")
    ov.save_model(found, xml, compress_to_fp16=False)
    with zipfile.ZipFile(artifact, "w") as archive:
        for part in (xml, xml.with_suffix(".bin")):
            archive.write(part, part.name)
