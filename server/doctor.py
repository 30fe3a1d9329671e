"""What an installation needs to do its work, examined one by one."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tumorbase.store.errors import TumorbaseError

if TYPE_CHECKING:
    from tumorbase.server.cli_access import Access

_PACKAGES = (
    "tumorbase",
    "lancedb",
    "duckdb",
    "pyarrow",
    "numpy",
    "torch",
    "grpcio",
    "pydicom",
    "nibabel",
    "openslide-python",
    "scikit-image",
    "lifelines",
)
_LOW_DISK_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing examined."""

    name: str
    is_well: bool
    detail: str


def examine(access: Access | None) -> list[Finding]:
    """Findings about versions, decoders, device, disk and, if one is named, the store."""
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.platform()}"),
        *(_package(name) for name in _PACKAGES),
        _attempt("shape measurement", _compiled),
        _attempt("openslide", _openslide),
        _attempt("JPEG 2000 DICOM", _jpeg2000),
        _attempt("device", _device),
        _disk(access),
        *_store(access),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed")


def _attempt(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, attempt())
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(name, False, str(error))


def _compiled() -> str:
    module = import_module("tumorbase.models._nucleus_runs")
    return f"compiled for {sys.implementation.cache_tag}: {Path(str(module.__file__)).name}"


def _openslide() -> str:
    import openslide

    return f"library {openslide.__library_version__}"


def _jpeg2000() -> str:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000Lossless

    decoder = get_decoder(JPEG2000Lossless)
    if not decoder.is_available:
        raise RuntimeError("no decoder: install pylibjpeg-openjpeg")
    return "by " + ", ".join(decoder.available_plugins)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return f"cpu, {os.cpu_count()} cores"


def _disk(access: Access | None) -> Finding:
    folder = (access and access.store) or Path.cwd()
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    return Finding("disk", free >= _LOW_DISK_BYTES, f"{free / 2**30:.1f} GiB free at {folder}")


def _store(access: Access | None) -> Iterator[Finding]:
    if access is None:
        return
    try:
        with access.open() as client:
            overview = client.status()
    except TumorbaseError as error:
        yield Finding("store", False, str(error))
        return
    yield Finding("store", True, f"{overview.path} at commit {overview.commit}")
