"""Ingest: plan, leave out what is there, read in workers, commit item by item in plan order."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tumorbase.ingest.case_plan import case_key, refuse_partial_cases, refuse_without_scan
from tumorbase.ingest.chosen_encoders import encoder_ids, resolve_encoders, runtime_for
from tumorbase.ingest.claims import CLAIMED, Claims
from tumorbase.ingest.device_process import networks_apart
from tumorbase.ingest.drawn_scan import SCAN_KINDS
from tumorbase.ingest.encodings import Encoded, encoded_items, further_key, is_given_to
from tumorbase.ingest.fingerprint import fingerprint_item, fingerprint_rows
from tumorbase.ingest.imported_nuclei import is_of_segmented, nuclei_key, slide_key
from tumorbase.ingest.item import Context, Item, ItemRows, Rejected, VectorRows
from tumorbase.ingest.planning import SOURCES, plan
from tumorbase.ingest.pseudonyms import pseudonym
from tumorbase.ingest.reading import Pending, read_pending
from tumorbase.models.encoders import (
    POOLED_SUFFIX,
    Runtime,
    encoder_names,
    is_known,
    is_network,
)
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.store.commit import CommitContent, StagedVectors
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import BadInput, InvalidRequest
from tumorbase.store.store import Store

# What a run counts, and the table or level that it counts.
ADDED = {
    "patients": "patient",
    "studies": "study",
    "series": "series",
    "lesions": "lesion",
    "slides": "slide",
    "patches": "patch",
    "nuclei": "nucleus",
    "profiles": "profile",
}

# Small items are committed together, up to about this much work: a commit costs some 30 ms, as much
# as reading a small item does, and this much work is all that a kill can undo.
COMMIT_AFTER_SECONDS = 1.0
MIN_PATCH_PX, MAX_PATCH_PX = 32, 4096


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest. `source` None guesses; `workers` None takes one a core."""

    source: str | None = None
    encoders: tuple[str, ...] = ()
    workers: int | None = None
    device: str = "auto"  # of encoders that are networks
    mpp: float | None = None
    patch_mpp: float = 0.5
    patch_px: int = 256
    min_lesion_mm3: float = 10.0
    keep_identity: bool = False
    pseudonym_key: bytes | None = None
    weights: str | None = None  # folder with those of networks
    is_compiled: bool = False  # whether torch.compile prepares networks


