"""`python -m workers toolkits`: which toolkits there are, and how this machine gets them."""

from typing import Annotated

import typer

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits import environments
from workers.engine.toolkits.catalogue import facts_of, targets_of
from workers.engine.toolkits.environments import NotBuilt
from workers.engine.toolkits.offered import why_not

cli = typer.Typer(help=__doc__)

Names = Annotated[list[Toolkit] | None, typer.Argument(help="which toolkits; without, see below")]


@cli.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """List the toolkits: whether each is built, and what it gives."""
    if context.invoked_subcommand is not None:
        return
    typer.echo(f"in {environments.folder()} ({environments.FOLDER_VARIABLE})")
    for toolkit in Toolkit:
        facts = facts_of(toolkit)
        state = _state(toolkit) if environments.is_built(toolkit) else f"not built (takes {facts.megabytes} MB)"
        gives = [*(f"reads {name}" for name in facts.formats), *(f"target {name}" for name in targets_of(toolkit))]
        typer.echo(f"{toolkit}: {state}; {', '.join(gives)}")


def _state(toolkit: Toolkit) -> str:
    reason = why_not(toolkit)
    return "built" if reason is None else f"built, but not offered: {reason}"


@cli.command()
def install(names: Names = None) -> None:
    """Build toolkits that are not built yet; without names all but those that are proprietary (tensorrt-rtx, under
    NVIDIA's licence), which are built only when named. A worker that runs must be started anew to offer them.
    """
    free = [toolkit for toolkit in Toolkit if not facts_of(toolkit).proprietary]
    for toolkit in names or free:
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
