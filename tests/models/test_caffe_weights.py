"""Weights are read from a Caffe model's file by the names of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import fill
from tumorbase.models.caffe_weights import caffe_net, read_caffe
from tumorbase.models.checkpoints import read_state
from tumorbase.models.network_encoder import load_published
from tumorbase.models.networks import build
from tumorbase.models.published import PUBLISHED
from tumorbase.models.weights import find_weights

STATE = {"conv1.weight": torch.arange(6.0).reshape(1, 2, 3, 1), "conv1.bias": torch.tensor([7.0])}


def test_tensors_of_a_layer_are_its_weight_and_its_bias(tmp_path: Path) -> None:
    state = read_state(write(tmp_path / "net.caffemodel", STATE))
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """By hand: layer 100 { name 1, type 2, blob 7 { data 5 packed, shape 7 { dim 1 packed } } }."""
    values = np.array([0.5, -2.0], "<f4").tobytes()
    blob = b"\x2a\x08" + values + b"\x3a\x03" + b"\x0a\x01\x02"
    layer = b"\x0a\x02fc" + b"\x12\x05Dense" + b"\x3a" + bytes([len(blob)]) + blob
    (tmp_path / "net.caffemodel").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    (item,) = read_caffe(tmp_path / "net.caffemodel").items()
    assert (item[0], item[1].tolist()) == ("fc.weight", [0.5, -2.0])


def test_the_published_body_part_regressor_is_read_as_it_is(tmp_path: Path) -> None:
    expected = fill(build("ssbr")).state_dict()
    write(tmp_path / "_iter_10000.caffemodel", expected)
    found = find_weights(PUBLISHED["ssbr"], tmp_path)
    state = load_published(PUBLISHED["ssbr"], found).state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


@pytest.mark.parametrize("kept", [3, 20, 40])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "net.caffemodel", STATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=r"net\.caffemodel: not a checkpoint: it is no Caffe model"
    ):
        read_state(path)


def test_numbers_that_do_not_fill_their_shape_are_refused(tmp_path: Path) -> None:
    net = caffe_net()
    blob = net.layer.add(name="conv1").blobs.add(data=[1.0, 2.0])
    blob.shape.dim.extend([3])
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    with pytest.raises(ValueError, match=r"net\.caffemodel: not a checkpoint: shape '\[3\]'"):
        read_state(tmp_path / "net.caffemodel")


def write(path: Path, state: Mapping[str, Tensor]) -> Path:
    """A Caffe model of tensors named LAYER.weight and LAYER.bias, between layers that have none."""
    net = caffe_net()
    net.layer.add(name="data")
    for key, value in state.items():
        name, _, leaf = key.rpartition(".")
        layer = net.layer.add(name=name) if leaf == "weight" else net.layer[-1]
        layer.blobs.add(data=value.flatten().tolist()).shape.dim.extend(value.shape)
    path.write_bytes(net.SerializeToString())
    return path
