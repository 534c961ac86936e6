"""A bucket as the storage: clients and workers send and fetch files there themselves, by presigned links.

botocore makes the requests and the signatures (AWS Signature Version 4); it is synchronous, so it works in threads.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import botocore.session
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fastapi.responses import RedirectResponse, Response

from app.core.storage import (
    HEAD,
    PART,
    PartsMissing,
    Storage,
    StorageUnavailable,
    Stored,
    Transfer,
    UploadTooLarge,
    WrongContent,
    batches,
    disposition,
)
from app.settings import S3Settings
from whetstone.contract.uploads import PartLink

MOST_SECONDS = 7 * 24 * 3600
"""How long a presigned link can live."""
_PROBE = "whetstone-probe"
_CHECKSUM = "x-amz-checksum-sha256"
_BAD_REQUEST, _NOT_FOUND = 400, 404
T = TypeVar("T")
log = structlog.get_logger()


class S3Storage(Storage):
    """Two clients: one makes requests, the other signs links for whoever reaches the bucket by another address."""

    single = 5 * 2**30

    def __init__(self, bucket: str, prefix: str, settings: S3Settings, url_seconds: int) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client(settings, settings.endpoint)
        self._signing = _client(settings, settings.public_endpoint or settings.endpoint)
        self._url_seconds = url_seconds
        self._checksums: bool | None = None

    async def write(self, key: str, chunks: AsyncIterator[bytes], limit: int) -> Stored:
        """For what comes as the body of a request. One part is in memory at a time."""
        digest, size, multipart, parts = hashlib.sha256(), 0, None, 0
        async for batch in batches(chunks, max(PART, -(-limit // 9000))):
            size += len(batch)
            if size > limit:
                raise UploadTooLarge(f"The file is larger than {limit} bytes.")
            if multipart is None:
                multipart = await self._create(key)
            parts += 1
            send = self._ask(
                self._client.upload_part, Key=self._name(key), UploadId=multipart, PartNumber=parts, Body=batch
            )
            await asyncio.gather(send, asyncio.to_thread(digest.update, batch))
        stored = Stored(key, digest.hexdigest(), size)
        await self.finish(Transfer(key, stored.sha256, size, max(1, size), multipart))
        return stored

    async def delete(self, key: str) -> None:
        """With what was begun and never finished: parts are kept, and paid for, until they are aborted."""
        begun = await self._ask(self._client.list_multipart_uploads, Prefix=self._name(key))
        for upload in begun.get("Uploads", ()):
            await self._abort(upload["Key"], upload["UploadId"])
        await self._ask(self._client.delete_object, Key=self._name(key))

    async def _abort(self, name: str, multipart: str) -> None:
        try:
            await self._ask(self._client.abort_multipart_upload, Key=name, UploadId=multipart)
        except _Refused as error:
            if error.reason != "NoSuchUpload":
                raise

    async def head(self, key: str) -> bytes:
        return await self._read(key, lambda body: bytes(body.read()), Range=f"bytes=0-{HEAD - 1}")

    async def whole(self, key: str) -> bytes:
        return await self._read(key, lambda body: bytes(body.read()))

    async def digest(self, key: str) -> str:
        def read(body: Any) -> str:
            digest = hashlib.sha256()
            for chunk in body.iter_chunks(PART):
                digest.update(chunk)
            return digest.hexdigest()

        return await self._read(key, read)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        where, token = {"Prefix": self._name(prefix)}, None
        while True:
            page = await self._ask(
                self._client.list_objects_v2, **where, **({"ContinuationToken": token} if token else {})
            )
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(self._prefix)
            token = page.get("NextContinuationToken")
            if token is None:
                break
        for upload in (await self._ask(self._client.list_multipart_uploads, **where)).get("Uploads", ()):
            yield upload["Key"].removeprefix(self._prefix)

    async def begin(self, transfer: Transfer) -> Transfer:
        if transfer.parts == 1:
            return transfer
        multipart = await self._create(transfer.key)
        return Transfer(transfer.key, transfer.sha256, transfer.size, transfer.part_size, multipart)

    async def _create(self, key: str) -> str:
        return str((await self._ask(self._client.create_multipart_upload, Key=self._name(key)))["UploadId"])

    def link(self, transfer: Transfer, number: int) -> PartLink:
        size = transfer.length(number)
        signed: dict[str, Any] = {"ContentLength": size}
        headers = {}
        if transfer.multipart is None:
            operation = "put_object"
            signed["ChecksumSHA256"] = headers[_CHECKSUM] = _base64(transfer.sha256)
        else:
            operation = "upload_part"
            signed |= {"UploadId": transfer.multipart, "PartNumber": number}
        url = self._sign(operation, transfer.key, **signed)
        return PartLink(number=number, offset=transfer.offset(number), size=size, url=url, headers=headers)

    async def arrived(self, transfer: Transfer) -> set[int]:
        if await self._facts(transfer.key) is not None:
            return set(range(1, transfer.parts + 1))
        return {part["PartNumber"] for part in await self._parts(transfer)}

    async def finish(self, transfer: Transfer) -> Stored:
        facts = await self._facts(transfer.key)
        if facts is None and transfer.multipart is not None:
            await self._put_together(transfer)
            facts = await self._facts(transfer.key)
        if facts is None:
            raise PartsMissing
        proof = facts.get("ChecksumSHA256") if transfer.multipart is None else None
        if facts["ContentLength"] != transfer.size or proof not in (None, _base64(transfer.sha256)):
            raise WrongContent
        proven = proof is not None and await self._checks_sums()
        return Stored(transfer.key, transfer.sha256, transfer.size, proven)

    async def _put_together(self, transfer: Transfer) -> None:
        parts = await self._parts(transfer)
        if sum(part["Size"] for part in parts) < transfer.size:
            raise PartsMissing
        together = {"Parts": [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]}
        await self._ask(
            self._client.complete_multipart_upload,
            Key=self._name(transfer.key),
            UploadId=transfer.multipart,
            MultipartUpload=together,
        )

    async def _parts(self, transfer: Transfer) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while transfer.multipart is not None:
            page = await self._ask(
                self._client.list_parts,
                Key=self._name(transfer.key),
                UploadId=transfer.multipart,
                PartNumberMarker=found[-1]["PartNumber"] if found else 0,
            )
            found += page.get("Parts", ())
            if not page.get("IsTruncated"):
                break
        return found

    async def _facts(self, key: str) -> dict[str, Any] | None:
        try:
            return await self._ask(self._client.head_object, Key=self._name(key), ChecksumMode="ENABLED")
        except _Refused as error:
            if error.refused_with == _NOT_FOUND:
                return None
            raise

    async def _checks_sums(self) -> bool:
        """Whether this server refuses bytes that have not the SHA-256 sent along. Some take any, and repeat it."""
        if self._checksums is None:
            wrong = _base64(hashlib.sha256(b"other bytes").hexdigest())
            try:
                await self._ask(self._client.put_object, Key=self._name(_PROBE), Body=b"bytes", ChecksumSHA256=wrong)
                self._checksums = False
            except _Refused as error:
                if error.refused_with != _BAD_REQUEST:
                    raise
                self._checksums = True
        return self._checksums

    def download_url(self, key: str, filename: str, media_type: str = "application/octet-stream") -> str:
        return self._get(key, filename, media_type, "attachment")

    def answer(self, key: str, sha256: str, filename: str, media_type: str, kind: str = "attachment") -> Response:  # noqa: ARG002 - the bucket has an ETag of its own
        return RedirectResponse(self._get(key, filename, media_type, kind), 307, {"Cache-Control": "no-store"})

    def _get(self, key: str, filename: str, media_type: str, kind: str) -> str:
        shown = {"ResponseContentDisposition": disposition(filename, kind), "ResponseContentType": media_type}
        return self._sign("get_object", key, **shown)

    def _sign(self, operation: str, key: str, **params: Any) -> str:
        named = {"Bucket": self._bucket, "Key": self._name(key), **params}
        return str(self._signing.generate_presigned_url(operation, Params=named, ExpiresIn=self._url_seconds))

    async def check(self) -> None:
        await self._ask(self._client.head_bucket)

    def _name(self, key: str) -> str:
        return f"{self._prefix}{key}"

    async def _read(self, key: str, read: Callable[[Any], T], **params: Any) -> T:
        answer = await self._ask(self._client.get_object, Key=self._name(key), **params)
        try:
            return await asyncio.to_thread(read, answer["Body"])
        except (BotoCoreError, OSError) as error:
            raise StorageUnavailable from error

    async def _ask(self, call: Callable[..., Any], **params: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await asyncio.to_thread(call, Bucket=self._bucket, **params)
        except ClientError as error:
            raise _Refused(error) from error
        except BotoCoreError as error:
            log.warning("the bucket cannot be reached", error=str(error))
            raise StorageUnavailable from error
        return answer


class _Refused(StorageUnavailable):
    """The storage refused a request. Where nobody expected that, it is as good as away."""

    def __init__(self, error: ClientError) -> None:
        super().__init__()
        self.reason = str(error.response.get("Error", {}).get("Code"))
        self.refused_with = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _client(settings: S3Settings, endpoint: str | None) -> Any:
    """Credentials that are not given are looked for as every AWS tool does: variables, files, the machine's role."""
    session = botocore.session.get_session()
    if settings.credentials_file is not None:
        session.set_config_variable("credentials_file", str(settings.credentials_file))
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        session.set_credentials(settings.access_key_id, settings.secret_access_key.get_secret_value())
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 3},
        max_pool_connections=32,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.create_client("s3", region_name=settings.region, endpoint_url=endpoint, config=config)


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
