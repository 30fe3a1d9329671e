"""Cases of RP3D-DiagDS are read as published, and diagnosed from end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doc_examples import run_example
from golden import fill
from tumorbase.models import network_encoder
from tumorbase.models.networks import build
from tumorbase.models.radnet_losses import early_fusion_loss
from tumorbase.models.rp3d_cases import label_vector, read_rp3d_case

HIP, SEGOND = "hip-dislocation-inferior-1", "segond-fracture-5"


@pytest.fixture
def folder(shared: Path) -> Path:
    """The demo data of the published code: three cases, whole only the last."""
    return shared / "data" / "rp3d"


@pytest.fixture
def entries(folder: Path) -> Mapping[str, Any]:
    """What the demo's JSON says, by the last part of the case's link."""
    links = json.loads((folder / "demoData.json").read_text())
    return {link.rpartition("/")[2].partition("?")[0]: entry for link, entry in links.items()}


def test_the_whole_demo_case_is_diagnosed_as_the_page_shows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    demo = tmp_path / "RP3D_Demo" / "DataPath"
    demo.mkdir(parents=True)
    (demo / "DemoData").symlink_to(folder)
    for name in ("demoData.json", "disorder_label_dict.json"):
        (demo / name).symlink_to(folder / name)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "radnet.bin").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(network_encoder, "load_published", lambda *_: fill(build("radnet")))
    shown = run_example("radnet.md", 1)
    told = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["Anterior cruciate ligament tear", "Segond fracture"]
    case, output, batch = shown["case"], shown["output"], shown["batch"]
    assert case.scans.modalities.tolist() == [7, 4, 5]  # X-ray, then two of MR
    assert case.scans.marks.sum(dim=1).tolist() == [3, 3, 3]  # grey, but stored as RGB
    assert case.key_slices.tolist() == [0, 0, 0]
    assert case.icd10cm == {"S82", "S83"}
    labels = label_vector(case.disorders, {name: i for i, name in enumerate(shown["names"])})[None]
    assert output.logits.shape == labels.shape == (1, 5569)
    assert shown["probabilities"]["Segond fracture"] == output.logits[labels > 0].sigmoid()[1]
    loss = early_fusion_loss(
        output.logits, labels, output.slice_scores, case.key_slices[None], batch.marks
    )
    assert 0.5 < loss.item() < 1.0


def test_stored_images_are_scaled_by_the_sample(folder: Path, entries: Mapping[str, Any]) -> None:
    case = read_rp3d_case(entries[SEGOND], folder / "data", folder / "key")
    stored = [np.load(folder / "data" / f"{number}.npy") for number in (149463, 149464)]
    expected = np.stack(stored) / np.max(stored)  # padding makes 0 the least value
    ours = case.scans.images[1:, :3].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_missing_images_are_named(folder: Path, entries: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"are missing: .*127782\.npy, .*127783\.npy$"):
        read_rp3d_case(entries[HIP], folder / "data", folder / "key")


def test_the_key_slice_is_found_among_those_kept(tmp_path: Path) -> None:
    """Of 70 slices 32 are kept: slice 20 is the tenth of them, and one past the end the last."""
    random = np.random.default_rng(0)
    for number, key in enumerate([20, 21, 700]):
        np.save(tmp_path / f"image{number}.npy", random.random((8, 8, 70)))
        np.save(tmp_path / f"key{number}.npy", np.array([key]))
    sample = {
        "image_data_path": [f"/authors/image{number}.npy" for number in range(3)],
        "image_key_path": [f"/authors/key{number}.npy" for number in range(3)],
        "articles": ["Fracture"],
        "icd10s": [],
    }
    entry = {"Modalities": ["CT"], "Samples": [sample]}
    case = read_rp3d_case(entry, tmp_path, tmp_path)
    kept = [i * 70 // 32 for i in range(32)]
    assert kept[9:11] == [19, 21]
    assert case.key_slices.tolist() == [9, 10, 31]


def test_names_without_a_class_are_passed_over() -> None:
    classes = {"Normal": 0, "Meningioma": 1}
    assert label_vector(["Meningioma", "Fracture"], classes).tolist() == [0, 1]
    assert label_vector([], classes).tolist() == [0, 0]
