# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PEM files as people, editors and disks leave them: what OpenSSL reads in them, or an error; never another chain."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import ssl
import subprocess

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _standby_key
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hostile import check_message, examples, refusal_or
from hypothesis import given
from hypothesis import strategies as st

ROOT = pki.root("Root of bad PEM")
ISSUER = pki.intermediate(ROOT, "Issuer of bad PEM")
LEAF = pki.leaf(ISSUER)
RSA = pki.leaf(ROOT, kind="rsa", private=pki.key("bad PEM", "rsa"))
PSS_ROOT = pki.root("PSS root of bad PEM", kind="rsa", private=pki.key("PSS of bad PEM", "rsa"))
PSS = pki.leaf(PSS_ROOT, pss=32)
CONSTRAINED = pki.root("Constrained root", extra=((x509.NameConstraints(
    [x509.DNSName("example.test"), x509.DirectoryName(pki.name("O=x"))], [x509.DNSName("other.test")]), True),))
CONSTRAINED_LEAF = pki.leaf(CONSTRAINED)

CERTIFICATES = {"leaf": LEAF, "issuer": ISSUER, "root": ROOT, "rsa": RSA}
BLOCKS = {**{name: one.pem for name, one in CERTIFICATES.items()},
          "key": LEAF.key_pem, "rsa key": RSA.key_pem,
          "old rsa key": pki.key_pem(RSA.key, form=serialization.PrivateFormat.TraditionalOpenSSL),
          "encrypted key": pki.key_pem(LEAF.key, b"secret"),
          "old encrypted key": pki.key_pem(RSA.key, b"secret", serialization.PrivateFormat.TraditionalOpenSSL),
          "parameters": "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
          "old label": LEAF.pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
          "no certificate": LEAF.pem.replace("CERTIFICATE", "CERTIFICATE REQUEST")}
GARBAGE = (
    "\n", "\r\n", " ", "\t", "# a comment\n", "subject=CN = mx1\n", "\x00", "\x00" * 99 + "\n", "\ufeff", "\xa0", "-" * 5,
    "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n",
    "----BEGIN CERTIFICATE----\n", "-----begin certificate-----\n", "Bag Attributes\n    localKeyID: 01\n",
    "x" * 5000, "x" * 300 + "\n", "MIIB\n", "    subject: -----BEGIN CERTIFICATE-----\n")


def mangle(draw, text):
    """What an editor, a copy by mouse, or a careless script makes of a text."""
    how = draw(st.sampled_from((
        "nothing", "nothing", "crlf", "cr", "indent", "no last line break", "cut", "cut head", "spaces behind", "one line",
        "twice", "byte", "insert", "lower case", "long lines", "blank lines", "quoted", "smart dashes")))
    if how == "cut":
        return text[:draw(st.integers(0, len(text)))]
    if how == "cut head":
        return text[draw(st.integers(0, len(text))):]
    if how in ("byte", "insert"):
        place, new = draw(st.integers(0, len(text))), draw(st.sampled_from(GARBAGE) | st.characters(max_codepoint=300))
        return text[:place] + new + text[place + (how == "byte"):]
    lines = text.split("\n")
    return {
        "nothing": text, "crlf": text.replace("\n", "\r\n"), "cr": text.replace("\n", "\r"),
        "indent": "".join(f"  {line}\n" for line in lines), "no last line break": text.rstrip("\n"),
        "spaces behind": " \t\n".join(lines), "one line": text.replace("\n", ""), "twice": text + text,
        "lower case": text.lower(), "blank lines": "\n\n".join(lines), "quoted": "".join(f"> {line}\n" for line in lines),
        "long lines": re.sub(r"(?<=[A-Za-z0-9+/=])\n(?=[A-Za-z0-9+/=])", "", text), "smart dashes": text.replace("-", "\u2013"),
    }[how]


@st.composite
def files(draw):
    """A PEM file: some blocks, perhaps one of them mangled, garbage between them, all of it perhaps mangled again."""
    parts = draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4))
    spoiled = draw(st.integers(-1, len(parts)))
    text = ""
    for number, part in enumerate(parts):
        text += draw(st.sampled_from(("", "", "", "\n") + GARBAGE)) if number == spoiled - 1 else ""
        text += mangle(draw, BLOCKS[part]) if number == spoiled else BLOCKS[part]
    text = mangle(draw, text) if spoiled == len(parts) else text
    return text.encode("utf-8", "surrogatepass") if draw(st.booleans()) else text


def bytes_of(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def pem_of(bundle):
    return [one.pem() for one in bundle]


@given(files())
@examples(100)
def test_a_file_is_read_right_or_refused(text):
    known = {one.der for one in CERTIFICATES.values()}
    bundle = refusal_or(_chain.load_pem, text, "x.pem")
    alone = refusal_or(_chain.load_certificates, text, "x.pem")
    key = refusal_or(_chain.public_key_of, text, "x.pem")
    if bundle is not None:
        assert all(one.der in known for one in bundle.certificates), "a certificate that nobody issued"
        assert alone == list(bundle.certificates)
        if bundle.key:
            assert bundle.key.spki == key
            assert serialization.load_pem_private_key(bundle.key.pem.encode(), None).public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) == key
            again = _chain.load_pem(_chain.file_text(bundle.key, bundle.certificates), "again")
            assert again.certificates == bundle.certificates and again.key.spki == bundle.key.spki
    if key is not None:
        assert key in {pki.spki(LEAF.key), pki.spki(RSA.key)}


