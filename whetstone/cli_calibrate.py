"""`whet calibrate`: measure ranges where the data are, and hand over nothing else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from whetstone import config
from whetstone.contract.preprocessing import StatisticsFile
from whetstone.contract.statistics import CalibrationStatistics
from whetstone.errors import WhetstoneError
from whetstone.ordering import err, upload_dataset
from whetstone.printing import AsJson, out, print_row


class ExtraMissing(WhetstoneError):
    """Calibrating runs the model here: pip install 'whetstone[calibrate]'."""


def calibrate(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="the .onnx file that you uploaded")],
    data: Annotated[Path, typer.Argument(exists=True, help="an .npz or .npy, or a folder of them; it is not uploaded")],
    samples: Annotated[int, typer.Option(min=1, help="how many samples to run at most")] = 256,
    threads: Annotated[int, typer.Option(min=0, help="0: all cores")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="where to write the statistics: MODEL.statistics.json")
    ] = None,
    upload: Annotated[bool, typer.Option(help="or only write the file, to look at it first")] = True,
    as_json: AsJson = False,
) -> None:
    """Run a model on calibration samples on this machine, and upload only the range and a histogram of each tensor.

    `whet optimize MODEL --quantize static --calibration ID` then quantizes without the samples.
    """
    found = _collected(model, data, samples, threads)
    file = output or model.with_suffix(".statistics.json")
    file.write_text(found.model_dump_json())
    told = f"{len(found.tensors)} tensors on {found.samples} samples, written to {file}"
    if not upload:
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
        else:
            out.print(told, highlight=False, markup=False, soft_wrap=True)
        return
    with config.connect() as client:
        row = upload_dataset(client, file, StatisticsFile())
    print_row(row, f"{row.id}  {told}", as_json)


def _collected(model: Path, data: Path, samples: int, threads: int) -> CalibrationStatistics:
    """Raises ExtraMissing, and what `collect` does."""
    try:
        from whetstone.calibration.collect import collect  # noqa: PLC0415 - the client alone does without the extra
    except ImportError as error:
        raise ExtraMissing(ExtraMissing.__doc__) from error
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("calibrate", total=None)
        return collect(model, data, samples, threads, lambda count: progress.advance(bar, count))
