"""Items a second through blocks of our networks, beside the same block of another library.

    python benchmarks/networks.py

A line of JSON each. Ours and the peer's run by turns on the same input, float32; the fastest run of
each counts, on a processor in seconds of one thread. Weights are random, which changes no time.
HoVer-Net, whose encoder works at full size and has no like, stands beside ResNet-50 in hovernet.py.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from time import perf_counter, thread_time
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet50, vgg16

from tumorbase.models.coattention import CoAttention
from tumorbase.models.hipt import ViT256
from tumorbase.models.lesion_graph import LesionGraph
from tumorbase.models.nystrom_attention import NystromAttention
from tumorbase.models.radnet import SliceResNet
from tumorbase.models.swin import SwinBlock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own, when it is imported
    from monai.networks.nets import swin_unetr as monai

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = perf_counter if DEVICE.type == "cuda" else thread_time
SECONDS_A_PAIR = 4.0
LEAST_REPEATS = 3


class Pair(NamedTuple):
    """Two networks of one size, each called on the same `items`."""

    ours: str
    peer: str
    items: int
    run_ours: Callable[[], object]
    run_peer: Callable[[], object]


def main() -> None:
    """Print a line for each pair."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        for pair in pairs():
            ours, peer = fastest_seconds(pair)
            line = {
                "ours": pair.ours,
                "peer": pair.peer,
                "ours_per_second": round(pair.items / ours, 1),
                "peer_per_second": round(pair.items / peer, 1),
                "ratio": round(peer / ours, 2),
                "device": DEVICE.type,
            }
            print(json.dumps(line), flush=True)


def pairs() -> Iterator[Pair]:
    """All that is compared, each made when its turn comes."""
    # The second stage of SMuRF's extractor of CT, the first of that of slides, and a usual size.
    yield from swin_pairs("3D", batch=8, sides=(2, 32, 32), dim=24, heads=6, window=(4, 4, 4))
    yield from swin_pairs("2D", batch=8, sides=(32, 32), dim=12, heads=3, window=(4, 4))
    yield from swin_pairs("2D wide", batch=2, sides=(56, 56), dim=96, heads=3, window=(7, 7))
    patches = torch.rand(2, 3, 256, 256, device=DEVICE)
    vit = timm.create_model("vit_small_patch16_224", img_size=256, num_classes=0)
    yield pair("hipt_vit256", ViT256(), "timm vit_small_patch16", vit, patches)
    slices = torch.rand(2, 256, 256, device=DEVICE)
    slice_resnet, resnet = ready(SliceResNet()), ready(resnet50())
    yield Pair(
        "radnet, a slice",
        "torchvision resnet50",
        len(slices),
        lambda: slice_resnet(slices),
        lambda: resnet(slices[:, None].expand(-1, 3, -1, -1)),
    )
    lesions = torch.rand(4, 3, 120, 120, device=DEVICE)
    boxes = torch.tensor([[40.0, 40.0, 80.0, 80.0]], device=DEVICE).expand(4, -1)
    graph, vgg = ready(LesionGraph()), ready(vgg16().features)
    yield Pair(
        "lesion_graph",
        "torchvision vgg16.features",
        len(lesions),
        lambda: graph(lesions, boxes),
        lambda: vgg(lesions),
    )
    yield from attention_pairs()


def swin_pairs(
    name: str, batch: int, sides: tuple[int, ...], dim: int, heads: int, window: tuple[int, ...]
) -> Iterator[Pair]:
    """A block of ours and of MONAI's, with its mask and with torch's fused attention, by shift."""
    features = torch.rand(batch, *sides, dim, device=DEVICE)
    for is_shifted in (False, True):
        shift = tuple(length // 2 if is_shifted else 0 for length in window)
        ours = ready(SwinBlock(dim, heads, window, shift))
        block = monai.SwinTransformerBlock(dim, heads, window, shift, use_flash_attention=True)
        peer = ready(block)

        def run_peer(peer: nn.Module = peer, shift: tuple[int, ...] = shift) -> object:
            fitted, step = monai.get_window_size(sides, window, shift)
            padded = [-(-side // size) * size for side, size in zip(sides, fitted, strict=True)]
            return peer(features, monai.compute_mask(padded, fitted, step, features.device))

        yield Pair(
            f"swin {name}{', shifted' if is_shifted else ''}",
            "monai SwinTransformerBlock",
            batch,
            lambda ours=ours: ours(features),
            run_peer,
        )


def attention_pairs() -> Iterator[Pair]:
    """Attention of bags beside torch's, which has the same purpose and other arithmetic."""
    tokens = torch.rand(1, 2560, 512, device=DEVICE)
    nystrom = ready(NystromAttention(512, 8, 256))
    exact = ready(nn.MultiheadAttention(512, 8, batch_first=True))
    yield Pair(
        "transmil, nystrom attention",
        "torch MultiheadAttention",
        tokens.shape[1],
        lambda: nystrom(tokens),
        lambda: exact(tokens, tokens, tokens, need_weights=False),
    )
    genes, bag = torch.rand(6, 256, device=DEVICE), torch.rand(20_000, 256, device=DEVICE)
    coattention = ready(CoAttention(256))
    multihead = ready(nn.MultiheadAttention(256, 1))
    yield Pair(
        "mcat, co-attention",
        "torch MultiheadAttention",
        len(bag),
        lambda: coattention(genes, bag),
        lambda: multihead(genes, bag, bag),
    )


def pair(name: str, ours: nn.Module, peer_name: str, peer: nn.Module, inputs: Tensor) -> Pair:
    """Two networks that take the same tensor."""
    ours, peer = ready(ours), ready(peer)
    return Pair(name, peer_name, len(inputs), lambda: ours(inputs), lambda: peer(inputs))


def ready(network: nn.Module) -> nn.Module:
    """The network in eval mode, on the device."""
    return network.to(DEVICE).eval()


def fastest_seconds(pair: Pair) -> tuple[float, float]:
    """Shortest run of ours and of the peer's, after one of each to warm up."""
    seconds: list[list[float]] = [[], []]
    start = perf_counter()
    while len(seconds[0]) <= LEAST_REPEATS or perf_counter() - start < SECONDS_A_PAIR:
        for run, spent in zip((pair.run_ours, pair.run_peer), seconds, strict=True):
            before = CLOCK()
            run()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            spent.append(CLOCK() - before)
    return min(seconds[0][1:]), min(seconds[1][1:])


if __name__ == "__main__":
    main()
