"""A disk that is full, or cannot be written: told in one line, and nothing is half there."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tumorbase.ingest.pipeline import IngestOptions, ingest
from tumorbase.server.cli import main
from tumorbase.store.store import Store

OPTIONS = IngestOptions(workers=1, mpp=0.5)


def tumorbase(*words: object) -> Result:
    """What a command says; bugs are raised."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ingesting(cohort: Path, store: Path, workers: int = 1) -> tuple[object, ...]:
    """The words of an ingest."""
    return "ingest", cohort, "--store", store, "--mpp", 0.5, "--workers", workers, "--json"


def error_line(done: Result) -> str:
    """The one line of a command that failed; lines of progress may go before."""
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if " committed " not in line]
    assert line.startswith("error: ")
    return line


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own at `folder`; skips where nobody may mount: then file sizes are limited."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as on a read-only disk, or where nobody may mount, without leave to write."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
        for path, mode in modes.items():
            path.chmod(mode)
        return
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def whole(small_cohort: Path, tmp_path: Path) -> Path:
    """The store of the whole cohort, closed."""
    path = tmp_path / "whole"
    with Store.create(path) as store:
        ingest(store, [small_cohort], OPTIONS)
    return path


def lesions(path: Path) -> set[str]:
    """All lesions that are visible, in a store that must be sound."""
    with Store.open(path) as store:
        assert store.check().is_clean
        return set(store.view().table("lesion")["lesion_id"].to_pylist())


@pytest.mark.parametrize(("free_kib", "workers"), [(40, 1), (250, 1), (250, 2)])
def test_a_full_disk_is_told_and_the_next_run_completes(
    small_cohort, whole, tmp_path, free_kib, workers
):
    disk = tmp_path / "disk"
    with small_disk(disk, "16m"):
        Store.create(disk / "store").close()
        fill = disk / "fill"
        fill.write_bytes(b"0" * (shutil.disk_usage(disk).free - free_kib * 1024))
        said = error_line(tumorbase(*ingesting(small_cohort, disk / "store", workers)))
        assert "cannot write" in said or "cannot be written" in said
        status = tumorbase("status", "--store", disk / "store")
        assert status.exit_code == 0, status.stderr
        fill.unlink()
        assert lesions(disk / "store") <= lesions(whole)
        assert tumorbase(*ingesting(small_cohort, disk / "store")).exit_code == 0
        assert lesions(disk / "store") == lesions(whole)


def test_no_store_is_begun_on_a_full_disk(small_cohort, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "64k"):
        said = error_line(tumorbase(*ingesting(small_cohort, disk / "store")))
        assert "cannot make a store" in said
        assert list(disk.iterdir()) == []


def test_a_limit_of_file_size_is_told_like_a_full_disk(small_cohort, whole, tmp_path):
    path = tmp_path / "limited"
    Store.create(path).close()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, 16 * 1024))

    words = [sys.executable, "-m", "tumorbase.server.cli", *ingesting(small_cohort, path)]
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in done.stderr
    assert lesions(path) < lesions(whole)
    assert tumorbase(*ingesting(small_cohort, path)).exit_code == 0
    assert lesions(path) == lesions(whole)


def test_a_read_only_store_is_read_and_not_written(small_cohort, whole, tmp_path):
    before = lesions(whole)
    export = ("export", "--level", "lesion", "--out", tmp_path / "lesions.parquet")
    with read_only(whole):
        asked = tumorbase(
            "similar", sorted(before)[0], "--level", "lesion", "--store", whole, "--json"
        )
        assert asked.exit_code == 0, asked.stderr
        assert json.loads(asked.stdout)["hits"]
        for words in (("status",), ("check",), ("track",), export):
            assert tumorbase(*words, "--store", whole).exit_code == 0
        for words in (ingesting(small_cohort, whole), ("snapshot", "now", "--store", whole)):
            assert "cannot be written" in error_line(tumorbase(*words))
    assert lesions(whole) == before


def test_a_store_killed_and_then_read_only_is_read(tmp_path):
    """What is in DuckDB's log alone is read, though nobody may write the log back."""
    path = tmp_path / "store"
    script = f"""
import os
from tumorbase.server.cli import main
from tumorbase.store.store import Store
store = Store.create({str(path)!r})
store.snapshot("kept")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert (path / "metadata.duckdb.wal").stat().st_size
    with read_only(path):
        status = tumorbase("status", "--store", path, "--json")
    assert status.exit_code == 0
    assert json.loads(status.stdout)["snapshots"] == {"kept": 0}
