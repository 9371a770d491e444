"""Cables that take time, and tunnels: packets of a TUN or TAP device, wrapped, on another host's network.

Made byte by byte, so that a kernel without tunnel modules can record them too. A wire is a socket or what looks like
one: it has send, recv and fileno. To wrap is to make a wire's packet of a device's; to unwrap is the way back, and
gives nothing for what is not the tunnel's.
"""

import collections
import contextlib
import os
import random
import select
import socket
import struct
import threading
import time

from recorder.lab import family


def in_background(lab, work):
    """Runs work(stopped) in a thread until the lab is left: then the descriptor `stopped` becomes readable."""
    stopped, stopper = os.pipe()
    thread = threading.Thread(target=work, args=(stopped,), daemon=True)
    lab.callback(os.close, stopped)
    lab.callback(thread.join)
    lab.callback(os.close, stopper)
    thread.start()


def distance(lab, left, left_device, right, right_device, milliseconds, mtu=1500):
    """A long cable between two hosts: each way takes the given time and up to a fifth more, in order."""
    ends = [left.device(left_device, mac=lab.mac(), mtu=mtu), right.device(right_device, mac=lab.mac(), mtu=mtu)]
    opposite = dict(zip(ends, reversed(ends)))

    def carry(stopped):
        on_their_way = collections.deque()
        while True:
            patience = max(0, on_their_way[0][0] - time.monotonic()) if on_their_way else None
            ready, _, _ = select.select([*ends, stopped], [], [], patience)
            if stopped in ready:
                return
            for end in ready:
                due = time.monotonic() + milliseconds / 1000 * random.uniform(1, 1.2)
                on_their_way.append((due, opposite[end], os.read(end, 65535)))
            while on_their_way and on_their_way[0][0] <= time.monotonic():
                _, end, frame = on_their_way.popleft()
                os.write(end, frame)

    in_background(lab, carry)


def tunnel(lab, device, wire, wrap, unwrap):
    """Carries what the device sends into the wire, and what the wire brings into the device."""
    def carry(stopped):
        while True:
            ready, _, _ = select.select([device, wire, stopped], [], [])
            if stopped in ready:
                return
            with contextlib.suppress(ConnectionRefusedError):  # the other end is not there yet
                if device in ready:
                    wire.send(wrap(os.read(device, 65535)))
                if wire in ready:
                    packet = unwrap(wire.recv(65535))
                    if packet:
                        os.write(device, packet)

    in_background(lab, carry)


class IpWire:
    """What an IP protocol carries between two addresses."""

    def __init__(self, host, address, peer, protocol):
        with host.entered():
            self.socket = host.lab.enter_context(socket.socket(family(peer), socket.SOCK_RAW, protocol))
        self.socket.bind((address, 0))
        self.socket.connect((peer, 0))
        self.send, self.fileno = self.socket.send, self.socket.fileno

    def recv(self, size):
        data = self.socket.recv(size)
        has_header = self.socket.family == socket.AF_INET  # raw sockets of IPv6 deliver none
        return data[(data[0] & 15) * 4:] if has_header else data


class FrameWire:
    """Whole frames on a host's cable; recv gives those that arrive, with `both_ways` also those that leave."""

    def __init__(self, host, device="eth0", both_ways=False):
        self.both_ways = both_ways
        with host.entered():
            self.socket = host.lab.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        self.socket.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        self.socket.bind((device, 3))  # ETH_P_ALL
        self.send, self.fileno = self.socket.send, self.socket.fileno

    def recv(self, size):
        frame, extras, _, source = self.socket.recvmsg(size, 128)
        if source[2] == socket.PACKET_OUTGOING and not self.both_ways:
            return b""
        for _, _, data in extras:  # the kernel takes the outermost VLAN tag out of the frame: back with it
            status, tag, protocol = struct.unpack_from("I12xHH", data)  # struct tpacket_auxdata
            if status & 0x10:
                frame = frame[:12] + struct.pack(">HH", protocol, tag) + frame[12:]
        return frame


