"""What another role has made: functions that planning would call, and what counts for nothing.

Index expressions and predicates, partition keys and extended statistics are evaluated as far as
they are constant whenever a table is planned for, with the rights of whoever plans
(``eval_const_expressions`` in PostgreSQL's planner). ``SET ROLE`` to the table's owner is no
remedy: the function can reset it. So a table with a function of another role, who is no
superuser, is not read; its owner can read it. CHECK constraints are left out of planning by
``constraint_exclusion = off``.
"""

from __future__ import annotations

IS_TRUSTED = (
    "(r.rolsuper OR r.rolname = session_user OR r.rolname = current_user AND NOT"
    " (SELECT s.rolsuper FROM pg_roles s WHERE s.rolname = session_user))"
)
"""The condition that role ``r`` gains nothing by what it has made being called in this session.

Where a superuser has set another role, a function of that role's can set it back: RESET ROLE.
"""
STRANGERS_CODE = f"""
SELECT e.tab, quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS function
FROM (
    SELECT indrelid AS tab, 'pg_class'::regclass AS classid, indexrelid AS objid
    FROM pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL
    SELECT partrelid, 'pg_class'::regclass, partrelid
    FROM pg_partitioned_table WHERE partexprs IS NOT NULL
    UNION ALL
    SELECT stxrelid, 'pg_statistic_ext'::regclass, oid
    FROM pg_statistic_ext WHERE stxexprs IS NOT NULL
) e
JOIN pg_depend d ON d.classid = e.classid AND d.objid = e.objid
    AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p ON p.oid = coalesce(o.oprcode::oid, d.refobjid)
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_roles r ON r.oid = p.proowner
WHERE NOT {IS_TRUSTED}
"""  # noqa: S608 - constants
"""The query for them: the table, and a function's quoted name."""


def may_draw(role: str, sequence: str, owner: str) -> str:
    """Return the condition that ``role`` may draw from a sequence, by itself or as its owner.

    Each is an expression for an oid. Whoever may not could let a table, a domain or a name of
    their own draw from it all the same, and lead it to the end of its range by a row.
    """
    return (
        f"({role} = {owner} OR has_sequence_privilege({role}, {sequence}, 'USAGE, UPDATE')"
        f" OR pg_has_role({role}, {owner}, 'USAGE'))"
    )
