# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our records are those that everybody else's tools print, for every kind of key and every combination they can do.

Postfix itself (`postfix tls output-server-tlsa`), GnuTLS (`danetool`), ldns (`ldns-dane`), hash-slinger (`tlsa`), and
digests by the openssl program. tests/debian-packages.txt names their packages. A tool that is missing is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Combination, owner_name

KINDS = ("rsa", "ecdsa", "p384")
COMBINATIONS = [(usage, selector, mtype) for usage in (2, 3) for selector in (0, 1) for mtype in (0, 1, 2)]
# danetool knows no matching type 0.
DIGESTS = {1: "SHA256", 2: "SHA512"}
PORT = 25


class Made:
    """A leaf, its key and its issuer of one kind of key, in files, and what we say of them."""

    def __init__(self, kind, directory):
        root = pki.root(f"Root of {kind}", kind=kind, private=pki.key(f"tools root {kind}", kind))
        leaf = pki.leaf(root, kind=kind, private=pki.key(f"tools leaf {kind}", kind))
        self.files = {3: directory / "leaf.pem", 2: directory / "root.pem", "key": directory / "key.pem"}
        self.files[3].write_text(leaf.pem)
        self.files[2].write_text(root.pem)
        self.files["key"].write_text(leaf.key_pem + leaf.pem + root.pem)
        self.chain = _chain.load_certificates(leaf.pem + root.pem, "chain")

    def ours(self, combination):
        """Our record, as usage, selector, matching type, data."""
        certificate, depth = (self.chain[1], 1) if combination[0] == 2 else (self.chain[0], 0)
        wanted = Combination(*combination)
        return fields(_chain.records_of(certificate, depth, [wanted])[str(wanted)])


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp(request.param))


def fields(rdata):
    """Three numbers and the data (lower-case hex) of rdata in zone-file form, however it is written."""
    usage, selector, mtype, *data = rdata.replace("(", " ").replace(")", " ").split()
    return int(usage), int(selector), int(mtype), "".join(data).lower()


def printed(*command):
    """The records that a program prints for the owner name (list), which has to be spelled as ours."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    assert program, f"{command[0]} is missing: see tests/debian-packages.txt"
    done = subprocess.run(
        [program, *map(str, command[1:])], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [re.fullmatch(r"(\S+)\s+(?:\d+\s+)?IN\s+TLSA\s+(.*)", line.strip()) for line in done.stdout.splitlines()]
    found = [line for line in lines if line]
    assert found, done.stdout + done.stderr
    assert {line.group(1) for line in found} == {owner_name(pki.NAME, PORT)}
    return [fields(line.group(2)) for line in found]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_ldns(made, combination):
    assert printed("ldns-dane", "-n", "-c", made.files[combination[0]], "create", pki.NAME, PORT, *combination) == [
        made.ours(combination)]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_hash_slinger(made, combination):
    usage, selector, mtype = combination
    assert printed(
        "tlsa", "--create", "--certificate", made.files[usage], "--port", PORT, "--usage", usage, "--selector", selector,
        "--mtype", mtype, pki.NAME) == [made.ours(combination)]


@pytest.mark.parametrize("combination", [one for one in COMBINATIONS if one[2] in DIGESTS], ids=str)
def test_gnutls(made, combination):
    usage, selector, mtype = combination
    options = (["--ca"] if usage == 2 else []) + (["--x509"] if selector == 0 else [])
    assert printed(
        "danetool", "--tlsa-rr", "--host", pki.NAME, "--port", PORT, "--hash", DIGESTS[mtype],
        "--load-certificate", made.files[usage], *options) == [made.ours(combination)]


def postfix_prints(directory, *files):
    """What Postfix prints for files of keys and certificates."""
    (directory / "main.cf").write_text("compatibility_level = 3.6\n")
    (directory / "master.cf").write_text("")
    return printed("postfix", "-c", directory, "tls", "output-server-tlsa", "-h", pki.NAME, *files)


def test_postfix(made, tmp_path):
    """Of a chain file as we write it Postfix prints the one combination that it recommends."""
    assert postfix_prints(tmp_path, made.files["key"]) == [made.ours((3, 1, 1))]


def test_postfix_with_a_key_of_each_kind(tmp_path):
    both = []
    for kind in ("rsa", "ecdsa"):
        (tmp_path / kind).mkdir()
        both.append(Made(kind, tmp_path / kind))
    assert postfix_prints(tmp_path, *(one.files["key"] for one in both)) == [one.ours((3, 1, 1)) for one in both]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_the_openssl_program(made, combination):
    """The classic pipes: the certificate or its public key in DER, then a digest or none."""
    usage, selector, mtype = combination

    def openssl(*arguments, data=None):
        return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout

    if selector == 0:
        selected = openssl("x509", "-in", made.files[usage], "-outform", "DER")
    else:
        selected = openssl("pkey", "-pubin", "-outform", "DER", data=openssl(
            "x509", "-in", made.files[usage], "-noout", "-pubkey"))
    hexed = selected.hex() if mtype == 0 else openssl(
        "dgst", f"-{DIGESTS[mtype].lower()}", "-r", data=selected).decode().split()[0]
    assert made.ours(combination) == (usage, selector, mtype, hexed)
