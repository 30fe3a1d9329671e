"""Where a contour or segment lies and whether it is a lesion, from the name its source gives it."""

from __future__ import annotations

import re

_NODE = re.compile(r"gtv[-_ ]?n(?![a-z])|gtv[-_ ]?ln|node|nodal|lymph", re.IGNORECASE)
_LESION = re.compile(r"gtv|tumou?r|lesion|mass|cancer|carcinoma|metasta", re.IGNORECASE)


def region_of(name: str) -> str:
    """The region of a name: "node" for lymph nodes (GTVn, node, lymph), else "primary"."""
    return "node" if _NODE.search(name) else "primary"


def names_lesion(name: str) -> bool:
    """Whether the name says tumour or node (GTV, tumor, lesion, mass, metastasis, node, lymph)."""
    return bool(_LESION.search(name) or _NODE.search(name))
