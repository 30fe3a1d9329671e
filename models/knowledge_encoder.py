"""A text encoder that knows diagnoses: their synonyms, their definitions and the ICD tree.

Source: Zheng et al., Nature Communications 15:10147, Methods; qiaoyu-zheng/RP3D-Diag@7bdbbbb,
RP3D_Demo/Model/modelRadNet.py for how it is used, @d73daa1, src/KE for how it is trained.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIRST_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Diagnosis:
    """What is said of a diagnosis. `parent` is the code, block or chapter it is in, or empty."""

    code: str
    name: str
    synonyms: tuple[str, ...] = ()
    definition: str = ""
    parent: str = ""


@dataclass(frozen=True)
class TextPair:
    """Two texts that belong together; pairs of one `concept` belong together too."""

    left: str
    right: str
    concept: str


class HubText(nn.Module):
    """A text tower made of a transformer of the hub.

    Args:
        transformer: takes `input_ids` and `attention_mask`; its first output is a vector for each
            token, (texts, tokens, width).
        tokenizer: the transformer's own.
        pooling: "mean" of a text's tokens, as of BioLORD, or "first" token, as of MedCPT.

    Raises:
        ValueError: another pooling.
    """

    def __init__(
        self, transformer: nn.Module, tokenizer: Callable[..., Any], pooling: str = "mean"
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "first"):
            raise ValueError(f"pooling must be mean or first, got {pooling!r}")
        self.transformer, self.tokenizer, self.pooling = transformer, tokenizer, pooling

    def forward(self, texts: Sequence[str]) -> Tensor:
        """One vector a text, not normalised, (texts, width)."""
        told = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        device = next(self.transformer.parameters()).device
        ids, mask = told["input_ids"].to(device), told["attention_mask"].to(device)
        tokens = self.transformer(input_ids=ids, attention_mask=mask)[0]  # (texts, tokens, width)
        if self.pooling == "first":
            return tokens[:, 0]
        weight = mask[:, :, None].to(tokens.dtype)  # (texts, tokens, 1)
        return (tokens * weight).sum(dim=1) / weight.sum(dim=1)


class ClipText(nn.Module):
    """The text tower of an open_clip model, with the model's own tokenizer."""

    def __init__(self, model: Any, tokenizer: Callable[[list[str]], Tensor]) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    def forward(self, texts: Sequence[str]) -> Tensor:
        """One vector a text, not normalised, (texts, width)."""
        device = next(self.model.parameters()).device
        return self.model.encode_text(self.tokenizer(list(texts)).to(device))


class KnowledgeEncoder(nn.Module):
    """Embeds texts so that those of one diagnosis, and of its siblings, come to lie together.

    Args:
        tower: `HubText`, `ClipText`, or anything that makes texts vectors, (texts, width).
    """

    def __init__(self, tower: Callable[[Sequence[str]], Tensor]) -> None:
        super().__init__()
        self.tower = tower
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / FIRST_TEMPERATURE)))

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of length 1, (texts, width)."""
        return F.normalize(self.tower(texts), dim=-1)

    def loss(self, pairs: Sequence[TextPair]) -> Tensor:
        """`contrastive_loss` of a batch, all of one kind of `knowledge_pairs`."""
        number = {pair.concept: i for i, pair in enumerate(pairs)}
        embeddings = self([pair.left for pair in pairs] + [pair.right for pair in pairs])
        left, right = embeddings.chunk(2)
        concepts = torch.tensor([number[pair.concept] for pair in pairs], device=left.device)
        return contrastive_loss(left, right, concepts, self.logit_scale.exp())

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeddings of many texts, (texts, width), for RadNet's `names` or a search."""
        return torch.cat(
            [self(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
        )


def knowledge_pairs(diagnoses: Iterable[Diagnosis]) -> dict[str, list[TextPair]]:
    """What is to be learned: pairs by kind, "synonym", "definition" and "sibling".

    Siblings are two children of one parent of the ICD tree. Kinds are not to be mixed in a batch,
    in which all pairs of other concepts count as different: siblings are the same as each other in
    one kind, and different in the two others.
    """
    pairs: dict[str, list[TextPair]] = {"synonym": [], "definition": [], "sibling": []}
    children: defaultdict[str, list[str]] = defaultdict(list)
    for one in diagnoses:
        pairs["synonym"] += [TextPair(one.name, synonym, one.code) for synonym in one.synonyms]
        if one.definition:
            pairs["definition"].append(TextPair(one.name, one.definition, one.code))
        if one.parent:
            children[one.parent].append(one.name)
    for parent, names in children.items():
        pairs["sibling"] += [TextPair(*two, parent) for two in combinations(names, 2)]
    return pairs


def contrastive_loss(left: Tensor, right: Tensor, concepts: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of finding the right texts by the left ones and back, averaged.

    All texts of one concept are right, each as much as the others. The reference divides by the
    length of the vector of right ones, not by their sum, so that frequent concepts weigh more.

    Args:
        left: embeddings of length 1, (pairs, width).
        right: of the same shape.
        concepts: number of each pair's concept, int64 (pairs,).
        scale: of the cosines, the inverse of the temperature.
    """
    logits = scale * left @ right.T  # (pairs, pairs)
    is_same = (concepts[:, None] == concepts).to(logits.dtype)
    target = is_same / is_same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
