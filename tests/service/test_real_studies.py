"""Studies that real workers carry out: side by side while one is killed, pruned, ended early, from the command line."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded import service as embedded
from app.embedded.processes import Process
from app.embedded.service import Running
from examples import digits
from tests.service.actors import new_tenant, query, until
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.jobs import JobRead, JobSpec, StepKind
from whetstone.contract.learning import Finetune
from whetstone.contract.reports import JobReport, VerdictKind
from whetstone.contract.search import Ended
from whetstone.contract.tuning import TrialState, Tune

RATE = {"0.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Running, Process]]:
    """The service with two workers; the second is given too."""
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, **QUICK) as running:
        name = "WHETSTONE_WORKER_"
        env = {key: value for key, value in running.environment.items() if key.startswith(name) or "WHET" not in key}
        second = Process("worker", [sys.executable, "-m", "workers"], env, tmp_path / "worker.log")
        second.start()
        try:
            yield running, second
        finally:
            second.stop()


def submit(client: Client, folder: Path, **plan: Any) -> JobRead:
    digits.write(folder)
    given = {"passes": [Finetune(epochs=1)], "parameters": RATE, "objectives": ["validation_loss"], **plan}
    told = {
        "model_id": client.models.upload(folder / "digits.onnx").id,
        "dataset_id": client.datasets.upload(folder / "digits.npz").id,
        "plan": Tune.model_validate(given).model_dump(mode="json"),
        "measurement": {"max_seconds": 2},
        "budget": {"objective": "accuracy"},
    }
    return client.jobs.submit(JobSpec.model_validate(told))


def test_two_workers_on_one_study_and_one_is_killed(own: tuple[Running, Process], tmp_path: Path) -> None:
    service, second = own
    with Client(service.url, new_tenant(service)) as client:
        job = submit(client, tmp_path, trials=4, parallel=2, sampler="random")
        both = "select count(distinct worker_id) from steps where subject_id = %s and state = 'running'"
        until(lambda: query(service, both, job.id) == [(2,)], 60)
        os.killpg(second.pid, signal.SIGKILL)
        while second.exit_code() is None:
            time.sleep(0.01)
        report = client.jobs.wait(job.id)
        steps = client.jobs.get(job.id).steps
    study = report.study
    assert study is not None
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert sorted(step.attempt for step in steps if step.kind is StepKind.TRIAL) == [1, 1, 1, 2]
    values = {trial.number: trial.values for trial in study.trials}
    assert values[study.chosen] == min(each for each in values.values() if each)
    assert report.passes[0].config.learning_rate == study_rate(report)  # type: ignore[union-attr]
    assert report.verdict.kind in (VerdictKind.IMPROVED, VerdictKind.NO_GAIN)


def study_rate(report: JobReport) -> object:
    assert report.study is not None
    chosen = next(trial for trial in report.study.trials if trial.number == report.study.chosen)
    assert chosen.parameters is not None
    return chosen.parameters["0.learning_rate"]


def test_a_real_study_is_ended_early(full_client: Client, tmp_path: Path) -> None:
    client = full_client
    job = submit(client, tmp_path, trials=100)
    completed = (event for event in client.jobs.events(job.id) if (event.message or "").startswith("trial 1 complete"))
    next(completed)
    client.jobs.finish(job.id)
    study = client.jobs.wait(job.id).study
    assert study is not None
    assert study.ended is Ended.REQUESTED
    assert 2 <= sum(trial.state is TrialState.COMPLETE for trial in study.trials) < 10
    rates = [trial.parameters["0.learning_rate"] for trial in study.trials if trial.parameters]
    assert all(one != other for one, other in itertools.pairwise(rates))


def test_hopeless_trials_are_given_up(full_client: Client, tmp_path: Path) -> None:
    rates = {"0.learning_rate": {"kind": "float", "low": 1e-7, "high": 1e-2, "log": True}}
    plan = {"passes": [Finetune(epochs=2)], "parameters": rates, "sampler": "random", "pruner": "median"}
    study = full_client.jobs.wait(submit(full_client, tmp_path, trials=9, **plan).id).study
    assert study is not None
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert pruned
    assert len(pruned) + len(complete) == 9
    assert all(trial.values is None and len(trial.reported) == 1 for trial in pruned)
    assert all(len(trial.reported) == 2 for trial in complete)
    assert study.chosen in {trial.number for trial in complete}


def test_from_the_command_line(full: Running, tmp_path: Path) -> None:
    digits.write(tmp_path)
    (tmp_path / "recipe.json").write_text('[{"kind": "prune", "granularity": "channel"}, {"kind": "simplify"}]')
    vary = ["--vary", "0.sparsity=choice:0.25,0.75", "--sampler", "grid", "--by", "macs", "--by", "drop"]
    words = ["tune", "digits.onnx", "--data", "digits.npz", "--recipe", "recipe.json", *vary, "--seconds", "2"]
    variables = {"WHETSTONE_URL": full.url, "WHETSTONE_API_KEY": new_tenant(full)}
    root = str(Path(__file__).parents[2])

    def whet(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "whetstone.cli", *words, "--objective", "size", "--max-drop", "100", *more]
        env = os.environ | variables | {"PYTHONPATH": root, "COLUMNS": "200"}
        return subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True, check=False)

    expected = whet("--estimate")
    assert expected.returncode == 0, expected.stderr
    assert "trial" in expected.stdout
    done = whet("-o", "results")
    assert done.returncode == 0, done.stderr
    assert "of 2 was taken: 0.sparsity 0.75 → macs" in done.stdout
    assert "complete (0.sparsity 0.25)" in done.stderr
    assert "How it was tuned" in (tmp_path / "results" / "report.html").read_text()
