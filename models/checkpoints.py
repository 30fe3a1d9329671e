"""Checkpoint files: tensors alone are read from them, no code in them is ever run."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tumorbase.models.caffe_weights import read_caffe
from tumorbase.models.weights import UnusableWeights

# Training scripts keep their options and scores beside the tensors; these types hold data only.
_PLAIN_DATA: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")  # as numpy 1 and numpy 2 wrote them
    ),
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "b1")),
]
_MAGIC = (b"PK", b"\x80")  # of a zip archive, and of a bare pickle
_REFUSED = re.compile(r"GLOBAL (\S+)")  # in PyTorch's message
_SHOWN = 5  # keys of a kind that a message names


def read_state(path: Path, wrapper: str = "", prefixes: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, on the CPU.

    Args:
        path: a .safetensors or .caffemodel file, or one written by `torch.save`.
        wrapper: the entry that holds the state dict, such as "state_dict"; empty for a file that is
            one. A file without that entry is taken as the state dict itself.
        prefixes: taken off the keys that have them, in this order.

    Raises:
        UnusableWeights: not a checkpoint, it holds other objects than tensors and plain data, no
            tensors, or two whose keys differ by the prefixes alone.
    """
    content = _load(path)
    if wrapper and isinstance(content.get(wrapper), Mapping):
        content = content[wrapper]
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise UnusableWeights(
            f"{path}: expected a state dict, got no tensors, but {sorted(content)}"
        )
    whole: dict[str, str] = {}  # the file's key, by what is left of it
    for key in state:
        short = reduce(str.removeprefix, prefixes, key)
        if short in whole:
            both = f"{whole[short]!r} and {key!r}"
            raise UnusableWeights(f"{path}: expected one tensor {short!r}, got {both}")
        whole[short] = key
    return {short: state[key] for short, key in whole.items()}


def read_notes(path: Path) -> dict[str, Any]:
    """What a .safetensors file says of itself beside its tensors: each a JSON text in its metadata,
    by name; empty for other files.

    Raises:
        UnusableWeights: not a safetensors file, or a text is not JSON.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            return {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
    except SafetensorError as error:
        raise UnusableWeights(f"{path}: not a safetensors file: {error}") from error
    except json.JSONDecodeError as error:
        raise UnusableWeights(f"{path}: expected JSON texts in its metadata: {error}") from error


def load_into(
    network: nn.Module, state: Mapping[str, Tensor], source: str, left_over: Sequence[str] = ()
) -> None:
    """Give the network the tensors of `state`; nothing is changed unless all of them fit.

    Args:
        network: whose state dict has the same keys and shapes.
        state: tensors by key.
        source: named in messages.
        left_over: beginnings of keys that published files hold and the network has no use for.

    Raises:
        UnusableWeights: keys are missing, unknown, or of another shape; the message names them.
    """
    own = network.state_dict()
    given = {k: v for k, v in state.items() if k in own or not k.startswith(tuple(left_over))}
    # PyTorch 0.4 and older kept no count of batches, and no network needs it to answer.
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unknown = [key for key in given if key not in own]
    misshapen = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and own[key].shape != given[key].shape
    ]
    problems = list(_problems(missing, unknown, misshapen))
    if problems:
        raise UnusableWeights(
            f"{source} does not fit {type(network).__name__}: {'; '.join(problems)}"
        )
    network.load_state_dict(given, strict=False)


def _problems(missing: list[str], unknown: list[str], misshapen: list[str]) -> Iterator[str]:
    for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen)):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            yield f"{len(keys)} {what}: {', '.join(keys[:_SHOWN])}{more}"


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".caffemodel":
            return read_caffe(path)
        with path.open("rb") as file:
            if not file.read(2).startswith(_MAGIC):
                raise ValueError("it is neither an archive nor a pickle of torch.save")
        with torch.serialization.safe_globals(_PLAIN_DATA):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UnusableWeights(f"{path}: not a safetensors file: {error}") from error
    except pickle.UnpicklingError as error:
        if refused := _REFUSED.search(str(error)):
            what = f"expected tensors and plain data only, got an object of {refused[1]}"
            raise UnusableWeights(f"{path}: {what}") from error
        raise UnusableWeights(f"{path}: not a checkpoint: its pickle cannot be read") from error
    except (RuntimeError, EOFError, LookupError, ValueError) as error:
        raise UnusableWeights(f"{path}: not a checkpoint: {error}") from error
    if not isinstance(content, Mapping):
        raise UnusableWeights(f"{path}: expected a state dict, got {type(content).__name__}")
    return content
