"""MCAT equals the published one, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from survival_golden import assert_every_step_golden, seeded_patient

from golden import fill
from tumorbase.models.networks import build

SIZES = [100, 200, 300, 400, 500, 600]
BLCA = [94, 334, 521, 468, 1495, 479]
VARIANTS = {  # by golden run
    "concat_default": {"omic_sizes": SIZES},
    "concat_blca": {"omic_sizes": BLCA},
    "bilinear_default": {"omic_sizes": SIZES, "fusion": "bilinear"},
    "concat_omicbig": {"omic_sizes": SIZES, "snn_size": "big"},
}


@pytest.mark.parametrize("run", VARIANTS)
def test_every_step_is_the_published_one(shared, run) -> None:
    golden = np.load(shared / "reference" / "mcat" / "golden.npz")
    assert_every_step_golden(fill(build("mcat", **VARIANTS[run])), golden, run)


def test_a_bag_of_one_patch_has_a_score_by_every_group() -> None:
    network = build("mcat", omic_sizes=[5, 7], n_classes=3).eval()
    output = network(*seeded_patient(0, 1, [5, 7]))
    assert output.hazards.shape == (1, 3)
    assert output.attention["coattention"].shape == (2, 1)


def test_training_leaves_out_at_random() -> None:
    network, patient = build("mcat", omic_sizes=[5, 7]), seeded_patient(0, 9, [5, 7])
    assert not torch.equal(network(*patient).logits, network(*patient).logits)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"omic_sizes": []}, "at least one gene group"),
        ({"omic_sizes": [5], "fusion": "sum"}, "fusion must be concat or bilinear, got 'sum'"),
        ({"omic_sizes": [5], "snn_size": "huge"}, "snn_size must be one of small, big"),
    ],
)
def test_what_cannot_be_built_is_refused(config, message) -> None:
    with pytest.raises(ValueError, match=message):
        build("mcat", **config)
