# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A little certification authority for tests: certificates with every virtue and every fault.

Runs with cryptography 3.3 as well as today's, so that the old-version adapters are tested with the same material.
RSA-PSS signatures, which old versions of cryptography cannot make, and SHA-1 ones, which new versions refuse to make,
are put together here.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = 86400
#: The whole second in which the tests began: certificates have no fractions.
NOW = int(time.time())
NAME = "mx1.example.test"
SERVER_AUTH, CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ANY_USAGE = x509.ObjectIdentifier("2.5.29.37.0")

_serials = itertools.count(1000)


@functools.lru_cache(maxsize=None)
def key(name, kind="ecdsa"):
    """The private key of that name, the same at each call. Kinds: ecdsa, p384, p192, rsa, rsa1024, ed25519, ed448."""
    makers = {
        "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p192": lambda: ec.generate_private_key(ec.SECP192R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
    }
    return makers[kind]()


def key_pem(private, password=None, form=serialization.PrivateFormat.PKCS8):
    """PEM text of a private key."""
    secrecy = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, form, secrecy).decode()


def spki(private):
    """SubjectPublicKeyInfo of a private key (DER)."""
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def name(text):
    """A distinguished name of one common name, or of none for an empty text; ``O=x,CN=y`` for more."""
    kinds = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "E": NameOID.EMAIL_ADDRESS}
    parts = [part.partition("=") for part in text.split(",") if part]
    return x509.Name([x509.NameAttribute(kinds[kind] if equals else NameOID.COMMON_NAME, value if equals else kind)
                      for kind, equals, value in parts])


class Issued:
    """A certificate with its private key."""

    def __init__(self, certificate, private):
        self.x509 = certificate
        self.key = private

    @property
    def pem(self):
        return self.x509.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self):
        return self.x509.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self):
        return key_pem(self.key)


def key_usage(*wanted):
    """A KeyUsage extension with only these bits, by their names in cryptography."""
    bits = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in wanted for bit in bits})


def issue(subject, issuer=None, kind="ecdsa", private=None, ca=False, path_length=None, basic=True, names=(),
          usage="usual", extended="usual", start=-DAY, end=90 * DAY, extra=(), identifiers=True, digest="SHA256",
          pss=False,
          pss_digest="SHA256", serial=None):
    """Issue a certificate (:class:`Issued`).

    :param issuer: :class:`Issued`; None signs itself. :param start, end: seconds from now.
    :param usage: names of key usage bits, None for no such extension. :param extended: list of OIDs or None.
    :param extra: pairs of extension and criticality. :param identifiers: subject and authority key identifiers.
    :param pss: salt length of an RSA-PSS signature (int) over `pss_digest`, or False.
    """
    private = private or key(subject, kind)
    signer = issuer.key if issuer else private
    builder = (
        x509.CertificateBuilder().subject_name(name(subject))
        .issuer_name(issuer.x509.subject if issuer else name(subject)).public_key(private.public_key())
        .serial_number(serial or next(_serials)).not_valid_before(_moment(start)).not_valid_after(_moment(end)))
    if basic:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage == "usual":
        usage = ("key_cert_sign", "crl_sign") if ca else ("digital_signature",)
    if usage is not None:
        builder = builder.add_extension(key_usage(*usage), critical=True)
    if extended == "usual":
        extended = None if ca else [SERVER_AUTH]
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(
            [one if isinstance(one, x509.GeneralName) else x509.DNSName(one) for one in names]), critical=False)
    if identifiers:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    without_digest = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    by_hand = pss is not False or digest == "SHA1"
    made = Issued(builder.sign(
        signer, None if without_digest else getattr(hashes, "SHA256" if by_hand else digest)()), private)
    if pss is not False:
        how = padding.PSS(padding.MGF1(getattr(hashes, pss_digest)()), pss)
        return signed_again(made, issuer or made, pss_identifier(pss_digest, pss), pss_digest, how)
    if by_hand:
        sha1_with_rsa = der(0x30, bytes.fromhex("06092a864886f70d0101050500"))
        return signed_again(made, issuer or made, sha1_with_rsa, digest, padding.PKCS1v15())
    return made


def _moment(offset):
    return datetime.datetime.fromtimestamp(NOW + offset, datetime.timezone.utc).replace(tzinfo=None)


def root(subject="Root", **options):
    """A self-signed CA."""
    return issue(subject, ca=True, **{"end": 3650 * DAY, **options})


def intermediate(issuer, subject="Intermediate", **options):
    """A CA below another."""
    return issue(subject, issuer, ca=True, **{"end": 1000 * DAY, **options})


def leaf(issuer=None, subject=NAME, names=(NAME,), **options):
    """A server's certificate; without an issuer it signs itself."""
    return issue(subject, issuer, names=names, **options)


def der(tag, *parts):
    """One DER element around the joined parts (bytes)."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes(
        (size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + content


_OIDS = {name: bytes.fromhex(value) for name, value in (
    ("PSS", "06092a864886f70d01010a"), ("MGF1", "06092a864886f70d010108"), ("SHA256", "0609608648016503040201"),
    ("SHA384", "0609608648016503040202"), ("SHA512", "0609608648016503040203"), ("SHA1", "06052b0e03021a"))}


def pss_identifier(digest, salt):
    """AlgorithmIdentifier of an RSA-PSS signature (RFC 4055), without what is the default: SHA-1, 20 bytes of salt."""
    fields = []
    if digest != "SHA1":
        hashing = der(0x30, _OIDS[digest], b"\x05\x00")
        fields += [der(0xA0, hashing), der(0xA1, der(0x30, _OIDS["MGF1"], hashing))]
    if salt != 20:
        fields.append(der(0xA2, der(0x02, bytes([salt]))))
    return der(0x30, _OIDS["PSS"], der(0x30, *fields))


def signed_again(made, issuer, identifier, digest, how):
    """The same certificate with another signature by its RSA issuer, for what cryptography will not or cannot make."""
    old = der(0x30, bytes.fromhex("06092a864886f70d01010b0500"))  # sha256WithRSAEncryption
    body = made.x509.tbs_certificate_bytes
    start = 4 if body[1] == 0x82 else 3
    if body.count(old) != 1:
        raise ValueError("this certificate cannot be signed again")
    body = der(0x30, body[start:].replace(old, identifier))
    signature = issuer.key.sign(body, how, getattr(hashes, digest)())
    return Issued(x509.load_der_x509_certificate(der(0x30, body, identifier, der(0x03, b"\x00", signature))), made.key)