def read_by_openssl(directory, text):
    """The certificates that OpenSSL reads from a file (list of DER), as a daemon would; None when it refuses."""
    (directory / "file.pem").write_bytes(bytes_of(text))
    done = subprocess.run(
        ["openssl", "storeutl", "-noout", "-certs", "-text", str(directory / "file.pem")], capture_output=True, check=False)
    packed = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-certfile", str(directory / "file.pem")], capture_output=True, check=False)
    if done.returncode or packed.returncode:
        return None
    printed = subprocess.run(["openssl", "pkcs7", "-print_certs"], input=packed.stdout, capture_output=True, check=True)
    found = re.findall(rb"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", printed.stdout, re.DOTALL)
    return [ssl.PEM_cert_to_DER_cert(one.decode()) for one in found]


@given(files())
@examples(100)
def test_what_is_read_is_what_openssl_reads(tmp_path_factory, text):
    """Else the gate would judge another chain than the one that the daemon presents."""
    assert shutil.which("openssl"), "the openssl program is the oracle"
    mine = refusal_or(_chain.load_certificates, text, "x.pem")
    if not mine:
        return
    theirs = read_by_openssl(tmp_path_factory.getbasetemp(), text)
    if theirs is not None:
        assert [one.der for one in mine] == theirs


@pytest.mark.parametrize("prefix", ["  ", "> ", "x", "subject: "])
def test_what_openssl_overlooks_is_not_part_of_the_chain(tmp_path, prefix):
    """A block behind something on its line is none to OpenSSL: a daemon would present the chain without it."""
    text = LEAF.key_pem + LEAF.pem + prefix + ISSUER.pem
    assert read_by_openssl(tmp_path, LEAF.pem + prefix + ISSUER.pem) in (None, [LEAF.der])
    bundle = refusal_or(_chain.load_pem, text, "x.pem")
    assert bundle is None or [one.der for one in bundle.certificates] == [LEAF.der]


def test_two_files_joined_without_a_line_break_are_named():
    with pytest.raises(_chain.ChainError) as caught:
        _chain.load_pem(LEAF.key_pem + LEAF.pem.rstrip("\n") + ISSUER.pem, "x.pem")
    check_message(caught.value)
    assert "line break" in caught.value.message and "x.pem" in caught.value.message


def test_every_truncation_is_an_error():
    """At every character of a whole file: what is cut off within a block is never read as the rest."""
    text = LEAF.key_pem + LEAF.pem + ISSUER.pem
    whole = {LEAF.key_pem, LEAF.key_pem + LEAF.pem, text}
    for size in range(len(text)):
        bundle = refusal_or(_chain.load_pem, text[:size], "x.pem")
        assert (bundle is not None) == bool({text[:size], text[:size] + "\n"} & whole), text[:size][-80:]
    with pytest.raises(_chain.ChainError, match="truncated"):
        _chain.load_pem(text[:-30], "x.pem")


@given(st.binary(max_size=300) | st.text(max_size=100))
def test_noise_is_no_chain(noise):
    assert refusal_or(_chain.load_pem, noise, "x.pem") is None
    assert refusal_or(_chain.load_certificates, noise, "x.pem") in (None, [])


def test_a_large_file_is_read_in_reasonable_time():
    text = "# " + "x" * 70 + "\n"
    bundle = _chain.load_pem(LEAF.key_pem + text * 20000 + LEAF.pem * 2000, "x.pem")
    assert len(bundle.certificates) == 2000


@pytest.mark.parametrize("junk", [b"\x00", b"\x30\x00", b"junk"])
def test_bytes_behind_a_certificate_are_no_part_of_it(junk):
    """Old versions of cryptography overlook them, and a digest over them would be nobody's."""
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(LEAF.der + junk).decode()}\n-----END CERTIFICATE-----\n"
    assert refusal_or(_chain.load_certificates, text, "x.pem") is None


# -------------------------------------------------------------------------------------- certificates that are not quite


def pem(der):
    return ssl.DER_cert_to_PEM_cert(der)


@st.composite
def mutated(draw, whole):
    """DER with some bytes changed, taken out or put in."""
    data = bytearray(whole)
    for _turn in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(("set", "set", "flip", "drop", "insert")))
        if how == "set":
            data[place] = draw(st.sampled_from((0, 1, 5, 0x30, 0x31, 0x7F, 0x80, 0x81, 0x84, 0xA0, 0xFF)) | st.integers(0, 255))
        elif how == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "drop":
            del data[place]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=3))
    return bytes(data)


