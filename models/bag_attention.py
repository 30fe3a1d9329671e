"""The first half of the networks that pool a bag of patches by gated attention."""

from __future__ import annotations

from torch import Tensor, nn

from tumorbase.models.gated_attention import GatedAttention

DIM = 512


class BagAttention(nn.Sequential):
    """Embeds each patch and scores it, as AMIL, CLAM and PORPOISE do with a layer each.

    The keys count the layers, dropout included: the linear layer is `0` and the attention `3`, or
    `1` and `4` behind a dropout of the input.
    """

    def __init__(
        self, patch_dim: int, hidden_dim: int, heads: int = 1, input_dropout: float = 0.0
    ) -> None:
        """Patches of `patch_dim` features become 512, which `heads` gated attentions score."""
        super().__init__(
            *([nn.Dropout(input_dropout)] if input_dropout else []),
            nn.Linear(patch_dim, DIM),
            nn.ReLU(),
            nn.Dropout(0.25),
            GatedAttention(DIM, hidden_dim, heads),
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded patches, (patches, 512), and their scores before the softmax, (heads, patches).

        Args:
            patches: float (patches, patch_dim).
        """
        *embedding, attention = self
        for layer in embedding:
            patches = layer(patches)
        return patches, attention(patches)
