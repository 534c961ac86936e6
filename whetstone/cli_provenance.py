"""`whet verify` and `whet signing-keys`."""

from pathlib import Path
from typing import Annotated

import typer

from whetstone import config, verify
from whetstone.printing import AsJson, out

UrlOption = Annotated[str | None, typer.Option(help="the service that signed; that of the login if left out")]


def verify_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="a file, or a bundle")],
    manifest: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="what `whet download` wrote; a bundle holds its own"),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="offline: what `whet signing-keys` printed, or a PEM file"),
    ] = None,
    url: UrlOption = None,
    as_json: AsJson = False,
) -> None:
    """Prove that a file is what the service made, and show what was claimed of it.

    Exit codes: 0 proven, 1 not proven, 3 the service's keys cannot be had.
    """
    known = verify.read_keys(keys) if keys else verify.usable(verify.fetch_keys(url or config.address()))
    if manifest is None:
        proven = verify.verify_bundle(file, known)
    else:
        proven = verify.verify_file(file, verify.read_manifests(manifest), known)
    if as_json:
        typer.echo(proven.statement.model_dump_json(indent=2, by_alias=True))
        return
    made = proven.statement.predicate
    out.print(f"[green]proven[/]: {', '.join(proven.names)}", highlight=False, soft_wrap=True)
    out.print(
        f"signed by key {proven.keyid[:16]}…, {made.made_at:%Y-%m-%d %H:%M} UTC, {made.job_id}",
        highlight=False,
        soft_wrap=True,
    )
    for given in made.inputs:
        out.print(
            f"made from {given.name} (sha256 {given.digest.sha256})", highlight=False, markup=False, soft_wrap=True
        )
    for claim in made.claims:
        out.print(
            f"{claim.target}: {claim.verdict.kind}. {claim.verdict.reason}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def print_signing_keys(url: UrlOption = None, as_json: AsJson = True) -> None:  # noqa: ARG001 - always JSON
    """The public keys of the service as JSON: keep them to verify offline."""
    typer.echo(verify.KEYS.dump_json(verify.fetch_keys(url or config.address()), indent=2).decode())
