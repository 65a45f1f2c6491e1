# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The witness: twice a second, what does every name server serve and what does every mail host present?

One thread per target, so that a slow one delays nobody else. Everything goes as JSON lines into a file, each line
with the times just before and just after the look.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import queue
import smtplib
import socket
import ssl
import threading
import time

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from .match import spki_sha256
from .sightings import CUT_OFF, PERIOD

TIMEOUT = 1.0


def look_at_rrset(owner, address, port=53):
    """(records, ttl, detail) of the TLSA RRset at one server; records None where it gave no authoritative answer."""
    question = dns.message.make_query(owner, dns.rdatatype.TLSA, use_edns=0, payload=1232)
    question.flags &= ~dns.flags.RD
    try:
        answer, _tcp = dns.query.udp_with_fallback(question, address, timeout=TIMEOUT, port=port)
    except Exception as error:  # silence has many forms: timeouts, refused ports, garbage
        return None, None, f"{type(error).__name__}: {error}"
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not answer.flags & dns.flags.AA:
        return None, None, f"{dns.rcode.to_text(answer.rcode())}, not an authoritative answer"
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.TLSA:
            records = sorted(f"{r.usage} {r.selector} {r.mtype} {r.cert.hex()}" for r in rrset)
            return records, rrset.ttl, ""
    # nothing there: what a cache remembers of that lasts as long as RFC 2308 section 5 says
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return [], min(rrset.ttl, rrset[0].minimum), dns.rcode.to_text(answer.rcode())
    return [], 0, "no SOA in the answer"


def _context(rsa=False):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if rsa:
        # In TLS 1.2 the cipher says which key the server has to have; Python cannot choose signature algorithms.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aRSA")
    return context


def _presented(sock):
    """The chain as presented. Public from Python 3.13; before that only the object beneath has it (since 3.10)."""
    if hasattr(sock, "get_unverified_chain"):
        return list(sock.get_unverified_chain())
    return [ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in sock._sslobj.get_unverified_chain()]


def look_at_chain(name, address, context, port=25):
    """(chain as DER bytes, detail) of one address; None: silent; []: it speaks SMTP but gives no TLS."""
    try:
        with smtplib.SMTP(timeout=TIMEOUT) as smtp:
            smtp.connect(address, port)
            smtp.ehlo("witness.example.test")
            if not smtp.has_extn("starttls"):
                return [], "STARTTLS not offered"
            code, text = smtp.docmd("STARTTLS")
            if code != 220:
                return [], f"STARTTLS refused: {code} {text.decode(errors='replace')}"
            # SNI: the base domain, as a DANE sender does (RFC 7672 section 8.1)
            sock = context.wrap_socket(smtp.sock, server_hostname=name)
            chain = _presented(sock)
            sock.close()
            smtp.sock = smtp.file = None  # the dialogue ended with the TLS connection: no QUIT
            return chain, ""
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        return [], f"{CUT_OFF}: {error}"
    except ssl.SSLError as error:
        return [], f"handshake failed: {error}"
    except (OSError, smtplib.SMTPException, socket.timeout) as error:
        return None, f"{type(error).__name__}: {error}"


class Witness:
    """Watches all targets of a lab until told to stop.

    :param plan: dict with ``owners`` {owner name: host}, ``sources`` [[owner, server, address]], ``names``
        {host: base domain} and ``endpoints`` [[host, address]].
    :param out: path of the log, appended to.
    :param rsa: see what clients see that know RSA keys only. Where there is none, they see nothing: no answer.
    """

    def __init__(self, plan, out, dns_port=53, smtp_port=25, rsa=False):
        self.plan, self.out, self.rsa = plan, out, rsa
        self.dns_port, self.smtp_port = dns_port, smtp_port
        self.stopping = threading.Event()
        self._lines = queue.Queue()
        self._known = set()

    def stop(self, *_signal):
        """Stop after the looks under way (also a signal handler)."""
        self.stopping.set()

    def _watch(self, look, shift):
        """Call ``look`` on a beat of PERIOD, ``shift`` seconds beside the others so that load spreads."""
        due = time.time() + shift
        while not self.stopping.wait(max(0.0, due - time.time())):
            before = time.time()
            entry = look()
            self._lines.put({**entry, "before": before, "after": time.time()})
            due = max(due + PERIOD, time.time() + PERIOD / 5)

    def _rrset(self, owner, server, address):
        records, ttl, detail = look_at_rrset(owner, address, self.dns_port)
        return {"kind": "rrset", "owner": owner, "server": server, "address": address, "records": records,
                "ttl": ttl, "detail": detail}

    def _chain(self, host, address, context):
        chain, detail = look_at_chain(self.plan["names"][host], address, context, self.smtp_port)
        if self.rsa and not chain:
            chain = None
        entry = {"kind": "chain", "host": host, "address": address, "chain": None, "detail": detail}
        if chain is not None:
            entry["chain"] = [self._certificate(der) for der in chain]
        return entry

    def _certificate(self, der):
        """Write a certificate out once, before the first line that names it by its digest."""
        digest = hashlib.sha256(der).hexdigest()
        if digest not in self._known:
            self._known.add(digest)
            self._lines.put({"kind": "certificate", "id": digest, "spki": spki_sha256(der),
                             "der": base64.b64encode(der).decode()})
        return digest

    def _looks(self):
        for owner, server, address in self.plan["sources"]:
            yield functools.partial(self._rrset, owner, server, address)
        for host, address in self.plan["endpoints"]:
            yield functools.partial(self._chain, host, address, _context(self.rsa))

    def run(self, until_file=None):
        """Watch until :meth:`stop`, or until the file ``until_file`` exists; every line is flushed."""
        looks = list(self._looks())
        threads = [
            threading.Thread(target=self._watch, args=(look, PERIOD * number / len(looks)), daemon=True)
            for number, look in enumerate(looks)
        ]
        with open(self.out, "a", encoding="utf-8") as log:
            self._write(log, {"kind": "plan", **self.plan, "at": time.time()})
            for thread in threads:
                thread.start()
            while not self.stopping.is_set():
                self._drain(log, wait=0.2)
                if until_file and os.path.exists(until_file):
                    self.stop()
            for thread in threads:
                thread.join(3 * TIMEOUT)
            self._drain(log, wait=0)

    def _drain(self, log, wait):
        try:
            entry = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
            while True:
                self._write(log, entry)
                entry = self._lines.get_nowait()
        except queue.Empty:
            log.flush()

    @staticmethod
    def _write(log, entry):
        log.write(json.dumps(entry, separators=(",", ":")) + "\n")
