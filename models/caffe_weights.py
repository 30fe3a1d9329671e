"""Tensors of a Caffe model's file (.caffemodel), by the names of its layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from torch import Tensor

# As much of BVLC/caffe's caffe.proto as weights need; fields that it does not name are passed over.
_SCHEMA = """
name: "tumorbase_caffe.proto" package: "tumorbase.caffe"
message_type { name: "Net"
  field { name: "layer" number: 100 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "Layer" } }
message_type { name: "Layer"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "blobs" number: 7 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "Blob" } }
message_type { name: "Blob"
  field { name: "shape" number: 7 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: "Shape" }
  field { name: "data" number: 5 label: LABEL_REPEATED type: TYPE_FLOAT options { packed: true } } }
message_type { name: "Shape"
  field { name: "dim" number: 1 label: LABEL_REPEATED type: TYPE_INT64 options { packed: true } } }
"""
_LEAVES = ("weight", "bias")  # of a layer's blobs, in their order


def read_caffe(path: Path) -> dict[str, Tensor]:
    """The tensors of each layer, float32, as "LAYER.weight" and "LAYER.bias".

    Raises:
        ValueError: not a Caffe model, or one cut short.
    """
    net = caffe_net()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"it is no Caffe model, or cut short: {error}") from error
    return {
        f"{layer.name}.{leaf}": torch.from_numpy(np.array(blob.data, dtype=np.float32)).reshape(
            tuple(blob.shape.dim)
        )
        for layer in net.layer
        for leaf, blob in zip(_LEAVES, layer.blobs, strict=False)
    }


def caffe_net() -> Any:
    """An empty protobuf message of a net: `layer`s with a `name` and `blobs` of `shape`, `data`."""
    schema = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tumorbase.caffe.Net"))()
