"""Describes a schema as text, from the database's catalogue: the result of all migrations."""

from __future__ import annotations

import asyncpg

_TABLES = """
SELECT c.oid, c.relname AS name, c.relkind = 'v' AS is_view,
       CASE c.relpersistence WHEN 'u' THEN 'unlogged table' ELSE
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'c' THEN 'type'
               WHEN 'p' THEN 'partitioned table' ELSE 'table' END
       END AS kind,
       array_to_string(c.reloptions, ', ') AS options
  FROM pg_class AS c
 WHERE c.relnamespace = $1::text::regnamespace
   AND c.relkind IN ('r', 'p', 'v', 'c')
   AND c.relname <> 'migrations'
 ORDER BY c.relname
"""

_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       pg_get_expr(d.adbin, d.adrelid) AS filled_with,
       (SELECT n.collname FROM pg_collation AS n
         WHERE n.oid = a.attcollation AND n.collname <> 'default') AS sorted_by,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage
  FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

_CONSTRAINTS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS text
  FROM pg_constraint
 WHERE conrelid = $1 AND contype <> 'n'
 ORDER BY conname
"""

_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) AS text
  FROM pg_index AS i
  JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE i.indrelid = $1
 ORDER BY c.relname
"""

_FUNCTIONS = """
SELECT pg_get_functiondef(oid) AS text
  FROM pg_proc
 WHERE pronamespace = $1::text::regnamespace
 ORDER BY proname, oid::regprocedure::text
"""


async def describe_schema(connection: asyncpg.Connection, schema: str) -> str:
    """Return tables, views and types with their details, then functions, in a fixed order."""
    parts = []
    for table in await connection.fetch(_TABLES, schema):
        options = f" with ({table['options']})" if table["options"] else ""
        lines = [f"{table['kind']} {schema}.{table['name']}{options}"]
        lines += [_column(column) for column in await connection.fetch(_COLUMNS, table["oid"])]
        for constraint in await connection.fetch(_CONSTRAINTS, table["oid"]):
            lines.append(f"  constraint {constraint['name']}: {constraint['text']}")
        for index in await connection.fetch(_INDEXES, table["oid"]):
            lines.append(f"  index: {index['text']}")
        if table["is_view"]:
            lines.append(await connection.fetchval("SELECT pg_get_viewdef($1::oid)", table["oid"]))
        parts.append("\n".join(lines))
    functions = await connection.fetch(_FUNCTIONS, schema)
    parts += [function["text"].rstrip() for function in functions]
    return "\n\n".join(parts) + "\n"


def _column(column: asyncpg.Record) -> str:
    parts = [column["name"], column["type"]]
    if column["sorted_by"]:
        parts.append(f"collate {column['sorted_by']}")
    if column["required"]:
        parts.append("not null")
    if column["filled_with"] is not None:
        parts.append(f"default {column['filled_with']}")
    if column["storage"]:
        parts.append(f"storage {column['storage']}")
    return "  " + " ".join(parts)
