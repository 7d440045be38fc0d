"""Defaults as the catalog stores them: which draw from a sequence, and do nothing else.

A stored expression is read as text, since ``pg_get_expr`` locks the tables that it looks at. These
are SQL conditions on a column ``expression``; 1574 is the oid of ``nextval``, 2205 of ``regclass``,
480 and 714 of the casts from bigint to integer and smallint (pg_proc.dat and pg_type.dat, the same
in every version).
"""

DRAWS = "expression LIKE '%:funcid 1574 %'"
"""It calls ``nextval`` somewhere."""

DRAWS_PLAINLY = """CASE length(expression) - length(replace(expression, '{', ''))
    WHEN 2 THEN expression LIKE '{FUNCEXPR :funcid 1574 %'
    WHEN 3 THEN (expression LIKE '{FUNCEXPR :funcid 480 %'
                 OR expression LIKE '{FUNCEXPR :funcid 714 %')
                AND expression LIKE '%:args ({FUNCEXPR :funcid 1574 %'
    ELSE false
END AND expression LIKE '%:args ({CONST :consttype 2205 %'"""
"""It is one of the two simple forms: that of bigserial, and with a cast that of serial."""
