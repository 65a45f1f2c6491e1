# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``_chain`` reads, orders, refuses and describes. What DANE clients accept is tested in ../../oracle."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _tlsa
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from hypothesis import given
from hypothesis import strategies as st

DAY = pki.DAY
LATER = pki.NOW + DAY
ROOT = pki.root()
INTERMEDIATE = pki.intermediate(ROOT)
LEAF = pki.leaf(INTERMEDIATE)


def certificate(issued, label="heap.pem"):
    return _chain.Certificate(issued.der, label)


def order(leaf, heap, names=(pki.NAME,), valid_at=LATER, **options):
    return _chain.order(certificate(leaf, "leaf.pem"), [certificate(one) for one in heap], list(names), valid_at,
                        now=pki.NOW, **options)


def refusal(*arguments, **options):
    with pytest.raises(ChainError) as caught:
        order(*arguments, **options)
    return caught.value


def describe(*chain, names=(pki.NAME,), valid_at=LATER, now=pki.NOW):
    return _chain.describe([certificate(one) for one in chain], list(names), valid_at, now=now)


def usages(description):
    return {text[0] for text in description["matches"]}


# ------------------------------------------------------------------------------------------------------------- reading


def test_key_and_certificates_are_read_in_order_with_text_around():
    text = f"subject: mx1\n{LEAF.key_pem}\nBag Attributes\r\n{LEAF.pem}issuer\n{INTERMEDIATE.pem}the end"
    bundle = _chain.load_pem(text, "all.pem")
    assert bundle.key.spki == pki.spki(LEAF.key)
    assert [one.der for one in bundle.certificates] == [LEAF.der, INTERMEDIATE.der]
    assert [one.label for one in bundle.certificates] == ["all.pem", "all.pem"]


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text,
    lambda text: text.rstrip("\n"),
    lambda text: text.encode(),
    lambda text: b"\xff\xfe text in some other encoding \n" + text.encode(),
    lambda text: text.replace("BEGIN CERTIFICATE", "BEGIN X509 CERTIFICATE").replace(
        "END CERTIFICATE", "END X509 CERTIFICATE"),
    lambda text: "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n" + text,
])
def test_what_files_look_like_in_the_wild(change):
    bundle = _chain.load_pem(change(LEAF.key_pem + LEAF.pem), "file")
    assert (bundle.key.spki, bundle.certificates[0].der) == (pki.spki(LEAF.key), LEAF.der)


@pytest.mark.parametrize("form", [
    serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["ecdsa", "p384", "rsa"])
def test_key_forms(form, kind):
    private = pki.key("forms", kind)
    key = _chain.load_pem(pki.key_pem(private, form=form), "key.pem").key
    assert key.spki == pki.spki(private)
    assert key.algorithm == {"p384": "ecdsa"}.get(kind, kind)
    assert _chain.public_key_of(pki.key_pem(private, form=form), "key.pem") == pki.spki(private)


@pytest.mark.parametrize("kind", ["ed25519", "ed448"])
def test_edwards_keys(kind):
    assert _chain.load_pem(pki.key_pem(pki.key("forms", kind)), "key.pem").key.algorithm == kind


def test_ec_parameters_before_a_key_are_ignored():
    # What `openssl ecparam -genkey` writes.
    text = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey"], check=True, capture_output=True).stdout
    assert _chain.load_pem(text, "key.pem").key.algorithm == "ecdsa"


ENCRYPTED = pki.key_pem(pki.key("secret"), password=b"x")
OLD_ENCRYPTED = pki.key_pem(pki.key("secret"), b"x", serialization.PrivateFormat.TraditionalOpenSSL)
GARBLED_KEY = LEAF.key_pem.replace(LEAF.key_pem.splitlines()[1][:12], "M!" * 6)
SWAPPED_KEY = "\n".join([*LEAF.key_pem.splitlines()[:1], *reversed(LEAF.key_pem.splitlines()[1:-1]),
                         LEAF.key_pem.splitlines()[-1]])


@pytest.mark.parametrize("text, sentence", [
    (LEAF.pem[:300], "Cannot read 'x.pem': the CERTIFICATE that begins in line 1 is truncated: it has no end"),
    ("a\nb\n" + LEAF.pem[:300] + "\n" + INTERMEDIATE.pem,
     "Cannot read 'x.pem': the CERTIFICATE that begins in line 3 is truncated: it has no end"),
    (LEAF.pem.replace("END CERTIFICATE", "END PRIVATE KEY"),
     "Cannot read 'x.pem': the CERTIFICATE that begins in line 1 is truncated: it has no end"),
    ("\n" + LEAF.pem[40:], "Cannot read 'x.pem': the CERTIFICATE that ends in line .* has no beginning"),
    (LEAF.pem.replace(LEAF.pem[100:104], "*$!?"),
     "Cannot read 'x.pem': the CERTIFICATE that begins in line 1 is garbled: not base64"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "Cannot read a certificate in 'x.pem': .+"),
    ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "Cannot read a certificate in 'x.pem': .+"),
    ("", "Cannot read 'x.pem': found neither a certificate nor a private key in PEM form"),
    (LEAF.der, "Cannot read 'x.pem': found neither a certificate nor a private key in PEM form; it looks like "
               "DER, which "
               "'openssl x509 -inform DER' or 'openssl pkey -inform DER' converts"),
    (LEAF.pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
     "Cannot read 'x.pem': it holds a certificate in OpenSSL's TRUSTED form; convert it with 'openssl x509 -in FILE "
     "-out NEWFILE'"),
    (LEAF.key_pem + pki.key_pem(pki.key("second")), "Cannot read 'x.pem': found 2 private keys, expected one"),
    (ENCRYPTED, "Cannot read the private key in 'x.pem': it is encrypted, and a daemon that starts unattended "
                "cannot ask "
                "for the password; store it without one"),
    (OLD_ENCRYPTED, "Cannot read the private key in 'x.pem': it is encrypted, .*"),
    (GARBLED_KEY, "Cannot read 'x.pem': the PRIVATE KEY that begins in line 1 is garbled: not base64"),
    (SWAPPED_KEY, "Cannot read the private key in 'x.pem': it is garbled, or of a kind that is not supported; try "
                  "'openssl pkey -noout -in FILE'"),
    ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "Cannot read the private key in 'x.pem': it is "
     "garbled, .*"),
    (pki.key_pem(dsa.generate_private_key(1024)),
     "Cannot use the private key in 'x.pem': TLS servers need an RSA, ECDSA, Ed25519 or Ed448 key"),
])
def test_a_bad_file_is_named_with_its_fault(text, sentence):
    with pytest.raises(ChainError) as caught:
        _chain.load_pem(text, "x.pem")
    assert re.fullmatch(sentence, caught.value.message, re.DOTALL), caught.value.message


