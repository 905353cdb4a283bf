"""Which image formats are accepted, how they are declared, and which one some bytes are in."""

from __future__ import annotations

from pathlib import Path

from app.errors import EmptyFile, UndecodableImage, UnsupportedMediaType

MEDIA_TYPES = {
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/pjpeg": "JPEG",
    "image/png": "PNG",
    "image/x-png": "PNG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/x-bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/x-tiff": "TIFF",
    "application/x-npy": "NPY",
}
"""Declared types that are accepted. What the bytes are is decided by their signature."""

ACCEPTED = "JPEG, PNG, WebP, BMP, GIF, TIFF or .npy"

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"}
)
"""How the names of images in these formats end, in small letters."""
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".jp2", ".jxl"})
"""How the names of images in other formats end, which are not read."""

UNCHECKED_BYTES = 64 * 1024
"""A file this small is read in no time, whatever it holds."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x93NUMPY", "NPY"),
)

_UNREAD_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""Brands of the ISO base media file format (ISO/IEC 23008-12) that are recognised but not read."""


def sniff(data: bytes) -> str | None:
    """Name the image format that the first bytes of ``data`` announce, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def begins_an_image(path: Path) -> bool:
    """Tell whether the first bytes of a file announce an image; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(16)) is not None
    except OSError:
        return False


def essence(media_type: str | None) -> str:
    """Give a media type without its parameters, in lower case (MIME Sniffing Standard); empty for None."""
    return (media_type or "").partition(";")[0].strip().lower()


def recognise(data: bytes, media_type: str | None) -> str:
    """Decide which format the bytes are to be read as, and whether they were declared as one that is accepted.

    Raises:
        UnsupportedMediaType, EmptyFile, UndecodableImage: They cannot be read; says what to send.
    """
    if data[4:8] == b"ftyp" and (name := _UNREAD_BRANDS.get(data[8:12])) is not None:
        raise UnsupportedMediaType(f"the file is {name}, which is not read; save or export it as JPEG")
    if not data:
        raise EmptyFile("the file is empty; use one with an image in it")
    declared = essence(media_type)
    unknown = declared in ("", "application/octet-stream")
    if not unknown and declared not in MEDIA_TYPES:
        raise UnsupportedMediaType(
            f"the file was sent as {declared[:80]!r}, which is not an accepted image type; send {ACCEPTED}, "
            "as with curl -F file=@image.jpg, or state its type, as in 'Content-Type: image/jpeg'"
        )
    kind = sniff(data)
    if kind is None and unknown:
        raise UnsupportedMediaType(f"the file is not an image of an accepted type; use {ACCEPTED}")
    if kind is None:
        raise UndecodableImage(
            f"the file was sent as {declared} but is not an image of an accepted type; use {ACCEPTED}"
        )
    return kind
