"""`python -m workers toolkits`: which toolkits there are, and how this machine gets them."""

from typing import Annotated

import typer

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits import environments
from workers.engine.toolkits.catalogue import facts_of, targets_of
from workers.engine.toolkits.environments import NotBuilt

cli = typer.Typer(help=__doc__)

Names = Annotated[list[Toolkit] | None, typer.Argument(help="which toolkits; all if none is named")]


@cli.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """List the toolkits: whether each is built, and what it gives."""
    if context.invoked_subcommand is not None:
        return
    typer.echo(f"in {environments.folder()} ({environments.FOLDER_VARIABLE})")
    for toolkit in Toolkit:
        facts = facts_of(toolkit)
        state = "built" if environments.is_built(toolkit) else f"not built (takes {facts.megabytes} MB)"
        gives = [*(f"reads {name}" for name in facts.formats), *(f"target {name}" for name in targets_of(toolkit))]
        typer.echo(f"{toolkit}: {state}; {', '.join(gives)}")


@cli.command()
def install(names: Names = None) -> None:
    """Build toolkits that are not built yet. A worker that runs must be started anew to offer them."""
    for toolkit in names or list(Toolkit):
        if environments.is_built(toolkit):
            typer.echo(f"{toolkit}: built already, {environments.place_of(toolkit)}")
            continue
        typer.echo(f"{toolkit}: installing about {facts_of(toolkit).megabytes} MB")
        try:
            typer.echo(f"{toolkit}: built, {environments.install(toolkit)}")
        except NotBuilt as error:
            raise _failed(toolkit, error) from error


@cli.command()
def check(names: Names = None) -> None:
    """Import what each toolkit is for, in its own Python; without names, of those that are built."""
    for toolkit in names or environments.built():
        try:
            typer.echo(f"{toolkit}: works, {environments.check(toolkit)}")
        except NotBuilt as error:
            raise _failed(toolkit, error) from error


def _failed(toolkit: Toolkit, error: NotBuilt) -> typer.Exit:
    typer.secho(f"{toolkit}: {error}", fg="red", err=True)
    return typer.Exit(1)
