"""Cross-validation folds as published splits have them: splits_K.csv, columns train and val."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tumorbase.store.errors import InvalidRequest

Fold = tuple[tuple[str, ...], tuple[str, ...]]

_NAME = re.compile(r"splits_(\d+)\.csv")


def read_folds(folder: Path) -> tuple[Fold, ...]:
    """The folds in the order of K, each (train ids, validation ids).

    The shorter column is padded with blanks; an unnamed first column, an index, is left out.

    Raises:
        InvalidRequest: there is no such file, or one lacks a column or ids.
    """
    numbered = {int(m[1]): p for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))}
    if not numbered:
        raise InvalidRequest(f"{folder}: expected files splits_0.csv, splits_1.csv ...")
    return tuple(_read_fold(numbered[number]) for number in sorted(numbered))


def _read_fold(file: Path) -> Fold:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file}: expected UTF-8 text") from error
    train, validation = _column(rows, "train"), _column(rows, "val")
    if not train or not validation:
        raise InvalidRequest(f"{file}: expected columns train and val with patient ids")
    return train, validation


def _column(rows: list[dict[str, str]], name: str) -> tuple[str, ...]:
    return tuple(text for row in rows if (text := (row.get(name) or "").strip()))
