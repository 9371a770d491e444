"""A table of a database as the CSV that nfengine writes of the same records.

  table_csv.py sqlite|duckdb FILE TABLE NAME=KIND[:NONE] ...

The columns stand in that order. Kinds are text, integer, unsigned (64 bits), bool, real, moment_ms, moment_us,
moment_ns, and integer[] and real[] for arrays; a value of another type than its kind's is an error. NONE is what CSV
has for NULL: nothing for texts.
"""
import json, sys


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def expect(value, *types):
    if type(value) not in types:
        sys.exit("table_csv: %r: expected %s" % (value, types))
    return value


def plain(value, kind):
    if kind == "bool":
        return {0: "False", 1: "True"}[expect(value, int, bool)]
    if kind == "real":
        return repr(expect(value, float))
    return str(expect(value, int) % (1 << 64) if kind == "unsigned" else expect(value, int))


def cell(value, kind, none):
    if value is None:
        return none if none is not None else sys.exit("table_csv: NULL in a column of kind " + kind)
    if kind == "text":
        return quoted(expect(value, str))
    if kind.endswith("[]"):
        numbers = value if type(value) is list else json.loads(expect(value, str))
        return quoted("[" + ", ".join(plain(number, kind[:-2]) for number in numbers) + "]")
    return plain(value, kind)


def sqlite_rows(path, table, columns):
    import sqlite3
    sql = "SELECT %s FROM %s ORDER BY rowid" % (", ".join(quoted(name) for name, _, _ in columns), quoted(table))
    return sqlite3.connect("file:" + path + "?mode=ro", uri=True).execute(sql)


def duckdb_rows(path, table, columns):
    import duckdb
    terms = []
    for name, kind, _ in columns:
        is_moment = kind.startswith("moment_")
        terms.append("epoch_%s(%s)" % (kind[-2:], quoted(name)) if is_moment else quoted(name))
    sql = "SELECT %s FROM %s ORDER BY rowid" % (", ".join(terms), quoted(table))
    return duckdb.connect(path, read_only=True).execute(sql).fetchall()


def main(product, path, table, *words):
    columns = []
    for word in words:
        name, kind = word.split("=")
        kind, _, none = kind.partition(":")
        columns.append((name, kind, '""' if kind == "text" else none or None))
    out = [",".join(name for name, _, _ in columns)]
    for row in {"sqlite": sqlite_rows, "duckdb": duckdb_rows}[product](path, table, columns):
        out.append(",".join(cell(value, kind, none) for value, (_, kind, none) in zip(row, columns)))
    sys.stdout.buffer.write(("\n".join(out) + "\n").encode())


main(*sys.argv[1:])
