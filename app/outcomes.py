"""Table of contents: which slice hears of which kind of step."""

from app.checks.listener import CheckListener
from app.core.signing import Signer
from app.core.storage_choice import open_storage
from app.datasets.service import LISTENER as DATASETS
from app.fleet.service import Fleet
from app.jobs.listener import JobListener
from app.models.service import LISTENER as MODELS
from app.provenance import keys
from app.settings import Settings
from whetstone.contract.jobs import StepKind


def build_fleet(settings: Settings) -> Fleet:
    jobs = JobListener()
    signer = Signer(settings.secret_key.get_secret_value())
    jobs.fleet = Fleet(
        settings,
        signer,
        open_storage(settings, signer),
        keys.load(settings),
        {
            StepKind.INSPECT_MODEL: MODELS,
            StepKind.INSPECT_DATASET: DATASETS,
            StepKind.OPTIMIZE: jobs,
            StepKind.SEARCH: jobs,
            StepKind.TRIAL: jobs,
            StepKind.DELIVER: jobs,
            StepKind.REPORT: jobs,
            StepKind.CHECK: CheckListener(),
        },
    )
    return jobs.fleet
