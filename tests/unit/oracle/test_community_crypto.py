# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our digests are those that the modules of community.crypto call fingerprints: our roles compare the two. And what they
say of requests is what our rules for those go by.
"""

from __future__ import annotations

import base64
import hashlib
import json
from unittest import mock

import pki
import pytest
from ansible.module_utils import basic
from ansible_collections.community.crypto.plugins.modules import (
    openssl_csr_info,
    openssl_privatekey_info,
    openssl_publickey_info,
    x509_certificate_info,
)
from ansible_collections.mailops.dane.plugins.module_utils import _certbot, _chain
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Combination
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

DIGESTS = {"sha256": 1, "sha512": 2}


def any_result_of(module, capsys, **arguments):
    with module_arguments(arguments), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def result_of(module, capsys, **arguments):
    result = any_result_of(module, capsys, **arguments)
    assert not result.get("failed"), result
    return result


def data_of(certificate, selector, mtype):
    """The data of our record."""
    wanted = Combination(3, selector, mtype)
    return _chain.records_of(certificate, 0, [wanted])[str(wanted)].split()[3]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "p384", "ed25519"])
def test_fingerprints(kind, capsys):
    made = pki.leaf(kind=kind, private=pki.key(f"fingerprints {kind}", kind))
    (certificate,) = _chain.load_certificates(made.pem, "x.pem")
    of_certificate = result_of(x509_certificate_info, capsys, content=made.pem)
    of_key = result_of(openssl_privatekey_info, capsys, content=made.key_pem)
    of_public = result_of(openssl_publickey_info, capsys, content=of_certificate["public_key"])
    for digest, mtype in DIGESTS.items():
        assert of_certificate["fingerprints"][digest].replace(":", "") == data_of(certificate, 0, mtype)
        for fingerprints in (of_certificate["public_key_fingerprints"], of_key["public_key_fingerprints"],
                             of_public["fingerprints"]):
            assert fingerprints[digest].replace(":", "") == data_of(certificate, 1, mtype)


NAMES = ("mx1.example.test", "mx2.example.test")


def request(private, names=NAMES):
    """The DER of a request (bytes)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(pki.name(NAMES[0]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(der, label="CERTIFICATE REQUEST"):
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


@pytest.fixture(name="objections")
def fixture_objections(tmp_path, capsys):
    """``objections(request, key)``: what is said of two files with these texts (list of str)."""
    def ask(text, key=pki.key_pem(pki.key("of the request"))):  # noqa: B008
        paths = [tmp_path / "mail.csr", tmp_path / "mail.pem"]
        infos = []
        for path, content, module in zip(paths, (text, key), (openssl_csr_info, openssl_privatekey_info)):
            if content is not None:
                path.write_text(content)
            infos.append(any_result_of(module, capsys, path=str(path)))
        return _certbot.request_objections(*infos, *map(str, paths), NAMES)
    return ask


@pytest.mark.parametrize("kind", ["ecdsa", "p384", "rsa"])
def test_a_request_that_will_do(kind, objections):
    private = pki.key(f"of the request {kind}", kind)
    made = request(private, [*NAMES, "www.example.test"])
    assert objections(pem(made), pki.key_pem(private)) == []
    assert objections(f"Who made it\n{pem(made, 'NEW CERTIFICATE REQUEST')}", pki.key_pem(private)) == []


GOOD = request(pki.key("of the request"))


ANOTHER = pki.key("another")


@pytest.mark.parametrize(("text", "words"), [
    (pem(GOOD[:-3] + bytes([GOOD[-3] ^ 1]) + GOOD[-2:]), ["a signature that does not verify"]),
    (pem(GOOD.replace(b"mx2.example", b"mx3.example")), ["a signature that does not verify", "mx2.example.test is missing"]),
    (pem(request(ANOTHER)), ["found one for key " + hashlib.sha256(pki.spki(ANOTHER)).hexdigest()[:16]]),
    (pem(request(pki.key("of the request"), NAMES[:1])), ["found mx1.example.test; mx2.example.test is missing"]),
    (pem(request(pki.key("of the request"), ())), ["found none; mx1.example.test, mx2.example.test is missing"]),
    (pem(GOOD[:-9]), ["expected a certificate signing request in PEM form; found: "]),
    (pki.leaf().pem, ["expected a certificate signing request in PEM form; found: "]),
    ("", ["expected a certificate signing request in PEM form; found: "]),
    (None, ["No such file or directory"]),
])
def test_a_request_that_will_not(text, words, objections):
    told = objections(text)
    assert len(told) == len(words) and all(word in one for word, one in zip(words, told)), told
    assert all(one.startswith("dane_csr_request: Cannot use ") and "found: none" not in one for one in told)


@pytest.mark.parametrize("key", ["", None, pki.key_pem(pki.key("of the request"), b"secret"), pki.leaf().pem])
def test_a_key_that_will_not(key, objections):
    (told,) = objections(pem(GOOD), key)
    assert told.startswith("dane_csr_privatekey: Cannot use ") and "not encrypted; found: " in told
    assert "found: none" not in told
