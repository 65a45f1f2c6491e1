# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Handshakes with real TLS servers on the loopback interface.

TLS from the first byte is ``openssl s_server``. The SMTP, IMAP, POP3 and ManageSieve servers here are stubs that know
no more than STARTTLS and how to misbehave; the real Postfix stands in the lab.
"""

from __future__ import annotations

import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _probe
from ansible_collections.mailops.dane.plugins.module_utils._errors import ProbeError

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="the probe drives the openssl program")

ROOT = pki.root(kind="rsa")
INTERMEDIATE = pki.intermediate(ROOT, kind="rsa")
LEAVES = {kind: pki.leaf(INTERMEDIATE, private=pki.key(f"server {kind}", kind)) for kind in (
    "ecdsa", "p384", "rsa", "ed25519")}
SIGNED_FOR = {"p384": "ecdsa"}


def chain_file(directory, kind):
    path = directory / f"{kind}.pem"
    path.write_text(LEAVES[kind].key_pem + LEAVES[kind].pem + INTERMEDIATE.pem)
    return str(path)


@contextmanager
def tls_server(directory, *kinds, options=(), address="127.0.0.1"):
    """s_server with one or two keys; yields the port."""
    issuers = directory / "issuers.pem"
    issuers.write_text(INTERMEDIATE.pem)
    shown = f"[{address}]" if ":" in address else address
    command = ["openssl", "s_server", "-accept", f"{shown}:0", *options]
    for kind, prefix in zip(kinds, ("-", "-d")):
        path = chain_file(directory, kind)
        command += [f"{prefix}cert", path, f"{prefix}key", path, f"{prefix}cert_chain", str(issuers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    server = subprocess.Popen(command, text=True, **pipes)
    try:
        seen = []
        for line in server.stdout:
            seen.append(line)
            found = re.match(r"ACCEPT .*:(\d+)$", line)
            if found:
                break
        else:
            pytest.fail("s_server does not start: " + "".join(seen))
        reader = threading.Thread(target=server.stdout.read, daemon=True)
        reader.start()
        yield int(found.group(1))
    finally:
        server.kill()
        server.wait()
        reader.join()


class Stub:
    """A server that says and expects lines; a subclass of the conversation is a generator of (expect, say) pairs."""

    def __init__(self, *conversation, tls=None, hold=0.0):
        self.conversation, self.tls, self.hold = conversation, tls, hold
        self.heard = []
        self.connections = 0

    @contextmanager
    def running(self):
        stub = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                stub.connections += 1
                for expect, say in stub.conversation:
                    if expect:
                        line = self.rfile.readline()
                        stub.heard.append(line)
                        if not line.upper().startswith(expect):
                            return
                    self.wfile.write(say)
                if stub.tls:
                    try:
                        with stub.tls.wrap_socket(self.connection, server_side=True) as secure:
                            stub.heard.append(secure.recv(100))
                    except (ssl.SSLError, OSError):
                        pass
                time.sleep(stub.hold)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, block_on_close = True, True, False

        with Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()


def server_side(directory, kind="ecdsa", **attributes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file(directory, kind))
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


EHLO = (b"EHLO", b"250-stub\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
GREETING = (b"", b"220 stub ESMTP\r\n")


def look(port, *algorithms, starttls="none", sni=pki.NAME, address="127.0.0.1", timeout=10, **options):
    endpoints = _probe.endpoints_of(
        pki.NAME, [address], [{"port": port, "starttls": starttls}], algorithms=algorithms or ("",), snis=[sni])
    return _probe.look(endpoints, timeout=timeout, **options)


def summary(outcomes):
    return [(outcome["endpoint"]["algorithm"], outcome["outcome"],
             outcome["chain"]["algorithm"] if outcome["chain"] else None) for outcome in outcomes]


# ----------------------------------------------------------------------------------------------------------- endpoints


def test_endpoints():
    found = _probe.endpoints_of("MX1.example.test.", ["192.0.2.1", "2001:db8::1"], [{"port": 25, "starttls": "smtp"}])
    assert len(found) == 2 * 2 * 2
    assert found[0] == {"name": "mx1.example.test", "address": "192.0.2.1", "port": 25, "starttls": "smtp",
                        "algorithm": "ecdsa", "sni": "mx1.example.test"}
    assert {(one["address"], one["algorithm"], one["sni"]) for one in found} == {
        (address, algorithm, sni) for address in ("192.0.2.1", "2001:db8::1") for algorithm in ("ecdsa", "rsa")
        for sni in ("mx1.example.test", "")}


@pytest.mark.parametrize("addresses, service, algorithms, sentence", [
    (["mx1"], {"port": 25, "starttls": "smtp"}, ["rsa"], "Cannot look at 'mx': 'mx1' is not an IP address"),
    (["::1"], {"port": 25, "starttls": "ftp"}, ["rsa"],
     "Cannot look at 'mx': starttls 'ftp' is none of smtp, lmtp, imap, pop3, sieve, none"),
    (["::1"], {"port": 25, "starttls": "smtp"}, ["dsa"],
     "Cannot look at 'mx': key algorithm 'dsa' is none of ecdsa, rsa, ed25519, ed448"),
])
def test_endpoints_that_are_none(addresses, service, algorithms, sentence):
    with pytest.raises(ProbeError) as caught:
        _probe.endpoints_of("mx", addresses, [service], algorithms=algorithms)
    assert caught.value.message == sentence


def test_without_openssl(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProbeError, match="^Cannot look at 'mx1.example.test': the openssl program is not in PATH; "
                                         "install the package openssl on this host$"):
        look(1)
    assert _probe.look([]) == []


# ------------------------------------------------------------------------------------------------- TLS from first byte


def test_two_keys_are_both_seen(tmp_path):
    with tls_server(tmp_path, "ecdsa", "rsa") as port:
        outcomes = look(port, "ecdsa", "rsa", "ed25519", "", clock=lambda: 1234567890.5)
    assert summary(outcomes) == [("ecdsa", "chain", "ecdsa"), ("rsa", "chain", "rsa"),
                                 ("ed25519", "no-chain-for-algorithm", None), ("", "chain", "ecdsa")]
    assert outcomes[2]["detail"] == "openssl: sslv3 alert handshake failure"
    assert {outcome["at"] for outcome in outcomes} == {1234567890.5}
    assert set(outcomes[0]) == {"endpoint", "outcome", "chain", "detail", "at"}


def test_the_chain_is_described_for_the_base_domain(tmp_path):
    with tls_server(tmp_path, "ecdsa") as port:
        chain = look(port)[0]["chain"]
        strange = _probe.look([{"name": "mx2.example.test", "address": "127.0.0.1", "port": port, "starttls": "none",
                                "algorithm": "", "sni": ""}])[0]["chain"]
        later = look(port, valid_at=pki.NOW + 91 * pki.DAY)[0]["chain"]
    certificates = _chain.load_certificates(LEAVES["ecdsa"].pem + INTERMEDIATE.pem, "x")
    assert chain == _chain.describe(certificates, [pki.NAME], time.time())
    assert len(chain["matches"]) == 12
    assert len(strange["matches"]) == len(later["matches"]) == 6
    assert strange["id"] == chain["id"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", LEAVES)
def test_each_key_answers_to_its_algorithm_alone(tmp_path, kind, version):
    """Also P-384, which TLS 1.3 ties to SHA-384, and RSA in TLS 1.2, where a key can do without a signature."""
    mine = SIGNED_FOR.get(kind, kind)
    with tls_server(tmp_path, kind, options=[version]) as port:
        outcomes = look(port, "ecdsa", "rsa", "ed25519")
    assert summary(outcomes) == [
        (asked, "chain", mine) if asked == mine else (asked, "no-chain-for-algorithm", None)
        for asked in ("ecdsa", "rsa", "ed25519")]


def test_rsa_key_transport_is_not_mistaken_for_ecdsa(tmp_path):
    with tls_server(tmp_path, "rsa", options=["-tls1_2", "-cipher", "AES128-GCM-SHA256"]) as port:
        assert summary(look(port, "ecdsa", "rsa")) == [
            ("ecdsa", "no-chain-for-algorithm", None), ("rsa", "chain", "rsa")]


def test_weak_chains_are_seen(tmp_path):
    """Whoever looks must not be more particular than some sender is."""
    weak = pki.leaf(INTERMEDIATE, private=pki.key("server rsa1024", "rsa1024"), end=-1)
    (tmp_path / "weak.pem").write_text(weak.key_pem + weak.pem)
    path = str(tmp_path / "weak.pem")
    options = ["-cipher", "DEFAULT:@SECLEVEL=0", "-cert", path, "-key", path]
    with tls_server(tmp_path, options=options) as port:
        assert summary(look(port, "rsa", "")) == [("rsa", "chain", "rsa"), ("", "chain", "rsa")]


def test_an_alert_counts_only_beside_a_success(tmp_path):
    with tls_server(tmp_path, "ecdsa") as port:
        outcomes = look(port, "rsa", "ed25519")
        beside_another_name = look(port, "rsa") + look(port, "ecdsa", sni="")
    for outcome in (*outcomes, beside_another_name[0]):
        assert outcome["outcome"] == "silent"
        assert outcome["detail"] == ("openssl: sslv3 alert handshake failure; and no handshake with another key "
                                     "algorithm succeeded there in this look")


def test_server_name(tmp_path):
    """One key with the name, another without: both are seen."""
    second = tmp_path / "second"
    second.mkdir()
    other = chain_file(second, "p384")
    options = ["-servername", pki.NAME, "-cert2", other, "-key2", other]
    with tls_server(tmp_path, "ecdsa", options=options) as port:
        with_name, without = look(port, "ecdsa")[0], look(port, "ecdsa", sni="")[0]
    assert with_name["chain"]["spki"] == _chain.spki_digest(pki.spki(LEAVES["p384"].key))
    assert without["chain"]["spki"] == _chain.spki_digest(pki.spki(LEAVES["ecdsa"].key))


def test_an_alert_under_one_server_name_is_not_answered_by_another(tmp_path):
    """Only ECDSA under the name, only RSA without: nothing answers for RSA under the name when ECDSA is not asked."""
    second = tmp_path / "second"
    second.mkdir()
    other = chain_file(second, "p384")
    endpoints = [{"name": pki.NAME, "address": "127.0.0.1", "starttls": "none", "algorithm": "rsa", "sni": sni}
                 for sni in (pki.NAME, "")]
    with tls_server(tmp_path, "rsa", options=["-servername", pki.NAME, "-cert2", other, "-key2", other]) as port:
        outcomes = _probe.look([{**endpoint, "port": port} for endpoint in endpoints])
    assert [outcome["outcome"] for outcome in outcomes] == ["silent", "chain"]


@pytest.mark.parametrize("algorithm, without", [
    # ECDHE-RSA and RSA key transport; ECDHE-ECDSA. TLS 1.2 would not need a signature for the second of them.
    ("ecdsa", {0xC02F, 0x009C}), ("ed25519", {0xC02F, 0x009C}), ("rsa", {0xC02B}), ("", set())])
def test_ciphers_of_other_keys_are_not_offered(algorithm, without):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        hello = []

        def take():
            connection, _address = listener.accept()
            with connection:
                hello.append(connection.recv(4096))

        taker = threading.Thread(target=take)
        taker.start()
        look(listener.getsockname()[1], algorithm, timeout=5)
        taker.join(5)
    # Record and handshake header, version, random, session id; then the list of cipher suites (RFC 5246 7.4.1.2).
    start = 5 + 4 + 2 + 32
    start += 1 + hello[0][start]
    size = int.from_bytes(hello[0][start:start + 2], "big")
    suites = {int.from_bytes(hello[0][at:at + 2], "big") for at in range(start + 2, start + 2 + size, 2)}
    assert {0xC02F, 0x009C, 0xC02B} - suites == without


def test_ipv6(tmp_path):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with tls_server(tmp_path, "ecdsa", address="::1") as port:
        assert summary(look(port, "ecdsa", address="::1")) == [("ecdsa", "chain", "ecdsa")]


def test_several_handshakes_show_several_backends(tmp_path):
    """Two daemons behind one address, taking turns. One outcome for each of what was seen."""
    turns = []
    with tls_server(tmp_path, "ecdsa") as first, tls_server(tmp_path, "p384") as second:
        class Relay(socketserver.BaseRequestHandler):
            def handle(self):
                turns.append(1)
                with socket.create_connection(("127.0.0.1", (first, second)[len(turns) % 2])) as backend:
                    back = threading.Thread(target=pump, args=(backend, self.request), daemon=True)
                    back.start()
                    pump(self.request, backend)
                    back.join(5)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, block_on_close = True, False

        with Server(("127.0.0.1", 0), Relay) as relay:
            threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True).start()
            outcomes = look(relay.server_address[1], "ecdsa", handshakes=6)
            relay.shutdown()
    assert len(turns) == 6
    assert {outcome["chain"]["spki"] for outcome in outcomes} == {
        _chain.spki_digest(pki.spki(LEAVES[kind].key)) for kind in ("ecdsa", "p384")}
    assert len(outcomes) == 2


def pump(source, sink):
    try:
        while True:
            piece = source.recv(65536)
            if not piece:
                break
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_plain_text_where_tls_was_expected():
    with Stub(GREETING, hold=0.2).running() as port:
        outcome = look(port)[0]
    assert (outcome["outcome"], outcome["detail"]) == ("no-tls", "openssl: wrong version number")


def test_a_certificate_that_cannot_be_read(tmp_path, monkeypatch):
    def broken(text, label):
        raise _chain.ChainError(f"Cannot read a certificate in {label!r}: broken")

    monkeypatch.setattr(_chain, "load_certificates", broken)
    with tls_server(tmp_path, "ecdsa") as port:
        outcome = look(port)[0]
    assert (outcome["outcome"], outcome["chain"]) == ("silent", None)
    assert outcome["detail"] == f"Cannot read a certificate in '127.0.0.1:{port}': broken"


# ------------------------------------------------------------------------------------------------------------ STARTTLS


def test_smtp(tmp_path):
    stub = Stub(GREETING, EHLO, (b"STARTTLS", b"220 go\r\n"), tls=server_side(tmp_path))
    with stub.running() as port:
        outcome = look(port, "ecdsa", starttls="smtp", ehlo="probe.example.test")[0]
        time.sleep(0.1)
    assert (outcome["outcome"], outcome["detail"]) == ("chain", "")
    assert outcome["chain"]["algorithm"] == "ecdsa"
    assert stub.heard == [b"EHLO probe.example.test\r\n", b"STARTTLS\r\n", b"quit\r\n"]


@pytest.mark.parametrize("protocol, conversation, goodbye", [
    ("lmtp", (GREETING, (b"LHLO", EHLO[1]), (b"STARTTLS", b"220 go\r\n")), b"quit\r\n"),
    ("imap", ((b"", b"* OK stub\r\n"), (b". CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n. OK\r\n"),
              (b". STARTTLS", b". OK go\r\n")), b"a logout\r\n"),
    ("pop3", ((b"", b"+OK stub\r\n"), (b"STLS", b"+OK go\r\n")), b"quit\r\n"),
    ("sieve", ((b"", b'"IMPLEMENTATION" "stub"\r\n"STARTTLS"\r\nOK "ready"\r\n'), (b"STARTTLS", b'OK "go"\r\n')),
     b"logout\r\n"),
])
def test_other_protocols(tmp_path, protocol, conversation, goodbye):
    stub = Stub(*conversation, tls=server_side(tmp_path))
    with stub.running() as port:
        outcome = look(port, starttls=protocol)[0]
        time.sleep(0.1)
    assert outcome["outcome"] == "chain", (outcome, stub.heard)
    assert stub.heard[-1] == goodbye


NO_TLS = (b"EHLO", b"250-stub\r\n250 PIPELINING\r\n")


@pytest.mark.parametrize("protocol, conversation, outcome, detail", [
    ("smtp", (GREETING, NO_TLS, (b"STARTTLS", b"502 5.5.1 unknown\r\n")),
     "no-tls", "says '502 5.5.1 unknown' to STARTTLS"),
    ("smtp", (GREETING, EHLO, (b"STARTTLS", b"454 4.7.0 TLS not available\r\n")),
     "no-tls", "says '454 4.7.0 TLS not available' to STARTTLS"),
    ("smtp", ((b"", b"554 5.7.1 go away\r\n"),), "silent", "says '554 5.7.1 go away' to the connection"),
    ("smtp", ((b"", b"421 too many connections\r\n"),), "silent", "says '421 too many connections' to the connection"),
    ("smtp", (GREETING, (b"EHLO", b"550 who are you\r\n")), "silent", "says '550 who are you' to EHLO"),
    ("smtp", ((b"", b""),), "silent", "says '' to the connection"),
    ("smtp", (GREETING, NO_TLS), "silent", "says '' to STARTTLS"),
    ("lmtp", (GREETING, (b"LHLO", NO_TLS[1]), (b"STARTTLS", b"500 no\r\n")), "no-tls", "says '500 no' to STARTTLS"),
    ("imap", ((b"", b"* OK stub\r\n"), (b"", b""), (b"A STARTTLS", b"a BAD what\r\n")),
     "no-tls", "says 'a BAD what' to STARTTLS"),
    ("imap", ((b"", b"* BYE full\r\n"),), "silent", "says '* BYE full' to the connection"),
    ("pop3", ((b"", b"+OK stub\r\n"), (b"STLS", b"-ERR no\r\n")), "no-tls", "says '-ERR no' to STLS"),
    ("sieve", ((b"", b'"SIEVE" ""\r\nOK\r\n'), (b"STARTTLS", b"NO \"no TLS\"\r\n")),
     "no-tls", "says 'NO \"no TLS\"' to STARTTLS"),
    ("sieve", ((b"", b'BYE "full"\r\n'),), "silent", "says 'BYE \"full\"' to the connection"),
])
def test_servers_without_tls(protocol, conversation, outcome, detail):
    with Stub(*conversation).running() as port:
        found = look(port, starttls=protocol, timeout=5)[0]
    assert (found["outcome"], found["chain"]) == (outcome, None)
    assert found["detail"] == f"127.0.0.1:{port} {detail}"


def test_starttls_accepted_and_then_no_tls():
    """Nothing says that TLS is not done here: the server broke off in the middle."""
    with Stub(GREETING, EHLO, (b"STARTTLS", b"220 go\r\n")).running() as port:
        outcome = look(port, starttls="smtp")[0]
    assert outcome["outcome"] == "silent"
    assert outcome["detail"].startswith("openssl: ")


def test_a_reply_too_long_to_be_read_is_no_refusal():
    """The rest of a long answer to EHLO must not be taken for the answer to STARTTLS."""
    long_reply = b"250-more\r\n" * 3000 + b"250 STARTTLS\r\n"
    with Stub(GREETING, (b"EHLO", long_reply), (b"STARTTLS", b"220 go\r\n")).running() as port:
        assert look(port, starttls="smtp")[0]["outcome"] == "silent"


def test_algorithm_over_starttls(tmp_path):
    stub = Stub(GREETING, EHLO, (b"STARTTLS", b"220 go\r\n"), tls=server_side(tmp_path))
    with stub.running() as port:
        assert summary(look(port, "ecdsa", "rsa", starttls="smtp")) == [
            ("ecdsa", "chain", "ecdsa"), ("rsa", "no-chain-for-algorithm", None)]


# -------------------------------------------------------------------------------------------------------------- silence


@pytest.mark.parametrize("starttls", ["none", "smtp"])
def test_nobody_listens(starttls):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        outcome = look(port, starttls=starttls)[0]
    assert outcome["outcome"] == "silent"
    assert "refused" in outcome["detail"]


@pytest.mark.parametrize("starttls", ["none", "smtp"])
def test_somebody_listens_and_says_nothing(starttls):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(5)
        began = time.monotonic()
        outcome = look(mute.getsockname()[1], starttls=starttls, timeout=0.5)[0]
    assert (outcome["outcome"], outcome["detail"]) == ("silent", "timeout after 0.5 s")
    assert time.monotonic() - began < 5


def test_somebody_talks_without_end():
    """Neither memory nor time may depend on what a foreign server says."""
    with Stub(GREETING, (b"EHLO", b"250-more\r\n" * 300_000)).running() as port:
        began = time.monotonic()
        outcome = look(port, starttls="smtp", timeout=1)[0]
    assert outcome["outcome"] == "silent"
    assert time.monotonic() - began < 8
    assert len(outcome["detail"]) < 400


def test_output_is_bounded(tmp_path, monkeypatch):
    """A server that goes on sending after the handshake: its chain was seen, and that is enough."""
    monkeypatch.setattr(_probe, "_MOST_OUTPUT", 10_000)
    text, in_time = _probe._run(["sh", "-c", "yes"], b"", 10)
    assert (len(text) < 200_000, in_time) == (True, False)


def test_the_deadline_ends_the_program():
    began = time.monotonic()
    text, in_time = _probe._run(["sh", "-c", "echo here; exec sleep 60"], b"words", 0.5)
    assert (text, in_time) == ("here\n", False)
    assert time.monotonic() - began < 5


def test_a_program_that_does_not_listen():
    assert _probe._run(["true"], b"quit\r\n" * 100_000, 5) == ("", True)


def test_looks_are_concurrent(tmp_path):
    """Twelve endpoints that time out after a second each do not take twelve."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(20)
        began = time.monotonic()
        outcomes = look(mute.getsockname()[1], "ecdsa", "rsa", timeout=1, handshakes=6)
    assert time.monotonic() - began < 6
    assert summary(outcomes) == [("ecdsa", "silent", None), ("rsa", "silent", None)]


def test_a_silent_endpoint_gets_one_more_chance_and_not_five(monkeypatch):
    """A few dead addresses would make any look too old to deploy by."""
    tried = []

    def shake(endpoint, *_more):
        tried.append(endpoint["address"])
        outcome = "silent" if endpoint["address"] == "192.0.2.1" else "no-tls"
        return {"endpoint": endpoint, "outcome": outcome, "chain": None, "detail": "", "at": float(len(tried))}

    monkeypatch.setattr(_probe, "_shake", shake)
    monkeypatch.setattr(_probe.shutil, "which", lambda _name: "openssl")
    endpoints = [{"name": "mx", "address": address, "port": 25, "starttls": "smtp", "sni": "", "algorithm": "ecdsa"}
                 for address in ("192.0.2.1", "192.0.2.2")]
    _probe.look(endpoints, handshakes=5)
    assert (tried.count("192.0.2.1"), tried.count("192.0.2.2")) == (2, 5)
    tried.clear()
    _probe.look(endpoints)
    assert len(tried) == 2
