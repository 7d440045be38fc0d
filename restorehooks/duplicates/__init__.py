"""Unique violations: a sequence behind, or data that really are duplicated.

``key`` reads the server's words, ``violation`` says what can be told from an exception alone,
``explain`` gives the exception its note, ``heal`` repairs, and ``diagnosis`` asks the database.
"""

UNIQUE_VIOLATION = "23505"
"""SQLSTATE, the same in every language of the server (PostgreSQL's appendix A)."""


def is_unique_violation(error: BaseException) -> bool:
    """Whether an exception of Django's stands for a unique violation of PostgreSQL's."""
    return getattr(error.__cause__, "sqlstate", None) == UNIQUE_VIOLATION