@dataclass(frozen=True)
class IngestSummary:
    """What a run did: things `added`, by kind, and what became of the inputs.

    `encoded` counts the vectors that it made, by encoder id, of things that were there before too.
    An input is `committed` if it is new, or if it or an encoder changed. `timings` are seconds
    summed over inputs: read, resample, encode, commit, and for HoVer-Net network and nuclei.
    `outdated` counts, by encoder id, inputs that changed and whose vectors by an encoder that the
    run did not use went with what they were before. `left_out` counts files of nuclei in a run
    whose encoders of nuclei are networks: these look for nuclei themselves and take no contours.
    """

    run_id: str
    added: dict[str, int]
    unchanged: int
    quarantined: tuple[Rejected, ...]
    seconds: float
    timings: dict[str, float] = field(default_factory=dict)
    committed: int = 0
    outdated: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    encoded: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a run is: the item just finished, and what became of it.

    `state` is committed, unchanged, quarantined or left out.
    """

    done: int
    total: int
    path: str
    state: str


def ingest(
    store: Store,
    paths: Sequence[Path],
    options: IngestOptions,
    progress: Callable[[Progress], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> IngestSummary:
    """Bring all that `paths` hold into the store.

    Each item is committed whole; what cannot be read is quarantined with its reason and the rest
    goes on. One run at a time writes to a store: another waits. Ended early, by `is_cancelled` or a
    kill, the next run goes on where this one stopped.

    Raises:
        InvalidRequest: a path does not exist, or options contradict each other.
        MissingWeights: an encoder is a network whose weights are not found, or do not fit it.
        StoreNotWritable: the disk is full or read-only.
    """
    _check(paths, options)
    with store.ingesting:
        return _ingest(store, paths, options, progress, is_cancelled)


def refuse_unsound(paths: Sequence[Path], options: IngestOptions) -> None:
    """Raise what `ingest` would before it reads anything, for whoever has yet to make a store.

    Raises:
        InvalidRequest, MissingWeights: as `ingest`.
    """
    _check(paths, options)
    _choose_encoders(options)


def _ingest(
    store: Store,
    paths: Sequence[Path],
    options: IngestOptions,
    progress: Callable[[Progress], None],
    is_cancelled: Callable[[], bool],
) -> IngestSummary:
    run = _Run(store, options)
    workers = options.workers or os.cpu_count() or 1
    try:
        planned, context = plan(paths, options.source, run.context)
        if any(item.kind == "case" for item in planned.items):
            series = store.view().table("series")
            planned = refuse_partial_cases(planned, series, run.stored_id)
        run.quarantine(planned.rejected)
        run.context = _know_stored_patients(store, context)
        pending = run.pending(planned.items, progress)
        with networks_apart(pending, context.encoders, context.runtime, workers) as told:
            for each, rows in read_pending(told, workers, options.pseudonym_key):
                run.finish(each, rows, progress)
                if is_cancelled():
                    break
        run.commit(progress)
    finally:
        shutil.rmtree(run.context.staging, ignore_errors=True)
    return run.summary()


class _Run:
    """One run of ingest: its context, its counts and what it refused."""

    def __init__(self, store: Store, options: IngestOptions) -> None:
        self.store = store
        self.options = options
        self.started_at = datetime.now(UTC).replace(tzinfo=None)
        self.run_id = f"{self.started_at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        chosen = _choose_encoders(options)
        self._encoder_ids = chosen.ids
        self.context = Context(
            staging=store.staging(self.run_id),
            encoders=tuple(chosen.ids),
            runtime=chosen.runtime,
            encoder_ids=tuple(chosen.ids.values()),
            mpp=options.mpp,
            patches=chosen.patches,
            min_lesion_mm3=options.min_lesion_mm3,
            keep_identity=options.keep_identity,
        )
        self._clock = time.perf_counter()
        view = store.view()
        self._before = store.counts(view)
        of_nuclei = [each for each in view.encoders("nucleus") if not is_network(each.name)]
        self._of_segmented = frozenset(each.encoder_id for each in of_nuclei)
        self._known = encoded_items(store.fingerprints())
        self._planned: frozenset[str] = frozenset()
        owners = {table: store.owners(table) for table in CLAIMED}
        self._claims = Claims(store.item_paths(), owners)
        self._rejected: list[Rejected] = []
        self._unclaimed: dict[str, BadInput] = {}  # why, by the key of the item
        self._timings: defaultdict[str, float] = defaultdict(float)
        self._unchanged = 0
        self._committed = 0
        self._left_out = 0
        self._outdated_vectors: Counter[str] = Counter()
        self._encoded: Counter[str] = Counter()
        self._ready: list[tuple[Item, tuple[CommitContent, ...]]] = []
        self._ready_seconds = 0.0
        self._done = 0
        self._total = 0

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Refuse files or rows, and remember why."""
        self._rejected.extend(rejected)

    def pending(
        self, items: Sequence[Item], progress: Callable[[Progress], None]
    ) -> Iterator[Pending]:
        """Items that are not in the store as they are now, or lack an encoder of the run."""
        self._total = len(items)
        self._planned = frozenset(item.key for item in items)
        first_path: dict[str, str] = {}
        for item in items:
            if item.key in first_path:
                reason = f"is the same {item.kind} as {first_path[item.key]} ({item.key})"
                self._refuse(BadInput(item.path, reason), item, progress)
                continue
            first_path[item.key] = item.path
            try:
                content = fingerprint_item(item, self.context, self.options.pseudonym_key)
            except BadInput as error:
                self._refuse(error, item, progress)
                continue
            missing = self._missing(item, content)
            if missing is None and item.kind == "nuclei" and not self._wanted(item):
                self._left_out += 1
                self._report(item, "left out", progress)
            elif missing is None:
                yield Pending(item, content, self._only(self._wanted(item)))
            elif missing:
                yield Pending(item, content, self._only(missing))
            else:
                self._unchanged += 1
                self._report(item, "unchanged", progress)

    def _only(self, encoders: tuple[str, ...]) -> Context:
        """What a reader is told that is to use these encoders alone."""
        ids = tuple(self._encoder_ids[name] for name in encoders)
        return replace(self.context, encoders=encoders, encoder_ids=ids)

    def finish(
        self, pending: Pending, rows: ItemRows | BadInput, progress: Callable[[Progress], None]
    ) -> None:
        """Put an item's rows with those to commit, and commit once enough came together.

        Or quarantine it, or find that nothing changed.
        """
        item = pending.item
        if isinstance(rows, BadInput):
            self._refuse(rows, item, progress)
            return
        self._rejected.extend(rows.rejected)
        for step, seconds in rows.seconds.items():
            self._timings[step] += seconds
        content = fingerprint_rows(pending.content, rows)
        missing = self._missing(item, content)
        if missing == ():
            self._unchanged += 1
            self._report(item, "unchanged", progress)
            _unlink(vectors.path for vectors in rows.vectors)
            return
        names = missing or self._wanted(item)
        if missing is None:
            key = self.stored_id(item.key)
            try:
                refuse_without_scan(item, self._unclaimed)
                self._claims.claim(key, item.path, rows.tables)
            except BadInput as error:
                self._unclaimed[item.key] = error
                self._refuse(error, item, progress)
                _unlink(vectors.path for vectors in rows.vectors)
                return
            self._outdated_vectors.update(self._lost(key, self._given(item)))
        else:
            added = _made_by(names, rows.vectors)
            _unlink(vectors.path for vectors in rows.vectors if vectors not in added)
            rows = ItemRows(vectors=added, seconds=rows.seconds)
        for vectors in rows.vectors:
            self._encoded[vectors.spec.encoder_id] += vectors.rows
        contents = self._contents(item, content, names, rows, is_new=missing is None)
        self._ready.append((item, contents))
        self._ready_seconds += sum(rows.seconds.values())
        if self._ready_seconds >= COMMIT_AFTER_SECONDS:
            self.commit(progress)

    def _given(self, item: Item) -> tuple[str, ...]:
        """The run's encoders that items of this kind are given to."""
        return tuple(name for name in self.context.encoders if is_given_to(name, item.kind))

    def _wanted(self, item: Item) -> tuple[str, ...]:
        """The run's encoders that this item is given to."""
        given = self._given(item)
        if item.kind != "slide" or not self._has_file_of_nuclei(item.details["slide_id"]):
            return given
        return tuple(name for name in given if not is_of_segmented(name))

    def _has_file_of_nuclei(self, slide_id: str) -> bool:
        """Whether a file with the nuclei of this slide is planned, or in the store."""
        key = nuclei_key(slide_id)
        return key in self._planned or self.stored_id(key) in self._known

    def _missing(self, item: Item, content: str) -> tuple[str, ...] | None:
        """Encoders of the run that have not seen the item, which is in the store; None if it is not
        there with this content.
        """
        known = self._known.get(self.stored_id(item.key))
        if known is None or known.content != content:
            return None
        wanted = self._wanted(item)
        return tuple(n for n in wanted if self._encoder_ids[n] not in known.encoder_ids)

    def _lost(self, key: str, encoders: Sequence[str]) -> frozenset[str]:
        """Ids of encoders that saw what is in the store of a changed item, but for these."""
        known = self._known.get(key)
        seen = known.encoder_ids if known else frozenset[str]()
        return seen.difference(map(self._encoder_ids.__getitem__, encoders))

    def _contents(
        self, item: Item, content: str, names: Sequence[str], rows: ItemRows, is_new: bool
    ) -> tuple[CommitContent, ...]:
        """The commit of a new item, or one that adds these encoders' vectors to it; and apart from
        it that of a slide's segmented nuclei.
        """
        apart = [name for name in names if item.kind == "slide" and is_of_segmented(name)]
        together = [name for name in names if name not in apart]
        segmented = _made_by(apart, rows.vectors)
        contents = []
        if is_new or together:
            others = [vectors for vectors in rows.vectors if vectors not in segmented]
            own = rows if is_new else None
            contents.append(self._commit_of(item, content, together, others, own))
        contents += [
            self._commit_of(item, content, [name], _made_by([name], segmented)) for name in apart
        ]
        return tuple(contents)

    def _commit_of(
        self,
        item: Item,
        content: str,
        encoders: Sequence[str],
        vectors: Sequence[VectorRows],
        own: ItemRows | None = None,
    ) -> CommitContent:
        """The commit of an item, whose tables are those of `own`; without, one that adds vectors by
        these encoders to it.
        """
        ids = frozenset(self._encoder_ids[name] for name in encoders)
        key = self.stored_id(item.key)
        return CommitContent(
            key if own else further_key(key, ids),
            item.kind,
            "" if self.options.pseudonym_key else item.path,
            Encoded(content, ids).fingerprint,
            self.run_id,
            own.tables if own else {},
            tuple(map(_staged, vectors)),
            outdated=self._outdated(item) if own else (),
        )

    def _outdated(self, item: Item) -> tuple[str, ...]:
        """The case that was encoded of a scan which is now another, and the segmented nuclei of a
        slide that a file brings others of.
        """
        if item.kind == "nuclei":
            slide = self.stored_id(slide_key(item.details["slide_id"]))
            return tuple(further_key(slide, [encoder_id]) for encoder_id in self._of_segmented)
        return (self.stored_id(case_key(item)),) if item.kind in SCAN_KINDS else ()

    def commit(self, progress: Callable[[Progress], None]) -> None:
        """Commit all items that are ready; only then are they reported as done."""
        if not self._ready:
            return
        started = time.perf_counter()
        self.store.commit_all([content for _, contents in self._ready for content in contents])
        self._timings["commit"] += time.perf_counter() - started
        for item, contents in self._ready:
            self._report(item, "committed", progress)
            _unlink(vectors.file for content in contents for vectors in content.vectors)
        self._committed += len(self._ready)
        self._ready, self._ready_seconds = [], 0.0

    def summary(self) -> IngestSummary:
        """What the run did, also written into the store."""
        self.store.compact()
        after = self.store.counts(self.store.view())
        summary = IngestSummary(
            run_id=self.run_id,
            added={name: max(0, after[t] - self._before[t]) for name, t in ADDED.items()},
            unchanged=self._unchanged,
            quarantined=tuple(self._rejected),
            seconds=time.perf_counter() - self._clock,
            timings={name: round(seconds, 4) for name, seconds in self._timings.items()},
            committed=self._committed,
            outdated=dict(sorted(self._outdated_vectors.items())),
            left_out=self._left_out,
            encoded=dict(sorted(self._encoded.items())),
        )
        key = self.options.pseudonym_key
        refused = [
            (pseudonym(key, r.path) if key else r.path, "" if key else r.reason)
            for r in self._rejected
        ]
        record = asdict(summary) | {"quarantined": len(refused)}
        self.store.record_run(self.run_id, self.started_at, record, refused)
        return summary

    def stored_id(self, one: str) -> str:
        """What an id is in the store: itself, or its pseudonym."""
        key = self.options.pseudonym_key
        return pseudonym(key, one) if key else one

    def _refuse(self, error: BadInput, item: Item, progress: Callable[[Progress], None]) -> None:
        self._rejected.append(Rejected(error.path, error.reason))
        self._report(item, "quarantined", progress)

    def _report(self, item: Item, state: str, progress: Callable[[Progress], None]) -> None:
        self._done += 1
        progress(Progress(self._done, self._total, item.path, state))


