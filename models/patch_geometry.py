"""How patches are cut from a slide: a part of what their vectors are bound to."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tumorbase.models.encoders import EncoderSpec, canonical


@dataclass(frozen=True)
class PatchGeometry:
    """Squares of `side_px` pixels at `mpp` micrometres per pixel.

    Vectors of patches at 0.25 and at 0.5 um a pixel show other things: by one and the same network
    they are two encoders, each beside the other.
    """

    mpp: float = 0.5
    side_px: int = 256

    def bind(self, spec: EncoderSpec) -> EncoderSpec:
        """The spec of the vectors that an encoder of patches makes of such patches."""
        told = {"encoder": json.loads(spec.preprocessing), "mpp": self.mpp, "side_px": self.side_px}
        return replace(spec, preprocessing=canonical(told))

    @classmethod
    def of(cls, preprocessing: str) -> PatchGeometry:
        """That of stored vectors, by the preprocessing of `bind`, or of `slide_spec` after it.

        Raises:
            ValueError: it states none; patches that other software cut have theirs in their rows.
        """
        told = json.loads(preprocessing)
        told = told.get("parts", told)
        try:
            return cls(told["mpp"], told["side_px"])
        except KeyError as error:
            raise ValueError(f"expected a geometry of patches, got {preprocessing}") from error
