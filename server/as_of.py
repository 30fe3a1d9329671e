"""As-of times, as users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from tumorbase.store.errors import InvalidRequest


def parse_as_of(text: str) -> datetime | None:
    """The time in UTC, without its zone as in the store; None for an empty text.

    A date alone means the end of that day, so that the facts of that day are in. A time without a
    zone is UTC.

    Raises:
        InvalidRequest: it is neither an ISO 8601 date nor a time.
    """
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time.max)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"as-of must be an ISO 8601 date or time such as 2024-01-31, got {text!r}"
        ) from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