def test_a_key_for_pss_only_is_refused():
    text = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"],
                          check=True, capture_output=True).stdout
    with pytest.raises(ChainError, match="^Cannot use the private key in 'x.pem': it is for RSA-PSS only, which mail "
                                         "servers and CAs do not support widely; make an ordinary RSA or an "
                                         "ECDSA key$"):
        _chain.load_pem(text, "x.pem")


@pytest.mark.parametrize("text", [GARBLED_KEY, SWAPPED_KEY, ENCRYPTED, OLD_ENCRYPTED, LEAF.key_pem[:120],
                                  LEAF.key_pem + LEAF.key_pem])
def test_no_key_material_in_errors(text):
    body = [line for line in text.splitlines() if "-----" not in line and line and ":" not in line]
    with pytest.raises(ChainError) as caught:
        _chain.load_pem(text, "x.pem")
    told = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    told += repr(caught.value) + repr(caught.value.fields)
    assert not any(line[:16] in told for line in body)
    assert caught.value.__cause__ is None


def test_no_key_material_in_text_forms():
    bundle = _chain.load_pem(LEAF.key_pem + LEAF.pem, "x.pem")
    secret = LEAF.key_pem.splitlines()[1]
    for shown in (repr(bundle), str(bundle), f"{bundle.key}", repr(bundle.key)):
        assert secret not in shown
    assert secret in bundle.key.pem, "else this test could not fail"
    assert hashlib.sha256(bundle.key.spki).hexdigest() in repr(bundle.key)


def test_keys_in_files_of_issuers_are_not_looked_at():
    assert [one.der for one in _chain.load_certificates(ENCRYPTED + ROOT.pem, "ca.pem")] == [ROOT.der]
    assert _chain.load_certificates("nothing", "ca.pem") == []


def test_public_key_file():
    public = LEAF.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    assert _chain.public_key_of(public, "pub.pem") == pki.spki(LEAF.key)
    with pytest.raises(ChainError, match="^Cannot read 'pub.pem': found 2 keys in PEM form, expected one$"):
        _chain.public_key_of(public + LEAF.key_pem, "pub.pem")
    with pytest.raises(ChainError, match="^Cannot read 'pub.pem': found 0 keys in PEM form, expected one$"):
        _chain.public_key_of(LEAF.pem, "pub.pem")
    with pytest.raises(ChainError, match="^Cannot read the public key in 'pub.pem': "):
        _chain.public_key_of("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----", "pub.pem")


def test_key_and_leaf_that_belong_together():
    _chain.check_key_matches(_chain.load_pem(LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem, "x.pem"))


