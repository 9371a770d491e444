"""What is in a capture, as tshark sees it."""

from recorder.lab import call

FIELDS = ("frame.protocols", "ip.src", "ip.dst", "ip.proto", "ipv6.src", "ipv6.dst", "ipv6.nxt", "ipv6.fraghdr.nxt",
          "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "ip.frag_offset", "ipv6.fraghdr.offset")
PREFERENCES = ("ip.defragment:FALSE", "ipv6.defragment:FALSE",
               "capwap.swap_fc:FALSE")  # the standard's byte order, not that of some vendors


def examine(path):
    """A capture's packets, its outermost 5-tuples, and the names of the protocols in it."""
    options = [word for preference in PREFERENCES for word in ("-o", preference)]
    options += [word for field in FIELDS for word in ("-e", field)]
    lines = call("tshark", "-n", "-r", path, "-T", "fields", "-E", "occurrence=f", *options).splitlines()
    packets = [dict(zip(FIELDS, line.split("\t"))) for line in lines]
    flows = {outermost_flow(packet) for packet in packets} - {None}
    return len(packets), len(flows), {name for packet in packets for name in packet["frame.protocols"].split(":")}


def outermost_flow(packet):
    """The 5-tuple outside of all tunnels, the same for both directions; None for later fragments and without IP."""
    version = next((layer for layer in packet["frame.protocols"].split(":") if layer in ("ip", "ipv6")), None)
    if version is None or int(packet["ip.frag_offset"] or 0) or int(packet["ipv6.fraghdr.offset"] or 0):
        return None
    protocol = packet["ip.proto"] if version == "ip" else packet["ipv6.nxt"]
    if protocol == "44":
        protocol = packet["ipv6.fraghdr.nxt"]
    transport = {"6": "tcp", "17": "udp"}.get(protocol)
    ports = (packet[f"{transport}.srcport"], packet[f"{transport}.dstport"]) if transport else ("", "")
    return protocol, *sorted(((packet[f"{version}.src"], ports[0]), (packet[f"{version}.dst"], ports[1])))
