"""`whet uploads`."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.printing import AsJson, print_all, print_done

app = typer.Typer(no_args_is_help=True, help="Uploads that were broken off; the same upload again goes on with them.")

UploadArgument = Annotated[str, typer.Argument(metavar="UPLOAD", help="the upload's id, upl_…")]


@app.command("list")
def list_uploads(as_json: AsJson = False) -> None:
    """Files on their way, and files that nothing was made of yet, newest first."""
    with config.connect() as client:
        print_all(client.uploads.list(), ("id", "state", "size", "parts", "expires_at"), as_json)


@app.command("abort")
def abort_upload(upload: UploadArgument, as_json: AsJson = False) -> None:
    """Throw away what has arrived of a file."""
    with config.connect() as client:
        client.uploads.abort(upload)
    print_done({"aborted": upload}, f"{upload} is gone.", as_json)
