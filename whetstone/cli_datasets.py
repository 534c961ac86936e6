"""`whet datasets`: upload examples, and see what they are."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from whetstone import config
from whetstone.cli_lists import LabelOption, labels_given
from whetstone.contract.previews import DatasetPreview
from whetstone.declaring import PreprocessingOption, preprocessing_given
from whetstone.ordering import upload_dataset
from whetstone.printing import AsJson, print_done, print_row

app = typer.Typer(no_args_is_help=True, help="Upload and list datasets.")

Data = Annotated[Path, typer.Argument(exists=True, readable=True, help="a file, or a folder, which is packed")]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="the dataset's id, dat_…")]
Name = Annotated[str | None, typer.Option(help="what to call it; the file's name if left out")]


@app.command("upload")
def upload(
    data: Data,
    name: Name = None,
    preprocessing: PreprocessingOption = None,
    label: LabelOption = None,
    as_json: AsJson = False,
) -> None:
    """Upload an .npz or .h5 of arrays named after the model's inputs, and `labels`; or, with --preprocessing, images,
    recordings or texts in a folder, .zip or .tar, a .csv, .parquet or .arrow table, or an .npy. Waits until it has been
    inspected.
    """
    how, labels = preprocessing_given(preprocessing), labels_given(label)
    with config.connect() as client:
        row = upload_dataset(client, data, how, name, labels)
    detail = ", ".join(f"{count} {split}" for split, count in row.facts.splits.items()) if row.facts else ""
    print_row(row, f"{row.id}  {row.name}  {detail}", as_json)


@app.command("show")
def show(dataset: Dataset, as_json: AsJson = False) -> None:
    """One dataset: its fields, classes and splits."""
    with config.connect() as client:
        row = client.datasets.get(dataset)
    facts = row.facts
    told = [f"{row.id}  {row.name}  {row.state}"]
    if facts is not None:
        told += [f"  {field.name}  {field.dtype}  {list(field.shape)}" for field in facts.fields]
        told += [f"  {count} {split}" for split, count in facts.splits.items()]
        told += [] if facts.classes is None else [f"  {facts.classes} classes"]
    print_row(row, "\n".join(told), as_json)


@app.command("preview")
def preview(
    dataset: Dataset,
    pictures: Annotated[Path | None, typer.Option(file_okay=False, help="write the pictures into this folder")] = None,
    as_json: AsJson = False,
) -> None:
    """The first rows of a dataset, and how often each label occurs."""
    with config.connect() as client:
        found = client.datasets.preview(dataset)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for picture in found.pictures:
            (pictures / f"{dataset}-{picture.row}.png").write_bytes(base64.b64decode(picture.png))
    print_row(found, _told(found), as_json)


def _told(found: DatasetPreview) -> str:
    lines = [f"{count} {split}" for split, count in found.splits.items()]
    for row in found.rows:
        lines += [f"row {row.row}  {row.split}" + ("" if row.label is None else f"  label {row.label}")]
        lines += [f"  {name}: {text}" for name, text in row.cells.items()]
    for each in found.labels:
        counts = ", ".join(f"{count} {split}" for split, count in each.counts.items())
        lines.append(f"label {each.label if each.name is None else each.name}: {counts}")
    return "\n".join([*lines, f"and {found.more_labels} labels more"] if found.more_labels else lines)


@app.command("delete")
def delete(dataset: Dataset, as_json: AsJson = False) -> None:
    """Delete a dataset that no job refers to."""
    with config.connect() as client:
        client.datasets.delete(dataset)
    print_done({"deleted": dataset}, "", as_json)
