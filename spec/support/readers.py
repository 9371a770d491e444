"""Reads the same records in every format by readers of others, and says where two differ.

    readers.py < LINES

A line is a path without its ending, a tab, and how many records it has: PATH.csv, PATH.jsonl, PATH.parquet, PATH.arrow,
PATH.arrows and PATH.sqlite have to hold them. Nothing is printed where all is well, else a line for each path with a difference.

Parquet, as pyarrow reads it, is what the others are compared with: CSV and JSON lines value by value, as text and as
what they parse to, so to the last digit; the types with what "nfengine.schema" says; Arrow's files by pyarrow, polars
and pandas, Parquet by polars, DuckDB and pandas, databases by Python's sqlite3.
"""

import csv
import ipaddress
import json
import math
import multiprocessing
import os
import sqlite3
import sys

os.environ["POLARS_MAX_THREADS"] = "1"

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

NUMBERS = {"bool": pyarrow.bool_(), "float": pyarrow.float32(), "double": pyarrow.float64()}
for bits in 8, 16, 32, 64:
    NUMBERS[f"int{bits}"] = getattr(pyarrow, f"int{bits}")()
    NUMBERS[f"uint{bits}"] = getattr(pyarrow, f"uint{bits}")()


def require(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


# ---- types ----


def is_list(type_):
    types = pyarrow.types
    return types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)


def check_type(column, field):
    """Whether a column's type in a file is the one that the schema tells."""
    told, _, length = column["type"].partition("[")
    if length:
        require(is_list(field.type), column["name"], "is no list:", field.type)
        require(field.type.value_type == NUMBERS[told], column["name"], "has elements of", field.type.value_type)
        size = int(length.rstrip("]"))
        if pyarrow.types.is_fixed_size_list(field.type):
            require(field.type.list_size == size, column["name"], "has", field.type.list_size, "elements")
    elif pyarrow.types.is_timestamp(field.type):
        require("_seen_" in column["name"], column["name"], "is no moment")
        require((field.type.unit, field.type.tz) == (column["unit"], "UTC"), column["name"], "is", field.type)
    else:
        require("_seen_" not in column["name"], column["name"], "is a moment")
        expected = pyarrow.binary(16) if column.get("is_binary") else NUMBERS.get(told, pyarrow.string())
        require(field.type == expected, column["name"], "is", field.type, "not", told)


def check_schema(schema):
    columns = json.loads(schema.metadata[b"nfengine.schema"])
    require([column["name"] for column in columns] == schema.names, "names differ from the schema's")
    for column in columns:
        check_type(column, schema.field(column["name"]))
    return columns


def check_said(columns, schema):
    """What Arrow's fields say of themselves."""
    for column in columns:
        said = schema.field(column["name"]).metadata or {}
        for key in "unit", "doc":
            require(said.get(key.encode(), b"").decode() == column.get(key, ""), column["name"], "says another", key)


# ---- values ----


def address_of(value):
    """An address of 16 bytes as text."""
    address = ipaddress.IPv6Address(value)
    return str(address.ipv4_mapped or address)


def values_of(array):
    if pyarrow.types.is_timestamp(array.type):
        array = array.cast(pyarrow.int64())
    if pyarrow.types.is_fixed_size_binary(array.type):
        return [address_of(value) for value in array.to_pylist()]
    return array.to_pylist()


def as_text(value, is_single):
    """As CSV has it, but for what is absent."""
    if isinstance(value, list):
        return "[" + ", ".join(as_text(element, is_single) for element in value) + "]"
    if is_single and math.isfinite(value):
        return repr(float(str(numpy.float32(value))))
    return str(value)


def as_json(value, is_single):
    """As JSON has it, but for what is absent: no number is nan or inf."""
    if isinstance(value, list):
        return [as_json(element, is_single) for element in value]
    if isinstance(value, float):
        return (float(str(numpy.float32(value))) if is_single else value) if math.isfinite(value) else None
    return value


def check_cells(name, format_, expected, cells):
    """Where the typed value is absent, text has a value of the column's that stands for that, and for nothing else."""
    absent = {cell for value, cell in zip(expected, cells) if value is None}
    require(absent <= {""} or absent <= {"0", 0} or absent <= {"-1", -1}, name, format_, "has for absent", absent)
    for row, (value, cell) in enumerate(zip(expected, cells)):
        if value is None:
            continue
        same = value == cell and type(value) is type(cell)
        require(same and (isinstance(cell, list) or cell not in absent), name, format_, "row", row, cell, "not", value)


def check_json_numbers(expected, cells):
    """Of a JSON column whose values may not be finite, None is such a value."""
    return [cell if value is not None or cell is None else value for value, cell in zip(expected, cells)]


