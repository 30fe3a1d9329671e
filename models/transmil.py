"""TransMIL: a transformer over the patches of a slide (Shao et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tumorbase.models.bag_input import check_patches
from tumorbase.models.nystrom_attention import NystromAttention
from tumorbase.models.survival_output import SurvivalOutput

DIM = 512
HEADS = 8
LANDMARKS = 256


class TransMil(nn.Module):
    """Hazards from a class token that patches are attended to by (Shao et al. 2021, section 3.2).

    The order of the patches matters, since they are laid out row by row in a square. Keys are those
    of szc19990412/TransMIL@0db1535; a published classifier reads `logits.softmax(dim=1)`.
    """

    def __init__(self, n_classes: int = 4, patch_dim: int = 1024) -> None:
        """A network for `n_classes` time bins, and patch vectors of `patch_dim` features."""
        super().__init__()
        self.patch_dim = patch_dim
        self.pos_layer = PositionEncoding()
        self._fc1 = nn.Sequential(nn.Linear(patch_dim, DIM), nn.ReLU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.layer1 = AttentionLayer()
        self.layer2 = AttentionLayer()
        self.norm = nn.LayerNorm(DIM)
        self._fc2 = nn.Linear(DIM, n_classes)

    def forward(self, patches: Tensor) -> SurvivalOutput:
        """The hazards of one patient, of all of whose patches the bag is made.

        Args:
            patches: float (patches, patch_dim), at least one, in their order on the slide.

        Raises:
            ValueError: the bag is empty, or its vectors have another size.
        """
        check_patches(patches, self.patch_dim)
        tokens = self._fc1(patches)  # (patches, 512)
        side = math.isqrt(len(tokens) - 1) + 1  # the smallest square that holds them
        # The first patches fill the square up (figure 3, squaring of sequence).
        square = torch.cat([tokens, tokens[: side**2 - len(tokens)]])[None]  # (1, side^2, 512)
        tokens = torch.cat([self.cls_token, square], dim=1)  # (1, 1 + side^2, 512)
        tokens = self.layer2(self.pos_layer(self.layer1(tokens), side))  # (1, 1 + side^2, 512)
        return SurvivalOutput.from_logits(self._fc2(self.norm(tokens[:, 0])))


class AttentionLayer(nn.Module):
    """Tokens plus what they attend to after layer normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.attn = NystromAttention(DIM, HEADS, LANDMARKS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape, (1, tokens, 512)."""
        attended: Tensor = self.attn(self.norm(tokens))
        return tokens + attended


class PositionEncoding(nn.Module):
    """Pyramid position encoding: convolutions of three sizes over the square (section 3.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(DIM, DIM, 7, padding=3, groups=DIM)
        self.proj1 = nn.Conv2d(DIM, DIM, 5, padding=2, groups=DIM)
        self.proj2 = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)

    def forward(self, tokens: Tensor, side: int) -> Tensor:
        """The tokens, to all of which but the first their surroundings are added.

        Args:
            tokens: float (1, 1 + side^2, 512), the class token first.
            side: of the square, in patches.
        """
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        grid = patches.transpose(1, 2).unflatten(2, (side, side))  # (1, 512, side, side)
        grid = self.proj(grid) + grid + self.proj1(grid) + self.proj2(grid)
        return torch.cat([class_token, grid.flatten(2).transpose(1, 2)], dim=1)
