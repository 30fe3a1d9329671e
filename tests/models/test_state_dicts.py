"""State dicts have the keys, the order and the shapes of the reference implementations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from golden import state_shapes
from tumorbase.models.networks import build
from tumorbase.models.smurf import SmurfConfig
from tumorbase.models.smurf_extractors import RadiologyExtractor, radiology_swin

SIZES = (100, 200, 300, 400, 500, 600)  # of groups of genes
BLCA = (94, 334, 521, 468, 1495, 479)


def network(name: str, **config: Any) -> Callable[[], nn.Module]:
    return lambda: build(name, **config)


# By file of shared/reference.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "hipt/state_dict_vit256.json": network("hipt_vit256"),
    "hipt/state_dict_vit4k.json": network("hipt_vit4k"),
    "hipt/state_dict_lgp_fc_4class.json": network("hipt_lgp", n_classes=4),
    "hovernet/state_dict_original_none.json": network("hovernet", mode="original", nr_types=None),
    "hovernet/state_dict_original_5.json": network("hovernet", mode="original", nr_types=5),
    "hovernet/state_dict_fast_5.json": network("hovernet", mode="fast", nr_types=5),
    "hovernet/state_dict_fast_6.json": network("hovernet", mode="fast", nr_types=6),
    "lesion_graph/state_dict_lesanet_vgg16bn_171.json": network("lesanet"),
    "lesion_graph/state_dict_ssbr.json": network("ssbr"),
    "mcat/state_dict_snn_small_in80.json": network("snn", input_dim=80, size="small"),
    "mcat/state_dict_snn_big_in500.json": network("snn", input_dim=500, size="big"),
    "mcat/state_dict_concat_small.json": network("mcat", omic_sizes=SIZES),
    "mcat/state_dict_concat_small_blca.json": network("mcat", omic_sizes=BLCA),
    "mcat/state_dict_bilinear_small.json": network("mcat", omic_sizes=SIZES, fusion="bilinear"),
    "mcat/state_dict_concat_omicbig.json": network("mcat", omic_sizes=SIZES, snn_size="big"),
    "motcat/state_dict_concat_small.json": network("motcat", omic_sizes=SIZES),
    "motcat/state_dict_concat_small_blca.json": network("motcat", omic_sizes=BLCA),
    "rp3d_diag/state_dict_early_5569.json": network("radnet"),
    "rp3d_diag/state_dict_early_931.json": network("radnet", n_classes=931),
    "rp3d_diag/state_dict_late_931.json": network("radnet", n_classes=931, fuse="late"),
    "smurf/state_dict_model_fs24_do8_fused_attention.json": network("smurf"),
    "smurf/state_dict_radiology_4stage_fs48.json": lambda: RadiologyExtractor(
        radiology_swin(48, stages=4), 48
    ),
}
# The reference cannot run it, and no option of ours makes it.
LEFT_OUT = {"mcat/state_dict_concat_wsibig_not_runnable.json"}


@pytest.mark.parametrize("file", NETWORKS)
def test_keys_order_and_shapes_are_the_references(shared: Path, file: str) -> None:
    with torch.device("meta"):
        ours = NETWORKS[file]()
    assert state_shapes(ours) == list(json.loads((shared / "reference" / file).read_text()).items())


def test_every_state_dict_of_the_references_is_compared(shared: Path) -> None:
    folder = shared / "reference"
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("state_dict*.json")}
    assert files - LEFT_OUT == set(NETWORKS)


def test_smurf_as_published_has_the_same_state() -> None:
    with torch.device("meta"):
        ours, published = (
            build("smurf", config=SmurfConfig(as_published=flag)) for flag in (False, True)
        )
    assert state_shapes(ours) == state_shapes(published)
