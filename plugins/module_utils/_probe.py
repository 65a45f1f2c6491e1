# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Handshakes with endpoints: what does each present, for each key algorithm? Private to this collection.

It runs on the mail hosts and drives the ``openssl`` program, which is on every one of them. Python's ssl module cannot
do this: it gives out the presented chain only from 3.13 on, and cannot choose signature algorithms before 3.15, so a
server with two keys would show one of them only.

Nothing is verified here: an observer has to see expired, mismatched and weak chains too. :func:`_chain.describe` says
what they are worth.
"""

from __future__ import annotations

import ipaddress
import re
import selectors
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from . import _chain
from ._errors import ChainError, ProbeError

ALGORITHMS = ("ecdsa", "rsa")
STARTTLS = ("smtp", "lmtp", "imap", "pop3", "sieve", "none")

# What a client must offer so that only a key of this algorithm will do. All digests are there because TLS 1.3 ties
# each curve to one of them (RFC 8446 4.2.3): a P-384 key is of no use to a client that only knows ECDSA with SHA-256.
# The ciphers of TLS 1.2 that go with other keys, also those without a signature, s_client then leaves out by itself.
_SIGNATURES = {
    "ecdsa": "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512",
    "rsa": "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
           "RSA+SHA256:RSA+SHA384:RSA+SHA512",
    "ed25519": "ed25519",
    "ed448": "ed448",
}

_WORKERS = 16
_MOST_OUTPUT = 1 << 20
_MOST_REPLY = 1 << 14

# A session is ended politely, so that it is no "lost connection after STARTTLS" in the log. Lower case, because
# s_client takes a capital Q at the beginning of a line for a command to itself.
_GOODBYE = {"smtp": b"quit\r\n", "lmtp": b"quit\r\n", "pop3": b"quit\r\n", "imap": b"a logout\r\n",
            "sieve": b"logout\r\n"}

# For each protocol: what we say, what a good reply looks like, when a reply is complete; the last step asks for TLS.
# Only for the diagnosis after a handshake that failed.
_SMTP_REPLY = rb"(?m)^\d{3}(?: .*)?\n"
_SIEVE_REPLY = rb"(?m)^(?:OK|NO|BYE).*\n"
_STEPS = {
    "smtp": ((b"", rb"\A220", _SMTP_REPLY), (b"EHLO %s\r\n", rb"\A250", _SMTP_REPLY),
             (b"STARTTLS\r\n", rb"\A220", _SMTP_REPLY)),
    "lmtp": ((b"", rb"\A220", _SMTP_REPLY), (b"LHLO %s\r\n", rb"\A250", _SMTP_REPLY),
             (b"STARTTLS\r\n", rb"\A220", _SMTP_REPLY)),
    "imap": ((b"", rb"\A\* OK", rb"(?m)^\* .*\n"), (b"a STARTTLS\r\n", rb"(?m)^a OK", rb"(?m)^a .*\n")),
    "pop3": ((b"", rb"\A\+OK", rb"(?m)^[+-].*\n"), (b"STLS\r\n", rb"\A\+OK", rb"(?m)^[+-].*\n")),
    "sieve": ((b"", rb"(?m)^OK", _SIEVE_REPLY), (b"STARTTLS\r\n", rb"(?m)^OK", _SIEVE_REPLY)),
}

_PRESENTED = re.compile(r"^Certificate chain\n(.*?)^---$", re.MULTILINE | re.DOTALL)
_HANDSHAKE_FAILURE = re.compile(r"alert number 40\b|alert handshake failure")
_NOT_TLS = re.compile(r"wrong version number|packet length too long|unknown protocol|record layer failure|http request")
# ...:error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:file:line:...
_OPENSSL_ERROR = re.compile(r"^[0-9A-F]+:error:[^:]*:[^:]*:[^:]*:([^:\n]+)", re.MULTILINE)


def endpoints_of(name, addresses, services, algorithms=ALGORITHMS, snis=None):
    """Every endpoint under a base domain: each address, port, key algorithm and server name.

    :param name: base domain. :param addresses: IPv4 and IPv6 addresses (str).
    :param services: dicts with ``port`` and ``starttls``. :param algorithms: ``""`` leaves the choice to the server.
    :param snis: server names to ask with, ``""`` for none; default: the base domain, and none (RFC 7672 section 8.1).
    :returns: list of endpoint dicts.
    :raises ProbeError: an address, protocol or algorithm that is none.
    """
    for address in addresses:
        try:
            # A number would be one to ipaddress, and what stands behind "%" goes into a command as it is.
            if not isinstance(address, str) or not address.isascii() or not address.isprintable():
                raise ValueError(address)
            ipaddress.ip_address(address)
        except ValueError:
            raise ProbeError(f"Cannot look at {name!r:.260}: {address!r:.80} is not an IP address") from None
    for algorithm in algorithms:
        if algorithm and algorithm not in _SIGNATURES:
            known = ", ".join(_SIGNATURES)
            raise ProbeError(f"Cannot look at {name!r}: key algorithm {algorithm!r} is none of {known}")
    name = name.rstrip(".").lower()
    endpoints = []
    for service in services:
        if service["starttls"] not in STARTTLS:
            known = ", ".join(STARTTLS)
            raise ProbeError(f"Cannot look at {name!r}: starttls {service['starttls']!r} is none of {known}")
        endpoints += [
            {"name": name, "address": address, "port": int(service["port"]), "starttls": service["starttls"],
             "algorithm": algorithm, "sni": sni}
            for address in addresses for sni in ((name, "") if snis is None else snis) for algorithm in algorithms
        ]
    return endpoints


def look(endpoints, timeout=10, handshakes=1, clock=time.time, valid_at=None, ehlo=None):
    """Shake hands with every endpoint and say what each presented.

    Outcomes: ``chain``; ``no-chain-for-algorithm``: a handshake failure alert, while another algorithm succeeded at the
    same address, port and server name in this look; ``no-tls``: the greeting works and TLS is refused; ``silent``:
    everything else, because only an answer may count as one.

    :param endpoints: endpoint dicts (:func:`endpoints_of`). :param timeout: seconds for one handshake.
    :param handshakes: how many fresh ones with each endpoint: several backends can stand behind one address. One that
        is silent at first is tried once more.
    :param valid_at: epoch until which chains must stay valid for usage 2; default: now.
    :param ehlo: our name in EHLO; default: the host name.
    :returns: list of outcome dicts, in the order of the endpoints; more than one for an endpoint whose handshakes
        differed.
    :raises ProbeError: there is no openssl program.
    """
    endpoints = list(endpoints)
    if not endpoints:
        return []
    program = shutil.which("openssl")
    if program is None:
        raise ProbeError(f"Cannot look at {endpoints[0]['name']!r}: the openssl program is not in PATH; install the "
                         "package openssl on this host")
    ehlo = ehlo or socket.gethostname() or "localhost"

    def shake(endpoint):
        return _shake(endpoint, program, ehlo, timeout, clock, valid_at)

    with ThreadPoolExecutor(max_workers=min(_WORKERS, len(endpoints) * max(1, handshakes))) as pool:
        outcomes = list(pool.map(shake, endpoints))
        # Who does not answer gets one more chance, not all of them: a few dead addresses would make any look too old.
        heard = [outcome["endpoint"] for outcome in outcomes if outcome["outcome"] != "silent"]
        mute = [outcome["endpoint"] for outcome in outcomes if outcome["outcome"] == "silent"]
        outcomes += pool.map(shake, heard * (handshakes - 1) + mute * min(1, handshakes - 1))
    return _distinct(_confirmed(outcomes))


def _confirmed(outcomes):
    """An alert means "not this algorithm" only where another one worked in the same look; else nobody answered."""
    def place(outcome):
        return tuple(outcome["endpoint"][part] for part in ("name", "address", "port", "starttls", "sni"))

    working = {place(outcome) for outcome in outcomes if outcome["outcome"] == "chain"}
    for outcome in outcomes:
        if outcome["outcome"] == "no-chain-for-algorithm" and place(outcome) not in working:
            outcome["outcome"] = "silent"
            outcome["detail"] += "; and no handshake with another key algorithm succeeded there in this look"
    return outcomes


def _distinct(outcomes):
    latest = {}
    for outcome in outcomes:
        chain = outcome["chain"]["id"] if outcome["chain"] else None
        key = (*outcome["endpoint"].values(), outcome["outcome"], chain)
        if key not in latest or latest[key]["at"] < outcome["at"]:
            latest[key] = outcome
    return list(latest.values())


def _shake(endpoint, program, ehlo, timeout, clock, valid_at):
    output, in_time = _run(_command(endpoint, program, ehlo), _GOODBYE.get(endpoint["starttls"], b""), timeout)
    at = clock()
    outcome, chain, detail = "silent", None, ""
    presented = _PRESENTED.search(output)
    if presented:
        try:
            certificates = _chain.load_certificates(presented.group(1), place_of(endpoint))
            chain = _chain.describe(certificates, [endpoint["name"]], at if valid_at is None else valid_at, now=at)
            outcome = "chain"
        except ChainError as exc:
            detail = exc.message
    elif _HANDSHAKE_FAILURE.search(output):
        outcome, detail = "no-chain-for-algorithm", _words(output)
    elif not in_time:
        detail = f"timeout after {timeout} s"
    elif endpoint["starttls"] == "none":
        outcome, detail = "no-tls" if _NOT_TLS.search(output) else "silent", _words(output)
    else:
        outcome, detail = _dialogue(endpoint, ehlo, timeout, _words(output))
        at = clock()
    return {"endpoint": dict(endpoint), "outcome": outcome, "chain": chain, "detail": detail, "at": at}


def place_of(endpoint):
    """An endpoint's address and port as people write them (str)."""
    address = endpoint["address"]
    return f"[{address}]:{endpoint['port']}" if ":" in address else f"{address}:{endpoint['port']}"


