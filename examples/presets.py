"""One model of each domain through the whole service, by its preset; prints the verdict in a line.

    python -m examples.presets image|text|audio|tabular      takes two to three minutes

Data and results are kept under var/presets.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.embedded import service
from examples import audio, published, tabular, text
from whetstone.client import Client
from whetstone.contract.jobs import Budget, JobSpec, Measurement
from whetstone.contract.presets import Domain
from whetstone.contract.reports import JobReport
from whetstone.contract.search import Limit, Search

FOLDER = Path("var/presets")


@dataclass(frozen=True)
class Case:
    """How to write a model with its data, and how many samples are run at once."""

    write: Callable[[Path], tuple[Path, Path]]
    batch_size: int = 1
    max_drop: float = 1.0


CASES = {
    Domain.IMAGE: Case(published.write),
    Domain.TEXT: Case(text.write),
    Domain.AUDIO: Case(audio.write),
    Domain.TABULAR: Case(tabular.write, batch_size=256, max_drop=0.2),
}


def order(client: Client, domain: Domain, files: tuple[Path, Path], limit: Limit, seconds: float) -> JobSpec:
    """What a user of this domain would order: no more than the preset is said."""
    case = CASES[domain]
    return JobSpec(
        name=domain,
        model_id=client.models.upload(files[0]).id,
        dataset_id=client.datasets.upload(files[1]).id,
        plan=Search(limit=limit),
        preset=domain,
        budget=Budget(max_drop=case.max_drop),
        measurement=Measurement(batch_size=case.batch_size, max_seconds=seconds),
    )


def run(domain: Domain) -> JobReport:
    files = CASES[domain].write(FOLDER / domain)
    with (
        service.running(FOLDER / "service", "127.0.0.1", 0) as running,
        Client(running.url, service.owner_key(running)) as client,
    ):
        job = client.jobs.submit(order(client, domain, files, Limit(minutes=1), seconds=15))
        return client.jobs.wait(job.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain", type=Domain, choices=list(CASES))
    domain = parser.parse_args().domain
    report = run(domain)
    print(f"{domain}: {report.verdict.kind}. {report.verdict.reason}")


if __name__ == "__main__":
    main()