CHAINS = {
    "ecdsa": [LEAF, ISSUER, ROOT], "rsa": [RSA, ROOT], "pss": [PSS, PSS_ROOT], "constrained": [CONSTRAINED_LEAF, CONSTRAINED],
}


@pytest.mark.parametrize("kind", CHAINS)
@given(data=st.data())
@examples(60)
def test_a_chain_of_mutated_certificates_is_described_right_or_refused(kind, data):
    chain = [one.der for one in CHAINS[kind]]
    which = data.draw(st.integers(0, len(chain) - 1))
    chain[which] = data.draw(mutated(chain[which]))
    certificates = refusal_or(_chain.load_certificates, "".join(map(pem, chain)), "x.pem")
    if certificates is None:
        return
    described = refusal_or(_chain.describe, certificates, [pki.NAME], pki.NOW)
    if described is None:
        return
    json.dumps(described, allow_nan=False).encode()
    leaf = x509.load_der_x509_certificate(chain[0])
    matches = {Record.parse(text) for text in described["matches"]}
    assert Record(3, 0, 1, leaf.fingerprint(hashes.SHA256()).hex()) in matches
    assert described["spki"] == hashlib.sha256(certificates[0].spki).hexdigest()
    if which > 0 and chain[which] != CHAINS[kind][which].der:
        changed = {Record(2, 0, 1, hashlib.sha256(chain[which]).hexdigest())}
        below = {(2, 1, 1, hashlib.sha256(certificates[which].spki).hexdigest())}
        # A changed issuer anchors only what its key still signs; a changed certificate is no anchor's to vouch for.
        if changed & matches:
            assert below <= matches
            assert certificates[which].spki == pki.spki(CHAINS[kind][which].key)
    if which == 0 and chain[0] != LEAF.der and kind == "ecdsa":
        assert not any(record.usage == 2 for record in matches), "an issuer that did not sign this"
    refusal_or(_chain.order, certificates[0], certificates[1:], [pki.NAME], pki.NOW)
    refusal_or(_chain.records_of, certificates[0], 0, [record.combination for record in matches])


@given(st.integers() | st.sampled_from((2**31, 2**33, 253402300800, 10**15, 10**30, -10**15)), st.booleans())
def test_any_time_can_be_asked_about(when, now_too):
    """A time in a message has to be one that can be written."""
    certificates = _chain.load_certificates(LEAF.pem + ISSUER.pem, "x.pem")
    now = when if now_too else None
    _chain.describe(certificates, [pki.NAME], when, now=now)
    refusal_or(_chain.order, certificates[0], certificates[1:], [pki.NAME], when, now=now)


@given(st.binary(max_size=60))
def test_der_that_is_none(noise):
    try:
        _chain._elements(noise)
    except ValueError:
        return
    assert b"".join(one.raw for one in _chain._elements(noise)) == noise


# ----------------------------------------------------------------------------------- a standby key that is kept elsewhere

OPERATORS = {kind: pki.issue("operator", kind=kind, private=pki.key(f"operator of bad PEM {kind}", kind), extended=None,
                             usage=("key_encipherment", "key_agreement")) for kind in ("rsa", "ecdsa")}
STANDBY = _standby_key.file_text(
    pki.NAME, pki.spki(LEAF.key), "-----BEGIN CMS-----\n" + "QUJD\n" * 9 + "-----END CMS-----\n",
    _chain.load_certificates(OPERATORS["rsa"].pem, "x.pem"))


@st.composite
def standby_files(draw):
    """The file of a standby key, mangled; or with another public key, mutated, in it."""
    if draw(st.booleans()):
        return mangle(draw, STANDBY)
    body = draw(mutated(pki.spki(draw(st.sampled_from((LEAF, RSA))).key)))
    public = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(body).decode()}\n-----END PUBLIC KEY-----\n"
    return public + STANDBY.partition("-----END PUBLIC KEY-----\n")[2]


@given(standby_files())
def test_the_file_of_a_standby_key_is_read_right_or_refused(text):
    key = refusal_or(_standby_key.read, text, "x.pem")
    if key is None:
        return
    (body,) = re.findall("-----BEGIN PUBLIC KEY-----([^-]*)-----END", text)
    spki = base64.b64decode("".join(body.split()))
    assert key.spki == hashlib.sha256(spki).hexdigest() and Record(3, 1, 1, key.spki) in key.matches
    serialization.load_der_public_key(spki)
    json.dumps(key.to_dict())


@pytest.mark.parametrize("kind", OPERATORS)
@given(data=st.data())
@examples(40)
def test_a_key_is_encrypted_to_a_mutated_recipient_or_it_is_refused(kind, data):
    text = pem(data.draw(mutated(OPERATORS[kind].der)))
    found = refusal_or(_standby_key.load_recipients, text, "x.pem", data.draw(st.sampled_from((None, pki.NOW))))
    if found is not None:
        message = refusal_or(_standby_key.encrypt, b"secret", found)
        assert message is None or "secret" not in message
