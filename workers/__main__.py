"""`python -m workers`: a worker for this machine's hardware, taking one step at a time."""

import typer

from workers import toolkits
from workers.main import configure_logs, create_celery
from workers.settings import WorkerSettings
from workers.tasks import install

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
cli.add_typer(toolkits.cli, name="toolkits")


@cli.callback(invoke_without_command=True)
def work(context: typer.Context) -> None:
    """Take steps until told to stop; settings from WHETSTONE_WORKER_… variables."""
    if context.invoked_subcommand is not None:
        return
    settings = WorkerSettings()
    configure_logs(settings.log_level)
    app = create_celery(settings)
    install(app, settings)
    options = ["--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    app.worker_main(["worker", f"--hostname={settings.hardware}@{settings.name}", *options])


if __name__ == "__main__":
    cli()
