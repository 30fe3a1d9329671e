"""Slides whose nuclei a file brings: they are not segmented as well.

Segmented nuclei are committed apart from their slide, so that a file that comes later takes their
place and nothing else of the slide has to be made anew.
"""

from __future__ import annotations

from tumorbase.models.encoders import encoder_level, is_network


def slide_key(slide_id: str) -> str:
    """The key of the item that a slide is."""
    return f"slide:{slide_id}"


def nuclei_key(slide_id: str) -> str:
    """The key of the item that a file with the nuclei of a slide is."""
    return f"nuclei:{slide_id}"


def is_of_segmented(encoder: str) -> bool:
    """Whether the encoder of this name takes nuclei that are segmented for it, where no file brings
    them; a network looks for nuclei itself.
    """
    return encoder_level(encoder) == "nucleus" and not is_network(encoder)