def _command(endpoint, program, ehlo):
    algorithm = endpoint["algorithm"]
    # Reading the system's authorities, which nobody asks here, would take most of the time.
    command = [program, "s_client", "-connect", place_of(endpoint), "-showcerts", "-no-CAfile", "-no-CApath"]
    command += ["-servername", endpoint["sni"]] if endpoint["sni"] else ["-noservername"]
    if algorithm:
        command += ["-sigalgs", _SIGNATURES[algorithm]]
    if endpoint["starttls"] != "none":
        command += ["-starttls", endpoint["starttls"]]
    if endpoint["starttls"] in ("smtp", "lmtp"):
        command += ["-name", ehlo]
    return command


def _run(command, words, timeout):
    """Run a program, give it `words` and the end of input, and gather its output.

    :returns: text, and whether it ended in time. A server that talks without end is cut off.
    """
    until = time.monotonic() + timeout
    gathered = b""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes) as process:
        try:
            with process.stdin as pipe:
                pipe.write(words)
        except BrokenPipeError:
            pass
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            open_end, ready = True, True
            while open_end and ready and len(gathered) < _MOST_OUTPUT:
                ready = selector.select(max(0.0, until - time.monotonic()))
                if ready:
                    piece = process.stdout.read1(65536)
                    open_end = bool(piece)
                    gathered += piece
        in_time = not open_end
        if not in_time:
            process.kill()
    return gathered.decode("utf-8", "replace").replace("\r\n", "\n"), in_time


