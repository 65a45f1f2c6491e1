# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The witness against servers made here, the command line, and what the broken demo makes of a verdict."""

from __future__ import annotations

import json
import pathlib
import socket
import socketserver
import ssl
import sys
import threading
import time

import dns.flags
import dns.message
import dns.rrset
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from judge import __main__ as program
from judge import sightings, witness
from worlds import START, World, _key, certificate, delivery_lines, owner, record

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab"))
import demo_broken

NAME = "_25._tcp.mx1.example.test."
SOA = "ns0.example.test. hostmaster.example.test. 1 10 5 86400 7"


class Server(socketserver.ThreadingMixIn):
    """A server on the loopback that ends with its ``with``."""

    daemon_threads = True
    allow_reuse_address = True

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self.server_address[1]

    def __exit__(self, *_error):
        self.shutdown()
        self.server_close()


class UDP(Server, socketserver.UDPServer):
    pass


class TCP(Server, socketserver.TCPServer):
    pass


def name_server(fill):
    """A DNS server whose answers ``fill`` completes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data, sock = self.request
            answer = dns.message.make_response(dns.message.from_wire(data))
            answer.flags |= dns.flags.AA
            if fill(answer) is not False:
                sock.sendto(answer.to_wire(), self.client_address)

    return UDP(("127.0.0.1", 0), Handler)


def test_the_witness_reads_records_and_ttl():
    def fill(answer):
        answer.answer.append(dns.rrset.from_text(NAME, 23, "IN", "TLSA", record("mx1 old"), record("nobody")))

    with name_server(fill) as port:
        records, ttl, _detail = witness.look_at_rrset(NAME, "127.0.0.1", port)
    assert (records, ttl) == (sorted([record("mx1 old"), record("nobody")]), 23)


def test_nothing_there_lasts_as_long_as_the_soa_says():
    def fill(answer):
        answer.authority.append(dns.rrset.from_text("example.test.", 60, "IN", "SOA", SOA))

    with name_server(fill) as port:
        assert witness.look_at_rrset(NAME, "127.0.0.1", port)[:2] == ([], 7)


@pytest.mark.parametrize("flaw", ["not authoritative", "servfail", "silent"])
def test_a_server_that_says_nothing_worth_hearing(flaw, monkeypatch):
    monkeypatch.setattr(witness, "TIMEOUT", 0.2)

    def fill(answer):
        if flaw == "silent":
            return False
        if flaw == "servfail":
            answer.set_rcode(2)
        else:
            answer.flags &= ~dns.flags.AA
        return True

    with name_server(fill) as port:
        assert witness.look_at_rrset(NAME, "127.0.0.1", port)[0] is None


@pytest.fixture
def chain_file(tmp_path):
    """Key, leaf and issuer in one file."""
    key = _key("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    certs = [ssl.DER_cert_to_PEM_cert(der) for der in (certificate("leaf", "ca"), certificate("ca", ca=True))]
    path = tmp_path / "chain.pem"
    path.write_text(key + "".join(certs))
    return path


def mail_host(chain_file, offer=b"250-x\r\n250 STARTTLS\r\n", go=b"220 go\r\n", killed=False):
    """As much of an SMTP server as STARTTLS needs."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 x\r\n")
            self.rfile.readline()
            self.wfile.write(offer)
            if self.rfile.readline().strip() == b"STARTTLS":
                self.wfile.write(go)
                if killed:
                    self.connection.recv(1)
                    self.connection.shutdown(socket.SHUT_WR)
                    while self.connection.recv(4096):
                        pass
                elif go.startswith(b"220"):
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(chain_file)
                    context.wrap_socket(self.connection, server_side=True)

    return TCP(("127.0.0.1", 0), Handler)


def test_the_witness_sees_the_whole_chain(chain_file):
    with mail_host(chain_file) as port:
        chain, detail = witness.look_at_chain("mx1.example.test", "127.0.0.1", witness._context(), port)
    assert chain == [certificate("leaf", "ca"), certificate("ca", ca=True)], detail


@pytest.mark.parametrize("how", [{"offer": b"250 x\r\n"}, {"go": b"454 TLS not available\r\n"}])
def test_no_tls_is_an_empty_chain(chain_file, how):
    with mail_host(chain_file, **how) as port:
        assert witness.look_at_chain("mx1.example.test", "127.0.0.1", witness._context(), port)[0] == []


def test_a_handshake_that_is_cut_off_is_named_so(chain_file):
    with mail_host(chain_file, killed=True) as port:
        chain, detail = witness.look_at_chain("mx1.example.test", "127.0.0.1", witness._context(), port)
    assert chain == [] and detail.startswith(sightings.CUT_OFF)


def test_a_host_that_is_down_is_silent():
    assert witness.look_at_chain("mx1.example.test", "127.0.0.1", witness._context(), 1)[0] is None