def ip_in_ip(lab, host, name, protocol, address, peer, *addresses):
    """IP protocol 4 or 41: IPv4 or IPv6 directly behind an IP header (RFC 2003, RFC 4213, RFC 2473)."""
    tunnel(lab, host.device(name, *addresses), IpWire(host, address, peer, protocol), bytes, bytes)


def gre(lab, host, name, key, address, peer, *addresses):
    """GRE with a key (RFC 2784, RFC 2890)."""
    def wrap(packet):
        return struct.pack(">HHI", 0x2000, 0x86dd if packet[0] >> 4 == 6 else 0x0800, key) + packet

    tunnel(lab, host.device(name, *addresses), IpWire(host, address, peer, 47), wrap, lambda packet: packet[8:])


def vlan(lab, inner, outer, tags, address):
    """The inner host on an access port of the outer one, on whose cable its frames carry the tags (802.1Q, 802.1ad)."""
    end = 12 + len(tags)
    tunnel(lab, inner.device("eth0", address, mac=lab.mac()), FrameWire(outer),
           lambda frame: frame[:12] + tags + frame[12:],
           lambda frame: frame[:12] + frame[end:] if frame[12:end] == tags else b"")


def mpls(lab, host, name, labels, mac, peer_mac, *addresses):
    """Packets behind a stack of labels on an Ethernet (RFC 3032)."""
    stack = [label << 12 | 64 for label in labels]
    stack[-1] |= 1 << 8  # the bottom of the stack
    head = bytes.fromhex((peer_mac + mac).replace(":", "") + "8847") + struct.pack(f">{len(stack)}I", *stack)
    tunnel(lab, host.device(name, *addresses), FrameWire(host), lambda packet: head + packet,
           lambda frame: frame[len(head):] if frame[12:len(head)] == head[12:] else b"")


def gtpu(lab, inner, outer, teid, address, peer, *addresses):
    """GTP-U (3GPP TS 29.281): what the inner host sends as G-PDUs for the tunnel `teid`."""
    wire = outer.socket(socket.SOCK_DGRAM, address, 2152)
    wire.connect((peer, 2152))
    tunnel(lab, inner.device("eth0", *addresses), wire,
           lambda packet: struct.pack(">BBHI", 0x30, 255, len(packet), teid) + packet, lambda data: data[8:])


def capwap(lab, inner, outer, is_station, address, peer, *addresses):
    """CAPWAP data (RFC 5415) with 802.11 frames inside, as between an access point and its controller."""
    access_point = bytes.fromhex("020000000a01")
    head = bytes.fromhex("0010430000000000")  # two words, wireless binding 802.11, frame in its native form
    llc = bytes.fromhex("aaaa03000000")
    port, peer_port = (50000, 5247) if is_station else (5247, 50000)
    wire = outer.socket(socket.SOCK_DGRAM, address, port)
    wire.connect((peer, peer_port))

    def wrap(frame):
        target, source = frame[:6], frame[6:12]
        if is_station:
            wireless = b"\x08\x01\0\0" + access_point + source + target + b"\0\0"
        else:
            wireless = b"\x08\x02\0\0" + target + access_point + source + b"\0\0"
        return head + wireless + llc + frame[12:]

    def unwrap(data):
        first, second, third = data[12:18], data[18:24], data[24:30]
        return (first + third if is_station else third + second) + data[38:]

    tunnel(lab, inner.device("eth0", *addresses, mac=lab.mac()), wire, wrap, unwrap)


def tzsp(lab, host, device, collector):
    """TZSP: every frame of the host's device to the collector, as a switch with a mirrored port does."""
    watched = FrameWire(host, device, both_ways=True)
    wire = host.socket(socket.SOCK_DGRAM, "0.0.0.0", 37008)
    wire.connect((collector, 37008))
    head = bytes.fromhex("0100000101")  # version 1, received packet, Ethernet, end of tags

    def carry(stopped):
        while stopped not in select.select([watched, stopped], [], [])[0]:
            wire.send(head + watched.recv(65535))

    in_background(lab, carry)
