"""Where the file of published weights is: a folder, the hub's cache, or the hub itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tumorbase.models.once import once
from tumorbase.models.published import HubFile, Weights

FOLDER_VARIABLE = "TUMORBASE_WEIGHTS"
SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".bin")
# What comes in place of weights where a download went wrong, by how it begins, in lower case.
_INSTEAD = {
    b"version https://git-lfs": "a pointer of Git LFS, for which `git lfs pull` fetches the file",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "a server's answer in XML",
}


class UnusableWeights(ValueError):
    """Weights that are not found, not those that were published, or do not fit their network.

    `is_missing` where there is no file.
    """

    def __init__(self, message: str, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


@dataclass(frozen=True)
class FoundWeights:
    """A file of weights, and the SHA-256 of its bytes, hexadecimal.

    `is_published` says that they are the bytes that were published; no hash may be known for that.
    """

    path: Path
    sha256: str
    is_published: bool


def find_weights(weights: Weights, folder: Path | None) -> FoundWeights:
    """The file of these weights: in `folder`, in $TUMORBASE_WEIGHTS, in the hub's cache, or fetched
    from the hub where a revision is pinned.

    In a folder it may bear the name under which it was published, and must then have the published
    hash, or be called as `file_stem` says (NAME.safetensors, NAME.pth ...): a user's own.

    Raises:
        UnusableWeights: it is in none of these places, or has another hash; the message says what
            was expected, and where.
    """
    folders = weights_folders(folder)
    for candidate in (path for place in folders for path in _candidates(weights, place)):
        if candidate.is_file():
            return _found(weights, candidate)
    if weights.hub and (path := from_hub(weights.hub)):
        return _found(weights, path)
    raise UnusableWeights(_missing(weights, folders), is_missing=True)


def weights_folders(folder: Path | None) -> list[Path]:
    """Where weights are looked for: `folder`, then $TUMORBASE_WEIGHTS, as far as they are set."""
    return [Path(place) for place in (folder, os.environ.get(FOLDER_VARIABLE)) if place]


def _candidates(weights: Weights, folder: Path) -> Iterator[Path]:
    if weights.file:
        yield folder / weights.file
    for suffix in SUFFIXES:
        yield folder / f"{file_stem(weights)}{suffix}"


def file_stem(weights: Weights) -> str:
    """What a file of one's own is called: as the weights, where these have a name for files."""
    return re.sub(r"[^\w.-]", "_", weights.name)


def _found(weights: Weights, path: Path) -> FoundWeights:
    try:
        if instead := _instead(path):
            raise UnusableWeights(f"{path}: expected weights of {weights.name}, got {instead}")
        sha256 = file_sha256(path)
    except OSError as error:
        raise UnusableWeights(f"{path}: cannot be read: {error.strerror}") from error
    is_published = bool(weights.sha256) and sha256.startswith(weights.sha256)
    if weights.sha256 and path.name == weights.file and not is_published:
        raise UnusableWeights(
            f"{path}: expected the published file of {weights.name}, SHA-256 {weights.sha256}, got "
            f"{sha256} ({path.stat().st_size} bytes); a file of your own must be called "
            f"{file_stem(weights)}{path.suffix}"
        )
    return FoundWeights(path, sha256, is_published)


def _instead(path: Path) -> str:
    """What lies there in place of weights, as far as its beginning tells; else empty."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return "an empty file"
    return next((what for begins, what in _INSTEAD.items() if start.startswith(begins)), "")


def file_sha256(path: Path) -> str:
    """The file's hash; a few gigabytes are read again only where they were modified."""

    def read() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    status = path.stat()
    state = (str(path), status.st_size, status.st_mtime_ns, status.st_ino)
    return once(("sha256", *state), read)


def from_hub(hub: HubFile) -> Path | None:
    """The file in the hub's cache, else fetched if a revision is pinned; None if it is not had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    names = (hub.path, *hub.also)
    for name in names:
        if cached := _cached(hub, name):
            return cached
    for name in names if hub.revision else ():
        try:
            return Path(hf_hub_download(hub.repository, name, revision=hub.revision))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # the hub cannot be reached
                return None
        except OSError:  # it refuses: `hf download`, which the caller's message names, says why
            return None
    return None


def _cached(hub: HubFile, name: str) -> Path | None:
    """The file in the hub's cache, whose folders have a repository's name as it was spelt for the
    download: the hub itself takes it in any case.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    folders = [folder.name for folder in Path(constants.HF_HUB_CACHE).glob("models--*")]
    spelt = [folder.removeprefix("models--").replace("--", "/") for folder in folders]
    same = [each for each in spelt if each.lower() == hub.repository.lower()]
    for repository in sorted(same, key=lambda each: each != hub.repository):
        cached = try_to_load_from_cache(repository, name, revision=hub.revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return None


def fetching(hub: HubFile) -> str:
    """The command that puts the file into the hub's cache."""
    words = ["hf", "download", hub.repository, *([] if hub.also else [hub.path])]
    return " ".join([*words, *(["--revision", hub.revision] if hub.revision else [])])


def _missing(weights: Weights, folders: Sequence[Path]) -> str:
    suffix = Path(weights.hub.path).suffix if weights.hub else SUFFIXES[0]
    name = weights.file or f"{file_stem(weights)}{suffix}"
    places = " or ".join(map(str, folders)) or f"a folder named by --weights or ${FOLDER_VARIABLE}"
    parts = [f"weights of {weights.name} not found: put {name} into {places}"]
    if weights.sha256:
        parts.append(f"expected SHA-256 {weights.sha256}")
    parts.append(f"published: {weights.source}")
    if weights.hub:
        parts.append(f"or fetch it: {fetching(weights.hub)}")
    note = "" if weights.is_commercial else " (not for commercial use)"
    parts.append(f"licence: {weights.licence}{note}")
    return "; ".join(parts)
