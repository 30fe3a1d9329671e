"""Checkpoint files: what is read from them, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tumorbase.models.checkpoints import load_into, read_state

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


class Executes:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def assert_state(state: dict[str, torch.Tensor]) -> None:
    assert list(state) == list(STATE)
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_safetensors_and_torch_files_hold_the_same_state(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pth")
    assert_state(dict(sorted(read_state(tmp_path / "a.safetensors").items(), reverse=True)))
    assert_state(read_state(tmp_path / "a.pth"))


def test_a_training_file_is_unwrapped_and_its_prefixes_taken_off(tmp_path: Path) -> None:
    content = {
        "teacher": {f"module.backbone.{key}": value for key, value in STATE.items()},
        "student": {},
        "args": argparse.Namespace(lr=0.1),
        "acc": np.float64(0.5),
        "history": np.arange(3.0),
    }
    torch.save(content, tmp_path / "a.pth")
    assert_state(read_state(tmp_path / "a.pth", "teacher", ("module.", "backbone.")))


def test_prefixes_are_taken_off_the_keys_that_have_them(tmp_path: Path) -> None:
    keys = ("module.backbone.weight", "module.head.backbone.weight", "bias")
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "a.pth")
    state = read_state(tmp_path / "a.pth", prefixes=("module.", "backbone."))
    assert list(state) == ["weight", "head.backbone.weight", "bias"]


@pytest.mark.parametrize("keys", [("weight", "module.weight"), ("backbone.weight", "weight")])
def test_keys_that_differ_by_a_prefix_alone_are_refused(
    tmp_path: Path, keys: tuple[str, str]
) -> None:
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / "a.pth")
    assert list(read_state(tmp_path / "a.pth")) == list(keys)
    expected = rf"a\.pth: expected one tensor 'weight', got '{keys[0]}' and '{keys[1]}'"
    with pytest.raises(ValueError, match=expected):
        read_state(tmp_path / "a.pth", prefixes=("module.", "backbone."))


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**STATE, "extra": Executes()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: expected tensors and plain data only.*print"):
        read_state(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.pth", "a.tar", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02", b"not weights at all", b"\0" * 99])
def test_what_is_no_checkpoint_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: not a "):
        read_state(tmp_path / name)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.pth: not a checkpoint"):
        read_state(tmp_path / "a.pth")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"got no tensors, but \['epoch'\]"):
        read_state(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="expected a state dict, got list"):
        read_state(tmp_path / "a.pth")


def test_what_does_not_fit_is_listed_by_name_and_nothing_is_loaded() -> None:
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    state = {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"x\.pth does not fit Linear") as refused:
        load_into(network, state, "x.pth")
    assert "1 missing: bias" in str(refused.value)
    assert "1 unknown: scale" in str(refused.value)
    assert "weight (3, 2) instead of (2, 3)" in str(refused.value)
    assert torch.equal(network.weight, before)


def test_keys_that_published_files_have_left_over_are_passed_by() -> None:
    network = nn.Linear(3, 2)
    load_into(network, {**STATE, "head.mlp.weight": torch.zeros(1)}, "x.pth", ("head.",))
    assert torch.equal(network.weight, STATE["weight"])


def test_a_file_without_counts_of_batches_fits() -> None:
    network = nn.BatchNorm1d(2)
    state = {k: v + 1 for k, v in network.state_dict().items() if "num_batches" not in k}
    load_into(network, state, "x.pth")
    assert network.running_var.tolist() == [2.0, 2.0]
