"""Table of contents: the one Celery task, and what a worker process keeps between steps."""

import threading
from typing import Any

import structlog
from celery import Celery, signals
from typeid import TypeID

from whetstone.contract.steps import RUN_STEP
from workers.control_plane import ControlPlane, Refused, Unreachable
from workers.engine.toolkits.environments import built
from workers.engine.toolkits.offered import why_not
from workers.hardware import describe
from workers.sandbox import Sandbox
from workers.settings import WorkerSettings
from workers.step import run_step

SIGN_OF_LIFE_SECONDS = 10.0
log = structlog.get_logger()


class Kept:
    """Made in the process that runs the steps, after the fork."""

    def __init__(self, settings: WorkerSettings, worker_id: str) -> None:
        self.control = ControlPlane(settings.control_plane_url, worker_id)
        self.sandbox = Sandbox()


def install(app: Celery, settings: WorkerSettings) -> None:
    """Register the task and the signals of the worker's life."""
    worker_id = str(TypeID(prefix="wrk"))
    kept: list[Kept] = []

    @app.task(name=RUN_STEP)  # type: ignore[untyped-decorator] # celery has no types
    def run(step_id: str, token: str) -> None:
        with structlog.contextvars.bound_contextvars(step_id=step_id):
            run_step(kept[0].control, kept[0].sandbox, settings.scratch, token)

    def process_started(**_: Any) -> None:
        kept[:] = [Kept(settings, worker_id)]
        kept[0].sandbox.warm_up()

    def process_ended(**_: Any) -> None:
        if kept:
            kept[0].sandbox.close()

    def worker_ready(**_: Any) -> None:
        threading.Thread(target=_show_life, args=(settings, worker_id), daemon=True, name="life").start()

    signals.worker_process_init.connect(process_started, weak=False)
    signals.worker_process_shutdown.connect(process_ended, weak=False)
    signals.worker_ready.connect(worker_ready, weak=False)


def _show_life(settings: WorkerSettings, worker_id: str) -> None:
    """Enrol, and say so again and again."""
    for toolkit in built():
        reason = why_not(toolkit)
        if reason is not None:
            log.warning("toolkit not offered", toolkit=toolkit, reason=reason)
    control = ControlPlane(settings.control_plane_url, worker_id, patience=SIGN_OF_LIFE_SECONDS)
    worker = describe(worker_id, settings.name, settings.hardware)
    pause = threading.Event()
    while True:
        try:
            control.enrol(settings.fleet_token.get_secret_value(), worker)
        except (Refused, Unreachable) as error:
            log.warning("enrolment failed", reason=str(error))
        pause.wait(SIGN_OF_LIFE_SECONDS)
