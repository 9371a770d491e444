"""Hosts made of network namespaces, cables between them, programs on them, and captures of what they say.

A program on a host sees that host's network and name, an empty /run and /root and our resolver: nothing of the machine
it really runs on can get into a capture. All that is made hangs on a Lab, and goes when the Lab is left.
"""

import contextlib
import ctypes
import fcntl
import os
import random
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
RESOLVER = "192.0.2.1"

LAUNCHER = ('hostname "$0" && mount -t tmpfs none /run && mkdir /run/sshd && mount -t tmpfs none /root'
            ' && mount --bind "$SAMPLE_FOLDER/resolv.conf" /etc/resolv.conf && exec "$@"')


def call(*argv):
    """Runs a command of the machine itself; its complaint becomes ours."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"'{' '.join(argv)}' failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Lab(contextlib.ExitStack):
    """The hosts, cables, processes and files of one recording."""

    def __init__(self):
        super().__init__()
        self.folder = self.enter_context(tempfile.TemporaryDirectory(prefix="sample-", dir="/tmp"))
        self.macs = 0
        os.chmod(self.folder, 0o755)  # some programs read their files as an unprivileged user
        self.write("resolv.conf", f"nameserver {RESOLVER}\n")

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def mac(self):
        """The next MAC address, locally administered."""
        self.macs += 1
        return f"02:00:00:00:00:{self.macs:02x}"

    def link(self, left, left_device, right, right_device):
        """A cable between two hosts. What is sent is what arrives: no frame is larger than the MTU allows."""
        call("ip", "link", "add", left_device, "netns", left.netns, "address", self.mac(), "type", "veth",
             "peer", "name", right_device, "netns", right.netns, "address", self.mac())
        for host, device in ((left, left_device), (right, right_device)):
            call("ip", "netns", "exec", host.netns, "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off",
                 "gro", "off")
            host.ip("link", "set", device, "up")

    def pair(self):
        """Two hosts on one cable: 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2."""
        left, right = Host(self, "left"), Host(self, "right")
        self.link(left, "eth0", right, "eth0")
        left.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
        right.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
        return left, right


class Host:
    """A network namespace that takes itself for a machine."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.netns = f"sample-{os.getpid()}-{name}"
        call("ip", "netns", "add", self.netns)
        lab.callback(call, "ip", "netns", "del", self.netns)
        for setting in ("accept_ra", "accept_dad", "dad_transmits", "router_solicitations"):
            self.sysctl(f"ipv6/conf/default/{setting}", 0)
        self.ip("link", "set", "lo", "up")

    @contextlib.contextmanager
    def entered(self):
        """This thread in the host's network: the sockets and devices it opens belong there for good."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        away = os.open(f"/run/netns/{self.netns}", os.O_RDONLY)
        try:
            if libc.setns(away, 0):
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace '{self.netns}'")
            yield
        finally:
            libc.setns(home, 0)
            os.close(home)
            os.close(away)

    def sysctl(self, name, value):
        with self.entered(), open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def ip(self, *arguments):
        call("ip", "-n", self.netns, *arguments)

    def address(self, device, *addresses):
        for address in addresses:
            self.ip("address", "add", address, "dev", device)

    def start(self, *argv, **options):
        """Starts a program on this host; it ends with the lab at the latest."""
        environment = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root", "SAMPLE_FOLDER": self.lab.folder}
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        launcher = ("ip", "netns", "exec", self.netns, "unshare", "--uts", "sh", "-c", LAUNCHER, self.name)
        process = subprocess.Popen(launcher + argv, env=environment, start_new_session=True, **options)
        self.lab.callback(stop, process)
        return process

    def run(self, *argv, said=None, fails=False):
        """Runs a program on this host to its end. `fails` says that failing is what it is run for."""
        process = self.start(*argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        _, complaint = process.communicate(said, timeout=20)
        if (process.returncode != 0) != fails:
            raise RuntimeError(f"'{' '.join(argv)}' on {self.name}: exit status {process.returncode}, expected "
                               f"{'a failure' if fails else '0'}: {complaint.decode(errors='replace').strip()}")

    def socket(self, kind, address, port=0, listens=False):
        """A socket of this host, bound to the address; it closes with the lab at the latest."""
        with self.entered():
            opened = self.lab.enter_context(socket.socket(family(address), kind))
        opened.settimeout(5)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        if listens:
            opened.listen()
        return opened

    def device(self, name, *addresses, mac=None, mtu=1400):
        """A TUN device, with a MAC address a TAP device: the descriptor that its packets come from and go to."""
        mode = 0x1000 | (2 if mac else 1)  # IFF_NO_PI, IFF_TAP, IFF_TUN
        with self.entered():
            descriptor = os.open("/dev/net/tun", os.O_RDWR)
            self.lab.callback(os.close, descriptor)
            fcntl.ioctl(descriptor, 0x400454ca, struct.pack("16sH22x", name.encode(), mode))  # TUNSETIFF
        if mac:
            self.ip("link", "set", name, "address", mac)
        self.ip("link", "set", name, "mtu", str(mtu), "up")
        self.address(name, *addresses)
        return descriptor


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def stop(process, with_signal=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(with_signal)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def captured(path, host, *arguments, program="tcpdump"):
    """Records the host's devices into the file while the body runs. A packet that the capture missed is an error."""
    if program == "tcpdump":  # the buffer has room for 256 packets of the largest size
        arguments = ("-U", "--immediate-mode", "-B", "65536", "-Z", "root", *arguments)
    capture = host.start(program, *arguments, "-w", path, stderr=subprocess.PIPE)
    said = []
    for line in capture.stderr:
        said.append(line.decode())
        if "listening on" in said[-1] or said[-1].startswith("File:"):
            break
    else:
        raise RuntimeError(f"{program} on {host.name} does not start: {''.join(said).strip()}")
    time.sleep(0.3)
    yield
    time.sleep(0.5)
    stop(capture, signal.SIGINT)
    drops = r"(\d+) packets? dropped by kernel|dropped on interface .*?: \d+/(\d+)"
    if any(int(count or 0) for counts in re.findall(drops, capture.stderr.read().decode()) for count in counts):
        raise RuntimeError(f"{program} on {host.name} lost packets: the machine is too busy, record again")


def settle():
    """Lets servers start, and hosts announce their multicast groups, before a capture begins."""
    time.sleep(2)


def pause(seconds=0.1):
    """Somebody thinks: no two gaps alike, none of them zero."""
    time.sleep(random.uniform(0.5, 1.5) * seconds)
