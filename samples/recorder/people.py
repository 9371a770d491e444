"""Who talks in the samples: a small network, its servers, and clients that use them."""

import contextlib
import http.server
import os
import random
import shutil
import socket
import ssl
import threading
import time

from recorder.lab import PATH, RESOLVER, Host, call, pause
from recorder.tunnels import distance

NAMES = "DNS:www.example.com,DNS:files.example.org,DNS:dns.example.org,IP:192.0.2.2"


class Site:
    """Laptop and phone on a gateway's LAN, the phone by radio; a server some 10 ms beyond the gateway."""

    GATEWAY, LAPTOP, SERVER, SHELL = RESOLVER, "192.0.2.10", "198.51.100.80", "203.0.113.22"
    GATEWAY6, LAPTOP6, SERVER6 = "2001:db8::1", "2001:db8::10", "2001:db8:80::80"
    SILENT, PROHIBITED, ABSENT = "203.0.113.99", "203.0.113.98", "198.51.100.200"

    def __init__(self, lab, mtu_beyond=1500):
        self.lab = lab
        self.gateway, self.server = Host(lab, "gateway"), Host(lab, "server")
        self.laptop, self.phone = Host(lab, "laptop"), Host(lab, "phone")
        self.gateway.ip("link", "add", "lan", "address", lab.mac(), "type", "bridge")
        lab.link(self.laptop, "eth0", self.gateway, "cable")
        distance(lab, self.phone, "eth0", self.gateway, "radio", milliseconds=2)
        for port in ("cable", "radio"):
            self.gateway.ip("link", "set", port, "master", "lan")
        self.gateway.ip("link", "set", "lan", "up")
        distance(lab, self.gateway, "wan", self.server, "eth0", milliseconds=10, mtu=mtu_beyond)
        self.gateway.address("lan", f"{self.GATEWAY}/24", f"{self.GATEWAY6}/64")
        self.gateway.address("wan", "198.51.100.1/24", "2001:db8:80::1/64")
        self.laptop.address("eth0", f"{self.LAPTOP}/24", f"{self.LAPTOP6}/64")
        self.server.address("eth0", f"{self.SERVER}/24", f"{self.SERVER6}/64", f"{self.SHELL}/32")
        self.route()

    def route(self):
        self.gateway.sysctl("ipv4/ip_forward", 1)
        self.gateway.sysctl("ipv6/conf/all/forwarding", 1)
        for host, router, router6 in ((self.laptop, self.GATEWAY, self.GATEWAY6),
                                      (self.server, "198.51.100.1", "2001:db8:80::1")):
            host.ip("route", "add", "default", "via", router)
            host.ip("route", "add", "default", "via", router6)
        self.gateway.ip("route", "add", "203.0.113.0/24", "via", self.SERVER)
        self.gateway.ip("route", "add", "blackhole", self.SILENT)
        self.gateway.ip("route", "add", "prohibit", self.PROHIBITED)

    def serve_names_and_leases(self):
        """dnsmasq on the gateway: the names of the site, addresses by DHCP and DHCPv6."""
        self.gateway.start(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--no-resolv",
            "--no-hosts", "--log-facility=/dev/null", f"--dhcp-leasefile={self.lab.path('leases')}", "--interface=lan",
            "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--dhcp-range=192.0.2.50,192.0.2.60,1h",
            "--dhcp-range=2001:db8::50,2001:db8::60,64,1h", "--domain=example.com",
            "--local=/com/", "--local=/org/", "--local=/test/", "--local=/192.in-addr.arpa/",
            f"--host-record=www.example.com,{self.SERVER},{self.SERVER6}",
            f"--host-record=files.example.org,{self.SERVER},{self.SERVER6}",
            f"--host-record=ssh.example.org,{self.SHELL}", f"--host-record=time.example.com,{self.GATEWAY}",
            f"--host-record=laptop.example.com,{self.LAPTOP},{self.LAPTOP6}",
            "--cname=mail.example.com,www.example.com", "--mx-host=example.com,mail.example.com,10",
            "--txt-record=example.com,v=spf1 -all", "--srv-host=_ssh._tcp.example.org,ssh.example.org,22",
            *(f"--txt-record=long.example.com,{n:02} {'text ' * 40}" for n in range(10)))