def check_texts(base, table):
    with open(base + ".csv", newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file, strict=True)
    with open(base + ".jsonl", encoding="utf-8", newline="\n") as file:
        objects = [json.loads(line) for line in file]
    require(names == table.column_names, "CSV has other names")
    require(len(rows) == table.num_rows, "CSV has", len(rows), "rows")
    require(len(objects) == table.num_rows, "JSON has", len(objects), "rows")
    require(all(list(each) == names for each in objects), "JSON has other names")
    for i, name in enumerate(names):
        array = table.column(name)
        inner = array.type.value_type if is_list(array.type) else array.type
        is_single = pyarrow.types.is_float32(inner)
        values = values_of(array)
        expected = [value if value is None else as_text(value, is_single) for value in values]
        check_cells(name, "CSV", expected, [row[i] for row in rows])
        expected = [value if value is None else as_json(value, is_single) for value in values]
        cells = [each[name] for each in objects]
        if pyarrow.types.is_floating(inner):
            require(expected == cells, name, "JSON differs")
        else:
            check_cells(name, "JSON", expected, cells)


# ---- other readers ----


def bits(array):
    """Values as integers of the same bits, so that nan is nan and 0 is not -0; absent ones stay absent."""
    array = array.combine_chunks() if isinstance(array, pyarrow.ChunkedArray) else array
    if is_list(array.type):
        return bits(array.flatten())
    if pyarrow.types.is_float32(array.type):
        return array.view(pyarrow.int32())
    if pyarrow.types.is_float64(array.type):
        return array.view(pyarrow.int64())
    return array


def check_same(reader, table, other):
    """Whether two tables have the same rows, whatever kind of lists, of texts, and of moments they have."""
    require(other.num_rows == table.num_rows, reader, "reads", other.num_rows, "rows")
    require(other.column_names == table.column_names, reader, "reads other names")
    for name in table.column_names:
        one, two = bits(table.column(name)), bits(other.column(name))
        if two.type != one.type:
            require(pyarrow.types.is_timestamp(one.type) == pyarrow.types.is_timestamp(two.type), name, two.type)
            two = two.cast(one.type)
        require(one.equals(two), reader, "reads other values of", name)


def check_lists(table, other):
    """Lists that have the same elements have to be of the same lengths, too."""
    for field in other.schema:
        if pyarrow.types.is_fixed_size_list(field.type):
            lengths = set(len(value) for value in table.column(field.name).to_pylist())
            require(lengths <= {field.type.list_size}, field.name, "has lists of", lengths)


def read_ipc(base):
    with pyarrow.ipc.open_file(base + ".arrow") as file:
        whole = file.read_all()
    with pyarrow.ipc.open_stream(base + ".arrows") as stream:
        batches = list(stream)
        flowing = pyarrow.Table.from_batches(batches, stream.schema)
    for table in whole, flowing:
        table.validate(full=True)
    return whole, flowing


def as_sqlite(value):
    """As SQLite has it: integers of 64 bits with a sign, no nan, no types for truth and moments."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value - (1 << 64) if value >= 1 << 63 else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def check_sqlite(base, table):
    with sqlite3.connect(base + ".sqlite") as database:
        selected = ", ".join(f'"{name}"' for name in table.column_names)
        rows = database.execute(f"select {selected} from flows order by rowid").fetchall()
    require(len(rows) == table.num_rows, "SQLite has", len(rows), "rows")
    for i, name in enumerate(table.column_names):
        array, found = table.column(name), [row[i] for row in rows]
        if is_list(array.type):
            is_single = pyarrow.types.is_float32(array.type.value_type)
            expected = [as_json(value, is_single) for value in values_of(array)]
            found = [json.loads(cell) for cell in found]
        else:
            expected = [as_sqlite(value) for value in values_of(array)]
        for row, (value, cell) in enumerate(zip(expected, found)):
            same = value == cell and type(value) is type(cell)
            require(same, name, "SQLite", "row", row, repr(cell), "not", repr(value))


def check(base, rows):
    table = pyarrow.parquet.read_table(base + ".parquet")
    table.validate(full=True)
    require(table.num_rows == rows, "Parquet has", table.num_rows, "rows")
    whole, flowing = read_ipc(base)
    columns = check_schema(table.schema)
    for each in whole, flowing:
        require(check_schema(each.schema) == columns, "schemas differ")
        check_said(columns, each.schema)
        check_same("pyarrow", table, each)
        check_lists(table, each)
    check_texts(base, table)
    check_sqlite(base, table)
    check_same("polars (Parquet)", table, polars.read_parquet(base + ".parquet").to_arrow())
    check_same("polars (file)", whole, polars.read_ipc(base + ".arrow").to_arrow())
    check_same("polars (stream)", flowing, polars.read_ipc_stream(base + ".arrows").to_arrow())
    check_same("DuckDB", table, connection().sql(f"from '{base}.parquet'").to_arrow_table())
    for frame in pandas.read_parquet(base + ".parquet"), pandas.read_feather(base + ".arrow"):
        require(frame.shape == (table.num_rows, table.num_columns), "pandas reads", frame.shape)


CONNECTIONS = []


def connection():
    if not CONNECTIONS:
        CONNECTIONS.append(duckdb.connect(config={"threads": 1}))
        CONNECTIONS[0].execute("set timezone = 'UTC'")
    return CONNECTIONS[0]


def trouble(line):
    base, rows = line.rstrip("\n").split("\t")
    try:
        check(base, int(rows))
    except Exception as error:  # whatever a reader makes of it
        return f"{base}: {type(error).__name__}: {str(error)[:300]}"


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for found in pool.imap(trouble, sys.stdin.readlines(), 4):
            if found:
                print(found.replace("\n", " "))
