"""Where a contour or segment lies and whether it is a lesion, from the name its source gives it."""

from __future__ import annotations

import re


def _words(*patterns: str) -> re.Pattern[str]:
    """Matches any of the patterns that no further letter precedes or follows."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(patterns)})(?![a-z])", re.IGNORECASE)


_NODE = re.compile(r"gtv[-_ ]?n(?![a-z])|gtv[-_ ]?ln|node|nodal|lymph", re.IGNORECASE)
_NODE_WORD = _words("lns?")
_LESION = re.compile(
    r"gtv|tumou?r|lesion|nodul|cancer|carcinoma|sarcoma|neoplas|metasta", re.IGNORECASE
)
_LESION_WORD = _words("mass", "masses", "mets?")
# What radiotherapy adds around a tumour.
_MARGIN = re.compile(r"(?<![a-z])[cpi]tv", re.IGNORECASE)
# Organs as AAPM's TG-263 names them, and what else is outlined for radiotherapy.
_ORGAN = re.compile(
    r"body|external|skin|couch|bolus|lung|heart|spin(?:e|al)|esophag|brain|parotid|submand|bladder|"
    r"rectum|femur|femoral|kidney|liver|bowel|stomach|spleen|pancreas|duodenum|trachea|bronch|"
    r"larynx|pharynx|mandible|chiasm|optic|cochlea|thyroid|breast|prostate|uterus|aorta|vertebra|"
    r"muscle",
    re.IGNORECASE,
)
_ORGAN_WORD = _words("cord", "canal", "oral", "lips?", "eyes?", "lens", "ribs?", "bones?")


def region_of(name: str) -> str:
    """The region of a name: "node" for lymph nodes (GTVn, LN, node, lymph), else "primary"."""
    return "node" if _NODE.search(name) or _NODE_WORD.search(name) else "primary"


def names_lesion(name: str) -> bool:
    """Whether the name says tumour or node: GTV, tumor, lesion, mass, metastasis, node, LN.

    A clinical or planning target volume is none.
    """
    patterns = (_LESION, _LESION_WORD, _NODE, _NODE_WORD)
    return not _MARGIN.search(name) and any(pattern.search(name) for pattern in patterns)


def names_other(name: str) -> bool:
    """Whether the name says that it is no lesion: an organ, the body or a margin of a tumour."""
    patterns = (_MARGIN, _ORGAN, _ORGAN_WORD)
    return not names_lesion(name) and any(pattern.search(name) for pattern in patterns)