class Pages(http.server.BaseHTTPRequestHandler):
    """A web site: pages of several content types, one large download, pages of any size, a form."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "samples", ""
    disable_nagle_algorithm = True
    PAGES = {
        "/": ("text/html; charset=utf-8", b"<!doctype html><title>Samples</title>" + b"<p>Nothing here.</p>" * 80),
        "/style.css": ("text/css", b"p { margin: 1em }\n" * 40),
        "/feed.json": ("application/json", b'{"items": [' + b'{"id": 1}, ' * 200 + b"{}]}"),
        "/logo.svg": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g></g>" * 1300 + b"</svg>"),
        "/archive.zip": ("application/zip", b"PK\x03\x04" + random.randbytes(100_000)),
    }

    def do_GET(self):
        kind, body = self.PAGES.get(self.path, (None, b""))
        if self.path.startswith("/bytes/"):
            kind, body = "application/octet-stream", random.randbytes(int(self.path.rpartition("/")[2]))
        self.answer(200 if kind else 404, kind or "text/plain", body if kind else b"no such page\n")

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.answer(201, "application/json", b'{"received": %d}\n' % length)

    def answer(self, status, kind, body):
        pause(0.02)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Silence: the clients' exit statuses say what went wrong."""


def certificate(lab, name, subject, names):
    """A self-signed certificate and its key, good for a day: their paths."""
    paths = lab.path(f"{name}.crt"), lab.path(f"{name}.key")
    call("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", f"/CN={subject}", "-addext", f"subjectAltName={names}", "-out", paths[0], "-keyout", paths[1])
    return paths


def serve_pages(host, address="::", port=80, identity=None):
    """The web site on a host, over TLS where there is a certificate."""
    listener = host.socket(socket.SOCK_STREAM, address, port, listens=True)
    listener.settimeout(None)
    if identity:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*identity)
        context.set_alpn_protocols(["http/1.1"])
        listener = context.wrap_socket(listener, server_side=True)
    server = http.server.ThreadingHTTPServer((address, port), Pages, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    host.lab.callback(server.shutdown)


def url(address, path="/feed.json", port=80):
    return f"http://[{address}]:{port}{path}" if ":" in address else f"http://{address}:{port}{path}"


def fetch(host, *arguments, fails=False):
    host.run("curl", "--silent", "--show-error", "--max-time", "10", "--output", "/dev/null", *arguments, fails=fails)
    pause()


def serve_shell(host, lab, port=22):
    """sshd, which lets in whoever has the lab's user_key."""
    host_key, user_key = lab.path("host_key"), lab.path("user_key")
    for key in (host_key, user_key):
        if not os.path.exists(key):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sample", "-f", key)
    configuration = lab.write("sshd_config", f"HostKey {host_key}\nAuthorizedKeysFile {user_key}.pub\nPidFile none\n"
                              "PermitRootLogin yes\nStrictModes no\nPasswordAuthentication no\nUsePAM no\n")
    host.start(shutil.which("sshd", path=PATH), "-D", "-f", configuration, "-p", str(port))


def shell(host, lab, target, command, *options, key="user_key", said=None, fails=False):
    host.run("ssh", "-F", "/dev/null", "-i", lab.path(key), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", *options,
             f"root@{target}", command, said=said, fails=fails)
    pause(0.2)


CHRONYD = ("chronyd", "-x", "-d", "cmdport 0", "bindcmdaddress /", "pidfile /run/chronyd.pid")  # -x: no clock is set


def serve_time(host):
    host.start(*CHRONYD, "local stratum 8", "allow")


def ask_time(host, server):
    host.run(*CHRONYD, "-Q", "-t", "12", f"server {server} iburst maxsamples 2")


def ping(host, target, *options, count=2, fails=False):
    host.run("ping", "-n", "-c", str(count), "-i", "0.4", "-W", "1", *options, target, fails=fails)
    pause()


def dig(host, *arguments):
    host.run("dig", "+tries=1", *arguments)
    pause()


def echo(left, left_address, right, right_address, sizes=(40, 200, 900)):
    """Datagrams there and back. The first one larger than the path allows is lost, so each has three attempts."""
    server = right.socket(socket.SOCK_DGRAM, right_address, 7)
    client = left.socket(socket.SOCK_DGRAM, left_address, 40007)
    client.connect((right_address, 7))
    for end in (client, server):
        end.settimeout(0.5)
    for size in sizes:
        for _ in range(3):
            with contextlib.suppress(OSError):
                client.send(random.randbytes(size))
                data, peer = server.recvfrom(65535)
                pause(0.03)
                server.sendto(data, peer)
                client.recv(65535)
                break
        else:
            raise RuntimeError(f"no echo of {size} bytes from {right_address}")
        pause(0.05)


def talk(left, right_address):
    """What every tunnel carries: a ping and a download."""
    ping(left, right_address, count=3)
    fetch(left, url(right_address))


def lease(host):
    """udhcpc, which gives the host's eth0 the address that it is offered."""
    script = host.lab.write("leased", '#!/bin/sh\n[ "$1" = bound ] || exit 0\n'
                            'ip address add "$ip/$mask" dev "$interface"\nip route add default via "$router"\n', 0o755)
    client = host.start("udhcpc", "-f", "-R", "-i", "eth0", "-s", script, "-x", f"hostname:{host.name}")
    time.sleep(1.5)
    return client
