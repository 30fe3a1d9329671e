"""Attention-based multiple instance learning (Ilse, Tomczak & Welling 2018) for survival."""

from __future__ import annotations

from torch import Tensor, nn

from tumorbase.models.bag_attention import DIM, BagAttention
from tumorbase.models.bag_input import check_patches
from tumorbase.models.gated_attention import attention_pool
from tumorbase.models.survival_output import SurvivalOutput

SLIDE_DIM = 256


class Amil(nn.Module):
    """Hazards from the gated-attention mean of a bag's patches (Ilse et al. 2018, equation 9).

    The form that MCAT was compared with: keys are those of `MIL_Attention_FC_surv` without genomics
    in mahmoodlab/MCAT@95c86d9, models/model_set_mil.py.
    """

    def __init__(self, n_classes: int = 4, patch_dim: int = 1024) -> None:
        """A network for `n_classes` time bins, and patch vectors of `patch_dim` features."""
        super().__init__()
        self.patch_dim = patch_dim
        self.attention_net = BagAttention(patch_dim, hidden_dim=256)
        self.rho = nn.Sequential(nn.Linear(DIM, SLIDE_DIM), nn.ReLU(), nn.Dropout(0.25))
        self.classifier = nn.Linear(SLIDE_DIM, n_classes)

    def forward(self, patches: Tensor) -> SurvivalOutput:
        """The hazards of one patient, of all of whose patches the bag is made.

        Args:
            patches: float (patches, patch_dim), at least one, in any order.

        Returns:
            Its `attention["patches"]` holds scores before the softmax, (1, patches).

        Raises:
            ValueError: the bag is empty, or its vectors have another size.
        """
        check_patches(patches, self.patch_dim)
        embedded, scores = self.attention_net(patches)  # (patches, 512), (1, patches)
        slide = self.rho(attention_pool(scores, embedded))  # (1, 256)
        return SurvivalOutput.from_logits(self.classifier(slide), {"patches": scores})
