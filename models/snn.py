"""Self-normalising network of genomic features (Klambauer et al. 2017), as the SNN of MCAT."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from tumorbase.models.survival_output import SurvivalOutput

# Widths of the blocks (mahmoodlab/MCAT@b9cca63, SNN).
WIDTHS = {"small": (256, 256, 256, 256), "big": (1024, 1024, 1024, 256)}


def snn_blocks(input_dim: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Blocks of Linear, ELU and AlphaDropout one after the other, the last of `widths[-1]`."""
    return nn.Sequential(
        *(
            nn.Sequential(nn.Linear(before, after), nn.ELU(), nn.AlphaDropout(0.25))
            for before, after in pairwise((input_dim, *widths))
        )
    )


class SNN(nn.Module):
    """Hazards of discrete time from a patient's genomic features alone (Chen et al. 2021, Table 1).

    Published for one patient at a time; a patient's hazards are the same in a batch of any size.
    """

    def __init__(self, input_dim: int, size: str = "small", n_classes: int = 4) -> None:
        """A network of `input_dim` features whose blocks have the widths of `WIDTHS[size]`.

        Raises:
            ValueError: there is no such size.
        """
        super().__init__()
        if size not in WIDTHS:
            raise ValueError(f"size must be one of {', '.join(WIDTHS)}, got {size!r}")
        self.fc_omic = snn_blocks(input_dim, WIDTHS[size])
        self.classifier = nn.Linear(WIDTHS[size][-1], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.in_features))
                nn.init.zeros_(module.bias)

    def features(self, profiles: Tensor) -> Tensor:
        """Embeddings, float32 (batch, 256), of genomic features, float32 (batch, input_dim)."""
        embeddings: Tensor = self.fc_omic(profiles)  # (batch, 256)
        return embeddings

    def forward(self, profiles: Tensor) -> SurvivalOutput:
        """Hazards of patients whose genomic features are float32 (batch, input_dim), z-scored."""
        return SurvivalOutput.from_logits(self.classifier(self.features(profiles)))
