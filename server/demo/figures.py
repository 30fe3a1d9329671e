"""Plots of the demo page as inline SVG whose ink follows the page's text colour."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tumorbase.query.answers import PatientTracks, StudySum, Track
from tumorbase.query.risk_groups import RiskGroup, RiskGroups

# Okabe and Ito's colours, which the colour-blind tell apart; legible on white and on black.
PALETTE = ("#d55e00", "#2f8fd0", "#009e73", "#cc79a7", "#c79a00", "#7f7fd5", "#8c8c8c", "#56b4e9")
CLASS_COLOUR = {"tumour": "#d55e00", "lymphocyte": "#2f8fd0", "stroma": "#009e73"}
_GROUP_COLOUR = {"low": "#2f8fd0", "high": "#d55e00"}
_RESPONSE_NAME = {"CR": "complete", "PR": "partial", "SD": "stable", "PD": "progressive"}

# A colour that nothing else has: it becomes `currentColor` in the SVG.
_INK = "#010203"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def plot_tracks(tracks: PatientTracks) -> str:
    """Diameters of each track over time; below, the RECIST sum and response at each study."""
    days = _days(tracks.sums)
    last_day = max(days.values())
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "tracks"}):
        figure = Figure(figsize=(7.4, 5.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
        colours = {
            track.track_id: PALETTE[index % len(PALETTE)]
            for index, track in enumerate(tracks.tracks)
        }
        drawn = {
            track.track_id: _draw_track(above, track, days, colours[track.track_id])
            for track in tracks.tracks
        }
        for track in tracks.tracks:
            for parent in track.parents:
                (x1, y1), (x2, y2) = drawn[parent][-1], drawn[track.track_id][0]
                above.plot([x1, x2], [y1, y2], color=colours[parent], linewidth=0.9, linestyle=":")
        above.set_ylabel("long axis, mm\n(nodes: short axis)")
        above.set_ylim(bottom=0)
        _name_ends(above, tracks, drawn, colours)
        _draw_sums(below, tracks.sums, days)
        below.set_xlabel("days from the first study")
        below.set_xlim(-0.04 * last_day, 1.24 * last_day)
        below.set_xticks(sorted(days.values()))
        return _svg(
            figure,
            f"Diameters of {len(tracks.tracks)} lesion tracks of {tracks.patient_id} and the "
            f"RECIST sum over {len(tracks.sums)} studies",
        )


def _days(sums: Sequence[StudySum]) -> dict[str, int]:
    """Days from the first study, by study id."""
    dates = {entry.study_id: date.fromisoformat(entry.study_date[:10]) for entry in sums}
    first = min(dates.values())
    return {study_id: (day - first).days for study_id, day in dates.items()}


def _short(track_id: str) -> str:
    """The last part of a track's id, which names it within its patient."""
    return track_id.rsplit("/", 1)[-1].rsplit("-", 1)[-1]


def _is_target(track: Track) -> bool:
    return any(lesion.is_target for lesion in track.lesions)


def _draw_track(
    axes: Axes, track: Track, days: Mapping[str, int], colour: str
) -> list[tuple[float, float]]:
    """Draw the track, and return its points (day, mm)."""
    at = [days[lesion.study_id] for lesion in track.lesions]
    is_node = track.region == "node"
    size = [lesion.short_axis_mm if is_node else lesion.long_axis_mm for lesion in track.lesions]
    axes.plot(
        at, size, color=colour, linewidth=1.8 if _is_target(track) else 1, marker="o",
        markersize=4, linestyle="-" if _is_target(track) else (0, (4, 2)),
    )  # fmt: skip
    later = [day for day in days.values() if day > at[-1]]
    if track.status == "resolved" and later:
        axes.plot(
            [at[-1], min(later)], [size[-1], 0], color=colour, linewidth=0.9, linestyle=":",
            marker="x", markevery=[1], clip_on=False,
        )  # fmt: skip
    return list(zip(at, size, strict=True))


def _name_ends(
    axes: Axes,
    tracks: PatientTracks,
    drawn: Mapping[str, list[tuple[float, float]]],
    colours: Mapping[str, str],
) -> None:
    """Names beside the lines' ends instead of a legend; on the right moved apart."""
    last_day = max(day for points in drawn.values() for day, _ in points)
    step, place = axes.get_ylim()[1] / 16, -np.inf
    for track in sorted(tracks.tracks, key=lambda t: drawn[t.track_id][-1][1]):
        day, size = drawn[track.track_id][-1]
        label = f"{_short(track.track_id)} {track.region}{', target' * _is_target(track)}"
        colour = colours[track.track_id]
        if day < last_day:
            axes.annotate(
                f"{label}, {track.status}", (day, size), xytext=(5, 5),
                textcoords="offset points", color=colour, fontsize=8.5,
            )  # fmt: skip
            continue
        place = max(size, place + step)
        axes.annotate(
            label, xy=(day, size), xytext=(1.05 * last_day, place), color=colour, va="center",
            fontsize=8.5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4},
        )  # fmt: skip


