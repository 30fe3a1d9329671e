"""The committed stubs are those that proto/ generates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def _contents(folder: Path) -> dict[str, str]:
    return {
        file.name: file.read_text()
        for pattern in GENERATED
        for file in (folder / "tumorbase" / "v1").glob(pattern)
    }


def test_stubs_are_those_that_the_contract_generates(tmp_path: Path) -> None:
    protos = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("proto/tumorbase/v1/*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, *protos]
    subprocess.run(command, cwd=ROOT, check=True)
    generated = _contents(tmp_path)
    assert len(generated) == len(GENERATED) * len(protos) > 0
    assert _contents(ROOT / "server" / "pb") == generated, "run `make stubs`"
