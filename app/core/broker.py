"""The broker, seen from the control plane: it sends step ids to the queues of the workers, nothing else."""

from typing import Any

from celery import Celery


class Broker:
    """Sends messages. Raises kombu.exceptions.OperationalError when the broker cannot be reached."""

    def __init__(self, url: str) -> None:
        self._celery = Celery("whetstone", broker=url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_connection_timeout=2,
            broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2, "max_retries": 0},
        )

    def send(self, task: str, queue: str, args: list[Any]) -> None:
        self._celery.send_task(task, args=args, queue=queue, retry=False)

    def close(self) -> None:
        self._celery.close()
