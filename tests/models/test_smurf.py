"""SMuRF gives the numbers of the restated reference, and is right where that is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import assert_golden, assert_golden_stats, fill, seeded
from tumorbase.models.networks import build
from tumorbase.models.smurf import Smurf, SmurfConfig
from tumorbase.models.smurf_extractors import (
    PathologyExtractor,
    RadiologyExtractor,
    pathology_swin,
    radiology_swin,
)
from tumorbase.models.smurf_fusion import RegionAttention, outer_product

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = ["fused_attention_multitask", "attention_survival", "kronecker_grade", "concat_multitask"]


class Batch(NamedTuple):
    """Patients as the network takes them."""

    tumour: Tensor
    node: Tensor
    grids: Tensor


@pytest.fixture(scope="module")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """What the reference put out."""
    return np.load(shared / "reference" / "smurf" / "golden.npz")


@pytest.mark.parametrize("run", RUNS)
def test_as_published_it_equals_the_reference(golden: Mapping[str, np.ndarray], run: str) -> None:
    seed, patients, side_px, fragments, side, dim, attention_dim = map(
        int, golden[f"{run}/seed_B_H_T_P_fs_dimout"]
    )
    config = SmurfConfig(
        fusion=str(golden[f"{run}/fusion"]),
        task=str(golden[f"{run}/task"]),
        feature_dim=dim,
        attention_dim=attention_dim,
        hidden_dims=tuple(golden[f"{run}/hidden"].tolist()),
        as_published=True,
    )
    batch = _batch(seed, patients, side_px, fragments, side)
    with torch.inference_mode():
        output = fill(build("smurf", config=config))(*batch)
    for region, name in enumerate(("feat_tumor", "feat_lymph", "feat_path")):
        assert_golden(output.regions[:, region], golden[f"{run}/{name}"])
    assert_golden(
        output.fused[:, :: max(1, output.fused.shape[1] // 512)], golden[f"{run}/fused_sub"]
    )
    assert_golden_stats(output.fused, golden[f"{run}/fused_stats"])
    grade = [] if output.grade_logits is None else [output.grade_logits.sigmoid()]
    told = [*grade, *([] if output.hazard is None else [output.hazard])]
    assert_golden(torch.stack(told, dim=1), golden[f"{run}/output"])


def test_the_extractor_of_ct_alone_equals_the_reference(golden: Mapping[str, np.ndarray]) -> None:
    extractor = fill(RadiologyExtractor(radiology_swin(48, stages=4), 48))
    seed, *shape = golden["radiology4stage/seed_B_C_D_H_W"].tolist()
    images = torch.from_numpy(seeded(seed).random(shape).astype(np.float32))
    with torch.inference_mode():
        assert_golden(extractor(images), golden["radiology4stage/out"])


def test_the_node_has_its_own_extractor_but_in_the_published_form() -> None:
    batch = _batch(0, 1, 16, 1, 8)
    own, shared = _network(), _network(as_published=True)
    with torch.inference_mode():
        expected = own.extractor_ct_lymph(batch.node)
        assert torch.equal(own(*batch).regions[:, 1], expected)
        assert torch.equal(shared(*batch).regions[:, 1], shared.extractor_ct_tumor(batch.node))
    assert not torch.allclose(expected, own.extractor_ct_tumor(batch.node), atol=1e-3)


def test_a_slides_vector_is_the_mean_of_its_fragments_vectors() -> None:
    extractor = fill(PathologyExtractor(pathology_swin(24), 24))
    grids = _batch(0, 2, 16, 3, 9).grids
    with torch.inference_mode():
        together = extractor(grids)
        alone = [extractor(grids[:, [fragment]]) for fragment in range(3)]
        turned = extractor(grids.flip(1))
    torch.testing.assert_close(together, torch.stack(alone).mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, turned, rtol=1e-4, atol=1e-5)


def test_published_form_differs_from_it_only_where_there_are_several_fragments() -> None:
    right = fill(PathologyExtractor(pathology_swin(24), 24))
    published = fill(PathologyExtractor(pathology_swin(24), 24, mixes_channels=True))
    grids = _batch(0, 2, 16, 3, 9).grids
    with torch.inference_mode():
        torch.testing.assert_close(right(grids[:, :1]), published(grids[:, :1]))
        assert not torch.allclose(right(grids), published(grids), atol=1e-3)


def test_fragments_that_are_not_real_change_nothing() -> None:
    network, batch = _network(), _batch(0, 2, 16, 3, 9)
    marks = torch.tensor([[True, True, False], [True, False, False]])
    with torch.inference_mode():
        together = network(*batch, marks).regions
        alone = network(*(part[1:] for part in batch[:2]), batch.grids[1:, :1]).regions
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("over_queries", [False, True])
def test_attention_sums_to_one_over_keys_or_as_published_over_queries(over_queries: bool) -> None:
    """Where all values are 1, a vector that takes shares of them is 1 as well."""
    attention = fill(RegionAttention(6, 4, over_queries))
    torch.nn.init.zeros_(attention.WV.weight)
    torch.nn.init.ones_(attention.WV.bias)
    taken = attention(torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(taken, torch.ones(2, 3, 4)) is not over_queries
    torch.testing.assert_close(taken.sum(dim=1), torch.full((2, 4), 3.0))


def test_the_outer_product_holds_the_vectors_and_all_their_products() -> None:
    first, second = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0])
    product = outer_product(torch.stack([first, second])[None])
    assert product.tolist() == [[10, 14, 2, 15, 21, 3, 5, 7, 1]]


@pytest.mark.parametrize(("slices", "height", "width"), [(3, 1, 1), (1, 3, 50), (4, 17, 5)])
def test_small_and_odd_maps_are_encoded(slices: int, height: int, width: int) -> None:
    with torch.inference_mode():
        output = _network()(
            torch.rand(1, 4, slices, height, width),
            torch.rand(1, 4, slices, height, width),
            torch.rand(1, 1, 192, height, width),
        )
    assert torch.isfinite(output.fused).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fusion": "sum"}, "fusion must be one of fused_attention, .*, got 'sum'"),
        ({"task": "os"}, "task must be one of multitask, .*, got 'os'"),
        ({"feature_dim": 32}, "feature_dim must be a multiple of 6, got 32"),
    ],
)
def test_wrong_settings_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("smurf", config=SmurfConfig(**config))


@pytest.mark.parametrize(
    ("part", "shape", "message"),
    [
        (0, (2, 3, 3, 16, 16), r"sub-volumes \(patients, 4, slices"),
        (1, (1, 4, 3, 16, 16), "of the same patients, got 2, 1 and 2"),
        (2, (2, 192, 8, 8), r"grids \(patients, fragments, 192"),
        (2, (2, 0, 192, 8, 8), r"grids \(patients, fragments, 192"),
    ],
)
def test_wrong_shapes_are_refused(part: int, shape: tuple[int, ...], message: str) -> None:
    batch = list(_batch(0, 2, 16, 1, 8))
    batch[part] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        _network()(*batch)


def test_a_patient_without_a_real_fragment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"marks \(2, 1\) with a real fragment of each patient"):
        _network()(*_batch(0, 2, 16, 1, 8), torch.tensor([[True], [False]]))


def _network(as_published: bool = False) -> Smurf:
    return fill(build("smurf", config=SmurfConfig(as_published=as_published)))  # type: ignore[return-value]


def _batch(seed: int, patients: int, side_px: int, fragments: int, side: int) -> Batch:
    """Input of a golden run by the rule of the reference's spec."""
    random = seeded(seed)
    ct = (patients, 4, 3, side_px, side_px)
    drawn = (
        random.random(ct),
        random.random(ct),
        random.standard_normal((patients * fragments, 192, side, side)),
    )
    tumour, node, grids = (torch.from_numpy(part.astype(np.float32)) for part in drawn)
    return Batch(tumour, node, grids.unflatten(0, (patients, fragments)))
