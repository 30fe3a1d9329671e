"""What takes seconds to find out is found out once, by the process that first asks and for those
that it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Found = TypeVar("Found")
Answers = dict[Hashable, Any]  # by question

_found: Answers = {}


def once(question: Hashable, find: Callable[[], Found]) -> Found:
    """What `find` gives; it is called only where the question is new. An answer never changes: what
    it depends on is part of the question.
    """
    if question not in _found:
        _found[question] = find()
    answer: Found = _found[question]
    return answer


def found_so_far() -> Answers:
    """All questions and answers, to `remember` in a process that this one starts."""
    return dict(_found)


def remember(found: Answers) -> None:
    """Take over what another process found out."""
    _found.update(found)
