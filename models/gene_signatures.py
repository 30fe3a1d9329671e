"""Signature scores of a genomic profile: the mean of each group of genes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from tumorbase.models.encoders import EncoderSpec, canonical

KINDS = ("rnaseq", "cnv", "mut")


class GeneSignatures:
    """Encodes profiles by groups of genes, such as the six of Chen et al. 2021 (MCAT, section 3.2).

    A score is the mean over the columns GENE_rnaseq (z-scores), GENE_cnv (-2 .. 2) or GENE_mut (0,
    1) of a group's genes, for each kind by itself, as they are measured on different scales. The
    encoder depends on the groups alone: profiles of different panels can be compared.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]], panel: Sequence[str]) -> None:
        """Scores of `groups`, from profiles measured in the order of `panel`.

        Raises:
            ValueError: there is no group, or one without genes.
        """
        if not groups or not all(groups.values()):
            raise ValueError("signatures need at least one group, and each at least one gene")
        self._members = _members(groups, panel)  # (scores, columns)
        members = [(name, sorted(genes)) for name, genes in groups.items()]
        text = canonical(dict(members))
        self.spec = EncoderSpec(
            name="gene-signatures",
            version="1",
            level="profile",
            dim=len(groups) * len(KINDS),
            weights_sha256=hashlib.sha256(text.encode()).hexdigest(),
            preprocessing=canonical({"score": "mean", "kinds": KINDS, "groups": members}),
            is_standardised=True,
            feature_names=tuple(f"{group}_{kind}" for group in groups for kind in KINDS),
        )

    @property
    def columns_used(self) -> int:
        """How many of the panel's columns belong to any group."""
        return int(self._members.any(axis=0).sum())

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Mean of each group and kind over the columns that the profile has; 0 where it has none.

        Args:
            batch: profiles, float (columns of the panel,), NaN where a value is missing.

        Returns:
            float32 (batch, groups x kinds), in the order of `spec.feature_names`.

        Raises:
            ValueError: the profiles are not of the panel, or hold an infinite value.
        """
        measured = np.asarray(batch, dtype=np.float64)  # (batch, columns)
        if measured.ndim != 2 or measured.shape[1] != self._members.shape[1]:
            raise ValueError(
                f"profiles must have {self._members.shape[1]} values, got shape {measured.shape}"
            )
        if np.isinf(measured).any():
            raise ValueError("profiles must hold finite values or NaN, got infinity")
        is_there = np.isfinite(measured)
        members = self._members.T.astype(np.float64)  # (columns, scores)
        sums = np.where(is_there, measured, 0.0) @ members  # (batch, scores)
        counts = is_there.astype(np.float64) @ members  # (batch, scores)
        return (sums / np.maximum(counts, 1.0)).astype(np.float32)


def groups_of(preprocessing: str) -> dict[str, list[str]]:
    """The genes of each group, from the `preprocessing` of the spec of their encoder.

    Raises:
        ValueError: it names groups alone, as that of an older encoder does.
    """
    return dict(json.loads(preprocessing)["groups"])


def _members(groups: Mapping[str, Sequence[str]], panel: Sequence[str]) -> np.ndarray:
    """Which columns count for which score, bool (groups x kinds, columns)."""
    position = {column: index for index, column in enumerate(panel)}
    members = np.zeros((len(groups) * len(KINDS), len(panel)), dtype=bool)
    scores = ((genes, kind) for genes in groups.values() for kind in KINDS)
    for score, (genes, kind) in enumerate(scores):
        names = (f"{gene}_{kind}" for gene in genes)
        members[score, [position[name] for name in names if name in position]] = True
    return members
