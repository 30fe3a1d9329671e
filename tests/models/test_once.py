"""What is found out once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tumorbase.models import once as once_module
from tumorbase.models.once import found_so_far, once, remember


@pytest.fixture(autouse=True)
def _nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once_module, "_found", {})


def test_a_question_is_answered_once() -> None:
    answers: Iterator[int] = iter([1, 2])
    assert [once("first", lambda: next(answers)) for _ in range(2)] == [1, 1]
    assert once("second", lambda: next(answers)) == 2


def test_what_failed_is_asked_again() -> None:
    def fail() -> int:
        raise ValueError("not yet")

    with pytest.raises(ValueError, match="not yet"):
        once("question", fail)
    assert once("question", lambda: 1) == 1


def test_answers_are_handed_on() -> None:
    once("question", lambda: 1)
    handed = found_so_far()
    once("later", lambda: 2)
    assert handed == {"question": 1}
    remember({"later": 3, "other": 4})
    assert once("later", lambda: 5) == 3