def test_the_witness_looks_twice_a_second_and_writes_everything(tmp_path, chain_file):
    def fill(answer):
        answer.answer.append(dns.rrset.from_text(NAME, 23, "IN", "TLSA", record("leaf")))

    plan = {"owners": {NAME: "mx1"}, "names": {"mx1": "mx1.example.test"},
            "sources": [[NAME, "ns0", "127.0.0.1"]], "endpoints": [["mx1", "127.0.0.1"]]}
    stop = tmp_path / "stop"
    threading.Timer(2.2, stop.touch).start()
    with name_server(fill) as dns_port, mail_host(chain_file) as smtp_port:
        began = time.time()
        witness.Witness(plan, tmp_path / "log", dns_port, smtp_port).run(stop)
    assert time.time() - began < 4
    seen = sightings.read(tmp_path / "log")
    for _target, looks in seen.targets():
        assert 4 <= len(looks) <= 6 and all(look.value for look in looks)
    assert sorted(seen.certificates.values()) == sorted([certificate("leaf", "ca"), certificate("ca", ca=True)])


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """A made-up world as the files that the command line reads: a function of the world."""

    def write(world):
        mail_hosts = {h: {"name": f"{h}.example.test", "domain": f"{h}-only.example.test"} for h in ("mx1", "mx2")}
        about = {
            "hosts": {}, "nameservers": ["ns0", "ns1"], "mail_hosts": mail_hosts,
            "senders": {s: {"log": str(tmp_path / s / "mail.log")} for s in ("s1", "s2")},
        }
        (tmp_path / "lab.json").write_text(json.dumps(about))
        with open(tmp_path / "witness", "w", encoding="utf-8") as log:
            world.write = lambda entry: log.write(json.dumps(entry) + "\n")
            world.sightings()
        for sender in about["senders"]:
            (tmp_path / sender).mkdir()
            lines = [line for t in range(60) for h in ("mx1", "mx2")
                     for line in delivery_lines(h, START + t + 0.2, world.deliver(sender, h, t))]
            (tmp_path / sender / "mail.log").write_text("\n".join(lines) + "\n")
        return ["--lab", str(tmp_path / "lab.json"), "--witness", str(tmp_path / "witness"),
                "--from", str(START), "--to", str(START + 60)]

    return write


@pytest.mark.parametrize(
    "world, more, status, words",
    [
        (World().rekey("mx1").rekey("mx2"), ["--expect-new-keys"], 0, "demo: PASS hosts=2 deliveries=240"),
        (World().rekey("mx1"), ["--expect-new-keys"], 1, "demo: FAIL hosts=2 deliveries=240"),
        (World().rekey(deploy=12), [], 1, "demo: FAIL"),
        (World(), ["--want", f"{owner('mx1')}={record('mx1 old')}"], 0, "demo: PASS"),
        (World(), ["--want", f"{owner('mx1')}={record('nobody')}"], 1, "demo: FAIL"),
        (World(), ["--to", str(START + 90)], 2, "demo: FAIL"),
    ],
)
def test_verdict_says_it_in_its_last_line_and_its_status(files, tmp_path, capsys, world, more, status, words):
    given = ["verdict", *files(world), "--name", "demo", "--json", str(tmp_path / "v.json"),
             "--timeline", str(tmp_path / "t.svg"), *more]
    assert program.main(given) == status
    assert capsys.readouterr().out.splitlines()[-1].startswith(words)
    assert json.loads((tmp_path / "v.json").read_text())["deliveries"] == 240
    assert (tmp_path / "t.svg").read_text().startswith("<svg")


def test_unbounds_log_is_read_where_it_is(files, tmp_path):
    given = files(World().rekey())
    (tmp_path / "s1" / "unbound.log").write_text(
        f"[{START + 5:.0f}] unbound[1:0] info: 127.0.0.1 {owner('mx1')} TLSA IN NOERROR 0.001 0 143\n")
    assert program.main(["verdict", *given, "--json", str(tmp_path / "v.json")]) == 0
    (publication,) = json.loads((tmp_path / "v.json").read_text())["publications"]
    assert list(publication["caches"]) == ["s1"]


# --- the broken demo ------------------------------------------------------------------------------------------------


def broken(**change):
    world = World().rekey(publish=20, deploy=15)
    world.deliver = lambda sender, host, t: "Untrusted" if host == "mx1" and 15 < t < 28 else "Verified"
    for name, value in change.items():
        setattr(world, name, value)
    return demo_broken.flaws(world.judge(), START + 15)


def test_the_control_is_content_when_the_judge_saw_it():
    assert broken() == []


@pytest.mark.parametrize(
    "change, words",
    [
        ({"deliver": lambda s, h, t: "Verified"}, "no failed delivery"),
        ({"deliver": lambda s, h, t: "Untrusted"}, "nothing was delivered at all"),
        ({"deliver": lambda s, h, t: "Untrusted" if h == "mx2" and t == 20 else "Verified"}, "nobody caused"),
        ({"deliver": lambda s, h, t: "Untrusted" if t == 2 else "Verified"}, "nobody caused"),
        ({"asleep": lambda t: 20 < t < 25}, "did not look"),
        ({"chains": World().chains, "records": World().records}, "no exposure"),
    ],
)
def test_the_control_is_not_content_with_less(change, words):
    assert any(words in flaw for flaw in broken(**change))
