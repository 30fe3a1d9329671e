"""Whether the weights that are found here made the vectors that a store has."""

from __future__ import annotations

from tumorbase.store.errors import MissingWeights


def require_same_weights(name: str, found_id: str, stored_id: str) -> None:
    """Let a network answer only to vectors of its own.

    Args:
        name: of the encoder.
        found_id: the encoder id that the weights found here make.
        stored_id: that of the vectors in the store.

    Raises:
        MissingWeights: they differ.
    """
    if found_id != stored_id:
        raise MissingWeights(
            f"the weights of {name} found here make it {found_id}, and the vectors in the store "
            f"are by {stored_id}"
        )
