"""Unique violations: a sequence behind, or data that really are duplicated.

``key`` reads the server's words, ``violation`` says what can be told from an exception alone,
``explain`` gives the exception its note, ``heal`` repairs, and ``diagnosis`` asks the database.
"""
