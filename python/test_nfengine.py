"""Specs of nfengine.py: python -m unittest, with $NFENGINE naming the program."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
import warnings

import numpy
import pandas
import pyarrow

import nfengine
from nfengine import NFEngineError, NFEngineWarning, NFStreamer

SAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "samples")
WEB = os.path.join(SAMPLES, "web.pcap")


def program(*words):
    return subprocess.run([nfengine._program(), "-q", *words], check=True, capture_output=True, text=True).stdout


class Tables(unittest.TestCase):
    def test_pandas_holds_what_the_csv_holds(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "flows.csv")
            program("flows", WEB, "--statistical-analysis", "-o", path)
            expected = pandas.read_csv(path)
        got = NFStreamer(source=WEB, statistical_analysis=True).to_pandas()
        self.assertEqual(list(expected.columns), list(got.columns))
        for name in expected:
            for one, other in zip(expected[name], got[name]):
                self.assertTrue(one == other or pandas.isna(one) and pandas.isna(other), f"{name}: {one!r} {other!r}")

    def test_integers_cannot_wrap_around(self):
        flows = NFStreamer(source=WEB, splt_analysis=4).to_pandas()
        self.assertFalse([name for name, kind in flows.dtypes.items() if kind.kind == "u" or kind.name == "int32"])
        self.assertTrue(((flows.src_port - flows.dst_port).abs() < 65536).all())
        self.assertEqual(4, len(flows.splt_ps[0]))

    def test_moments_are_numbers_where_none_came_back(self):
        flows = NFStreamer(source=WEB).to_pandas()
        silent = flows[flows.dst2src_packets == 0]
        self.assertGreater(len(silent), 0)
        self.assertTrue((silent.dst2src_first_seen_ms == 0).all())

    def test_arrow_is_typed(self):
        schema = NFStreamer(source=WEB, time_unit="us").to_arrow().schema
        self.assertEqual(pyarrow.timestamp("us", "UTC"), schema.field("bidirectional_first_seen_us").type)
        self.assertEqual(pyarrow.uint16(), schema.field("src_port").type)

    def test_polars(self):
        import polars
        self.assertEqual(["src_port"], NFStreamer(source=WEB, columns=["src_port"]).to_polars().columns)
        self.assertIsInstance(NFStreamer(source=WEB).to_polars(), polars.DataFrame)

    def test_no_flow_is_an_empty_table(self):
        flows = NFStreamer(source=WEB, filter="false").to_pandas()
        self.assertEqual((0, "int64"), (len(flows), str(flows.src_port.dtype)))

    def test_parameters_of_numpy_and_pandas(self):
        flows = NFStreamer(source=WEB, columns=pandas.Index(["id", "src_ip"]), idle_timeout=numpy.int64(60),
                           statistical_analysis=numpy.bool_(True), filter=None).to_pandas()
        self.assertEqual(["id", "src_ip"], list(flows.columns))

    def test_every_run_starts_anew(self):
        streamer = NFStreamer(source=[WEB, os.path.join(SAMPLES, "tls.pcap")])
        self.assertTrue(streamer.to_pandas().equals(streamer.to_pandas()))
        self.assertEqual(683, streamer.account["packets_processed"] + streamer.account["packets_ignored"])


class Flows(unittest.TestCase):
    def test_one_after_another(self):
        table = NFStreamer(source=WEB).to_pandas()
        flows = list(NFStreamer(source=WEB))
        self.assertEqual(len(table), len(flows))
        self.assertEqual(list(table.columns), flows[0].keys())
        self.assertEqual(list(table.src_ip), [flow.src_ip for flow in flows])
        self.assertEqual(flows[0].values(), list(flows[0].to_namedtuple()))
        self.assertIn("src_ip=" + flows[0].src_ip, repr(flows[0]))
        with self.assertRaisesRegex(AttributeError, "flow has no 'sorce'"):
            flows[0].sorce

    def test_what_is_absent(self):
        silent = [flow for flow in NFStreamer(source=WEB) if flow.dst2src_packets == 0]
        self.assertEqual({0}, {flow.dst2src_first_seen_ms for flow in silent})
        self.assertIn("", {flow.requested_server_name for flow in silent})
        self.assertNotIn(None, [value for flow in silent for value in flow.values()])
        flows = list(NFStreamer(source=WEB, udps="tcp_rtt"))
        self.assertIn(-1, {flow.udps.tcp_rtt_handshake for flow in flows})

    def test_can_be_copied_and_sent_to_other_processes(self):
        flow = next(iter(NFStreamer(source=WEB, udps="tcp_rtt")))
        for made in (copy.copy(flow), copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
            self.assertEqual(flow.values(), made.values())
            self.assertEqual(flow.udps.tcp_rtt_handshake, pickle.loads(pickle.dumps(made.udps)).tcp_rtt_handshake)

    def test_columns_of_plugins(self):
        flow = next(iter(NFStreamer(source=WEB, udps=[("histogram", {"bins": 9}), "tcp_rtt"])))
        self.assertEqual(9, len(flow.udps.histogram_src2dst_payload))
        self.assertEqual(flow.udps.tcp_rtt_handshake, getattr(flow, "udps.tcp_rtt_handshake"))
        with self.assertRaisesRegex(AttributeError, "flow.udps has no 'rtt', only histogram_src2dst_payload"):
            flow.udps.rtt

    def test_leaving_the_loop_ends_the_program(self):
        started = threading.active_count()
        for _ in NFStreamer(source=WEB):
            break
        time.sleep(0.1)
        self.assertEqual(started, threading.active_count())


class Files(unittest.TestCase):
    def test_exports_tell_how_many(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "flows.csv")
            self.assertEqual(32, NFStreamer(source=WEB).to_csv(path))
            self.assertEqual(32, len(pandas.read_csv(path)))
            path = os.path.join(folder, "flows.parquet")
            self.assertEqual(32, NFStreamer(source=WEB).to_parquet(path))
            self.assertEqual(32, len(pandas.read_parquet(path)))

    def test_default_name(self):
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(WEB, os.path.join(folder, "a.pcap"))
            NFStreamer(source=os.path.join(folder, "a.pcap")).to_csv()
            self.assertTrue(os.path.exists(os.path.join(folder, "a.pcap.csv")))

    def test_rotation(self):
        with tempfile.TemporaryDirectory() as folder:
            NFStreamer(source=WEB).to_csv(os.path.join(folder, "a.csv"), flows_per_file=20)
            names = sorted(name for name in os.listdir(folder) if name.endswith(".csv"))
            self.assertEqual(["a.0.csv", "a.1.csv"], names)

    def test_anonymised(self):
        flows = NFStreamer(source=WEB).to_pandas(columns_to_anonymize=["src_ip"])
        self.assertTrue((flows.src_ip.str.len() == 128).all())

    def test_anonymised_as_the_streamer_says_unless_told_otherwise(self):
        streamer = NFStreamer(source=WEB, columns=["src_ip", "dst_ip"], columns_to_anonymize=["src_ip"])
        self.assertEqual({128}, set(streamer.to_pandas().src_ip.str.len()))
        self.assertEqual({128}, {len(flow.src_ip) for flow in streamer})
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "flows.csv")
            streamer.to_csv(path)
            self.assertEqual({128}, set(pandas.read_csv(path).src_ip.str.len()))
        flows = streamer.to_pandas(columns_to_anonymize=["dst_ip"])
        self.assertIn("192.0.2.10", set(flows.src_ip))
        self.assertEqual({128}, set(flows.dst_ip.str.len()))

    def test_reports_go_to_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "reports.jsonl")
            streamer = NFStreamer(source=WEB, performance_report=3600, performance_report_file=path)
            self.assertEqual(32, streamer.to_csv(os.path.join(folder, "flows.csv")))
            with open(path) as lines:
                self.assertEqual(streamer.account, json.loads(lines.read()))


class Failures(unittest.TestCase):
    def test_what_the_program_says_is_what_is_raised(self):
        with self.assertRaisesRegex(NFEngineError, "^\"/none\": No such file or directory") as caught:
            NFStreamer(source="/none").to_pandas()
        self.assertEqual(1, caught.exception.status)
        with self.assertRaisesRegex(NFEngineError, "did you mean '--idle-timeout'") as caught:
            list(NFStreamer(source=WEB, idle_timout=3))
        self.assertEqual(2, caught.exception.status)

    def test_what_cannot_be_asked(self):
        for wrong in (None, 3, [3], []):
            for export in (NFStreamer(source=wrong).to_pandas, NFStreamer(source=wrong).to_csv):
                with self.assertRaisesRegex(ValueError, "expected a capture"):
                    export()
        with self.assertRaisesRegex(TypeError, "output = 'a.csv': no parameter"):
            NFStreamer(source=WEB, output="a.csv")
        for wrong in (object(), ("tcp_rtt", "histogram"), ("tcp_rtt", {}, 3)):
            with self.assertRaisesRegex(TypeError, "expected the name or path of a Lua plugin"):
                NFStreamer(source=WEB, udps=wrong).to_pandas()

    def test_a_damaged_capture_gives_its_flows_and_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "cut.pcap")
            with open(WEB, "rb") as whole, open(path, "wb") as cut:
                cut.write(whole.read(5000))
            for progress in (False, lambda line: None):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    self.assertEqual(11, len(NFStreamer(source=path, progress=progress).to_pandas()))
                self.assertEqual([NFEngineWarning], [warning.category for warning in caught])
                self.assertIn("the file ends within a record", str(caught[0].message))
                self.assertEqual(__file__, caught[0].filename)

    def test_what_plugins_print_is_read_on(self):
        noisy = """local nf = require "nfengine"
            return nf.plugin { name = "noisy", columns = { { "n", "uint8", "n" } }, on_init = function()
              io.stderr:write("1 packets, 2 flows\\n", '{"flows_expired"\\n', ("nothing\\n"):rep(20000))
            end }"""
        def fail(line):
            raise ValueError("not to be shown: " + line[:3])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "noisy.lua")
            with open(path, "w") as file:
                file.write(noisy)
            with self.assertRaises(ValueError):
                NFStreamer(source=WEB, udps=path, progress=False).to_pandas()
            with self.assertRaisesRegex(ValueError, "not to be shown"):
                NFStreamer(source=WEB, udps=path, progress=fail).to_pandas()

    def test_a_program_that_is_killed(self):
        with tempfile.TemporaryDirectory() as folder:
            script = os.path.join(folder, "nfengine")
            with open(script, "w") as file:
                file.write(f'#!/bin/sh\n"{nfengine._program()}" "$@" | head -c 22000\nkill -9 $$\n')
            os.chmod(script, 0o755)
            with unittest.mock.patch.dict(os.environ, NFENGINE=script):
                with self.assertRaises(NFEngineError) as caught:
                    NFStreamer(source=WEB).to_pandas()
        self.assertEqual(-signal.SIGKILL, caught.exception.status)

    def test_progress(self):
        lines = []
        NFStreamer(source=WEB, progress=lines.append).to_pandas()
        self.assertRegex(lines[-1], "^390 packets, 32 flows")


if __name__ == "__main__":
    sys.exit(unittest.main())
