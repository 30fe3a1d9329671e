"""The one row of a slide's vector, pooled from those of its patches or regions."""

from __future__ import annotations

from collections.abc import Mapping

from tumorbase.ingest.item import Context, VectorRows
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import EncoderSpec
from tumorbase.models.pooling import RunningMoments, slide_spec


def stage_pooled(
    context: Context, part: EncoderSpec, moments: RunningMoments, ids: Mapping[str, str]
) -> list[VectorRows]:
    """The staged vector of the slide of these ids; none of a slide without parts.

    Args:
        context: of the run.
        part: the spec of the parts' vectors.
        moments: of these vectors.
        ids: "slide_id" and "patient_id".
    """
    if not moments.count:
        return []
    spec, columns = slide_spec(part), {name: [value] for name, value in ids.items()}
    return [stage(context, spec, [vector_batch(spec, columns, moments.pooled())])]
