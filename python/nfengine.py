"""Flow records of nfengine in Python: pandas, polars or pyarrow tables, or one flow after another as they end.

    from nfengine import NFStreamer

    flows = NFStreamer(source="capture.pcap", statistical_analysis=True).to_pandas()

    for flow in NFStreamer(source="eth0", udps=["tcp_rtt", ("histogram", {"bins": 8})]):
        print(flow.src_ip, flow.application_name, flow.udps.tcp_rtt_handshake)

NFStreamer takes NFStream's parameters, and every other that `nfengine --help` lists, by the same names. This module is
a client of the program: it runs `nfengine` and reads the Arrow stream that it writes. The program is looked for in
$NFENGINE, on the search path, and in the folder above this file.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings

import pyarrow
import pyarrow.ipc

__all__ = ["NFStreamer", "NFlow", "NFEngineError", "NFEngineWarning"]
__version__ = "0.1.0"


class NFEngineError(Exception):
    """A run that failed: what the program said. `status` is its exit status: 1 failed, 2 a parameter is wrong."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


class NFEngineWarning(UserWarning):
    """What the program warns of, such as a capture that ends within a packet: flows up to there are given."""


class NFlow:
    """A flow: its columns as attributes, those of plugins as attributes of `udps`."""

    __slots__ = ("_columns", "_values")

    def __init__(self, columns, values):
        self._columns, self._values = columns, values

    def __getattr__(self, name):
        if name.startswith("_"):  # no column: copies, which begin without any value, are asked for such
            raise AttributeError(name)
        at = self._columns.get(name)
        if at is not None:
            return self._values[at]
        if name == "udps":
            return _Udps(self)
        raise AttributeError(f"flow has no {name!r}, only {', '.join(self._columns)}")

    def __dir__(self):
        return [*super().__dir__(), *self._columns]

    def keys(self):
        """Names of the columns, in order."""
        return list(self._columns)

    def values(self):
        """Their values, in the same order."""
        return list(self._values)

    def to_namedtuple(self):
        """The same as a named tuple; dots in names become underscores."""
        names = [name.replace(".", "_") for name in self._columns]
        return collections.namedtuple("NFlow", names)(*self._values)

    def __repr__(self):
        pairs = (f"{name}={value}" for name, value in zip(self._columns, self._values))
        return "NFlow(" + ",\n      ".join(pairs) + ")"


class _Udps:
    """The columns of plugins of one flow."""

    __slots__ = ("_flow",)

    def __init__(self, flow):
        self._flow = flow

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        flow = self._flow
        at = flow._columns.get("udps." + name)
        if at is None:
            raise AttributeError(f"flow.udps has no {name!r}, only {', '.join(self._names()) or 'nothing'}")
        return flow._values[at]

    def _names(self):
        return [name[5:] for name in self._flow._columns if name.startswith("udps.")]

    def __dir__(self):
        return [*super().__dir__(), *self._names()]

    def __repr__(self):
        return "udps(" + ", ".join(f"{name}={getattr(self, name)}" for name in self._names()) + ")"


def _program():
    named = os.environ.get("NFENGINE")
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "nfengine")
    found = named or shutil.which("nfengine") or (beside if os.access(beside, os.X_OK) else None)
    if not found:
        raise FileNotFoundError("nfengine: not on the search path, expected the program there or its path in $NFENGINE")
    return found


def _word(value):
    """A parameter's value as the command line takes it."""
    if hasattr(value, "tolist"):  # a number, an array of numpy, a column of pandas
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, set)):
        return ",".join(map(_word, value))
    return str(value)


def _plugin_words(udps):
    """Command-line words for plugins: a name or path of a Lua plugin, (name, {option: value}), or a list of these."""
    words = []
    for plugin in udps if isinstance(udps, list) else [udps]:
        has_options = isinstance(plugin, tuple) and len(plugin) == 2 and isinstance(plugin[1], dict)
        name, options = plugin if has_options else (plugin, {})
        if not isinstance(name, (str, os.PathLike)):
            raise TypeError(f"udps = {plugin!r}: expected the name or path of a Lua plugin, or (name, {{option: value}})")
        name = os.fspath(name)
        words.append("--plugin=" + name)
        stem = os.path.basename(name)
        stem = stem[:-4] if stem.endswith(".lua") else stem
        words += [f"--set={stem}.{option}={_word(value)}" for option, value in options.items()]
    return words


