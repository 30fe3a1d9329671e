"""Which errors mean that the disk is full or cannot be written."""

from __future__ import annotations

import errno

# Full, read-only, over a quota, over the file size that the process is allowed.
_DISK_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG)
# LanceDB and DuckDB say so only in their messages.
_DISK_MESSAGES = (
    "no space left",
    "read-only file system",
    "quota exceeded",
    "file too large",
    *(f"os error {number}" for number in _DISK_ERRNOS),
    "could not write all bytes",
)


def is_disk_error(error: Exception) -> bool:
    """Whether this came of a disk that is full, read-only or over a quota or limit."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
        return True
    text = str(error).lower()
    return any(message in text for message in _DISK_MESSAGES)
