"""Vision transformers trained on patches of slides, as their authors publish them on the hub.

All are of timm's class, so that the keys of their files are timm's. The config.json of their
repositories does not say all that timm needs, for layers such as SwiGLU have no name there; here it
is stated, from their pages on the hub and mahmoodlab/TRIDENT@0120b8b, patch_encoder_models/load.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.layers import Mlp, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tumorbase.models.patch_tower import IMAGENET_MEAN, IMAGENET_STD, PatchPreprocessing

PATCH_PX = 224  # a side of the images they take


@dataclass(frozen=True)
class PathologyViTConfig:
    """What is done to a patch, how the network is built, and how its tokens become a vector."""

    preprocessing: PatchPreprocessing
    token_px: int
    dim: int  # of a token
    depth: int
    heads: int
    mlp_ratio: float = 4.0  # with SwiGLU, of gate and value together
    has_swiglu: bool = False
    registers: int = 0  # tokens beside those of the patch (Darcet et al. 2024)
    is_prefix_placed: bool = True  # the class token and registers have positions too
    joins_mean: bool = False  # the vector: the class token, then the mean of the patch's tokens


_BILINEAR = PatchPreprocessing(PATCH_PX, PATCH_PX, IMAGENET_MEAN, IMAGENET_STD)
_BICUBIC = replace(_BILINEAR, interpolation="bicubic")
_VIRCHOW = PathologyViTConfig(
    preprocessing=_BICUBIC,
    token_px=14,
    dim=1280,
    depth=32,
    heads=16,
    mlp_ratio=5.3375,
    has_swiglu=True,
    joins_mean=True,
)
_H_OPTIMUS = PathologyViTConfig(
    preprocessing=PatchPreprocessing(
        PATCH_PX,
        PATCH_PX,
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
    ),
    token_px=14,
    dim=1536,
    depth=40,
    heads=24,
    mlp_ratio=5.33334,
    has_swiglu=True,
    registers=4,
    is_prefix_placed=False,
)

# By the name of their weights.
CONFIGS: dict[str, PathologyViTConfig] = {
    "uni": PathologyViTConfig(_BILINEAR, token_px=16, dim=1024, depth=24, heads=16),
    "uni2-h": PathologyViTConfig(
        preprocessing=_BILINEAR,
        token_px=14,
        dim=1536,
        depth=24,
        heads=24,
        mlp_ratio=5.33334,
        has_swiglu=True,
        registers=8,
        is_prefix_placed=False,
    ),
    "virchow": _VIRCHOW,
    "virchow2": replace(_VIRCHOW, registers=4),
    "prov-gigapath": PathologyViTConfig(
        preprocessing=replace(_BICUBIC, resize_px=256),
        token_px=16,
        dim=1536,
        depth=40,
        heads=24,
        mlp_ratio=5.33334,
        has_swiglu=True,
    ),
    "h-optimus-0": _H_OPTIMUS,
    "h-optimus-1": _H_OPTIMUS,
}


class PathologyViT(VisionTransformer):
    """A network of `CONFIGS`: normalised RGB (batch, 3, 224, 224) to (batch, dim), or to
    (batch, 2 dim) where it joins the mean.
    """

    def __init__(self, model: str, depth: int | None = None) -> None:
        """The network of these weights, or one of its kind.

        Args:
            model: a name in `CONFIGS`.
            depth: how many blocks there are, where it is one of your own with fewer.

        Raises:
            ValueError: no network has this name; the message lists the names there are.
        """
        if model not in CONFIGS:
            raise ValueError(f"model must be one of {', '.join(CONFIGS)}, got {model!r}")
        config = CONFIGS[model]
        mlp: Any = SwiGLUPacked if config.has_swiglu else Mlp  # the former is a partial of a class
        super().__init__(
            img_size=PATCH_PX,
            patch_size=config.token_px,
            num_classes=0,
            embed_dim=config.dim,
            depth=config.depth if depth is None else depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            init_values=1e-5,  # there is a scale for each layer; trained ones take its place
            no_embed_class=not config.is_prefix_placed,
            reg_tokens=config.registers,
            act_layer=nn.SiLU if config.has_swiglu else nn.GELU,
            mlp_layer=mlp,
        )
        self._joins_mean = config.joins_mean

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Vectors of patches from their normalised tokens, (batch, 1 + registers + tokens, dim)."""
        class_token = super().pool(x, pool_type)  # (batch, dim)
        if not self._joins_mean:
            return class_token
        mean = x[:, self.num_prefix_tokens :].mean(dim=1)  # (batch, dim), registers left out
        return torch.cat([class_token, mean], dim=1)  # (batch, 2 dim)