@pytest.mark.parametrize("text, sentence", [
    (LEAF.pem, "Cannot use 'x.pem': found no private key in it, expected one before the certificates"),
    (LEAF.key_pem, "Cannot use 'x.pem': found no certificate in it, expected the leaf behind the key"),
    (LEAF.key_pem + INTERMEDIATE.pem + LEAF.pem,
     "Cannot use certificate 'CN=Intermediate' from 'x.pem' with the private key in 'x.pem': they do not belong "
     "together: "
     f"the certificate is for the key with SHA-256 {hashlib.sha256(pki.spki(INTERMEDIATE.key)).hexdigest()}, found "
     f"{hashlib.sha256(pki.spki(LEAF.key)).hexdigest()}; give the key that the certificate was requested with"),
])
def test_key_and_leaf_that_do_not(text, sentence):
    with pytest.raises(ChainError) as caught:
        _chain.check_key_matches(_chain.load_pem(text, "x.pem"))
    assert caught.value.message == sentence


def test_the_digests_are_openssls():
    """An independent way to the same data: what people put into their zone by hand."""
    command = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl sha256 -r"
    digest = subprocess.run(command, shell=True, input=LEAF.pem, text=True, check=True, capture_output=True).stdout
    assert certificate(LEAF).x509 and _chain.spki_digest(certificate(LEAF).spki) == digest.split()[0]


def test_spki_is_taken_as_it_stands_in_the_certificate(tmp_path):
    """cryptography encodes a key for RSA-PSS anew, without saying so: the digest would be another one."""
    key, cert = tmp_path / "key", tmp_path / "cert"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-nodes",
                    "-subj", "/CN=mx1.example.test", "-keyout", key, "-out", cert], check=True, capture_output=True)
    der = subprocess.run(f"openssl x509 -in {cert} -pubkey -noout | sed '/-----/d' | openssl base64 -d", shell=True,
                         check=True, capture_output=True).stdout
    made = _chain.load_pem(cert.read_bytes(), "cert").certificates[0]
    assert (made.spki, made.algorithm) == (der, "rsa")


# ------------------------------------------------------------------------------------------------- the order of a chain


def test_order_finds_the_path_whatever_the_order_of_the_heap():
    strangers = [pki.root("Stranger"), pki.leaf(ROOT, "mx2.example.test")]
    for heap in ([ROOT, INTERMEDIATE], [INTERMEDIATE, ROOT], [*strangers, ROOT, LEAF, INTERMEDIATE, INTERMEDIATE]):
        assert order(LEAF, heap) == [certificate(LEAF), certificate(INTERMEDIATE)]
        assert order(LEAF, heap, want_root=True) == [certificate(one) for one in (LEAF, INTERMEDIATE, ROOT)]


def test_order_ends_where_the_heap_ends():
    assert order(LEAF, [INTERMEDIATE]) == [certificate(LEAF), certificate(INTERMEDIATE)]


def test_order_of_a_self_signed_leaf():
    made = pki.leaf()
    assert order(made, [INTERMEDIATE, ROOT]) == [certificate(made)]
    assert order(made, [], want_root=True) == [certificate(made)]


def test_order_of_a_leaf_issued_by_its_root():
    made = pki.leaf(ROOT)
    assert order(made, [ROOT]) == [certificate(made)]
    assert order(made, [ROOT], want_root=True) == [certificate(made), certificate(ROOT)]


def two_ways(first, second=None):
    """Two intermediates of one name and key: the first below a root of its own, the second below ROOT."""
    other = pki.root("Other root")
    return [pki.intermediate(other, **first), other, pki.intermediate(ROOT, **(second or {})), ROOT]


