"""A table of an SQLite database as the CSV that nfengine writes of the same records.

  sqlite_csv.py FILE TABLE NAME=KIND[:NONE] ...

The columns stand in that order. Kinds are text, integer, unsigned (64 bits), bool, real, and integer[] and real[] for
arrays; a value of another storage class is an error. NONE is what CSV has for NULL: nothing for texts.
"""
import json, sqlite3, sys


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def expect(value, *types):
    if type(value) not in types:
        sys.exit("sqlite_csv: %r: expected %s" % (value, types))
    return value


def plain(value, kind):
    if kind == "bool":
        return {0: "False", 1: "True"}[expect(value, int)]
    if kind == "real":
        return repr(expect(value, float))
    return str(expect(value, int) % (1 << 64) if kind == "unsigned" else expect(value, int))


def cell(value, kind, none):
    if value is None:
        return none if none is not None else sys.exit("sqlite_csv: NULL in a column of kind " + kind)
    if kind == "text":
        return quoted(expect(value, str))
    if kind.endswith("[]"):
        numbers = json.loads(expect(value, str))
        return quoted("[" + ", ".join(plain(number, kind[:-2]) for number in numbers) + "]")
    return plain(value, kind)


def main(path, table, *columns):
    names, kinds = [], []
    for column in columns:
        name, kind = column.split("=")
        kind, _, none = kind.partition(":")
        names.append(name)
        kinds.append((kind, '""' if kind == "text" else none or None))
    out = [",".join(names)]
    sql = "SELECT %s FROM %s ORDER BY rowid" % (", ".join(map(quoted, names)), quoted(table))
    for row in sqlite3.connect("file:" + path + "?mode=ro", uri=True).execute(sql):
        out.append(",".join(cell(value, *kind) for value, kind in zip(row, kinds)))
    sys.stdout.buffer.write(("\n".join(out) + "\n").encode())


main(*sys.argv[1:])
