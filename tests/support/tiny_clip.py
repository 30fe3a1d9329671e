"""A CLIP model small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch

MODEL = "tiny-clip"
_VISION = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_DECODER = {"context_length": 77, "width": 32, "heads": 2, "layers": 1}
_KINDS: dict[str, dict[str, Any]] = {
    "": {},
    "-custom": {"custom_text": True},
    "-coca": {"custom_text": True, "multimodal_cfg": _DECODER},
}


def add_tiny_clip(folder: Path) -> None:
    """Make MODEL known to open_clip, and its kinds "-custom" and "-coca"; files go to `folder`."""
    for kind, more in _KINDS.items():
        config = {"embed_dim": 32, "vision_cfg": _VISION, "text_cfg": _TEXT} | more
        (folder / f"{MODEL}{kind}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def save_tiny_clip(folder: Path, seed: int = 0) -> Any:
    """The model with random weights; they are in `folder` as those of `open-clip-tiny-clip`."""
    torch.manual_seed(seed)
    network = open_clip.create_model(MODEL).eval()
    torch.save(network.state_dict(), folder / f"open-clip-{MODEL}.pt")
    return network