def _draw_sums(axes: Axes, sums: Sequence[StudySum], days: Mapping[str, int]) -> None:
    at = [days[entry.study_id] for entry in sums]
    heights = [entry.sum_mm for entry in sums]
    axes.plot(at, heights, color=_INK, linewidth=1.6, marker="s", markersize=5)
    for day, entry in zip(at, sums, strict=True):
        new = f", {entry.new_lesions} new" if entry.new_lesions else ""
        axes.annotate(
            f"{entry.sum_mm:.0f} mm\n{_RESPONSE_NAME.get(entry.response, entry.response)}{new}",
            (day, entry.sum_mm), xytext=(6, 7), textcoords="offset points", fontsize=8.5,
        )  # fmt: skip
    axes.set_ylabel("sum of targets, mm")
    axes.set_ylim(0, 1.45 * max([*heights, 1.0]))


def plot_kaplan_meier(groups: RiskGroups, at_risk: Mapping[str, np.ndarray]) -> str:
    """Survival of the risk groups with 95 % intervals, and the numbers at risk under the axis.

    `at_risk` are the observed times in days of each group's patients, by the group's name.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "kaplan-meier"}):
        figure = Figure(figsize=(7.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for row, group in enumerate(groups.groups):
            _draw_group(axes, group)
            axes.text(
                0.98, 0.97 - 0.065 * row,
                f"{group.name} risk: {group.patients} patients, {group.events} deaths",
                transform=axes.transAxes, ha="right", va="top", color=_GROUP_COLOUR[group.name],
            )  # fmt: skip
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
        axes.set_ylabel("probability of survival")
        axes.set_xlabel("days")
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.text(
            0.98, 0.97 - 0.065 * len(groups.groups), f"log-rank p = {groups.log_rank_p:.2g}",
            transform=axes.transAxes, ha="right", va="top",
        )  # fmt: skip
        _write_at_risk(axes, at_risk)
        return _svg(
            figure,
            "Kaplan-Meier curves of low and high predicted risk, log-rank p "
            f"{groups.log_rank_p:.2g}",
        )


def _draw_group(axes: Axes, group: RiskGroup) -> None:
    colour = _GROUP_COLOUR[group.name]
    time = np.asarray(group.survival.time_days)
    axes.step(time, group.survival.probability, where="post", color=colour, linewidth=1.8)
    axes.fill_between(
        time, group.lower, group.upper, step="post", color=colour, alpha=0.14, linewidth=0
    )


def _write_at_risk(axes: Axes, at_risk: Mapping[str, np.ndarray]) -> None:
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks)
    to_axes = axes.get_xaxis_transform()
    axes.text(0, -0.215, "at risk", transform=to_axes, fontsize=8.5, ha="left", va="center")
    for row, (name, times) in enumerate(at_risk.items()):
        for tick in ticks:
            axes.text(
                tick, -0.28 - 0.062 * row, str(int((times >= tick).sum())), transform=to_axes,
                ha="center", va="center", fontsize=8.5, color=_GROUP_COLOUR[name],
            )  # fmt: skip


def plot_shapes(features: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Box plots, one panel a feature (label -> class -> values); whiskers 5 to 95 %."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "shapes"}):
        figure = Figure(figsize=(7.4, 2.9), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(features)))
        for axes, (label, values) in zip(panels, features.items(), strict=True):
            boxes = axes.boxplot(
                list(values.values()), widths=0.62, whis=(5, 95), showfliers=False,
                patch_artist=True, medianprops={"color": _INK, "linewidth": 1.2},
                whiskerprops={"color": _INK, "linewidth": 0.7}, capprops={"linewidth": 0},
            )  # fmt: skip
            for box, name in zip(boxes["boxes"], values, strict=True):
                box.set(facecolor=CLASS_COLOUR[name], edgecolor=CLASS_COLOUR[name], alpha=0.75)
            axes.set_title(label, fontsize=9)
            axes.set_xticks(range(1, len(values) + 1), list(values), rotation=35, ha="right")
            axes.yaxis.set_major_locator(MaxNLocator(5))
        return _svg(figure, f"Box plots of {', '.join(features)} by class of nucleus")


def _svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element, as wide as its container."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    opening, rest = text.split(">", 1)
    attributes = [
        part for part in opening.split("\n") if not part.strip().startswith(("width", "height"))
    ]
    opening = " ".join(" ".join(attributes).split())
    opening = " ".join(
        word for word in opening.split(" ") if not word.startswith(("width=", "height="))
    )
    return f'{opening} role="img" aria-label="{label}">{rest}'
