"""The examples in docs/models run as they are written, and do what is said beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import openslide
import pytest
import torch
from PIL import Image

from doc_examples import run_example
from golden import fill, seeded
from tumorbase.models.checkpoints import read_state
from tumorbase.models.networks import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples look for their files, and write."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_smurf_is_trained_on_a_cohort_and_tells_hazards(in_a_folder: Path) -> None:
    patients = [f"P{number}" for number in range(3)]
    (in_a_folder / "grids").mkdir()
    for number, patient in enumerate(patients):
        write_scan(in_a_folder / "cohort" / "radiology" / patient, seeded(number))
        grid = seeded(number).normal(size=(1 + number % 2, 2 + number, 3, 192)).astype(np.float32)
        np.save(in_a_folder / "grids" / f"{patient}.npy", grid)
    torch.manual_seed(0)
    done = run_example(
        "smurf.md",
        0,
        patients=patients,
        epochs=1,
        grade=torch.tensor([0.0, 1.0, 1.0]),
        time=torch.tensor([100.0, 200.0, 300.0]),
        is_censored=torch.tensor([0, 0, 1]),
    )
    assert done["tumours"].shape == done["nodes"].shape == (3, 4, 3, 128, 128)
    assert not torch.equal(done["tumours"], done["nodes"])
    assert done["grids"].shape == (3, 2, 192, 4, 3)
    hazard = done["output"].hazard
    assert hazard.shape == (3,)
    assert ((hazard > 0) & (hazard < 1)).all()
    assert len(hazard.unique()) == 3


def test_a_fragment_of_a_slide_becomes_a_grid(in_a_folder: Path) -> None:
    """Told by its colours, where HIPT would see them: from -1 to 1, each of 1,024 px."""
    pixels = np.full((4200, 2100, 3), 255, np.uint8)
    pixels[100:2148, 10:2058], pixels[2148:4196, 10:2058] = 0, (0, 255, 255)
    Image.fromarray(pixels).save(in_a_folder / "slide.png")
    seen = []

    def hipt(region: torch.Tensor) -> torch.Tensor:
        seen.append(region)
        return region.mean(dim=(2, 3)).repeat(1, 64)

    (in_a_folder / "grids").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openslide, "OpenSlide", lambda _: openslide.ImageSlide("slide.png"))
        done = run_example(
            "smurf.md",
            1,
            openslide=openslide,
            np=np,
            torch=torch,
            hipt=hipt,
            rows=3,
            columns=1,
            tissue_cells=[(0, 0), (1, 0)],
            left_px=10,
            top_px=100,
        )
    assert {tuple(region.shape) for region in seen} == {(1, 3, 1024, 1024)}
    assert done["grid"][:, 0, :3].tolist() == [[-1, -1, -1], [-1, 1, 1], [0, 0, 0]]
    assert np.load("grids/P1.npy").shape == (1, 3, 1, 192)


def test_lesanet_is_converted_and_names_a_lesions_labels(
    shared: Path, in_a_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    easydict = ModuleType("easydict")
    easydict.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})
    monkeypatch.setitem(sys.modules, "easydict", easydict)
    state = {f"module.{key}": value for key, value in fill(build("lesanet")).state_dict().items()}
    checkpoint = {"epoch": 15, "default_arg": easydict.EasyDict(lr=0.01), "state_dict": state}
    downloaded = in_a_folder / "downloaded.pth.tar"
    torch.save(checkpoint, downloaded, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"got an object of easydict\.EasyDict"):
        read_state(downloaded, "state_dict", ("module.",))
    (in_a_folder / "weights").mkdir()
    run_example("lesanet.md", 1)
    monkeypatch.delitem(sys.modules, "easydict")
    labels = shared / "data" / "deeplesion" / "lesanet" / "text_mined_labels_trainval.json"
    (in_a_folder / "text_mined_labels_171_and_split.json").symlink_to(labels)
    done = run_example(
        "lesanet.md",
        0,
        volume_hu=seeded(0).integers(-1000, 1000, (5, 90, 80)).astype(np.float32),
        key_slice=2,
        box_px=(30.0, 40.0, 50.0, 60.0),
        spacing_mm=(2.0, 0.8, 0.8),
    )
    told = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    assert len(told) == 5
    assert [float(score) for score, _ in told] == sorted((float(s) for s, _ in told), reverse=True)
    assert told[0][1] == done["names"][int(done["probability"].argmax())]


def write_scan(folder: Path, random: np.random.Generator) -> None:
    """A CT of noise, with a tumour and a lymph node drawn beside each other."""
    folder.mkdir(parents=True)
    image = random.normal(50, 80, (30, 40, 12)).astype(np.int16)  # (x, y, z)
    tumour, node = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    tumour[5:12, 10:20, 2:8] = 1
    node[20:24, 25:30, 4:6] = 1
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    for name, voxels in (("CT_img", image), ("label", tumour), ("node", node)):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
