"""`python -m app`: the whole service on one machine. Its parts alone: `python -m app api`, `control`, `migrate`.

`python -m app plan TENANT NAME` gives a tenant another plan. `python -m app check-storage` tries the file storage.
"""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from app import control as control_worker
from app.core import migrations
from app.core.database import create_engine, sessions
from app.core.scope import any_tenant
from app.core.signing import Signer
from app.core.storage import StorageUnavailable, UnsupportedStorage
from app.core.storage_check import examine
from app.core.storage_choice import open_storage
from app.embedded import service
from app.main import create_app
from app.settings import Settings
from app.tenants.service import NoSuchPlan, NoSuchTenant, set_plan

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(help="port to listen on; 0 for any free one")]
Var = Annotated[Path, typer.Option(help="folder for all data")]

GRACE_SECONDS = 5  # open event streams would hold a shutdown for ever


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context, host: Host = "127.0.0.1", port: Port = 8000, var: Var = Path("var")) -> None:
    """Start everything (Postgres, broker, API, control worker, CPU worker) and keep it running."""
    if context.invoked_subcommand is not None:
        return
    try:
        with service.running(var, host, port) as running:
            _welcome(running)
            service.watch(running)
    except (service.PortTaken, service.AlreadyRunning, service.PartFailed) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error


def _welcome(running: service.Running) -> None:
    typer.echo(f"Whetstone is running at {running.url}   (API: {running.url}/docs)")
    if running.owner is not None:
        typer.echo(f"  owner    {running.owner.email}\n  password {running.owner.password}")
        typer.echo(f"  API key  {running.owner.api_key}")
    typer.echo(f"The owner's login is in {running.owner_file}. Ctrl-C stops everything.")


@cli.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """The API alone; settings from WHETSTONE_… variables."""
    uvicorn.run(
        create_app(),
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


@cli.command()
def control() -> None:
    """The control worker alone: sends messages, watches leases, cleans up."""

    async def run() -> None:
        task = asyncio.create_task(control_worker.run(Settings()))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = Settings()
    migrations.upgrade(settings.owner_database_url or settings.database_url)


@cli.command("check-storage")
def check_storage() -> None:
    """Try whether the storage of WHETSTONE_STORAGE_URL does what the service needs. Exit code 1: it does not."""

    async def run(settings: Settings) -> bool:
        good = True
        async for what, fine in examine(open_storage(settings, Signer(settings.secret_key.get_secret_value()))):
            typer.secho(f"{'yes' if fine else 'NO '}  {what}", fg=None if fine else "red")
            good = good and fine
        return good

    try:
        fine = asyncio.run(run(Settings()))
    except (StorageUnavailable, UnsupportedStorage) as error:
        typer.secho(f"{error} {error.__cause__ or ''}", fg="red", err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(not fine)


@cli.command()
def plan(tenant: str, name: str) -> None:
    """Give a tenant one of the plans of WHETSTONE_PLANS."""

    async def change(settings: Settings) -> None:
        engine = create_engine(settings.database_url, 1)
        with any_tenant():
            async with sessions(engine).begin() as session:
                await set_plan(session, settings, tenant, name)
        await engine.dispose()

    try:
        asyncio.run(change(Settings()))
    except (NoSuchPlan, NoSuchTenant) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{tenant} is on the plan {name} now.")


if __name__ == "__main__":
    cli()
