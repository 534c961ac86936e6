"""The worker protocol, spoken by the worker: claim, heartbeat, upload, finish, fail."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from whetstone.contract.steps import (
    Checkpoint,
    Enrol,
    Fail,
    Findings,
    Finish,
    Heartbeat,
    HeartbeatAnswer,
    InputFile,
    LearningState,
    Order,
    UploadAnswer,
    UploadDone,
    UploadRequest,
)
from whetstone.contract.uploads import PartLink

PATIENCE_SECONDS = 120.0
CHUNK = 2**20
TIMEOUT = httpx.Timeout(60, connect=5)


class Refused(Exception):
    """The control plane refused a call; `code` is the problem's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Unreachable(Exception):
    """The control plane or the storage did not answer properly; trying again may help."""


class DamagedFile(Unreachable):
    """A downloaded file is not the one that was announced."""


class WrongContent(Exception):
    """A file of the tenant has another hash than was announced when it was uploaded."""


class ControlPlane:
    """HTTP calls with patience: an API that restarts is waited for, a refusal is not argued with."""

    def __init__(self, url: str, worker_id: str, patience: float = PATIENCE_SECONDS) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT)
        self._worker_id = worker_id
        self._retrying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(patience),
            reraise=True,
        )

    def close(self) -> None:
        self._http.close()

    def enrol(self, token: str, worker: Enrol) -> None:
        self._call("PUT", "/v1/worker/enrolment", token, worker)

    def claim(self, token: str) -> Order:
        """Raises Refused when there is nothing to claim."""
        answer = self._call("POST", "/v1/worker/claim", token, headers={"Whetstone-Worker": self._worker_id})
        return Order.model_validate_json(answer.content)

    def heartbeat(self, token: str, beat: Heartbeat) -> HeartbeatAnswer:
        return HeartbeatAnswer.model_validate_json(self._call("POST", "/v1/worker/heartbeat", token, beat).content)

    def checkpoint(self, token: str, saved: Checkpoint) -> None:
        self._call("POST", "/v1/worker/checkpoint", token, saved)

    def save_learning(self, token: str, saved: LearningState) -> None:
        self._call("POST", "/v1/worker/learning-state", token, saved)

    def save_findings(self, token: str, found: Findings) -> None:
        self._call("POST", "/v1/worker/findings", token, found)

    def finish(self, token: str, done: Finish) -> None:
        self._call("POST", "/v1/worker/finish", token, done)

    def fail(self, token: str, failed: Fail) -> None:
        self._call("POST", "/v1/worker/fail", token, failed)

    def download(self, given: InputFile, path: Path) -> None:
        """Fetch an input to `path` and check its hash. Raises Unreachable after patience has run out, and WrongContent
        where the hash is only what a client has announced.
        """
        self._retrying(self._download, given, path)

    def _download(self, given: InputFile, path: Path) -> None:
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", given.url) as answer, path.open("wb") as file:
                if answer.status_code != httpx.codes.OK:
                    raise Unreachable(f"GET of the {given.role} answered {answer.status_code}")
                for chunk in answer.iter_bytes(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except httpx.TransportError as error:
            raise Unreachable(f"GET of the {given.role}: {error}") from error
        if digest.hexdigest() != given.sha256 and not given.proven:
            raise WrongContent(f"The {given.role} has the SHA-256 {digest.hexdigest()}, not the one announced.")
        if digest.hexdigest() != given.sha256:
            raise DamagedFile(f"The {given.role} arrived with another hash than announced.")

    def upload(self, token: str, path: Path) -> UploadRequest:
        """Store an output unless the tenant has the same content already. Returns its hash and size."""
        wanted = describe(path)
        answer = UploadAnswer.model_validate_json(self._call("POST", "/v1/worker/uploads", token, wanted).content)
        for part in answer.parts:
            self._retrying(self._put, part, path)
        if answer.upload is not None:
            self._call("POST", "/v1/worker/uploads/complete", token, UploadDone(upload=answer.upload))
        return wanted

    def _put(self, part: PartLink, path: Path) -> None:
        try:
            headers = part.headers | {"Content-Length": str(part.size)}
            answer = self._http.put(part.url, content=_chunks(path, part.offset, part.size), headers=headers)
        except httpx.TransportError as error:
            raise Unreachable(f"PUT of an output: {error}") from error
        if not answer.is_success:
            raise Unreachable(f"PUT of an output answered {answer.status_code}: {answer.text[:300]}")

    def _call(
        self, method: str, path: str, token: str, body: BaseModel | None = None, **options: Any
    ) -> httpx.Response:
        return self._retrying(self._once, method, path, token, body, **options)

    def _once(
        self, method: str, path: str, token: str, body: BaseModel | None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **(headers or {})}
        content = None if body is None else body.model_dump_json()
        try:
            answer = self._http.request(method, path, content=content, headers=sent)
        except httpx.TransportError as error:
            raise Unreachable(f"{method} {path}: {error}") from error
        if answer.is_server_error:
            raise Unreachable(f"{method} {path} answered {answer.status_code}")
        if answer.is_client_error:
            problem = answer.json()
            raise Refused(problem.get("code", "unknown"), problem.get("detail", answer.text[:300]))
        return answer


def describe(path: Path) -> UploadRequest:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return UploadRequest(sha256=digest.hexdigest(), size=path.stat().st_size)


def _chunks(path: Path, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
    left = path.stat().st_size - offset if size is None else size
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(min(CHUNK, left)):
            left -= len(chunk)
            yield chunk