@dataclass(frozen=True)
class _Encoders:
    """A run's encoders: name to id, where networks compute, and how patches are cut."""

    ids: dict[str, str]
    runtime: Runtime
    patches: PatchGeometry


def _choose_encoders(options: IngestOptions) -> _Encoders:
    runtime = runtime_for(options.encoders, options.device, options.weights, options.is_compiled)
    patches = PatchGeometry(options.patch_mpp, options.patch_px)
    return _Encoders(
        encoder_ids(resolve_encoders(options.encoders), runtime, patches), runtime, patches
    )


def _check(paths: Sequence[Path], options: IngestOptions) -> None:
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"{path}: no such file or folder")
    if options.source is not None and options.source not in SOURCES:
        known = ", ".join(SOURCES)
        raise InvalidRequest(f"source must be one of {known}, got {options.source!r}")
    if options.keep_identity and options.pseudonym_key:
        raise InvalidRequest("identity is either kept or replaced by pseudonyms, not both")
    if options.mpp is not None and not 0 < options.mpp < 1000:
        raise InvalidRequest(f"mpp must be in (0, 1000) micrometres per pixel, got {options.mpp}")
    if not 0 < options.patch_mpp < 1000:
        raise InvalidRequest(
            f"patch mpp must be in (0, 1000) micrometres per pixel, got {options.patch_mpp}"
        )
    if not MIN_PATCH_PX <= options.patch_px <= MAX_PATCH_PX:
        raise InvalidRequest(
            f"patch px must be in [{MIN_PATCH_PX}, {MAX_PATCH_PX}] pixels, got {options.patch_px}"
        )
    if options.workers is not None and options.workers < 1:
        raise InvalidRequest(f"workers must be at least 1, got {options.workers}")
    unknown = next((name for name in options.encoders if not is_known(name)), None)
    if unknown is not None:
        known = ", ".join(encoder_names())
        raise InvalidRequest(f"encoder must be one of {known}, got {unknown!r}")


def _made_by(encoders: Sequence[str], vectors: Sequence[VectorRows]) -> list[VectorRows]:
    """The vectors that these encoders made, and what was pooled from them."""
    return [v for v in vectors if v.spec.name.removesuffix(POOLED_SUFFIX) in encoders]


def _know_stored_patients(store: Store, context: Context) -> Context:
    if context.known_patients is None:
        return context
    stored = store.view().table("patient")["patient_id"].to_pylist()
    return replace(context, known_patients=context.known_patients | frozenset(stored))


def _unlink(files: Iterable[str | Path]) -> None:
    for file in files:
        Path(file).unlink()


def _staged(vectors: VectorRows) -> StagedVectors:
    spec = vectors.spec
    encoder = StoredEncoder(
        spec.encoder_id,
        spec.name,
        spec.version,
        spec.level,
        spec.dim,
        spec.weights_sha256,
        spec.preprocessing,
        spec.is_standardised,
        tuple(spec.feature_names),
        getattr(vectors, "artefact", b""),
    )
    return StagedVectors(encoder, Path(vectors.path))
