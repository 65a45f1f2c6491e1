# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A standby key for its operator alone; openssl is the real one, and so is the way in which the operator decrypts."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _standby_key
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from cryptography.hazmat.primitives import serialization

NAME = "mx1.example.test"


def operator(kind="rsa", name="operator", **options):
    """An operator's certificate, which has signed itself (pki.Issued)."""
    return pki.issue(name, kind=kind, private=pki.key(f"{name} {kind}", kind), **{"usage": None, "extended": None, **options})


OPERATORS = {"rsa": operator("rsa"), "ecdsa": operator("ecdsa"), "p384": operator("p384")}


def recipients(*issued, **options):
    return _standby_key.load_recipients("".join(one.pem for one in issued), "operators.pem", **options)


def decrypted(path, issued, directory):
    """What the operator gets by the command that the file names (subprocess.CompletedProcess, the key's text)."""
    (command,) = re.findall(r"^ *(openssl cms .*)$", path.read_text(), re.MULTILINE)
    (directory / "operator.pem").write_text(issued.pem)
    (directory / "operator.key").write_text(issued.key_pem)
    there = {"THIS.FILE": path, "OPERATOR.pem": directory / "operator.pem", "OPERATOR.key": directory / "operator.key",
             "STANDBY.key": directory / "standby.key"}
    done = subprocess.run([str(there.get(word, word)) for word in command.split()], stderr=subprocess.PIPE, check=False)
    return done, (directory / "standby.key").read_bytes().decode() if done.returncode == 0 else None


def made(directory, algorithm="ecdsa", issued=OPERATORS["rsa"]):
    return _standby_key.make(str(directory), NAME, algorithm, recipients(issued))


# ----------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_the_operator_decrypts_what_the_host_publishes(tmp_path, kind, algorithm):
    key = made(tmp_path / "standby", algorithm, OPERATORS[kind])
    path = tmp_path / "standby" / f"{NAME}-{algorithm}-{key.spki[:16]}.cms.pem"
    assert key.path == str(path) and key.algorithm == algorithm
    done, text = decrypted(path, OPERATORS[kind], tmp_path)
    assert done.returncode == 0, done.stderr
    # As certbot and community.crypto write keys, and as dane_csr_privatekey wants it.
    assert text.startswith("-----BEGIN PRIVATE KEY-----\n") and "\r" not in text
    spki = pki.spki(serialization.load_pem_private_key(text.encode(), None))
    assert key.spki == hashlib.sha256(spki).hexdigest()
    assert {Record.parse(f"3 1 1 {key.spki}"), Record.parse(f"3 1 2 {hashlib.sha512(spki).hexdigest()}")} <= key.matches
    assert key.spki in path.read_text().split("-----BEGIN")[0], "by which the operator knows it"


def test_any_of_several_operators_decrypts_it(tmp_path):
    everybody = [operator("rsa", "one"), operator("ecdsa", "two"), operator("rsa", "three")]
    key = _standby_key.make(str(tmp_path / "standby"), NAME, "ecdsa", recipients(*everybody))
    texts = set()
    for issued in everybody:
        done, text = decrypted(tmp_path / "standby" / os.path.basename(key.path), issued, tmp_path)
        assert done.returncode == 0, done.stderr
        texts.add(text)
    assert len(texts) == 1 and _chain.spki_digest(_chain.public_key_of(texts.pop())) == key.spki


def test_nobody_else_does(tmp_path):
    key = made(tmp_path / "standby", issued=OPERATORS["ecdsa"])
    done, _text = decrypted(tmp_path / "standby" / os.path.basename(key.path), operator("ecdsa", "stranger"), tmp_path)
    assert done.returncode != 0


def test_two_keys_are_two(tmp_path):
    assert made(tmp_path).spki != made(tmp_path).spki


# ------------------------------------------------------------------------------------------------------------ no secrets


