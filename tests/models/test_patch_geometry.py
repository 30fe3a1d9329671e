"""Patches of another size are another encoder's."""

from __future__ import annotations

import pytest

from tumorbase.models.encoders import EncoderSpec
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.pooling import slide_spec

SPEC = EncoderSpec("toy", "1", "patch", 2, "", '{"features":["a","b"]}')


@pytest.mark.parametrize("other", [PatchGeometry(0.25, 256), PatchGeometry(0.5, 224)])
def test_another_geometry_is_another_encoder(other: PatchGeometry) -> None:
    usual, bound = PatchGeometry().bind(SPEC), other.bind(SPEC)
    assert usual.encoder_id != bound.encoder_id
    assert slide_spec(usual).encoder_id != slide_spec(bound).encoder_id


def test_the_geometry_is_read_back_from_what_is_stored() -> None:
    geometry = PatchGeometry(0.25, 224)
    bound = geometry.bind(SPEC)
    assert PatchGeometry.of(bound.preprocessing) == geometry
    assert PatchGeometry.of(slide_spec(bound).preprocessing) == geometry


def test_patches_that_others_cut_have_none() -> None:
    with pytest.raises(ValueError, match="expected a geometry of patches"):
        PatchGeometry.of('{"set":"features-uni"}')