def _warn(text):
    """Warns at the line outside of this module that asked for the run."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__") in (__name__, "contextlib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, NFEngineWarning, stacklevel=level)


_SUMMARY = re.compile(r"[\d,]+ packets?, [\d,]+ flows?")


class _Run:
    """One run of the program. What it says is read while it runs: progress, warnings, reports, and why it failed."""

    def __init__(self, words, progress, reports, has_stream):
        words = [_program(), *words, "--progress" if progress else "-q"]
        self._progress, self._reports = progress, reports
        self._warnings, self._said, self._failure, self._has_ended, self.account = [], None, None, False, None
        self._process = subprocess.Popen(words, stdin=None, stdout=subprocess.PIPE if has_stream else subprocess.DEVNULL,
                                         stderr=subprocess.PIPE)
        self.stream = self._process.stdout
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        pending = b""
        while chunk := os.read(self._process.stderr.fileno(), 65536):
            *lines, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._hear(line.decode(errors="replace"))
        self._hear(pending.decode(errors="replace"))

    def _hear(self, line):
        """Takes a line. What fails then is raised when the run ends: until then the program must not wait for a reader."""
        try:
            self._take(line)
        except Exception as error:
            self._failure = self._failure or error

    def _take(self, line):
        text = line.replace("\x1b[K", "").removeprefix("nfengine: ")
        if text.startswith("warning: "):
            self._warnings.append(text.removeprefix("warning: "))
        elif text.startswith('{"flows_expired"'):
            self.account = json.loads(text)
            if self._reports:
                print(text, file=self._reports, flush=True)
        elif self._progress and ("\x1b[K" in line or _SUMMARY.match(text)):
            self._progress(text)
        elif text:
            self._said = text

    def wait(self):
        self._process.wait()

    def end(self, is_cut_short=False):
        """Ends the program, or waits for its end, once. Raises why it failed, if it did and has not been told to end."""
        if self._has_ended:
            return
        self._has_ended = True
        if is_cut_short:
            self._process.terminate()
        if self.stream:
            self.stream.close()
        status = self._process.wait()
        self._listener.join()
        self._process.stderr.close()
        if self._reports and self._reports is not sys.stderr:
            self._reports.close()
        if self._progress is _print_progress:
            print(file=sys.stderr)
        for text in self._warnings:
            _warn(text)
        # A capture that is damaged somewhere is a warning; the flows up to there have come.
        if status != 0 and not is_cut_short and (self._said or not self._warnings):
            raise NFEngineError(self._said or f"nfengine ended with status {status}", status) from None
        if self._failure and not is_cut_short:
            raise self._failure


def _print_progress(text):
    print("\r\x1b[K" + text, end="", file=sys.stderr, flush=True)


def _wants_progress():
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _absent(schema):
    """What stands in NFStream's records for a number that is absent, by column."""
    described = json.loads((schema.metadata or {}).get(b"nfengine.schema", b"[]"))
    return {column["name"]: column["none"] for column in described if "none" in column}


def _like_nfstream(table, absent):
    """The same table with integers of 64 bits where it has smaller ones, unsigned ones or moments, whose arithmetic
    would wrap around or not be one of numbers; and with the number that stands for an absent one."""
    columns = []
    for field, column in zip(table.schema, table.columns):
        if pyarrow.types.is_timestamp(field.type):
            column = column.cast(pyarrow.int64())
        elif pyarrow.types.is_integer(field.type):
            try:
                column = column.cast(pyarrow.int64())
            except pyarrow.ArrowInvalid:  # beyond 2^63
                pass
        if field.name in absent and column.null_count:
            column = column.fill_null(pyarrow.scalar(absent[field.name], column.type))
        columns.append(column)
    return pyarrow.table(columns, names=table.schema.names)


def _rows(batch, absent):
    """The rows of a batch as NFStream's flows have them: texts that are absent are empty."""
    columns = []
    for column in _like_nfstream(pyarrow.table(batch), absent).columns:
        values = column.to_pylist()
        if column.null_count:
            none = float("nan") if pyarrow.types.is_floating(column.type) else ""
            values = [none if value is None else value for value in values]
        columns.append(values)
    return zip(*columns)


# Options of the program that would turn its stream of records into something else.
_NO_PARAMETERS = {"format", "help", "into", "interface", "output", "progress", "quiet", "replay", "schema", "version"}


