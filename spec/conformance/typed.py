"""NFStream's records of a plugin as nfengine's typed columns have them.

  typed.py GOLDEN.csv.gz OUT.csv.gz COLUMN=KIND ...

  list    a Python list, [] included, becomes its elements parted by commas
  number  None, which the CSV has as nothing, becomes 0

Every other value stays as it is; one that does not fit its kind is an error.
"""
import ast, csv, gzip, sys


def typed_list(text):
    values = ast.literal_eval(text)
    if not isinstance(values, list) or any("," in str(value) for value in values):
        sys.exit("typed: not a list of words: " + text)
    return ",".join(map(str, values))


def typed_number(text):
    return str(int(text or 0))


KINDS = {"list": typed_list, "number": typed_number}


def main(source, target, *columns):
    csv.field_size_limit(1 << 24)
    kinds = {name: KINDS[kind] for name, kind in (column.split("=") for column in columns)}
    encoding = dict(newline="", encoding="utf-8", errors="surrogateescape")
    with gzip.open(source, "rt", **encoding) as records, gzip.open(target, "wt", compresslevel=1, **encoding) as out:
        rows, writer = csv.reader(records), csv.writer(out, lineterminator="\n")
        header = next(rows)
        convert = [(header.index(name), kind) for name, kind in kinds.items()]
        writer.writerow(header)
        for row in rows:
            for i, kind in convert:
                row[i] = kind(row[i])
            writer.writerow(row)


main(*sys.argv[1:])
