"""Unique violations: a sequence that is behind, or data that really are duplicated.

``words``, ``key`` and ``statement`` read what the server and the statement say, ``violation`` says
what an exception alone shows, ``explain`` gives the exception its note, and ``heal`` repairs.
``diagnosis`` asks the database: ``target`` finds the constraint, ``catalog`` and ``rows`` hold the
queries.
"""

UNIQUE_VIOLATION = "23505"
"""SQLSTATE, the same in every language of the server (PostgreSQL's appendix A)."""
EXCLUSION_VIOLATION = "23P01"
"""That of an exclusion constraint, which a key WITHOUT OVERLAPS is (PostgreSQL 18 and later)."""


def is_unique_violation(error: BaseException) -> bool:
    """Whether an exception of Django's stands for a unique violation of PostgreSQL's.

    A temporal key's is one too, which has the SQLSTATE of exclusion constraints.
    """
    return sqlstate(error) in (UNIQUE_VIOLATION, EXCLUSION_VIOLATION)


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an exception of Django's, None where it has none."""
    cause = error.__cause__
    found: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return found
