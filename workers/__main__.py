"""`python -m workers`: a worker for this machine's hardware, taking one step at a time."""

from workers.main import configure_logs, create_celery
from workers.settings import WorkerSettings
from workers.tasks import install


def main() -> None:
    settings = WorkerSettings()
    configure_logs(settings.log_level)
    app = create_celery(settings)
    install(app, settings)
    options = ["--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    app.worker_main(["worker", f"--hostname={settings.hardware}@{settings.name}", *options])


if __name__ == "__main__":
    main()
