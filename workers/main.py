"""The Celery app of a worker."""

import logging

import structlog
from celery import Celery
from kombu import Queue

from whetstone.contract.targets import HardwareClass, queue_of
from workers.engine.toolkits.offered import offered
from workers.settings import WorkerSettings

VISIBILITY_SECONDS = 24 * 3600  # the lease in Postgres decides what is lost, not the broker's clock


def create_celery(settings: WorkerSettings) -> Celery:
    """Takes one message at a time from the queue of its hardware."""
    app = Celery("whetstone", broker=settings.broker_url)
    app.conf.update(
        task_ignore_result=True,
        task_queues=[Queue(name) for name in _queues(settings.hardware)],  # type: ignore[no-untyped-call] # kombu has no types
        task_default_queue=settings.hardware.value,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS, "socket_timeout": 30},
    )
    return app


def _queues(hardware: HardwareClass) -> list[str]:
    """The queue of the hardware, and one for each toolkit that is offered here."""
    return [queue_of(hardware, toolkit) for toolkit in (None, *offered())]


def configure_logs(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(),
    )