def _words(output):
    """What openssl said was wrong, in one line."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("CONNECTED")]
    return "openssl: " + (_OPENSSL_ERROR.findall(output) or lines or ["no handshake"])[0].strip()[:300]


def _dialogue(endpoint, ehlo, timeout, words):
    """Find out, in plain text, why STARTTLS came to nothing.

    :returns: ``no-tls`` only if the server greeted us and then refused TLS, else ``silent``; and the detail.
    """
    until = time.monotonic() + timeout
    steps = _STEPS[endpoint["starttls"]]
    try:
        with socket.create_connection((endpoint["address"], endpoint["port"]), timeout) as connection:
            for number, (say, good, complete) in enumerate(steps):
                if say:
                    connection.sendall(say.replace(b"%s", ehlo.encode("ascii", "replace")))
                reply = _reply(connection, complete, until)
                if not (re.search(good, reply) and re.search(complete, reply)):
                    said = " ".join(reply.decode("utf-8", "replace").split())[:200]
                    answered = number == len(steps) - 1 and re.search(complete, reply)
                    return ("no-tls" if answered else "silent"), f"{place_of(endpoint)} says {said!r} to {_name(say)}"
    except OSError as exc:
        return "silent", f"{place_of(endpoint)}: {exc}"
    return "silent", words


def _name(say):
    return say.split()[-1 if say.startswith(b"a ") else 0].decode() if say else "the connection"


def _reply(connection, complete, until):
    gathered = b""
    while not re.search(complete, gathered) and len(gathered) < _MOST_REPLY:
        connection.settimeout(max(0.01, until - time.monotonic()))
        piece = connection.recv(4096)
        if not piece:
            break
        gathered += piece
    return gathered