class Spied:
    """What openssl was given."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.run = subprocess.run
        monkeypatch.setattr(_standby_key.subprocess, "run", self)

    def __call__(self, command, **options):
        self.calls.append((command, options))
        return self.run(command, check=False, **{name: value for name, value in options.items() if name != "check"})


def needles(private_pem):
    """Forms of a private key that must be nowhere (list of bytes)."""
    numbers = serialization.load_pem_private_key(private_pem, None).private_numbers()
    octets = numbers.private_value.to_bytes(32, "big")
    return [private_pem.splitlines()[2], octets, octets.hex().encode(), b"PRIVATE KEY"]


def test_the_private_key_is_in_no_file_and_no_argument(tmp_path, monkeypatch):
    """Also while openssl runs: what lies in its directory then are certificates."""
    spied, files = Spied(monkeypatch), []
    run = spied.run

    def and_look(command, **options):
        for root in (tmp_path, os.path.dirname(command[command.index("-recip") + 1])):
            for folder, _folders, names in os.walk(root):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as stream:
                        files.append(stream.read())
        return run(command, check=False, **{name: value for name, value in options.items() if name != "check"})
    spied.run = and_look
    key = made(tmp_path / "standby")
    ((command, options),) = spied.calls
    secrets = needles(options["input"])
    assert secrets[0] in options["input"], "it does find a key"
    with open(key.path, "rb") as stream:
        everything = [*files, stream.read(), *(word.encode() for word in command), repr(key).encode()]
    assert len(files) == 1 and "env" not in options
    assert not [secret for secret in secrets for text in everything if secret in text]
    assert os.listdir(tmp_path / "standby") == [os.path.basename(key.path)]
    assert not os.path.exists(os.path.dirname(command[command.index("-recip") + 1]))


def test_only_root_may_read_even_that(tmp_path):
    before = os.umask(0)
    try:
        key = made(tmp_path / "standby")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(key.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "standby").st_mode) == 0o700


@pytest.mark.parametrize("program, said", [
    ("echo oops >&2; exit 3", "openssl ended with 3: oops"),
    ("cat", "openssl ended with 0: without a message"),
    ("cat >&2", "openssl ended with 0: without a message"),
    ("cat >&2; exit 1", "openssl ended with 1: without a message"),
    ("echo -----BEGIN CMS-----", "openssl ended with 0"),
    (None, "by openssl: No such file or directory"),
])
def test_an_openssl_that_fails_leaves_nothing_and_tells_no_secret(tmp_path, monkeypatch, program, said):
    (tmp_path / "bin").mkdir()
    if program is not None:
        (tmp_path / "bin" / "openssl").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bin" / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin" if program else str(tmp_path / "bin"))
    with pytest.raises(ChainError, match="Cannot encrypt the standby key") as failed:
        made(tmp_path / "standby")
    assert said in failed.value.message and "PRIVATE" not in failed.value.message
    assert len(failed.value.message) < 200 and not (tmp_path / "standby").exists()


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "standby").write_text("")
    with pytest.raises(ChainError, match="Cannot write '.*/standby/mx1.*-ecdsa-[0-9a-f]{16}.cms.pem': "):
        made(tmp_path / "standby")


def test_a_rename_that_fails_leaves_no_half_file(tmp_path, monkeypatch):
    def fails(_old, _new):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(_standby_key.os, "rename", fails)
    with pytest.raises(ChainError, match="No space left on device"):
        made(tmp_path / "standby")
    assert os.listdir(tmp_path / "standby") == []


# ------------------------------------------------------------------------------------------------------------ recipients


@pytest.mark.parametrize("options, said", [
    ({"usage": ("digital_signature",)}, "its key usage lacks keyEncipherment"),
    ({"kind": "ecdsa", "usage": ("key_encipherment",)}, "its key usage lacks keyAgreement"),
    ({"kind": "ed25519"}, "its key is ed25519, expected an RSA or an EC key"),
    ({"kind": "rsa1024"}, "its RSA key has 1024 bits, expected 2048 or more"),
])
def test_certificates_to_which_nothing_can_be_encrypted(options, said):
    with pytest.raises(ChainError, match="Cannot encrypt to certificate 'CN=operator' from 'operators.pem': ") as refused:
        recipients(OPERATORS["rsa"], operator(**options))
    assert said in refused.value.message


@pytest.mark.parametrize("kind, usage", [("rsa", "key_encipherment"), ("ecdsa", "key_agreement")])
def test_key_usages_that_will_do(tmp_path, kind, usage):
    issued = operator(kind, usage=(usage,))
    key = made(tmp_path, issued=issued)
    assert decrypted(tmp_path / os.path.basename(key.path), issued, tmp_path)[0].returncode == 0


def test_dates_count_where_a_key_is_made():
    old, young = operator(start=-2 * pki.DAY, end=-pki.DAY), operator(start=pki.DAY)
    assert len(recipients(old, young)) == 2, "the options are not wrong for that"
    with pytest.raises(ChainError, match="it has expired; name one that is in force in dane_standby_recipient"):
        recipients(old, now=pki.NOW)
    with pytest.raises(ChainError, match="it is not valid yet"):
        recipients(young, now=pki.NOW)
    assert recipients(OPERATORS["rsa"], now=pki.NOW)


@pytest.mark.parametrize("text", ["", "operator", OPERATORS["rsa"].key_pem])
def test_what_is_no_certificate(text):
    with pytest.raises(ChainError, match="Cannot use 'operators.pem' as recipient: found no certificate in PEM form"):
        _standby_key.load_recipients(text, "operators.pem")


def test_the_name_of_a_recipient_cannot_spoil_the_file(tmp_path):
    evil = operator(name="x\n-----BEGIN PUBLIC KEY-----\nö")
    key = made(tmp_path, issued=evil)
    with open(key.path, encoding="ascii") as stream:
        assert _standby_key.read(stream.read(), key.path) == key


# -------------------------------------------------------------------------------------------------------- what is there


def test_what_was_made_is_found_again(tmp_path):
    ecdsa, rsa = made(tmp_path, "ecdsa"), made(tmp_path, "rsa")
    (tmp_path / "note.txt").write_text("not ours")
    assert _standby_key.kept(str(tmp_path), ["ecdsa"]) == ([ecdsa], [])
    assert _standby_key.kept(str(tmp_path), ["rsa", "ecdsa"]) == ([rsa, ecdsa], [])
    assert _standby_key.kept(str(tmp_path), ["rsa", "ecdsa"], [rsa.spki, "ab"]) == ([ecdsa], [rsa])
    assert _standby_key.kept(str(tmp_path / "none"), ["ecdsa"]) == ([], [])


def test_of_two_the_newest(tmp_path):
    keys = [made(tmp_path) for _number in range(3)]
    for age, key in zip((10, 30, 20), keys):
        os.utime(key.path, (pki.NOW - age, pki.NOW - age))
    assert _standby_key.kept(str(tmp_path), ["ecdsa"]) == ([keys[0]], [])
    assert _standby_key.kept(str(tmp_path), ["ecdsa"], [keys[0].spki])[0] == [keys[2]]


def test_files_that_cannot_be_used(tmp_path):
    key = made(tmp_path)
    with open(key.path, encoding="ascii") as stream:
        text = stream.read()
    for spoiled, said in (
            ("", "found no encrypted key"),
            (text[:-40], "found no encrypted key"),
            (text.replace("BEGIN CMS", "BEGIN PKCS7"), "found no encrypted key"),
            (text.replace("PUBLIC KEY", "OTHER"), "found 0 keys in PEM form"),
            (text + pki.key_pem(pki.key("x")), "holds a private key that is not encrypted"),
            (text.replace("-----BEGIN PUBLIC KEY-----\nM", "-----BEGIN PUBLIC KEY-----\nN"), "Cannot read the public key"),
    ):
        with open(key.path, "w", encoding="ascii") as stream:
            stream.write(spoiled)
        with pytest.raises(ChainError) as refused:
            _standby_key.kept(str(tmp_path), ["ecdsa"])
        assert said in refused.value.message and key.path in refused.value.message
    with open(key.path, "wb") as stream:
        stream.write(b"\xff\xfe")
    with pytest.raises(ChainError, match="Cannot read"):
        _standby_key.kept(str(tmp_path), ["ecdsa"])


def test_a_directory_that_is_none(tmp_path):
    (tmp_path / "standby").write_text("")
    with pytest.raises(ChainError, match="Cannot read the directory '.*standby': Not a directory"):
        _standby_key.kept(str(tmp_path / "standby"), ["ecdsa"])


def test_it_goes_when_it_was_used(tmp_path):
    key = made(tmp_path)
    _standby_key.forget(key)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ChainError, match="Cannot remove '.*cms.pem': No such file"):
        _standby_key.forget(key)


def test_what_is_said_of_it():
    spki = pki.spki(pki.key("A"))
    text = _standby_key.file_text(NAME, spki, "-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n", recipients(OPERATORS["rsa"]))
    told = _standby_key.read(text, "/x").to_dict()
    digest = hashlib.sha256(spki).hexdigest()
    assert {name: told[name] for name in ("path", "algorithm", "spki")} == {
        "path": "/x", "algorithm": "ecdsa", "spki": digest}
    assert told["chain"]["spki"] == digest and told["chain"]["algorithm"] == "ecdsa"
    assert told["chain"]["matches"] == [
        f"3 1 0 sha256:{digest}", f"3 1 1 {digest}", f"3 1 2 {hashlib.sha512(spki).hexdigest()}"]
    assert text.startswith("Standby key of mx1.example.test (ecdsa)") and "\n  CN=operator\n" in text
