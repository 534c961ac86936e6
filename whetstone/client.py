"""The Python client.

client = Client("http://127.0.0.1:8000", api_key="whet_…")
model = client.models.upload("model.onnx")
data = client.datasets.upload("digits.npz")
job = client.jobs.submit(JobSpec(model_id=model.id, dataset_id=data.id, plan=Recipe(passes=(Quantize(),))))
report = client.jobs.wait(job.id)
client.jobs.download(job.id, "results/")
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar, Unpack

from pydantic import TypeAdapter

from whetstone.account import Account
from whetstone.audit import Audit
from whetstone.checks import Checks
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.estimates import JobEstimate
from whetstone.contract.identity import Me
from whetstone.contract.jobs import ArtifactRead, JobEvent, JobRead, JobSpec, JobState
from whetstone.contract.labels import ResourceChange
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.previews import DatasetPreview
from whetstone.contract.provenance import MANIFESTS, Envelope
from whetstone.contract.reports import JobReport, ReportForm
from whetstone.contract.targets import TargetRead
from whetstone.contract.tuning import TrialRead
from whetstone.errors import JobFailed, UploadRejected
from whetstone.following import Following, OnEvent
from whetstone.listing import Filters
from whetstone.listing import params as asked
from whetstone.members import Invitations, Keys, Members
from whetstone.orders import Orders
from whetstone.retention import Retention
from whetstone.service_accounts import ServiceAccounts
from whetstone.shares import Shares
from whetstone.templates import Templates
from whetstone.tenants import Tenant
from whetstone.transport import OnBytes, Transport
from whetstone.uploading import Transfers
from whetstone.usage import Usage
from whetstone.webhooks import Webhooks

INSPECTION_WAIT = 30

ReadT = TypeVar("ReadT", ModelRead, DatasetRead)


class Client(Transport):
    """Talks to one service with one API key. Not for several threads at once; make one for each."""

    def __init__(self, url: str | None = None, api_key: str | None = None, timeout: float = 60) -> None:
        """`url` and `api_key` default to WHETSTONE_URL and WHETSTONE_API_KEY. Raises NotLoggedIn without a key."""
        super().__init__(url, api_key, timeout)
        self.models = Uploads(self, "/v1/models", ModelRead)
        self.datasets = Datasets(self, "/v1/datasets", DatasetRead)
        self.uploads = Transfers(self)
        self.jobs = Jobs(self)
        self.webhooks = Webhooks(self)
        self.account = Account(self)
        self.keys = Keys(self)
        self.members = Members(self)
        self.service_accounts = ServiceAccounts(self)
        self.invitations = Invitations(self)
        self.audit = Audit(self)
        self.usage = Usage(self)
        self.checks = Checks(self)
        self.templates = Templates(self)
        self.shares = Shares(self)
        self.retention = Retention(self)
        self.tenant = Tenant(self)

    def me(self) -> Me:
        return Me.model_validate_json(self.request("GET", "/v1/me").content)

    def targets(self) -> tuple[TargetRead, ...]:
        return TypeAdapter(tuple[TargetRead, ...]).validate_json(self.request("GET", "/v1/targets").content)


class Uploads(Generic[ReadT]):
    """Models, or datasets."""

    def __init__(self, client: Client, path: str, kind: type[ReadT]) -> None:
        self._client = client
        self._path = path
        self._one: TypeAdapter[ReadT] = TypeAdapter(kind)
        self._kind: type[ReadT] = kind

    def upload(
        self,
        path: str | Path,
        name: str | None = None,
        on_bytes: OnBytes | None = None,
        labels: dict[str, str] | None = None,
        **query: str,
    ) -> ReadT:
        """Upload a file and wait until it has been inspected; called again after a break, it sends what is missing.
        Raises UploadRejected, ApiError, Unreachable.
        """
        path = Path(path)
        params: dict[str, Any] = query | {
            "filename": path.name,
            "upload_id": self._client.uploads.send(path, on_bytes).id,
        }
        params |= {"name": name} if name else {}
        params["label"] = [f"{key}={value}" for key, value in (labels or {}).items()]
        headers = {"Prefer": f"wait={INSPECTION_WAIT}"}
        answer = self._client.request("POST", self._path, params=params, headers=headers)
        row = self._one.validate_json(answer.content)
        while row.state is InspectionState.INSPECTING:
            row = self.get(row.id, wait=INSPECTION_WAIT)
        if row.failure is not None:
            raise UploadRejected(row.failure)
        return row

    def get(self, row_id: str, wait: int = 0) -> ReadT:
        """One row; with `wait` once its inspection has ended, or after so many seconds."""
        headers = {"Prefer": f"wait={wait}"}
        return self._one.validate_json(self._client.request("GET", f"{self._path}/{row_id}", headers=headers).content)

    def list(self, **filters: Unpack[Filters]) -> Iterator[ReadT]:
        """All, newest first, or as they are asked for; page by page."""
        return self._client.pages(self._path, self._kind, **asked(filters))

    def change(self, row_id: str, wanted: ResourceChange) -> ReadT:
        """Give it another name, or other labels."""
        return self._one.validate_json(self._client.request("PATCH", f"{self._path}/{row_id}", wanted).content)

    def delete(self, row_id: str) -> None:
        self._client.request("DELETE", f"{self._path}/{row_id}")


class Datasets(Uploads[DatasetRead]):
    def read(
        self,
        path: str | Path,
        preprocessing: Preprocessing,
        name: str | None = None,
        on_bytes: OnBytes | None = None,
        labels: dict[str, str] | None = None,
    ) -> DatasetRead:
        """Upload images, recordings or texts in a .zip or .tar, a table or an .npy, and say how samples are made of it.
        Raises UploadRejected, ApiError.
        """
        return self.upload(path, name, on_bytes, labels, preprocessing=preprocessing.model_dump_json(exclude_none=True))

    def preview(self, dataset_id: str) -> DatasetPreview:
        """The first rows, pictures and waveforms of them, and how often each label occurs. Raises NotFound."""
        answer = self._client.request("GET", f"{self._path}/{dataset_id}/preview")
        return DatasetPreview.model_validate_json(answer.content)


class Jobs(Orders):
    """Jobs and what comes out of them."""

    def submit(self, spec: JobSpec) -> JobRead:
        """Order an optimization. Raises Invalid with the reason when the order cannot be carried out."""
        return JobRead.model_validate_json(self._client.request("POST", "/v1/jobs", spec).content)

    def estimate(self, spec: JobSpec) -> JobEstimate:
        """What an order would take. Raises Invalid, as submitting it would."""
        return JobEstimate.model_validate_json(self._client.request("POST", "/v1/jobs/estimate", spec).content)

    def get(self, job_id: str) -> JobRead:
        return JobRead.model_validate_json(self._client.request("GET", f"/v1/jobs/{job_id}").content)

    def list(self, **filters: Unpack[Filters]) -> Iterator[JobRead]:
        """All, newest first, or as they are asked for; page by page."""
        return self._client.pages("/v1/jobs", JobRead, **asked(filters))

    def change(self, job_id: str, wanted: ResourceChange) -> JobRead:
        """Give it another name, or other labels."""
        return JobRead.model_validate_json(self._client.request("PATCH", f"/v1/jobs/{job_id}", wanted).content)

    def cancel(self, job_id: str) -> JobRead:
        return JobRead.model_validate_json(self._client.request("POST", f"/v1/jobs/{job_id}/cancel").content)

    def finish(self, job_id: str) -> JobRead:
        """End the job's search now and take the best it has found so far. Raises Conflict where there is none."""
        return JobRead.model_validate_json(self._client.request("POST", f"/v1/jobs/{job_id}/finish").content)

    def report(self, job_id: str) -> JobReport:
        return JobReport.model_validate_json(self._client.request("GET", f"/v1/jobs/{job_id}/report").content)

    def report_text(self, job_id: str, form: ReportForm) -> str:
        """The report as a page or as text. Raises NotFound when it could not be drawn."""
        if form is ReportForm.JSON:
            return self.report(job_id).model_dump_json(indent=2)
        return self._client.request("GET", f"/v1/jobs/{job_id}/report.{form}", follow_redirects=True).text

    def trials(self, job_id: str) -> tuple[TrialRead, ...]:
        """The trials so far of a job that tunes."""
        answer = self._client.request("GET", f"/v1/jobs/{job_id}/trials")
        return TypeAdapter(tuple[TrialRead, ...]).validate_json(answer.content)

    def artifacts(self, job_id: str) -> tuple[ArtifactRead, ...]:
        answer = self._client.request("GET", f"/v1/jobs/{job_id}/artifacts")
        return TypeAdapter(tuple[ArtifactRead, ...]).validate_json(answer.content)

    def manifests(self, job_id: str) -> tuple[Envelope, ...]:
        """What the service has signed of the files that came out; `whetstone.verify` checks them."""
        answer = self._client.request("GET", f"/v1/jobs/{job_id}/manifests")
        return TypeAdapter(tuple[Envelope, ...]).validate_json(answer.content)

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """Every event until the job has finished, over lost connections and restarts of the service.

        Raises Unreachable when nothing was heard of the service for `PATIENCE_SECONDS`.
        """
        return Following(self._client).events(job_id, after)

    def wait(self, job_id: str, on_event: OnEvent | None = None) -> JobReport:
        """Wait for the job to finish and return its report. Where event streams do not come through, the service is
        asked every few seconds instead. Raises JobFailed, and Unreachable as `events` does.
        """
        Following(self._client).until_final(job_id, on_event)
        job = self.get(job_id)
        if job.state is not JobState.SUCCEEDED:
            raise JobFailed(job.failure, job.state)
        return self.report(job_id)

    def download(self, job_id: str, folder: str | Path, on_bytes: OnBytes | None = None) -> tuple[Path, ...]:
        """Write every file that came out of the job, and the manifests, into a folder, which is made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = [self._client.download(artifact, folder, on_bytes) for artifact in self.artifacts(job_id)]
        if manifests := self.manifests(job_id):
            files.append(folder / MANIFESTS)
            files[-1].write_text("".join(f"{envelope.model_dump_json()}\n" for envelope in manifests))
        return tuple(files)
