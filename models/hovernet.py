"""HoVer-Net: where nuclei are, where in its nucleus each pixel lies, and of what type it is.

Graham et al., Medical Image Analysis 58 (2019) 101563, section 3.1. Keys and arithmetic are those
of vqdang/hover_net@67e2ce5, so that its published weights load; some keys hold a slash.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURE_CHANNELS = 64
_DENSE_CHANNELS = 32  # that each dense unit adds


@dataclass(frozen=True)
class Mode:
    """A published form of the network; all lengths in pixels at 0.25 um.

    It was trained on windows of `window_px` a side, of which it predicts the middle `output_px`.
    """

    window_px: int
    output_px: int
    first_padding_px: int
    decoder_kernel_px: int

    @property
    def margin_px(self) -> int:
        """By how much a window is larger than its output."""
        return self.window_px - self.output_px


MODES = {
    "original": Mode(window_px=270, output_px=80, first_padding_px=0, decoder_kernel_px=5),
    "fast": Mode(window_px=256, output_px=164, first_padding_px=3, decoder_kernel_px=3),
}


class HoVerNet(nn.Module):
    """A pre-activation ResNet-50 and a decoder for each of: types, nucleus or not, distances.

    Args:
        mode: "original" (CoNSeP, Kumar, CPM17 weights) or "fast" (PanNuke, MoNuSAC weights).
        nr_types: types of nucleus, background included; None for a network that tells none.

    Raises:
        ValueError: no such mode, or fewer than two types.
    """

    def __init__(self, mode: str = "fast", nr_types: int | None = None) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if nr_types is not None and nr_types < 2:
            raise ValueError(f"nr_types must be None or at least 2 with background, got {nr_types}")
        self.mode = MODES[mode]
        self.nr_types = nr_types
        padding, kernel = self.mode.first_padding_px, self.mode.decoder_kernel_px
        self.conv0 = _named(
            ("/", nn.Conv2d(3, 64, 7, padding=padding, bias=False)), *_norm_relu("bn", "relu", 64)
        )
        self.d0 = _ResidualBlock(64, 64, units=3, stride=1)
        self.d1 = _ResidualBlock(256, 128, units=4, stride=2)
        self.d2 = _ResidualBlock(512, 256, units=6, stride=2)
        self.d3 = _ResidualBlock(1024, 512, units=3, stride=2)
        self.conv_bot = nn.Conv2d(2048, 1024, 1, bias=False)
        outputs = ({} if nr_types is None else {"tp": nr_types}) | {"np": 2, "hv": 2}
        self.decoder = nn.ModuleDict({k: _Decoder(n, kernel) for k, n in outputs.items()})
        # Never read; the reference doubles maps by a product with it, so published weights hold it.
        self.upsample2x = nn.Module()
        self.upsample2x.register_buffer("unpool_mat", torch.ones(2, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raw maps of the middle of each window, `mode.margin_px` smaller than it.

        Args:
            images: RGB in [0, 255], float32 or uint8 (batch, 3, H, W); H and W differ from
                `mode.window_px` by a multiple of 8 and are larger than the margin.

        Returns:
            "tp" (batch, nr_types, h, w), only with types: logits of the types;
            "np" (batch, 2, h, w): logits of background and nucleus;
            "hv" (batch, 2, h, w): x, then y from the middle of the nucleus, about [-1, 1].

        Raises:
            ValueError: another shape.
        """
        return self.maps_and_features(images)[0]

    def maps_and_features(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The maps of `forward`, and what the first decoder ("tp", else "np") made its own of.

        Features are (batch, 64, h, w), pixel by pixel those of the maps; their mean under a nucleus
        tells its look.
        """
        self._check(images)
        scales = self._encode(images)
        decoded = {name: decoder(*scales) for name, decoder in self.decoder.items()}
        maps = {name: map_ for name, (map_, _) in decoded.items()}
        return maps, next(iter(decoded.values()))[1]

    def _check(self, images: Tensor) -> None:
        mode = self.mode
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (batch, 3, H, W), got {tuple(images.shape)}")
        for side in images.shape[2:]:
            if side <= mode.margin_px or (side - mode.window_px) % 8:
                raise ValueError(
                    f"a window's sides must be {mode.window_px} px, give or take a multiple of 8, "
                    f"and more than {mode.margin_px}, got {tuple(images.shape[2:])}"
                )

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features at 1, 1/2, 1/4 and 1/8 of the size; the shapes noted are those of "fast"."""
        d0 = self.d0(self.conv0(images / 255.0))  # (batch, 256, 256, 256)
        d1 = self.d1(d0)  # (batch, 512, 128, 128)
        d2 = self.d2(d1)  # (batch, 1024, 64, 64)
        d3 = self.conv_bot(self.d3(d2))  # (batch, 1024, 32, 32)
        return d0, d1, d2, d3


class _ResidualBlock(nn.Module):
    """Bottleneck units with the activation before each convolution (He et al. 2016b, figure 1)."""

    def __init__(self, in_channels: int, channels: int, units: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.units = nn.ModuleList(
            _residual_unit(out_channels if i else in_channels, channels, 1 if i else stride, i > 0)
            for i in range(units)
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        self.blk_bna = _named(*_norm_relu("bn", "relu", out_channels))

    def forward(self, features: Tensor) -> Tensor:
        total = self.shortcut(features) + self.units[0](features)
        for unit in self.units[1:]:
            total = total + unit(total)
        return self.blk_bna(total)


class _DenseBlock(nn.Module):
    """Units that each add channels and trim the map (Huang et al. 2017), without padding."""

    def __init__(self, in_channels: int, units: int, kernel: int) -> None:
        super().__init__()
        widths = [in_channels + _DENSE_CHANNELS * i for i in range(units + 1)]
        self.units = nn.ModuleList(_dense_unit(width, kernel) for width in widths[:-1])
        self.blk_bna = _named(*_norm_relu("bn", "relu", widths[-1]))

    def forward(self, features: Tensor) -> Tensor:
        for unit in self.units:
            new = unit(features)
            features = torch.cat([_centre_crop(features, new), new], dim=1)
        return self.blk_bna(features)


class _Decoder(nn.Module):
    """From the encoder's features to one map, at twice the size in each of three steps."""

    def __init__(self, outputs: int, kernel: int) -> None:
        super().__init__()
        self.u3 = _named(
            ("conva", nn.Conv2d(1024, 256, kernel, bias=False)),
            ("dense", _DenseBlock(256, units=8, kernel=kernel)),
            ("convf", nn.Conv2d(512, 512, 1, bias=False)),
        )
        self.u2 = _named(
            ("conva", nn.Conv2d(512, 128, kernel, bias=False)),
            ("dense", _DenseBlock(128, units=4, kernel=kernel)),
            ("convf", nn.Conv2d(256, 256, 1, bias=False)),
        )
        self.u1 = _named(
            ("conva", nn.Conv2d(256, FEATURE_CHANNELS, kernel, padding="same", bias=False))
        )
        self.u0 = _named(
            *_norm_relu("bn", "relu", FEATURE_CHANNELS),
            ("conv", nn.Conv2d(FEATURE_CHANNELS, outputs, 1)),
        )

    def forward(self, d0: Tensor, d1: Tensor, d2: Tensor, d3: Tensor) -> tuple[Tensor, Tensor]:
        """The map, and the features its last step starts from; the shapes are those of "fast"."""
        features = self.u3(_double(d3, d2))  # (batch, 512, 46, 46)
        features = self.u2(_double(features, d1))  # (batch, 256, 82, 82)
        features = self.u1(_double(features, d0))  # (batch, 64, 164, 164)
        return self.u0(features), features  # (batch, outputs, 164, 164)


def _residual_unit(in_channels: int, channels: int, stride: int, activate: bool) -> nn.Sequential:
    """1x1, 3x3, 1x1; a block's first unit is not activated, for what comes in already is."""
    # TensorFlow's "same" padding: at stride 2 an even side gets its one pixel at the far end only.
    far_end = (("conv2/pad", nn.ZeroPad2d((0, 1, 0, 1))),) if stride == 2 else ()
    padding = 0 if stride == 2 else 1
    return _named(
        *(_norm_relu("preact/bn", "preact/relu", in_channels) if activate else ()),
        ("conv1", nn.Conv2d(in_channels, channels, 1, bias=False)),
        *_norm_relu("conv1/bn", "conv1/relu", channels),
        *far_end,
        ("conv2", nn.Conv2d(channels, channels, 3, stride, padding, bias=False)),
        *_norm_relu("conv2/bn", "conv2/relu", channels),
        ("conv3", nn.Conv2d(channels, 4 * channels, 1, bias=False)),
    )


def _dense_unit(in_channels: int, kernel: int) -> nn.Sequential:
    return _named(
        *_norm_relu("preact_bna/bn", "preact_bna/relu", in_channels),
        ("conv1", nn.Conv2d(in_channels, 128, 1, bias=False)),
        *_norm_relu("conv1/bn", "conv1/relu", 128),
        ("conv2", nn.Conv2d(128, _DENSE_CHANNELS, kernel, groups=4, bias=False)),
    )


def _norm_relu(norm: str, relu: str, channels: int) -> tuple[tuple[str, nn.Module], ...]:
    return (norm, nn.BatchNorm2d(channels)), (relu, nn.ReLU(inplace=True))


def _named(*layers: tuple[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _double(features: Tensor, skip: Tensor) -> Tensor:
    """Each pixel as 2 x 2, plus the middle of what the encoder had at that size."""
    features = F.interpolate(features, scale_factor=2, mode="nearest")
    return features + _centre_crop(skip, features)


def _centre_crop(features: Tensor, like: Tensor) -> Tensor:
    """The middle of a map, as high and wide as `like`; all differences are even."""
    top = (features.shape[2] - like.shape[2]) // 2
    left = (features.shape[3] - like.shape[3]) // 2
    return features[:, :, top : top + like.shape[2], left : left + like.shape[3]]
