# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's own tasks with old and new certbots from PyPI and a real ACME server: renewals keep the key, and another key
is made when one is asked for. The lab has Debian's 2.1; these are the edges of what is supported.

Pebble takes every challenge for passed here (PEBBLE_VA_ALWAYS_VALID): which key a certificate is for has nothing to do
with it, and nothing has to be reached from outside.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NAME = "mx1.example.test"
CERTBOTS = ("1.12", "1.21", "5")


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _self_signed(directory):
    """A certificate for the ACME server's own address; its path, with the key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now.replace(year=2120))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, 0), True).sign(key, hashes.SHA256()))
    (directory / "acme.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "acme.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
    return directory / "acme.pem"


@pytest.fixture(scope="module", name="acme")
def _acme(tmp_path_factory):
    """(URL of the directory, file with its CA) of a Pebble that runs for these tests."""
    directory = tmp_path_factory.mktemp("acme")
    ca_file, port = _self_signed(directory), _free_port()
    (directory / "pebble.json").write_text(json.dumps({"pebble": {
        "listenAddress": f"127.0.0.1:{port}", "managementListenAddress": f"127.0.0.1:{_free_port()}",
        "certificate": str(ca_file), "privateKey": str(directory / "acme.key"), "httpPort": 80, "tlsPort": 443,
        "ocspResponderURL": "", "externalAccountBindingRequired": False}}), encoding="utf-8")
    environment = {**os.environ, "PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(["pebble", "-config", str(directory / "pebble.json")], env=environment, stdout=log,
                                   stderr=subprocess.STDOUT)
    url = f"https://localhost:{port}/dir"
    try:
        _wait_for(url, ca_file, process, directory / "log")
        yield url, ca_file
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url, ca_file, process, log):
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, context=ssl.create_default_context(cafile=ca_file), timeout=5).close()
        except OSError as exc:
            assert process.poll() is None and time.monotonic() < deadline, f"{exc}: {log.read_text()}"
            time.sleep(0.2)


class Host:
    """A host with one of the certbots, and what the role does there."""

    def __init__(self, version, acme, place):
        self.directory, self.place = place / "letsencrypt", place
        self.url, ca_file = acme
        # Empty: a configuration of the machine or of the user must not decide how the role behaves here.
        (place / "ansible.cfg").touch()
        self.bin = ROOT / "build" / f"venv-certbot-{version}" / "bin"
        # The hosts' own proxy, if any, leads nowhere near here.
        self.environment = {
            **os.environ, "PATH": f"{self.bin}:{BIN}:{os.environ['PATH']}", "REQUESTS_CA_BUNDLE": str(ca_file),
            "NO_PROXY": "localhost", "no_proxy": "localhost", "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_LOCALHOST_WARNING": "False"}
        # With those that the renewal configuration does not keep.
        self.places = ["--work-dir", str(place / "work"), "--logs-dir", str(place / "logs")]

    def role(self, obtain=True, keep=True, replace=False, **more):
        """Run the role's tasks; its output."""
        variables = {
            "obtain": obtain, "keep": keep, "_dane_lineage": NAME, "_dane_key_type": "ecdsa",
            "_dane_replace": replace,
            "_dane_effective": {"names": [NAME]}, "dane_certbot_name": NAME, "dane_acme_server": self.url,
            "dane_certbot_directory": str(self.directory), "dane_certbot_arguments": self.places,
            "ansible_python_interpreter": sys.executable, **more}
        return self._run(str(BIN / "ansible-playbook"), "-i", "localhost,", str(ROOT / "tests/certbots/obtain.yml"),
                         "-e", json.dumps(variables))

    def certbot(self, *arguments):
        """As an administrator or certbot's timer would."""
        return self._run(str(self.bin / "certbot"), *arguments, "--non-interactive", "--config-dir", str(self.directory),
                         *self.places)

    def renew(self):
        """As certbot's timer does when the time has come."""
        return self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")

    def _run(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def served(self):
        """(key, certificate) of the lineage: what one of them is about, and which one it is."""
        certificate = x509.load_pem_x509_certificate((self.directory / "live" / NAME / "cert.pem").read_bytes())
        key = serialization.load_pem_private_key((self.directory / "live" / NAME / "privkey.pem").read_bytes(), None)
        assert key.public_key() == certificate.public_key()
        return key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo), certificate.serial_number


@pytest.fixture(name="host", params=CERTBOTS)
def _host(request, acme, tmp_path):
    return Host(request.param, acme, tmp_path)


def _kept(host):
    """Whether the next renewal brings another certificate for the same key (bool)."""
    key, serial = host.served()
    host.renew()
    assert host.served()[1] != serial
    return host.served()[0] == key


def test_it_is_the_certbot_that_is_meant(host, request):
    version = request.node.callspec.params["host"]
    assert host.certbot("--version").split()[1].startswith(version + ".")


def test_renewals_keep_the_key(host):
    host.role(keep=False)
    assert _kept(host)


def test_another_key_on_request_and_then_that_one_is_kept(host):
    host.role()
    first = host.served()[0]
    host.role(replace=True)
    assert host.served()[0] != first
    assert _kept(host)


def test_what_a_certonly_by_hand_dropped_is_put_back(host):
    host.role()
    # Without --reuse-key, and so it is the last time that this key is kept.
    host.certbot("certonly", "--standalone", "--force-renewal", "--agree-tos", "--register-unsafely-without-email",
                 "--server", host.url, "--key-type", "ecdsa", "--cert-name", NAME, f"--domain={NAME}")
    assert "changed=1" in host.role(obtain=False)
    assert _kept(host)
    assert "changed=0" in host.role(obtain=False)


def test_renewals_follow_the_option(host):
    host.role()
    web = host.place / "web"
    web.mkdir()
    host.role(obtain=False, dane_certbot_authenticator="webroot", dane_certbot_webroot=str(web))
    assert _kept(host)
    renewal = (host.directory / "renewal" / f"{NAME}.conf").read_text(encoding="utf-8")
    assert "authenticator = webroot" in renewal and f"webroot_path = {web}," in renewal
