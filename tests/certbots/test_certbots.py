# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's own tasks with old and new certbots from PyPI and a real ACME server: renewals keep the key, and another key
is made when one is asked for; requests are renewed with their key. The lab has Debian's 2.1; these are the edges of what is
supported.

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
    # Else it asks for proof every other time only.
    environment = {**os.environ, "PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0",
                   "PEBBLE_AUTHZREUSE": "0"}
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
        self.directory, self.csr_directory, self.place = place / "letsencrypt", place / "csr", place
        self.next = self.csr_directory / "next" / NAME
        self.url, ca_file = acme
        # Empty: a configuration of the machine or of the user must not decide how the role behaves here.
        (place / "ansible.cfg").touch()
        (place / "dane_gate").symlink_to(ROOT / "build/collections/ansible_collections/mailops/dane/plugins/module_utils")
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
        return self.play("obtain.yml", obtain=obtain, keep=keep, _dane_lineage=NAME, _dane_replace=replace, **more)

    def play(self, playbook, code=0, **more):
        """Run a playbook beside this file, with what both need and more variables; its output."""
        variables = {
            "_dane_key_type": "ecdsa", "_dane_effective": {"names": [NAME]}, "dane_certbot_name": NAME,
            "dane_acme_server": self.url, "dane_certbot_directory": str(self.directory),
            "dane_certbot_arguments": self.places, "ansible_python_interpreter": sys.executable, **more}
        return self._run(str(BIN / "ansible-playbook"), "-i", "localhost,", str(ROOT / "tests/certbots" / playbook),
                         "-e", json.dumps(variables), code=code)

    def given(self, key, request_of):
        """Write the files of somebody who brings a key, and a request of another or the same; the request (bytes)."""
        names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName(f"www.{NAME}")])
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, False).sign(
            request_of, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (self.place / "given.csr").write_bytes(request)
        (self.place / "given.pem").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return request

    def take(self, code=0):
        """Run the roles' tasks about these files; their output."""
        self.next.parent.mkdir(parents=True)
        return self.play(
            "request.yml", code=code, dane_csr_privatekey=str(self.place / "given.pem"), _dane_next=str(self.next),
            dane_csr_request=str(self.place / "given.csr"), dane_hook=False, _dane_csr_directory=str(self.csr_directory),
            _dane_csr_settings_file=str(self.place / "csr.json"), _dane_host={"ledger": {"retired": []}},
            _dane_ledger={"presented": [], "file_keys": []}, _dane_lineages=[])

    def dane_csr(self, *arguments):
        """The command that the role installs, from the same files, with the settings that the role has written."""
        start = f"import sys; sys.path.insert(0, {str(self.place)!r}); from dane_gate._csr import main; sys.exit(main())"
        return self._run(sys.executable, "-c", start, "--config", str(self.place / "csr.json"), *arguments)

    def certbot(self, *arguments):
        """As an administrator or certbot's timer would."""
        return self._run(str(self.bin / "certbot"), *arguments, "--non-interactive", "--config-dir", str(self.directory),
                         *self.places)

    def renew(self):
        """As certbot's timer does when the time has come."""
        return self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")

    def _run(self, *command, code=0):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == code, f"{command[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def served(self, directory=None, name=NAME):
        """(key, certificate) of a lineage: what one of them is about, and which one it is."""
        live = (directory or self.directory) / "live" / name
        certificate = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes())
        key = serialization.load_pem_private_key((live / "privkey.pem").read_bytes(), None)
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
    """Any authenticator that arguments name goes on as it was obtained by, until the option names one."""
    web, hook, shown = (host.place / name for name in ("web", "show", "shown"))
    web.mkdir()
    hook.write_text(f"#!/bin/sh\necho $CERTBOT_DOMAIN >> '{shown}'\n")
    hook.chmod(0o755)
    host.role(dane_certbot_authenticator="arguments",
              dane_certbot_arguments=[*host.places, "--manual", "--manual-auth-hook", str(hook)])
    assert shown.read_text() == f"{NAME}\n"
    assert _kept(host)
    assert shown.read_text() == f"{NAME}\n" * 2
    host.role(obtain=False, dane_certbot_authenticator="webroot", dane_certbot_webroot=str(web))
    assert _kept(host)
    assert shown.read_text() == f"{NAME}\n" * 2
    renewal = (host.directory / "renewal" / f"{NAME}.conf").read_text(encoding="utf-8")
    assert "authenticator = webroot" in renewal and f"webroot_path = {web}," in renewal


def test_a_request_that_was_given_is_renewed_with_its_key(host):
    key = ec.generate_private_key(ec.SECP256R1())
    request = host.given(key, key)
    host.take()
    host.dane_csr("obtain", NAME)
    spki, serial = host.served(host.csr_directory)
    assert spki == key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    host.dane_csr("renew", "--force")
    assert host.served(host.csr_directory)[0] == spki and host.served(host.csr_directory)[1] != serial
    live = host.csr_directory / "live" / NAME
    assert (live / "request.pem").read_bytes() == request
    names = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert set(names) == {NAME, f"www.{NAME}"}
    # Of certbot's own an account is there, and no lineage that it would renew with another key.
    assert {path.name for path in host.directory.iterdir()} >= {"accounts"}
    assert not list(host.directory.glob("live/*")) and not list(host.directory.glob("renewal/*.conf"))


def test_a_request_for_another_key_is_refused_before_anything_is_made(acme, tmp_path):
    host = Host(CERTBOTS[-1], acme, tmp_path)
    host.given(ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()))
    said = " ".join(host.take(code=2).split())
    assert f"localhost: dane_csr_request: Cannot use '{host.place}/given.csr': expected a request for the key in" in said
    assert not host.next.exists() and not (host.place / "csr.json").exists()
