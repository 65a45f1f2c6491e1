# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mail host and its administrator: commands on it, and what its port 25 serves. For scenarios in which nobody but
certbot and people act."""

from __future__ import annotations

import hashlib
import json
import shlex
import ssl
import subprocess
from typing import NamedTuple

import hosts
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ready import ssh_command


# As the host would have kept it, had it been enabled so long ago: a certificate for the key that it serves; and since
# when it is served, where it took another one's place.
FIRST = """
import datetime, hashlib, os
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
key = serialization.load_pem_private_key(open("/etc/postfix/dane-chain.pem", "rb").read(), None)
spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
kept = "/var/lib/mailops-dane/first/" + hashlib.sha256(spki).hexdigest() + ".pem"
os.makedirs(os.path.dirname(kept), exist_ok=True)
name = x509.Name([])
begin = datetime.datetime.utcnow() - datetime.timedelta(days=400)
made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=90)).sign(key, hashes.SHA256()))
open(kept, "wb").write(made.public_bytes(serialization.Encoding.PEM))
served = kept[:-len("pem")] + "served"
if os.path.exists(served):
    open(served, "w").write(begin.strftime("%s"))
print(begin.strftime("%Y-%m-%d"))
"""


class Said(NamedTuple):
    """The end of a command."""

    code: int
    text: str


class Served(NamedTuple):
    """What an address presents."""

    spki: str
    serial: int
    issuer: str


class MailHost:
    """A mail host and its administrator."""

    def __init__(self, short, lab):
        self.short = short
        self.host = hosts.HOSTS[short]
        self.lab = lab

    def run(self, *command, env=None, limit=120):
        """Run a command as root; what it says, on both channels (Said)."""
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        line = shlex.join(["env", *settings, *command])
        done = subprocess.run([*ssh_command(self.host), line], check=False, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        print(f"{self.short}$ {line}\n{done.stdout}-> {done.returncode}", flush=True)
        return Said(done.returncode, done.stdout)

    def gate(self, *arguments, **env):
        """Run dane-gate."""
        return self.run("dane-gate", *arguments, env=env)

    def certbot(self, *arguments):
        """Run certbot."""
        return self.run("certbot", *arguments, "--non-interactive",
                        env={"REQUESTS_CA_BUNDLE": self.lab["acme"]["ca_file_on_hosts"]})

    def renew(self, *arguments):
        """What certbot's timer does, but now."""
        return self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew", *arguments)

    def certonly(self, server, *arguments, lineage=None):
        """What an administrator types; for the lineage of the host's name where no other is meant."""
        return self.certbot("certonly", "--standalone", "--server", server, "--agree-tos", "--register-unsafely-without-email",
                            "--cert-name", lineage or self.host.name, "--domain", self.host.name, "--force-renewal", *arguments)

    def age_key(self):
        """The key that it serves becomes older than a year, as far as anybody there knows; since when (text, a date)."""
        said = self.run("python3", "-W", "ignore", "-c", FIRST)
        assert said.code == 0, said.text
        return said.text.strip()

    def served(self, algorithm=""):
        """What it serves on IPv4 and on IPv6, which have to be the same (Served); with ``algorithm`` to clients that know
        only keys of that one, None where there is none."""
        found = {_presented(address, algorithm) for address in (self.host.ipv4, self.host.ipv6)}
        assert len(found) == 1, f"{self.short} serves {found}"
        return found.pop()

    def lineages(self):
        """The keys of certbot's lineages, by the names of the lineages, read by openssl: {"mx1.example.test-2": digest}."""
        found = {}
        for name in self.run("ls", "/etc/letsencrypt/live").text.split():
            if name != "README":
                key = f"openssl pkey -in /etc/letsencrypt/live/{name}/privkey.pem -pubout -outform DER | sha256sum"
                found[name] = self.run("sh", "-c", key).text.split()[0]
        return found

    def untouched(self):
        """What a refusal may not change: the chain file and what is served."""
        digests = self.run("sha256sum", "/etc/postfix/dane-chain.pem").text
        return digests, self.served()

    def ledger(self):
        """The ledger, by dane-gate status (dict)."""
        return json.loads(self.gate("status", "--json").text)


SIGNATURES = {"ecdsa": "ECDSA+SHA256:ECDSA+SHA384", "rsa": "RSA-PSS+SHA256:RSA+SHA256"}


def _presented(address, algorithm):
    place = f"[{address}]:25" if ":" in address else f"{address}:25"
    only = ["-sigalgs", SIGNATURES[algorithm]] if algorithm else []
    said = subprocess.run(
        ["openssl", "s_client", "-starttls", "smtp", "-connect", place, "-name", "mail.example.test", *only],
        check=False, input="quit\n", text=True, capture_output=True, timeout=20)
    if algorithm and "handshake failure" in said.stderr:
        return None
    begin = said.stdout.index("-----BEGIN CERTIFICATE-----")
    pem = said.stdout[begin:said.stdout.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----\n")]
    leaf = x509.load_der_x509_certificate(ssl.PEM_cert_to_DER_cert(pem))
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Served(hashlib.sha256(key).hexdigest(), leaf.serial_number, leaf.issuer.rfc4514_string())
