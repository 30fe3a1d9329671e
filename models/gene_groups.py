"""Groups of genes as vectors of their columns, the input of MCAT and what grew from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tumorbase.models.gene_signatures import KINDS

_NAMED = 5  # missing columns that a message names


@dataclass(frozen=True)
class GeneGroups:
    """The columns of each group, in the order in which a network sees them.

    Kept with a network: profiles of another panel are split into the same columns, or refused.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]

    @classmethod
    def of_panel(cls, groups: Mapping[str, Sequence[str]], panel: Sequence[str]) -> GeneGroups:
        """What a panel has of each group's GENE_rnaseq, _cnv and _mut, in the order of their names.

        As in MCAT, whose six groups these are (Chen et al. 2021, section 3.2), but that the last
        column of the panel counts like the others: the reference takes it for a label by mistake,
        and so has one column less in the groups of that gene.

        Args:
            groups: genes of each group, in the order of the network's inputs.
            panel: names of the table's columns; those that are of no group are left out.

        Raises:
            ValueError: the panel has no column of a group.
        """
        known = set(panel)
        columns = tuple(
            tuple(sorted(known.intersection(f"{gene}_{kind}" for gene in genes for kind in KINDS)))
            for genes in groups.values()
        )
        for name, group in zip(groups, columns, strict=True):
            if not group:
                raise ValueError(f"the panel of {len(panel)} columns has none of group {name!r}")
        return cls(tuple(groups), columns)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of columns of each group: `omic_sizes` of the network."""
        return tuple(len(group) for group in self.columns)

    def split(self, profiles: np.ndarray, panel: Sequence[str]) -> list[np.ndarray]:
        """The columns of each group, float32 (profiles, size of the group).

        Args:
            profiles: standardised, float (profiles, columns of the panel).
            panel: names of the columns, in any order.

        Raises:
            ValueError: the panel lacks columns of a group; the message names the first of them.
        """
        position = {column: index for index, column in enumerate(panel)}
        for name, group in zip(self.names, self.columns, strict=True):
            missing = [column for column in group if column not in position]
            if missing:
                raise ValueError(
                    f"the panel lacks {len(missing)} of the {len(group)} columns of group "
                    f"{name!r}: {', '.join(missing[:_NAMED])}"
                )
        return [
            profiles[:, [position[column] for column in group]].astype(np.float32)
            for group in self.columns
        ]