class NFStreamer:
    """Flows of captures or of a network interface.

    source: path of a capture (pcap, pcapng; also gzip or zstd), a folder of them, the name of an interface, or a list.
    udps: plugins in Lua, by name or path; with options as (name, {option: value}); or a list of these.
    progress: True, False, or a function that takes a line; by default where somebody looks on: a terminal, a notebook.
    parameters: NFStream's and the program's own, by the names of `nfengine --help`: idle_timeout=60, columns=["id"] …
        None stands for the default. They are checked when a run starts, which raises NFEngineError with status 2.

    Every loop and every export is a run of its own, from the beginning. `account` is what became of the latest that
    ended: a dictionary of packets, flows and what was ignored, for reasons.
    """

    def __init__(self, source=None, udps=None, progress=None, **parameters):
        for name in _NO_PARAMETERS & parameters.keys():
            raise TypeError(f"{name} = {parameters[name]!r}: no parameter, expected one of NFStream's or the program's")
        self.source, self.udps, self.progress, self.parameters = source, udps, progress, parameters
        self.account = None

    def _sources(self):
        sources = self.source if isinstance(self.source, (list, tuple)) else [self.source]
        if not sources or not all(isinstance(path, (str, os.PathLike)) for path in sources):
            raise ValueError(f"source = {self.source!r}: expected a capture, a folder, an interface, or a list of them")
        return [os.fspath(path) for path in sources]

    def _words(self, more):
        words = ["flows"]
        given = {**self.parameters, **{name: value for name, value in more.items() if value is not None}}
        given.pop("performance_report_file", None)  # written here, from what comes on standard error
        for name, value in given.items():
            if value is not None:
                words.append(f"--{name.replace('_', '-')}={_word(value)}")
        if self.udps is not None:
            words += _plugin_words(self.udps)
        return words + [os.path.join(".", path) if path.startswith("-") else path for path in self._sources()]

    def _start(self, has_stream, **more):
        progress = _wants_progress() if self.progress is None else self.progress
        reports, path = None, self.parameters.get("performance_report_file")
        if not self.parameters.get("performance_report"):
            more["performance_report"] = 1 << 22  # one, at the end: this is 48 days
        words = self._words(more)
        if "performance_report" not in more:
            reports = open(path, "a") if path else sys.stderr
        return _Run(words, _print_progress if progress is True else progress, reports, has_stream)

    @contextlib.contextmanager
    def _reader(self, **more):
        """A pyarrow.RecordBatchStreamReader of a run, which ends with it."""
        run = self._start(True, format="arrow", **more)
        is_cut_short = True
        try:
            yield pyarrow.ipc.open_stream(run.stream)
            is_cut_short = False
        except (pyarrow.ArrowInvalid, OSError):  # the stream ends where it should not: the program knows why
            is_cut_short = False
            run.end()
            raise
        finally:
            run.end(is_cut_short)
            self.account = run.account

    def batches(self):
        """Iterates over pyarrow.RecordBatches as flows end, at least one a second while there are any on an interface;
        typed, as `nfengine --schema` describes."""
        with self._reader() as reader:
            yield from reader

    def __iter__(self):
        with self._reader() as reader:
            columns = {name: at for at, name in enumerate(reader.schema.names)}
            absent = _absent(reader.schema)
            for batch in reader:
                for row in _rows(batch, absent):
                    yield NFlow(columns, row)

    def to_arrow(self, columns_to_anonymize=None):
        """All flows as a pyarrow.Table, typed: moments are timestamps, arrays lists, what is absent is null."""
        with self._reader(columns_to_anonymize=columns_to_anonymize) as reader:
            return reader.read_all()

    def to_polars(self, columns_to_anonymize=None):
        """The same as a polars.DataFrame."""
        import polars
        return polars.from_arrow(self.to_arrow(columns_to_anonymize))

    def to_pandas(self, columns_to_anonymize=None):
        """All flows as a pandas.DataFrame with NFStream's types: integers of 64 bits, also for moments; arrays are numpy
        arrays. Texts that are absent are None. For types as they are: to_arrow().to_pandas()."""
        table = self.to_arrow(columns_to_anonymize)
        return _like_nfstream(table, _absent(table.schema)).to_pandas()

    def to_csv(self, path=None, columns_to_anonymize=None, flows_per_file=0, rotate_files=0):
        """Writes a CSV file, by default called as the first source with ".csv" behind it. Returns how many flows."""
        return self._export("csv", path, columns_to_anonymize, flows_per_file, rotate_files)

    def to_parquet(self, path=None, columns_to_anonymize=None, flows_per_file=0, rotate_files=0):
        """The same as Parquet, typed as to_arrow says."""
        return self._export("parquet", path, columns_to_anonymize, flows_per_file, rotate_files)

    def _export(self, format, path, columns_to_anonymize, flows_per_file, rotate_files):
        if path is None:
            path = f"{self._sources()[0]}.{format}"
        run = self._start(False, format=format, output=os.fspath(path), columns_to_anonymize=columns_to_anonymize,
                          flows_per_file=flows_per_file or None, rotate_files=rotate_files or None)
        is_cut_short = True
        try:
            run.wait()
            is_cut_short = False
        finally:
            run.end(is_cut_short)
            self.account = run.account
        return self.account["flows_expired"]