@pytest.mark.parametrize("fault", [
    {"start": -9 * DAY, "end": -DAY}, {"start": DAY}, {"path_length": None, "usage": ("crl_sign",)},
    {"extended": [pki.CLIENT_AUTH]}, {"basic": False}, {"end": DAY // 2},
])
def test_order_goes_back_and_finds_the_way_without_fault(fault):
    first, other, second, root = heap = two_ways(fault)
    for mixed in (heap, heap[::-1]):
        assert order(LEAF, mixed, want_root=True) == [certificate(one) for one in (LEAF, second, root)]
    refusal(LEAF, [first, other])


def test_order_prefers_the_first_of_equals():
    first, other, second, root = two_ways({})
    assert order(LEAF, [first, other, second, root], want_root=True)[1:] == [certificate(first), certificate(other)]
    assert order(LEAF, [second, first, other, root], want_root=True)[1:] == [certificate(second), certificate(root)]


def test_order_prefers_the_way_to_a_root():
    first, _other, second, root = two_ways({})
    assert order(LEAF, [first, second, root]) == [certificate(LEAF), certificate(second)]


def test_order_through_a_cross_signed_root():
    other = pki.root("Other root")
    crossed = pki.intermediate(other, "Root", private=ROOT.key)
    assert order(LEAF, [crossed, INTERMEDIATE, other], want_root=True) == [
        certificate(one) for one in (LEAF, INTERMEDIATE, crossed, other)]


def test_order_is_not_caught_by_authorities_that_sign_each_other():
    a, b = pki.root("A"), pki.root("B")
    a_by_b, b_by_a = pki.intermediate(b, "A", private=a.key), pki.intermediate(a, "B", private=b.key)
    made = pki.leaf(a)
    assert order(made, [a_by_b, b_by_a]) == [certificate(one) for one in (made, a_by_b, b_by_a)]
    renewed = pki.intermediate(b, "A", private=a.key)
    assert order(made, [a_by_b, b_by_a, renewed]) == [certificate(one) for one in (made, a_by_b, b_by_a)]


def test_order_in_a_tangle_ends():
    """Eleven authorities that all signed each other have more paths than anybody can try."""
    roots = [pki.root(f"R{number}") for number in range(11)]
    tangle = [pki.intermediate(by, f"R{number}", private=one.key)
              for number, one in enumerate(roots) for by in roots if by is not one]
    began = time.monotonic()
    assert len(order(pki.leaf(roots[0]), tangle)) >= 2
    assert time.monotonic() - began < 20


ALIEN = pki.intermediate(ROOT, private=pki.key("another key"), identifiers=False)
UNNAMED = pki.leaf(INTERMEDIATE, identifiers=False)
UTC = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
DNS = x509.DNSName
PSS_SHA1 = {"pss": 20, "pss_digest": "SHA1"}
RSA_ROOT = pki.root("RSA root", kind="rsa")


def with_issuer(**options):
    made = pki.intermediate(ROOT, **options)
    return pki.leaf(made), [made, ROOT]


def constrained(excluded, **leaf_options):
    made = pki.intermediate(ROOT, extra=((x509.NameConstraints(None, excluded), True),))
    return pki.leaf(made, **leaf_options), [made]


def deep(**root_options):
    root = pki.root(**root_options)
    upper = pki.intermediate(root, "Upper")
    lower = pki.intermediate(upper, "Lower")
    return pki.leaf(lower), [lower, upper, root]


LEAF_FAULT = "Cannot use certificate 'CN=mx1.example.test' from 'leaf.pem': "
ISSUER_FAULT = "Cannot use certificate 'CN=Intermediate' from 'heap.pem': "
INCOMPLETE = "Cannot complete the chain of 'CN=mx1.example.test': "


@pytest.mark.parametrize("leaf, heap, sentence, fields", [
    (LEAF, [ROOT], INCOMPLETE + "the issuer 'CN=Intermediate' of "
     "'CN=mx1.example.test' is missing among 1 certificate(s); add its PEM file to the issuers",
     {"certificate": "CN=mx1.example.test", "expected": "CN=Intermediate", "found": ["CN=Root"]}),
    (UNNAMED, [ALIEN], INCOMPLETE + "the issuer 'CN=Intermediate' of "
     "'CN=mx1.example.test' is missing among 1 certificate(s); 1 of that name, such as the one from 'heap.pem', "
     "did not "
     "sign it: the authority has another key by now; add its PEM file to the issuers", {}),
    (pki.leaf(INTERMEDIATE, end=-1), [INTERMEDIATE],
     LEAF_FAULT + "it expired at {utc}, and it is {utc}; renew it",
     {"found": pki.NOW - 1, "expected": LATER}),
    (pki.leaf(INTERMEDIATE, end=DAY), [INTERMEDIATE],
     LEAF_FAULT + "it expires at {utc}, expected to be valid until {utc}; "
     "renew it", {"found": LATER, "expected": LATER}),
    (pki.leaf(INTERMEDIATE, start=1), [INTERMEDIATE],
     LEAF_FAULT + "it is not yet valid: valid from {utc}, and it is {utc}; "
     "check the clock", {"found": pki.NOW + 1, "expected": pki.NOW}),
    (*with_issuer(end=-1), ISSUER_FAULT + "it expired at {utc}, and it is {utc}; "
     "renew it", {"certificate": "CN=Intermediate"}),
    (pki.leaf(INTERMEDIATE, names=["a.test", "b.test"]), [INTERMEDIATE],
     LEAF_FAULT + "the name 'mx1.example.test' is missing: found a.test, "
     "b.test; request it for all base domains", {"found": ["a.test", "b.test"], "expected": [pki.NAME]}),
    (pki.leaf(INTERMEDIATE, names=[]), [INTERMEDIATE],
     LEAF_FAULT + "the name 'mx1.example.test' is missing: found no DNS "
     "name; request it for all base domains", {"found": []}),
    (*with_issuer(basic=False), ISSUER_FAULT + "it is not a CA: found no basic "
     "constraints, expected CA:TRUE in an issuer", {"expected": "CA:TRUE"}),
    (*with_issuer(basic=False, extra=((x509.BasicConstraints(False, None), True),)),
     ISSUER_FAULT + "it is not a CA: found CA:FALSE, expected CA:TRUE in an "
     "issuer", {"found": "CA:FALSE"}),
    (*with_issuer(usage=("crl_sign",)), ISSUER_FAULT + "it is not a CA: its key "
     "usage lacks keyCertSign", {"expected": "keyCertSign"}),
    (*deep(path_length=1), "Cannot use certificate 'CN=Root' from 'heap.pem': its path length is 1, and 2 other "
                           "issuer(s) "
     "stand between it and the leaf", {"found": 2, "expected": 1}),
    (pki.leaf(INTERMEDIATE, extended=[pki.CLIENT_AUTH]), [INTERMEDIATE],
     LEAF_FAULT + "its extended key usage is 1.3.6.1.5.5.7.3.2, expected "
     "serverAuth (1.3.6.1.5.5.7.3.1) or none", {"found": ["1.3.6.1.5.5.7.3.2"], "expected": "1.3.6.1.5.5.7.3.1"}),
    (pki.leaf(INTERMEDIATE, usage=("crl_sign",)), [INTERMEDIATE],
     LEAF_FAULT + "its key usage has none of digitalSignature, "
     "keyEncipherment, keyAgreement", {}),
    (pki.leaf(INTERMEDIATE, extra=((x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.16.840.1.113730.1.1"), b"\x03\x02\x00\x80"), False),)), [INTERMEDIATE],
     LEAF_FAULT + "its Netscape certificate type excludes TLS servers", {}),
    (pki.leaf(INTERMEDIATE, extra=((UNKNOWN, True),)), [INTERMEDIATE],
     LEAF_FAULT + "it has the critical extension 1.3.6.1.4.1.99999.1, "
     "which is not supported", {"found": "1.3.6.1.4.1.99999.1"}),
    (*with_issuer(subject="Small", kind="rsa1024"),
     "Cannot use certificate 'CN=Small' from 'heap.pem': its rsa key has 1024 bits, expected at least 2048",
     {"found": 1024, "expected": 2048}),
    (pki.leaf(INTERMEDIATE, kind="rsa1024"), [INTERMEDIATE],
     LEAF_FAULT + "its rsa key has 1024 bits, expected at least 2048", {}),
    (pki.leaf(RSA_ROOT, digest="SHA1"), [RSA_ROOT],
     LEAF_FAULT + "its signature is over SHA1, which is too weak; expected "
     "SHA-2", {"expected": "CN=RSA root"}),
    (pki.leaf(RSA_ROOT, **PSS_SHA1), [RSA_ROOT],
     LEAF_FAULT + "its signature is over SHA1, which is too weak; expected "
     "SHA-2", {}),
    (*constrained([DNS("example.test")]),
     LEAF_FAULT + "the name constraints of 'CN=Intermediate' do not allow "
     "its DNSName 'mx1.example.test'", {"found": pki.NAME, "expected": "CN=Intermediate"}),
    (*constrained([x509.DirectoryName(pki.name("O=Bad"))], subject="O=Bad,CN=mx1"),
     "Cannot use certificate 'CN=mx1,O=Bad' from 'leaf.pem': the name constraints of 'CN=Intermediate' do not "
     "allow its "
     "DirectoryName 'CN=mx1,O=Bad'", {}),
    (*constrained([x509.RFC822Name("example.org")], subject="CN=mx1,E=a@example.test"),
     "Cannot use certificate '.*' from 'leaf.pem': the name constraints of 'CN=Intermediate' do not allow its "
     "RFC822Name "
     "'a@example.test'", {}),
])
def test_order_says_which_certificate_what_was_found_and_what_expected(leaf, heap, sentence, fields):
    error = refusal(leaf, heap)
    pattern = re.escape(sentence).replace(r"\{utc\}", UTC).replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, error.message), error.message
    assert {name: error.fields[name] for name in fields} == fields
    assert "certificate" in error.fields


def test_order_without_the_root_that_is_wanted():
    error = refusal(LEAF, [INTERMEDIATE], want_root=True)
    assert error.message == (
        "Cannot complete the chain of 'CN=mx1.example.test': the issuer 'CN=Root' of 'CN=Intermediate' is "
        "missing among 1 "
        "certificate(s); add its PEM file to the issuers")


def test_a_certificate_without_subject_is_called_by_its_name():
    assert "'mx1.example.test'" in refusal(pki.leaf(INTERMEDIATE, subject="", end=-1), [INTERMEDIATE]).message


def test_extensions_that_cannot_be_read_are_a_fault_of_that_certificate():
    broken = pki.leaf(INTERMEDIATE, extra=((x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.30"), b"\x04\x01\x00"), False),))
    message = refusal(broken, [INTERMEDIATE]).message
    assert re.fullmatch(r"Cannot use certificate (with serial [0-9a-f]+|'.*') from 'leaf.pem': .*", message), message
    description = describe(broken, INTERMEDIATE)
    assert usages(description) == {"3"}


@pytest.mark.parametrize("position", range(2))
def test_one_changed_byte_in_a_signature_is_noticed(position):
    chain = [LEAF, INTERMEDIATE, ROOT]
    der = bytearray(chain[position].der)
    der[-1] ^= 1
    spoilt = _chain.Certificate(bytes(der), "spoilt.pem")
    certificates = [certificate(one) for one in chain]
    certificates[position] = spoilt
    with pytest.raises(ChainError, match="is missing among|does not verify|cannot be verified"):
        _chain.order(certificates[0], certificates[1:], [pki.NAME], LATER, now=pki.NOW, want_root=True)
    matches = _chain.describe(certificates, [pki.NAME], LATER, now=pki.NOW)["matches"]
    anchors = [text for text in matches if text[0] == "2"]
    assert len(anchors) == (0 if position == 0 else 6)


def test_a_signature_by_another_key_of_that_name():
    problem = _chain._problem([certificate(UNNAMED), certificate(ALIEN)], [pki.NAME], pki.NOW, LATER)
    assert problem.message == ("Cannot use certificate 'CN=mx1.example.test' from 'heap.pem': the signature on "
                               "it does not "
                               "verify under the key of 'CN=Intermediate'")


# The adapter for cryptography before 41 has to agree with the library wherever both can be asked.
SIGNED = {
    "ecdsa": lambda: (LEAF, INTERMEDIATE),
    "p384": lambda: (pki.intermediate(pki.root("P", kind="p384"), digest="SHA384"), pki.root("P", kind="p384")),
    "rsa": lambda: (pki.leaf(RSA_ROOT), RSA_ROOT),
    "rsa sha512": lambda: (pki.leaf(RSA_ROOT, digest="SHA512"), RSA_ROOT),
    "pss": lambda: (pki.leaf(RSA_ROOT, pss=32), RSA_ROOT),
    "pss sha384": lambda: (pki.leaf(RSA_ROOT, pss=48, pss_digest="SHA384"), RSA_ROOT),
    "pss salt 20": lambda: (pki.leaf(RSA_ROOT, pss=20, pss_digest="SHA512"), RSA_ROOT),
    "ed25519": lambda: (pki.leaf(pki.root("E", kind="ed25519")), pki.root("E", kind="ed25519")),
    "ed448": lambda: (pki.leaf(pki.root("E4", kind="ed448")), pki.root("E4", kind="ed448")),
    "another key": lambda: (LEAF, pki.intermediate(ROOT, private=pki.key("another key"))),
    "another rsa key": lambda: (pki.leaf(RSA_ROOT, pss=32), pki.root("RSA root", private=pki.key("more", "rsa"))),
    "another kind of key": lambda: (LEAF, pki.intermediate(ROOT, private=pki.key("more", "rsa"))),
}


@pytest.mark.parametrize("name", SIGNED)
def test_the_adapter_verifies_like_the_library(name, monkeypatch):
    pair = [certificate(one) for one in SIGNED[name]()]
    problems = []
    for library in (True, False):
        if library and not _chain._library_verifies():
            continue
        monkeypatch.setattr(_chain, "_library_verifies", lambda library=library: library)
        _chain._signature_problem.cache_clear()
        problems.append(bool(_chain._signature_problem(*pair)))
    _chain._signature_problem.cache_clear()
    assert set(problems) == {name.startswith("another")}


def test_a_signature_algorithm_that_is_not_known():
    assert _chain._signature_problem(_Faked("1.2.3", True), certificate(ROOT)) == (
        "its signature algorithm 1.2.3 is not supported")
    assert "is not supported" in _chain._signature_problem(_Faked("1.2.840.10045.4.3.2", False), certificate(ROOT))


class _Faked:
    def __init__(self, oid, agree):
        self.algorithms_agree = agree
        self.x509 = self
        self.signature_algorithm_oid = x509.ObjectIdentifier(oid)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("pattern, name, yes", [
    ("mx1.example.test", "mx1.example.test", True),
    ("MX1.example.TEST", "mx1.EXAMPLE.test.", True),
    ("*.example.test", "mx1.example.test", True),
    ("*.example.test", "MX1.Example.test", True),
    ("*.example.test", "a.mx1.example.test", False),
    ("*.example.test", "example.test", False),
    ("*.example.test", ".example.test", False),
    ("*.example.test", "_dc.example.test", False),
    ("*.test", "example.test", False),
    ("*", "test", False),
    ("mx*.example.test", "mx1.example.test", False),
    ("mx1.*.test", "mx1.example.test", False),
    ("*.*.test", "mx1.example.test", False),
    ("mx1.example.test", "mx1.example.testx", False),
    ("mx1.example.test.", "mx1.example.test", False),
    ("*.example.test", "*.example.test", True),
])
def test_covers(pattern, name, yes):
    assert _chain.covers(pattern, name) is yes


# --------------------------------------------------------------------------------------------------------- description


def test_description_of_a_chain():
    description = describe(LEAF, INTERMEDIATE)
    records = _tlsa.every_record(3, LEAF.der, pki.spki(LEAF.key)) | _tlsa.every_record(
        2, INTERMEDIATE.der, pki.spki(INTERMEDIATE.key))
    assert description == {
        "id": hashlib.sha256(LEAF.der + INTERMEDIATE.der).hexdigest(),
        "spki": hashlib.sha256(pki.spki(LEAF.key)).hexdigest(),
        "algorithm": "ecdsa", "subject": "CN=mx1.example.test", "issuer": "CN=Intermediate", "names": [pki.NAME],
        "not_before": pki.NOW - DAY, "not_after": pki.NOW + 90 * DAY, "matches": sorted(map(str, records)),
        "issuer_records": sorted(str(one) for one in records if one.usage == 2 and one.mtype),
    }
    assert len(records) == 12 and len(description["issuer_records"]) == 4


def test_what_is_published_for_an_issuer_is_about_the_first_above_the_leaf():
    """Whatever else is served: every chain of that issuer has it."""
    alone = describe(LEAF, INTERMEDIATE)["issuer_records"]
    assert describe(LEAF, INTERMEDIATE, ROOT)["issuer_records"] == alone
    assert describe(LEAF, ROOT, INTERMEDIATE)["issuer_records"] == alone
    assert sorted(_chain.issuer_records(certificate(INTERMEDIATE))) == alone


def of_the_root(*chain):
    return _chain.describe([certificate(one) for one in chain], [pki.NAME], LATER, anchor="root")["issuer_records"]


def test_with_the_root_as_anchor_it_is_about_the_top_of_the_chain():
    root = sorted(_chain.issuer_records(certificate(ROOT)))
    assert of_the_root(LEAF, INTERMEDIATE, ROOT) == root
    assert of_the_root(LEAF, ROOT, INTERMEDIATE) == root
    direct = pki.leaf(ROOT)
    assert of_the_root(direct, ROOT) == root == describe(direct, ROOT)["issuer_records"]


def test_without_the_root_in_the_chain_nothing_is_published_for_it():
    assert of_the_root(LEAF, INTERMEDIATE) == of_the_root(LEAF) == of_the_root(pki.leaf()) == []
    assert _chain.served_root([certificate(pki.leaf())], pki.NOW) == [], "a leaf that signed itself is no root of anything"


def test_nothing_is_published_for_an_issuer_up_to_which_nobody_verifies():
    assert describe(LEAF)["issuer_records"] == []
    assert describe(LEAF, pki.intermediate(ROOT, "another"))["issuer_records"] == []
    assert describe(pki.leaf(INTERMEDIATE, names=["other.test"]), INTERMEDIATE)["issuer_records"] == []


def test_only_a_ca_is_an_issuer_to_be_published_ahead():
    with pytest.raises(ChainError, match="mx1.example.test.*as an issuer: it is not a CA"):
        _chain.issuer_records(certificate(LEAF))


def test_usage_3_matches_whatever_dates_and_names_say():
    for made in (pki.leaf(start=-9 * DAY, end=-DAY), pki.leaf(names=["other.test"]), pki.leaf(names=[])):
        assert usages(describe(made)) == {"3"}
        assert len(describe(made)["matches"]) == 6


def test_usage_2_needs_every_base_domain():
    both = pki.leaf(INTERMEDIATE, names=[pki.NAME, "mx.example.org"])
    assert usages(describe(both, INTERMEDIATE, names=[pki.NAME, "mx.example.org"])) == {"2", "3"}
    assert usages(describe(both, INTERMEDIATE, names=[pki.NAME, "mx.example.net"])) == {"3"}


def test_usage_2_needs_validity_until_then():
    made = pki.leaf(INTERMEDIATE, end=5 * DAY)
    assert usages(describe(made, INTERMEDIATE, valid_at=pki.NOW + 5 * DAY - 1)) == {"2", "3"}
    assert usages(describe(made, INTERMEDIATE, valid_at=pki.NOW + 5 * DAY)) == {"3"}


def test_the_past_is_judged_by_the_past():
    """With a time before now, as simulated clocks give it, only that time counts."""
    made = pki.leaf(INTERMEDIATE, end=-1)
    served = [certificate(made), certificate(INTERMEDIATE)]
    assert usages(_chain.describe(served, [pki.NAME], pki.NOW - 60)) == {"2", "3"}
    assert usages(_chain.describe(served, [pki.NAME], pki.NOW + 60)) == {"3"}


def test_an_anchor_counts_only_if_clients_reach_it_all_the_time():
    """OpenSSL takes the first issuer in force: when that expires it turns to the other, and to another root."""
    first, other, second, root = two_ways({"end": 5 * DAY})

    def anchors(valid_at):
        found = describe(LEAF, first, other, second, root, valid_at=pki.NOW + valid_at)["matches"]
        return {one for one in (first, other, second, root)
                if str(_tlsa.compute(_tlsa.Combination(2, 0, 1), one.der, b"x")) in found}

    assert anchors(DAY) == {first, other}
    assert anchors(6 * DAY) == set()
    # The key of the two intermediates is the same, so records about it hold all the time.
    found = describe(LEAF, first, other, second, root, valid_at=pki.NOW + 6 * DAY)["matches"]
    assert str(_tlsa.compute(_tlsa.Combination(2, 1, 1), b"x", pki.spki(first.key))) in found


def test_an_anchor_counts_only_if_reached_between_now_and_then():
    """In force at both ends of the time, and for a while in between clients go another way."""
    first, other, second, root = two_ways({"start": 2 * DAY, "end": 4 * DAY})
    found = describe(LEAF, first, other, second, root, valid_at=pki.NOW + 6 * DAY)["matches"]
    assert not any(str(_tlsa.compute(_tlsa.Combination(2, 0, 1), one.der, b"x")) in found for one in (second, root))


def test_order_and_description_agree():
    first, other, second, root = two_ways({"extended": [pki.CLIENT_AUTH]})
    served = order(LEAF, [first, other, second, root], want_root=True)
    description = _chain.describe(served, [pki.NAME], LATER, now=pki.NOW)
    assert len(description["matches"]) == 18


def test_an_empty_chain():
    with pytest.raises(ChainError, match="^Cannot describe a chain: found no certificate, expected at least the leaf$"):
        _chain.describe([], [pki.NAME], LATER)


def test_records_of_a_certificate_at_its_depth():
    wanted = [_tlsa.Combination(*numbers) for numbers in ((3, 1, 1), (2, 1, 1), (2, 0, 0))]
    spki = hashlib.sha256(pki.spki(LEAF.key)).hexdigest()
    assert _chain.records_of(certificate(LEAF), 0, wanted) == {"3 1 1": f"3 1 1 {spki}"}
    assert _chain.records_of(certificate(LEAF), 1, wanted) == {"2 1 1": f"2 1 1 {spki}", "2 0 0": f"2 0 0 "
                                                                                                  f"{LEAF.der.hex()}"}


def test_the_file_is_what_it_was_made_of():
    bundle = _chain.load_pem("text\n" + LEAF.key_pem + LEAF.pem, "x.pem")
    text = _chain.file_text(bundle.key, [bundle.certificates[0], certificate(INTERMEDIATE)])
    assert text == LEAF.key_pem + LEAF.pem + INTERMEDIATE.pem
    again = _chain.load_pem(text, "y.pem")
    assert [one.der for one in again.certificates] == [LEAF.der, INTERMEDIATE.der]


# ---------------------------------------------------------------------------------------------- versions, and odd input


@pytest.mark.parametrize("version, found", [
    ("3.2.1", "3.2.1"), ("2.9.2", "2.9.2"), ("3.3", None), ("3.4.8", None), ("38.0.4", None), ("50.0.2", None)])
def test_too_old(version, found, monkeypatch):
    monkeypatch.setattr(_chain, "CRYPTOGRAPHY_VERSION", version)
    assert _chain.cryptography_too_old() == found


def test_without_cryptography_the_module_can_be_imported():
    code = ("import sys; sys.modules['cryptography'] = None\n"
            "from ansible_collections.mailops.dane.plugins.module_utils import _chain\n"
            "print(_chain.HAS_CRYPTOGRAPHY, _chain.cryptography_too_old(), 'ImportError' in "
            "_chain.CRYPTOGRAPHY_ERROR or "
            "'ModuleNotFoundError' in _chain.CRYPTOGRAPHY_ERROR)")
    # conftest makes the collection importable.
    code = f"import sys; sys.path.insert(0, {str(Path(pki.__file__).parent)!r}); import conftest\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "None", "True"]


@given(st.binary(max_size=200) | st.integers(0, len(LEAF.der) - 1).map(lambda at: LEAF.der[:at]))
def test_whatever_bytes_end_in_a_chain_error_or_a_certificate(der):
    try:
        _chain.Certificate(der, "x")
    except ChainError:
        pass


@given(st.text(max_size=200) | st.tuples(st.integers(0, 900), st.characters()).map(
    lambda change: (LEAF.key_pem + LEAF.pem)[:change[0]] + change[1] + (LEAF.key_pem + LEAF.pem)[change[0]:]))
def test_whatever_text_ends_in_a_chain_error_or_a_bundle(text):
    try:
        _chain.load_pem(text, "x")
    except ChainError:
        pass


@given(st.integers(0, len(INTERMEDIATE.der) - 1), st.integers(1, 255))
def test_a_changed_issuer_never_brings_down_a_description(at, by):
    """What a foreign server presents must not end a look at many of them."""
    der = bytearray(INTERMEDIATE.der)
    der[at] ^= by
    try:
        spoilt = _chain.Certificate(bytes(der), "spoilt")
    except ChainError:
        return
    description = _chain.describe([certificate(LEAF), spoilt], [pki.NAME], LATER, now=pki.NOW)
    assert str(_tlsa.compute(_tlsa.Combination(2, 0, 1), INTERMEDIATE.der, b"x")) not in description["matches"]
