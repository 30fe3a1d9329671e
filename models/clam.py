"""CLAM: attention pooling constrained by clustering of patches (Lu et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tumorbase.models.bag_attention import DIM, BagAttention
from tumorbase.models.bag_input import check_patches
from tumorbase.models.gated_attention import attention_pool
from tumorbase.models.survival_output import SurvivalOutput

HIDDEN_DIM = {"small": 256, "big": 384}  # of the attention
CLUSTER_PATCHES = 8  # the most, and the least, attended ones of a bag


class Clam(nn.Module):
    """Hazards, or classes, from gated attention with one branch for all or one a class.

    Keys are those of mahmoodlab/CLAM@d7fe58b, models/model_clam.py (`CLAM_SB`, `CLAM_MB`, gated);
    `published_state` gives a published checkpoint these. A classifier reads
    `logits.softmax(dim=1)`. In training the loss of the bag is joined by that of its clusters, in
    the paper 0.7 of the one and 0.3 of the other:

        embedded, scores = network.attend(patches)
        output = network.classify(embedded, scores)
        loss = 0.7 * survival_loss(output) + 0.3 * network.cluster_loss(embedded, scores, label)
    """

    def __init__(
        self,
        n_classes: int = 4,
        branches: str = "single",
        size: str = "small",
        is_exclusive: bool = True,
        patch_dim: int = 1024,
    ) -> None:
        """A network in training mode.

        Args:
            n_classes: time bins, or classes.
            branches: "single", or "multi" for an attention and a classifier for each class.
            size: of the attention, "small" or "big".
            is_exclusive: the classes exclude each other, so that what speaks for one speaks against
                the others ("subtyping"); time bins do, tumour and normal tissue do not.
            patch_dim: features of a patch vector.

        Raises:
            ValueError: no such `branches` or `size`.
        """
        super().__init__()
        self.patch_dim = patch_dim
        if branches not in ("single", "multi"):
            raise ValueError(f"branches must be 'single' or 'multi', got {branches!r}")
        if size not in HIDDEN_DIM:
            raise ValueError(f"size must be one of {', '.join(HIDDEN_DIM)}, got {size!r}")
        heads = n_classes if branches == "multi" else 1
        self.attention_net = BagAttention(patch_dim, HIDDEN_DIM[size], heads)
        self.classifiers: nn.Linear | nn.ModuleList = (
            nn.ModuleList(nn.Linear(DIM, 1) for _ in range(n_classes))
            if branches == "multi"
            else nn.Linear(DIM, n_classes)
        )
        self.instance_classifiers = nn.ModuleList(nn.Linear(DIM, 2) for _ in range(n_classes))
        self.is_exclusive = is_exclusive

    def forward(self, patches: Tensor) -> SurvivalOutput:
        """What `classify` says of the bag.

        Args:
            patches: float (patches, patch_dim), at least one, in any order.

        Raises:
            ValueError: the bag is empty, or its vectors have another size.
        """
        return self.classify(*self.attend(patches))

    def attend(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded patches, (patches, 512), and their scores before the softmax.

        The scores are float (1 or n_classes, patches), equation 1; `patches`, and what of them is
        refused, are as in `forward`.
        """
        check_patches(patches, self.patch_dim)
        embedded, scores = self.attention_net(patches)
        return embedded, scores

    def classify(self, embedded: Tensor, scores: Tensor) -> SurvivalOutput:
        """The bag's output, whose `attention["patches"]` are the scores.

        Args:
            embedded: as `attend` returns it.
            scores: as `attend` returns them.
        """
        slides = attention_pool(scores, embedded)  # (1 or n_classes, 512), equation 2
        if isinstance(self.classifiers, nn.Linear):
            logits = self.classifiers(slides)  # (1, n_classes)
        else:
            branches = zip(self.classifiers, slides, strict=True)
            logits = torch.stack([score(slide) for score, slide in branches], dim=1)
        return SurvivalOutput.from_logits(logits, {"patches": scores})

    def cluster_loss(self, embedded: Tensor, scores: Tensor, label: int) -> Tensor:
        """How badly the patches most and least attended for a class separate, a scalar.

        For the bag's class the 8 most attended patches are to be told from the 8 least attended
        ones; where classes exclude each other, the 8 most attended for any other class are to be
        found negative, and the mean over classes is taken. A smaller bag gives all its patches.

        Args:
            embedded: as `attend` returns it.
            scores: as `attend` returns them.
            label: the bag's class, or time bin.
        """
        count = min(CLUSTER_PATCHES, len(embedded))
        losses = []
        for index, classifier in enumerate(self.instance_classifiers):
            branch = scores[index if len(scores) > 1 else 0]  # (patches,)
            most = embedded[branch.topk(count).indices]  # (count, 512)
            least = embedded[branch.topk(count, largest=False).indices]  # (count, 512)
            if index == label:
                targets = torch.arange(2, device=branch.device).flip(0).repeat_interleave(count)
                losses.append(smooth_svm(classifier(torch.cat([most, least])), targets))
            elif self.is_exclusive:
                losses.append(smooth_svm(classifier(most), targets=branch.new_zeros(count).long()))
        return torch.stack(losses).mean()


def published_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published checkpoint under the keys of `Clam`.

    It was trained on several GPUs, so that its keys begin with `attention_net.module.`, and holds
    constants of the instance loss, which are left out.
    """
    return {
        key.replace("attention_net.module.", "attention_net."): tensor
        for key, tensor in state.items()
        if not key.startswith("instance_loss_fn.")
    }


def smooth_svm(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean smooth top-1 SVM loss (Berrada, Zisserman & Kumar 2018) at temperature and margin 1.

    It is cross-entropy, after every class but the right one has gained a logit of 1.

    Args:
        logits: float (patches, classes).
        targets: int64 (patches,).
    """
    margin = 1.0 - F.one_hot(targets, logits.shape[1])
    return F.cross_entropy(logits + margin, targets)
