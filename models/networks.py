"""The networks of the five papers and those they are compared with, built by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# name -> "module:class"; the module is imported when the network is first asked for.
NETWORKS: dict[str, str] = {
    "hovernet": "tumorbase.models.hovernet:HoVerNet",
    "hipt_vit256": "tumorbase.models.hipt:ViT256",
    "hipt_vit4k": "tumorbase.models.hipt:ViT4K",
    "hipt_4k": "tumorbase.models.hipt:Hipt4K",
    "hipt_lgp": "tumorbase.models.hipt_survival:HiptLgp",
    "resnet50_layer3": "tumorbase.models.resnet50_layer3:ResNet50Layer3",
    "pathology_vit": "tumorbase.models.pathology_vits:PathologyViT",
    "timm": "tumorbase.models.timm_models:timm_network",
    "torchvision": "tumorbase.models.torchvision_models:torchvision_network",
    "open_clip": "tumorbase.models.open_clip_models:open_clip_network",
    "snn": "tumorbase.models.snn:SNN",
    "mcat": "tumorbase.models.mcat:Mcat",
    "motcat": "tumorbase.models.motcat:MotCat",
    "pathgen": "tumorbase.models.pathgen:PathGen",
    "amil": "tumorbase.models.amil:Amil",
    "clam": "tumorbase.models.clam:Clam",
    "transmil": "tumorbase.models.transmil:TransMil",
    "porpoise": "tumorbase.models.porpoise:Porpoise",
    "hfbsurv": "tumorbase.models.hfbsurv:HfbSurv",
    "lesion_graph": "tumorbase.models.lesion_graph:LesionGraph",
    "lesanet": "tumorbase.models.lesanet:LesaNet",
    "ssbr": "tumorbase.models.ssbr:Ssbr",
    "smurf": "tumorbase.models.smurf:Smurf",
    "radnet": "tumorbase.models.radnet:RadNet",
    "knowledge_encoder": "tumorbase.models.knowledge_encoder:KnowledgeEncoder",
}


def build(name: str, **config: Any) -> nn.Module:
    """The network called `name`, in training mode, its parameters initialised at random.

    Trained weights come in by `checkpoints.load_into`. What `config` may hold, and what it means,
    is said by the network's class.

    Raises:
        ValueError: no network has this name; the message lists the names there are.
        TypeError: the network takes no such argument.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; there are {', '.join(NETWORKS)}")
    module, _, factory = NETWORKS[name].partition(":")
    network: nn.Module = getattr(import_module(module), factory)(**config)
    return network
