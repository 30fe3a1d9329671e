"""Filters: a user's SQL predicate, checked to be nothing more, and the rows that it picks."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from tumorbase.store.errors import InvalidRequest

_EXPRESSIONS = {
    "BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
    "OPERATOR",
}  # fmt: skip
_FUNCTIONS = {
    "+", "-", "*", "/", "//", "%", "||", "~~", "!~~", "~~*", "!~~*", "like_escape",
    "not_like_escape", "abs", "ceil", "coalesce", "contains", "ends_with", "floor",
    "greatest", "ilike_escape", "least", "length", "ln", "log", "lower", "month", "prefix",
    "regexp_full_match", "regexp_matches", "round", "sqrt", "starts_with", "substring",
    "suffix", "trim", "upper", "year", "isnan", "isfinite",
}  # fmt: skip


def matching_rows(table: pa.Table, where: str) -> np.ndarray:
    """Which rows of `table` satisfy the predicate, bool (rows,); null counts as no.

    The predicate runs on a database of its own that holds this table alone and can reach no file.

    Raises:
        InvalidRequest: `where` is not one predicate over the columns of `table`.
    """
    _check_predicate(where)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        numbered = table.append_column("_row", pa.array(np.arange(table.num_rows)))
        connection.register("candidates", numbered)
        try:
            picked = connection.execute(f"SELECT _row FROM candidates WHERE ({where}\n)")
            rows = picked.to_arrow_table()["_row"].to_numpy()
        except duckdb.Error as error:
            raise InvalidRequest(f"filter {where!r}: {_first_line(error)}") from error
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows] = True
    return mask


def _check_predicate(where: str) -> None:
    with duckdb.connect(":memory:") as connection:
        statement = f"SELECT * FROM candidates WHERE ({where}\n)"
        parsed = connection.execute("SELECT json_serialize_sql($1)", [statement]).fetchone()
    assert parsed is not None
    tree = json.loads(parsed[0])
    if tree["error"]:
        reason = tree["error_message"].splitlines()[0]
        raise InvalidRequest(f"filter {where!r} is not a predicate: {reason}")
    if len(tree["statements"]) != 1:
        raise InvalidRequest(f"filter {where!r} is not a predicate but several statements")
    node = tree["statements"][0]["node"]
    is_plain = (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "BASE_TABLE"
        and not any(node[part] for part in ("modifiers", "group_expressions", "having", "qualify"))
        and not node["cte_map"]["map"]
        and not node["sample"]
    )
    if not is_plain:
        raise InvalidRequest(f"filter {where!r} is more than a predicate")
    _check_expression(node["where_clause"], where)


def _check_expression(node: Any, where: str) -> None:
    if isinstance(node, list):
        for child in node:
            _check_expression(child, where)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in _EXPRESSIONS:
        raise InvalidRequest(f"filter {where!r}: {kind.lower()} is not allowed in a filter")
    if kind == "FUNCTION" and node["function_name"] not in _FUNCTIONS:
        raise InvalidRequest(
            f"filter {where!r}: function {node['function_name']} is not allowed in a filter"
        )
    if kind != "CONSTANT":
        for child in node.values():
            _check_expression(child, where)


def _first_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])
