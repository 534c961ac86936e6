"""Which storage the settings ask for."""

import re

from app.core.signing import Signer
from app.core.storage import Storage, UnsupportedStorage
from app.core.storage_local import LocalStorage
from app.core.storage_s3 import MOST_SECONDS, S3Storage
from app.settings import Settings, local_folder

_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9/_.-]*))?")


def open_storage(settings: Settings, signer: Signer) -> Storage:
    """Raises UnsupportedStorage."""
    seconds = settings.limits.url_seconds
    folder, bucket = local_folder(settings.storage_url), _BUCKET.fullmatch(settings.storage_url)
    if folder is not None and folder.is_absolute():
        return LocalStorage(folder, signer, settings.public_url, seconds)
    if bucket is None:
        raise UnsupportedStorage(UnsupportedStorage.__doc__)
    if seconds > MOST_SECONDS:
        raise UnsupportedStorage(f"S3 links live {MOST_SECONDS} seconds at most: lower WHETSTONE_LIMITS__URL_SECONDS.")
    if (settings.s3.access_key_id is None) != (settings.s3.secret_access_key is None):
        raise UnsupportedStorage(
            "WHETSTONE_S3__ACCESS_KEY_ID and WHETSTONE_S3__SECRET_ACCESS_KEY go together: set both, or neither."
        )
    return S3Storage(bucket[1], (bucket[2] or "").strip("/"), settings.s3, seconds)
