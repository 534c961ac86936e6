"""Files that can be refused by their first bytes, before anything is stored.

This looks at magic numbers only. All parsing happens later, in the worker's sandbox.
"""

from collections.abc import AsyncIterator

from app.core.errors import AppError

HEAD = 512
_PICKLE = b"\x80"
_PICKLE_PROTOCOLS = range(2, 6)
_ZIP = b"PK\x03\x04"
_ZIP_NAME_OFFSET = 30

_SAFE = "scikit-learn: skops.io.dump(model, 'model.skops'), and upload that file. "
_EXPORT = (
    "Export to ONNX where you trained it, for PyTorch: torch.onnx.export(model.eval(), (example,), 'model.onnx', "
    "dynamo=True, external_data=False)."
)


class EmptyFile(AppError):
    """The file is empty."""

    code, status = "empty_file", 422


class UnsafeFile(AppError):
    """The file is a Python pickle. Loading one runs code, so this service never does."""

    code, status = "unsafe_file", 422
    hint = _SAFE + _EXPORT


class UnsupportedFormat(AppError):
    """The file is not of a format that can be read here."""

    code, status = "unsupported_format", 422
    hint = _EXPORT


_OTHER_FORMATS = {
    b"BZh": "a bzip2 file",
    b"7z\xbc\xaf": "a 7z file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
}


async def checked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass the bytes on once the first ones are seen to be harmless. Raises EmptyFile, UnsafeFile,
    UnsupportedFormat before anything is passed on.
    """
    head = b""
    rest = aiter(chunks)
    async for chunk in rest:
        head += chunk
        if len(head) >= HEAD:
            break
    check_head(head)
    yield head
    async for chunk in rest:
        yield chunk


def check_head(head: bytes) -> None:
    if not head:
        raise EmptyFile
    if head[:1] == _PICKLE and len(head) > 1 and head[1] in _PICKLE_PROTOCOLS:
        raise UnsafeFile
    if head.startswith(_ZIP) and _first_name(head).endswith((b"/data.pkl", b".pkl")):
        raise UnsafeFile("The file is a PyTorch archive that holds a pickle. Loading one runs code.")
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnsupportedFormat(f"The file is {what}, which cannot be read here.")


def _first_name(head: bytes) -> bytes:
    """The name of a zip's first member (APPNOTE 4.3.7: its length is at offset 26)."""
    length = int.from_bytes(head[26:28], "little")
    return head[_ZIP_NAME_OFFSET : _ZIP_NAME_OFFSET + length]
