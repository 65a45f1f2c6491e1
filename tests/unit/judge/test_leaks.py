# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search for private keys finds one in every form in which it could leave its host, and no other key."""

from __future__ import annotations

import base64
import json
import subprocess

import leaks
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def made(kind):
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def pem_of(key, form):
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


FORMS = {
    "PEM": lambda pem: pem,
    "JSON of PEM": lambda pem: json.dumps({"key": pem}),
    "a line of PEM less": lambda pem: pem.replace(pem.splitlines()[2], ""),
    "slurp": lambda pem: base64.b64encode(pem.encode()).decode(),
    "slurp of a file in which it comes second": lambda pem: base64.b64encode(b"#\n" + pem.encode()).decode(),
    "DER": lambda pem: serialization.load_pem_private_key(pem.encode(), None).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    "openssl -text": lambda pem: subprocess.run(
        ["openssl", "pkey", "-text", "-noout"], input=pem, text=True, capture_output=True, check=True).stdout,
}


@pytest.mark.parametrize("encoding", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_found_in_every_form(form, kind, encoding):
    pem = pem_of(made(kind), encoding)
    if form == "a line of PEM less" and len(pem.splitlines()) < 6:
        pytest.skip("a key of so few lines has no line to lose")
    assert leaks.found_in(FORMS[form](pem), leaks.needles([pem])) == ["key 0"]


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("form", FORMS)
def test_another_key_is_not_found(form, kind):
    one, other = (pem_of(made(kind), serialization.PrivateFormat.PKCS8) for _copy in range(2))
    assert leaks.found_in(FORMS[form](one), leaks.needles([other])) == []


def test_a_file_is_found_only_when_it_was_written_since(tmp_path):
    pem = pem_of(made("ec"), serialization.PrivateFormat.PKCS8)
    path = tmp_path / "deep" / "leaked"
    path.parent.mkdir()
    path.write_text(pem, encoding="utf-8")
    changed = path.stat().st_ctime
    assert leaks.found_in_files([tmp_path], leaks.needles([pem]), changed - 1) == {str(path): ["key 0"]}
    assert leaks.found_in_files([tmp_path], leaks.needles([pem]), changed + 1) == {}
