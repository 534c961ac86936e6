"""`whet datasets`: upload examples, and see what they are."""

from pathlib import Path
from typing import Annotated

import typer

from whetstone import config
from whetstone.declaring import PreprocessingOption, preprocessing_given
from whetstone.ordering import upload_dataset
from whetstone.printing import AsJson, print_all, print_row

app = typer.Typer(no_args_is_help=True, help="Upload and list datasets.")

Data = Annotated[Path, typer.Argument(exists=True, readable=True, help="a file, or a folder, which is packed")]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="the dataset's id, dat_…")]
Name = Annotated[str | None, typer.Option(help="what to call it; the file's name if left out")]


@app.command("upload")
def upload(data: Data, name: Name = None, preprocessing: PreprocessingOption = None, as_json: AsJson = False) -> None:
    """Upload an .npz or .h5 of arrays named after the model's inputs, and `labels`; or, with --preprocessing, images,
    recordings or texts in a folder, .zip or .tar, a .csv, .parquet or .arrow table, or an .npy. Waits until it has been
    inspected.
    """
    how = preprocessing_given(preprocessing)
    with config.connect() as client:
        row = upload_dataset(client, data, how, name)
    detail = ", ".join(f"{count} {split}" for split, count in row.facts.splits.items()) if row.facts else ""
    print_row(row, f"{row.id}  {row.name}  {detail}", as_json)


@app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """All datasets, newest first."""
    with config.connect() as client:
        print_all(client.datasets.list(), ("id", "name", "state", "size", "created_at"), as_json)


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


@app.command("delete")
def delete(dataset: Dataset) -> None:
    """Delete a dataset that no job refers to."""
    with config.connect() as client:
        client.datasets.delete(dataset)
