"""Where weights are looked for, and what is said where they are not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from hub import REVISION, cached_repository
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError

from tumorbase.models.published import PUBLISHED, HubFile, Weights
from tumorbase.models.weights import FOLDER_VARIABLE, UnusableWeights, find_weights, from_hub

CONTENT = b"weights"
WEIGHTS = Weights(
    "net",
    "snn",
    8,
    "none",
    "a page",
    "CC BY-NC 4.0",
    is_commercial=False,
    file="published.pth",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set does not count."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


def put(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_the_named_folder_goes_before_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = put(tmp_path / "named", "published.pth")
    variable = put(tmp_path / "variable", "published.pth")
    monkeypatch.setenv(FOLDER_VARIABLE, str(variable.parent))
    assert find_weights(WEIGHTS, named.parent).path == named
    assert find_weights(WEIGHTS, None).path == variable
    assert find_weights(WEIGHTS, tmp_path).path == variable


def test_the_published_file_is_known_by_its_hash(tmp_path: Path) -> None:
    put(tmp_path, "published.pth")
    assert find_weights(WEIGHTS, tmp_path).is_published
    short = replace(WEIGHTS, sha256=WEIGHTS.sha256[:8])
    assert find_weights(short, tmp_path).is_published


def test_other_bytes_under_the_published_name_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "published.pth", b"other")
    with pytest.raises(ValueError, match=f"{path}: expected the published file of net") as refused:
        find_weights(WEIGHTS, tmp_path)
    assert WEIGHTS.sha256 in str(refused.value)
    assert hashlib.sha256(b"other").hexdigest() in str(refused.value)
    assert "(5 bytes); a file of your own must be called net.pth" in str(refused.value)


@pytest.mark.parametrize("name", ["published.pth", "net.pth", "net.safetensors"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"<html><title>Virus scan warning", "a web page"),
        (b"<?xml version='1.0'?><Error>", "a server's answer"),
        (b"", "an empty file"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_told(
    name: str, content: bytes, what: str, tmp_path: Path
) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(UnusableWeights, match=f"{path}: expected weights of net, got {what}"):
        find_weights(WEIGHTS, tmp_path)


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "net.pth")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read anything
    with pytest.raises(UnusableWeights, match=f"{path}: cannot be read: Permission denied"):
        find_weights(WEIGHTS, tmp_path)


def test_a_changed_file_is_hashed_anew(tmp_path: Path) -> None:
    first = find_weights(WEIGHTS, put(tmp_path, "net.pt", b"one").parent).sha256
    assert find_weights(WEIGHTS, put(tmp_path, "net.pt", b"another").parent).sha256 != first


def test_ones_own_weights_are_called_after_the_encoder(tmp_path: Path) -> None:
    path = put(tmp_path, "net.safetensors", b"own")
    found = find_weights(WEIGHTS, tmp_path)
    assert (found.path, found.is_published) == (path, False)
    assert found.sha256 == hashlib.sha256(b"own").hexdigest()


def test_missing_weights_say_file_hash_place_and_licence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights of net not found") as refused:
        find_weights(WEIGHTS, tmp_path)
    for part in ("published.pth", WEIGHTS.sha256, str(tmp_path), "a page", "not for commercial"):
        assert part in str(refused.value)


def test_missing_weights_with_no_folder_say_how_to_name_one() -> None:
    with pytest.raises(ValueError, match=r"a folder named by --weights or \$TUMORBASE_WEIGHTS"):
        find_weights(WEIGHTS, None)


def test_the_hubs_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cached_repository("owner/net", tmp_path, monkeypatch)
    (snapshot / "net.bin").write_bytes(CONTENT)
    on_hub = replace(WEIGHTS, file="", hub=HubFile("owner/net", "net.bin"))
    assert find_weights(on_hub, None).path == snapshot / "net.bin"
    pinned = replace(on_hub, hub=HubFile("owner/net", "net.bin", REVISION))
    assert find_weights(pinned, None).is_published


@pytest.mark.parametrize("fetched", ["owner/net", "Owner/Net", "OWNER/net"])
def test_the_hubs_cache_has_a_repository_in_whatever_case_it_was_fetched(
    fetched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cached_repository("owner/other-net", tmp_path, monkeypatch), "net.bin")
    path = put(cached_repository(fetched, tmp_path, monkeypatch), "net.bin")
    assert from_hub(HubFile("Owner/Net", "net.bin")) == path


def test_of_one_repository_cached_in_two_cases_the_one_asked_for_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Owner/Net", "owner/net", "OWNER/NET"):
        put(cached_repository(name, tmp_path, monkeypatch), "net.bin")
    for name in ("Owner/Net", "owner/net"):
        path = from_hub(HubFile(name, "net.bin"))
        assert path
        assert path.relative_to(tmp_path).parts[0] == f"models--{name.replace('/', '--')}"


def test_the_better_of_a_repositorys_files_counts_that_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached_repository("owner/net", tmp_path, monkeypatch)
    either = HubFile("owner/net", "net.safetensors", also=("net.bin",))
    assert from_hub(either) is None
    for name in ("net.bin", "net.safetensors"):
        put(snapshot, name)
        assert from_hub(either) == from_hub(replace(either, revision=REVISION)) == snapshot / name


def test_a_repository_with_a_revision_is_asked_for_each_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(repository: str, name: str, revision: str) -> str:
        asked.append(f"{repository}@{revision}/{name}")
        if name != "net.bin":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    either = HubFile("owner/net", "net.safetensors", "v1", also=("net.bin", "net.pt"))
    assert from_hub(either) == tmp_path / "net.bin"
    assert asked == ["owner/net@v1/net.safetensors", "owner/net@v1/net.bin"]
    assert from_hub(replace(either, also=())) is None


def test_a_hub_that_cannot_be_reached_is_weights_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pinned = replace(WEIGHTS, hub=HubFile("owner/net", "net.bin", "0" * 40))
    with pytest.raises(ValueError, match="weights of net not found") as refused:
        find_weights(pinned, None)
    assert "hf download owner/net net.bin" in str(refused.value)


@pytest.mark.parametrize("weights", PUBLISHED.values(), ids=lambda weights: weights.name)
def test_each_description_says_where_from_and_under_which_licence(weights: Weights) -> None:
    assert PUBLISHED[weights.name] is weights
    assert weights.source
    assert weights.licence
    assert weights.preprocessing
    assert weights.dim > 0
    assert len(weights.sha256) in (0, *range(8, 65))
