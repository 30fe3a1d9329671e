"""Sequences of ever less similar lesions, and the loss that the lesion graph is trained with.

Yan et al., CVPR 2018: in a sequence A to E, lesion B is like A in type, place and size, C in type
and place, D in type alone, and E is of another type; so A lies nearer to B than to C, nearer to C
than to D, and nearer to D than to E. The paper's thresholds and margins could not be read here;
they are parameters, and their defaults a choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

UNKNOWN_TYPE = -1


@dataclass(frozen=True)
class LesionAttributes:
    """What lesions are compared by; NaN and `UNKNOWN_TYPE` where it is not known.

    `type` is integer (lesions,). `place`, float (lesions, 3), is (x, y, z) in the body, and `size`,
    float (lesions, 2), the long and short axis; both from 0 to 1 over the lesions at hand.
    """

    type: np.ndarray
    place: np.ndarray
    size: np.ndarray


@dataclass(frozen=True)
class SequenceRule:
    """Places (or sizes) nearer than `similar_below` are alike, others unlike from a gap on.

    `margins` are those by which the squared distances AB, AC, AD and AE should each grow.
    """

    similar_below: float = 0.02
    dissimilar_above: float = 0.1
    margins: tuple[float, float, float] = (0.1, 0.2, 0.4)


def sample_sequences(
    lesions: LesionAttributes, count: int, rule: SequenceRule, random: np.random.Generator
) -> np.ndarray:
    """`count` sequences of lesions A to E, as their indices, integers (count, 5).

    Every lesion begins one in turn, in random order; one that lacks a B, C, D or E is passed over.

    Raises:
        ValueError: no lesion has all four.
    """
    return np.stack(list(islice(_sequences(lesions, rule, random), count)))


def sequence_loss(embeddings: Tensor, margins: tuple[float, float, float]) -> Tensor:
    """Half the mean, over sequences, of what the squared distances lack to grow by `margins`.

    Args:
        embeddings: float (sequences, 5, dim), lesions A to E, each of length 1.
        margins: of AC over AB, AD over AC and AE over AD.
    """
    distances = (embeddings[:, :1] - embeddings[:, 1:]).square().sum(dim=2)  # (sequences, 4)
    lacking = torch.relu(embeddings.new_tensor(margins) - distances.diff(dim=1))  # (sequences, 3)
    return lacking.sum(dim=1).mean() / 2


def _sequences(
    lesions: LesionAttributes, rule: SequenceRule, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """Sequences without end, each pass over the lesions in another order."""
    while True:
        found = 0
        for anchor in random.permutation(len(lesions.type)):
            candidates = _candidates(lesions, int(anchor), rule)
            if all(len(indices) for indices in candidates):
                found += 1
                yield np.array([anchor, *(random.choice(indices) for indices in candidates)])
        if not found:
            raise ValueError(
                f"none of {len(lesions.type)} lesions has others that share its type, place and"
                " size, type and place, type alone, and no type"
            )


def _candidates(lesions: LesionAttributes, anchor: int, rule: SequenceRule) -> list[np.ndarray]:
    """Indices of the lesions that can be B, C, D and E of the sequence that `anchor` begins."""
    own_type = lesions.type[anchor]
    is_typed = (lesions.type != UNKNOWN_TYPE) & (own_type != UNKNOWN_TYPE)
    of_type = np.flatnonzero(is_typed & (lesions.type == own_type))
    of_type = of_type[of_type != anchor]
    apart = np.linalg.norm(lesions.place[of_type] - lesions.place[anchor], axis=1)
    differ = np.linalg.norm(lesions.size[of_type] - lesions.size[anchor], axis=1)
    is_near = apart < rule.similar_below
    return [
        of_type[is_near & (differ < rule.similar_below)],
        of_type[is_near & (differ > rule.dissimilar_above)],
        of_type[apart > rule.dissimilar_above],
        np.flatnonzero(is_typed & (lesions.type != own_type)),
    ]
