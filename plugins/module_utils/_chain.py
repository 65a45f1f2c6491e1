# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys, certificates and chains: read, order, verify, describe. Pure, cryptography only. Private to this collection.

Two questions are asked of certificates, and they are different ones:

* :func:`order` finds, in a heap of issuers, the path that a server should present: every signature, date, name and
  constraint holds, else a :class:`ChainError` says which certificate, what was found and what was expected;
* :func:`describe` says what DANE clients make of a chain *as presented*, in whatever order and with whatever
  superfluous certificates. OpenSSL is the oracle: it walks from the leaf upwards, takes the first certificate that
  may be the issuer and is valid in time, and never goes back. So does :func:`_walk`. Where this module is stricter
  than OpenSSL, tests/unit/oracle names the difference; it is laxer nowhere.

What differs between the versions of cryptography on mail hosts (3.3 on Debian 11, 38 on Debian 12) and today's is
behind ``_epoch``, ``_verify`` and ``_Element``; nothing else looks at versions.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import datetime
import hashlib
import itertools
import re
import ssl
import traceback
from functools import lru_cache
from typing import NamedTuple, Optional, Tuple

from ._errors import ChainError
from ._tlsa import DANE_EE, DANE_TA, FULL, compute, every_record

try:
    import cryptography
    from cryptography import x509
    from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.x509.oid import NameOID
except ImportError:
    HAS_CRYPTOGRAPHY = False
    _UNREADABLE = (ValueError,)
    CRYPTOGRAPHY_ERROR = traceback.format_exc()
    CRYPTOGRAPHY_VERSION = None
else:
    HAS_CRYPTOGRAPHY = True
    # What one version or another raises when bytes are not what they should be.
    _UNREADABLE = (
        ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm, InternalError,
        x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
    CRYPTOGRAPHY_ERROR = None
    CRYPTOGRAPHY_VERSION = cryptography.__version__

#: The oldest version that the adapters below are made for.
CRYPTOGRAPHY_MINIMUM = "3.3"

# As OpenSSL reads them: at the beginning of a line, or it is none, and a daemon presents the chain without that block.
# Like this begins, too, what is left of one that was cut off or joined with the next file.
_MARK_LINE = re.compile(r"^-----(?:BEGIN|END)\b.*|^-[^\n]*\Z", re.MULTILINE)
_MARK = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----\s*")
# Headers of the old encrypted form (RFC 1421); no base64 has a colon.
_HEADER = re.compile(r"^\s*[A-Za-z0-9-]+:", re.MULTILINE)
_CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
_KEY_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY")

# The key algorithms that the words of the design know, by the object identifier in SubjectPublicKeyInfo (hex of DER).
_KEY_ALGORITHMS = {
    "2a864886f70d010101": "rsa",
    "2a864886f70d01010a": "rsa",  # id-RSASSA-PSS: the key is for PSS only
    "2a8648ce3d0201": "ecdsa",
    "2b6570": "ed25519",
    "2b6571": "ed448",
}
_PSS_KEY = "2a864886f70d01010a"

_PSS = "1.2.840.113549.1.1.10"
# Signature algorithm: key algorithm it needs, digest. What is not here is not supported.
_SIGNATURES = {
    "1.2.840.113549.1.1.4": ("rsa", "MD5"),
    "1.2.840.113549.1.1.5": ("rsa", "SHA1"),
    "1.2.840.113549.1.1.14": ("rsa", "SHA224"),
    "1.2.840.113549.1.1.11": ("rsa", "SHA256"),
    "1.2.840.113549.1.1.12": ("rsa", "SHA384"),
    "1.2.840.113549.1.1.13": ("rsa", "SHA512"),
    _PSS: ("rsa", None),
    "1.2.840.10045.4.1": ("ecdsa", "SHA1"),
    "1.2.840.10045.4.3.1": ("ecdsa", "SHA224"),
    "1.2.840.10045.4.3.2": ("ecdsa", "SHA256"),
    "1.2.840.10045.4.3.3": ("ecdsa", "SHA384"),
    "1.2.840.10045.4.3.4": ("ecdsa", "SHA512"),
    "1.3.101.112": ("ed25519", ""),
    "1.3.101.113": ("ed448", ""),
}
_DIGESTS = {  # by object identifier, for the parameters of RSA-PSS
    "2b0e03021a": "SHA1",
    "608648016503040204": "SHA224",
    "608648016503040201": "SHA256",
    "608648016503040202": "SHA384",
    "608648016503040203": "SHA512",
}
_WEAK_DIGESTS = ("MD5", "SHA1")

# Below 112 bits OpenSSL's security level 2 (Debian's default) refuses a key, whatever DANE says.
_LEAST_BITS = {"rsa": 2048, "ecdsa": 224}

_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
_NS_CERT_TYPE = "2.16.840.1.113730.1.1"
# Critical extensions that OpenSSL handles or may ignore here; any other makes the certificate unusable (RFC 5280 4.2).
_KNOWN_EXTENSIONS = {_NS_CERT_TYPE} | {f"2.5.29.{arc}" for arc in (14, 15, 17, 19, 30, 31, 32, 33, 35, 36, 37, 54)}

#: What records of usage 2 are published for.
ANCHORS = ("issuer", "root")

_LONGEST_PATH = 10
_MOST_PATHS = 1000
_NOT_BY_THIS_KEY = "the signature on it does not verify under the key of {issuer}"


# --------------------------------------------------------------------------------------------------------------- values


class PrivateKey:
    """A private key. Only :attr:`pem` holds the secret; text forms show the digest of the public half."""

    __slots__ = ("algorithm", "label", "pem", "spki")

    def __init__(self, pem, spki, label):
        self.pem = pem
        self.spki = spki
        self.label = label
        self.algorithm = key_algorithm(spki)

    def __repr__(self):
        return f"<PrivateKey {self.algorithm} spki sha256={hashlib.sha256(self.spki).hexdigest()}>"


class Certificate:
    """One certificate: the DER as given, and what is asked of it often.

    :ivar der: the bytes that digests are taken over. :ivar spki: its SubjectPublicKeyInfo as it stands in there.
    :ivar label: where it came from, for messages. :ivar algorithm: of its key.
    :ivar not_before, not_after: epoch seconds (int). :ivar subject, issuer: RFC 4514 text.
    """

    def __init__(self, der, label):
        self.der = der
        self.label = label
        try:
            self.x509 = x509.load_der_x509_certificate(der)
            # One element and nothing behind it, which old versions of cryptography overlook.
            (whole,) = _elements(der)
            body, self.signature_algorithm, signature = _elements(whole.content)
            fields = [field for field in _elements(body.content) if field.tag != 0xA0]
            self.spki = fields[5].raw
            self.algorithms_agree = fields[1].raw == self.signature_algorithm.raw
            self.algorithm = key_algorithm(self.spki)
            self.not_before = _epoch(self.x509, "not_valid_before")
            self.not_after = _epoch(self.x509, "not_valid_after")
            self.subject = self.x509.subject.rfc4514_string()
            self.issuer = self.x509.issuer.rfc4514_string()
        except _UNREADABLE as exc:
            raise ChainError(f"Cannot read a certificate in {label!r}: {exc}") from exc

    def __eq__(self, other):
        return isinstance(other, Certificate) and other.der == self.der

    def __hash__(self):
        return hash(self.der)

    def __repr__(self):
        return f"<Certificate {self.title!r} sha256={hashlib.sha256(self.der).hexdigest()}>"

    @property
    def title(self):
        """How messages call it: the subject, or the first name where that is empty (str)."""
        return self.subject or (self.names or [f"serial {self.x509.serial_number:x}"])[0]

    @property
    def names(self):
        """The DNS names it is made out to, as they stand there (list of str); none when they cannot be read."""
        try:
            alternative = self.extension(x509.SubjectAlternativeName)
        except ChainError:
            return []
        return alternative.get_values_for_type(x509.DNSName) if alternative else []

    @property
    def extensions(self):
        """All its extensions (cryptography's ``Extensions``).

        :raises ChainError: they cannot be read.
        """
        try:
            return self.x509.extensions
        except _UNREADABLE as exc:
            raise ChainError(f"Cannot use certificate with serial {self.x509.serial_number:x} from {self.label!r}: "
                             f"its extensions cannot be read: {exc}") from exc

    def extension(self, kind):
        """The value of an extension of a class, or None.

        :raises ChainError: the extensions cannot be read.
        """
        return next((extension.value for extension in self.extensions if isinstance(extension.value, kind)), None)

    def in_force(self, when):
        """Whether `when` (epoch seconds) lies in its validity, by OpenSSL's reckoning."""
        return self.not_before <= when < self.not_after

    def pem(self):
        """PEM text of exactly these bytes."""
        return ssl.DER_cert_to_PEM_cert(self.der)


class Bundle(NamedTuple):
    """What one PEM file held."""

    key: Optional[PrivateKey]
    certificates: Tuple[Certificate, ...]
    label: str


# ------------------------------------------------------------------------------------------------------------- reading


def cryptography_too_old():
    """The version found, when it is older than :data:`CRYPTOGRAPHY_MINIMUM`; else None."""
    def numbers(version):
        return [int(part) for part in re.findall(r"\d+", version)[:2]]

    if HAS_CRYPTOGRAPHY and numbers(CRYPTOGRAPHY_VERSION) < numbers(CRYPTOGRAPHY_MINIMUM):
        return CRYPTOGRAPHY_VERSION
    return None


def load_pem(text, label):
    """Read a PEM file: at most one private key, and certificates in their order. Text around the blocks is ignored.

    :param text: the file's content (str or bytes). :param label: the file's name, for messages.
    :returns: :class:`Bundle`, its ``certificates`` possibly empty.
    :raises ChainError: nothing of that kind in it, or a block that is truncated, garbled, encrypted, not supported.
    """
    keys, certificates = [], []
    for kind, body, block in _blocks(text, label):
        if kind in _CERTIFICATE_LABELS:
            certificates.append(Certificate(body, label))
        elif kind in _KEY_LABELS:
            keys.append(_load_key(kind, body, block, label))
        elif kind == "TRUSTED CERTIFICATE":
            raise ChainError(f"Cannot read {label!r}: it holds a certificate in OpenSSL's TRUSTED form; convert it "
                             "with 'openssl x509 -in FILE -out NEWFILE'")
    if len(keys) > 1:
        raise ChainError(f"Cannot read {label!r}: found {len(keys)} private keys, expected one")
    if not keys and not certificates:
        raise ChainError(f"Cannot read {label!r}: found neither a certificate nor a private key in PEM form"
                         + _der_hint(text))
    return Bundle(keys[0] if keys else None, tuple(certificates), label)


def load_certificates(text, label):
    """The certificates in a PEM file (list of :class:`Certificate`, perhaps empty); keys in it are not looked at.

    :raises ChainError: a certificate that is truncated or garbled.
    """
    return [Certificate(body, label) for kind, body, _block in _blocks(text, label) if kind in _CERTIFICATE_LABELS]


def load_bundles(text, label):
    """Read a file with a chain for each key algorithm: key, leaf, issuers, the next key, its leaf, and so on.

    A file with one key may have it anywhere. With several, a server takes each key to be of what follows it.

    :returns: tuple of :class:`Bundle`, in the order of the file.
    :raises ChainError: as :func:`load_pem`; with several keys, when one has no certificate behind it, or the first
        certificate comes before the first key.
    """
    parts = _by_key(text, label)
    if len(parts) < 2:
        return (load_pem(text, label),)
    if parts[0][0] not in _KEY_LABELS:
        raise ChainError(f"Cannot read {label!r}: it holds several private keys and begins with a certificate; expected each "
                         "key before its certificate")
    bundles = []
    for number, (kind, body, block, certificates) in enumerate(parts, 1):
        if not certificates:
            raise ChainError(f"Cannot read {label!r}: found no certificate behind private key {number} of {len(parts)}, "
                             "expected each key before its certificate")
        bundles.append(Bundle(_load_key(kind, body, block, label), certificates, label))
    return tuple(bundles)


def load_chains(text, label):
    """The certificates of each chain in such a file (list of tuples of :class:`Certificate`, perhaps empty); of the keys
    only their places are looked at.

    :raises ChainError: a certificate that is truncated or garbled.
    """
    parts = [certificates for _kind, _body, _block, certificates in _by_key(text, label) if certificates]
    # The same chain twice is what becomes of two settings that name one file.
    return list(dict.fromkeys(parts))


def counterpart(chain, others):
    """The chain in whose place a client meets this one (list of :class:`Certificate`): of ``others`` that of the same key
    algorithm, else the first; empty without any."""
    same = [other for other in others if other[0].algorithm == chain[0].algorithm]
    return list((same or list(others) or [()])[0])


def _by_key(text, label):
    """(kind, DER, block, certificates) of each key and what follows it; a file with one key, or none, is one part."""
    parts, keys = [], 0
    for kind, body, block in _blocks(text, label):
        if kind in _KEY_LABELS:
            keys += 1
            parts.append((kind, body, block, []))
        elif kind in _CERTIFICATE_LABELS:
            if not parts:
                parts.append((kind, body, block, []))
            parts[-1][3].append(Certificate(body, label))
    if keys < 2:
        parts = [("", b"", "", [one for part in parts for one in part[3]])]
    return [(kind, body, block, tuple(certificates)) for kind, body, block, certificates in parts]


def check_algorithms(leaves, label):
    """Make sure that one file has one chain for each key algorithm: of two a server would present only one.

    :param leaves: the first :class:`Certificate` of each chain.
    :raises ChainError: two have keys of one algorithm.
    """
    known = {}
    for leaf in leaves:
        other = known.setdefault(leaf.algorithm, leaf)
        if other is not leaf:
            raise ChainError(
                f"Cannot use {label!r}: the keys of {other.title!r} from {other.label!r} and {leaf.title!r} from "
                f"{leaf.label!r} are both {leaf.algorithm}, expected keys of different algorithms: a server presents one "
                "chain for each")


def public_key_of(text, label="key"):
    """The SubjectPublicKeyInfo (DER bytes) of the private or public key in a PEM file.

    :raises ChainError: not exactly one key in it, or one that cannot be read.
    """
    found = []
    for kind, body, block in _blocks(text, label):
        if kind in _KEY_LABELS:
            found.append(_load_key(kind, body, block, label).spki)
        elif kind == "PUBLIC KEY":
            try:
                serialization.load_der_public_key(body)
            except _UNREADABLE as exc:
                raise ChainError(f"Cannot read the public key in {label!r}: {exc}") from exc
            found.append(body)
    if len(found) != 1:
        raise ChainError(f"Cannot read {label!r}: found {len(found)} keys in PEM form, expected one{_der_hint(text)}")
    return found[0]


def check_key_matches(bundle):
    """Make sure that a file holds a key, a leaf, and that they belong together.

    :param bundle: :class:`Bundle`.
    :raises ChainError: one of them is missing, or the key is another one's.
    """
    if bundle.key is None:
        raise ChainError(f"Cannot use {bundle.label!r}: found no private key in it, expected one before the "
                         "certificates")
    if not bundle.certificates:
        raise ChainError(f"Cannot use {bundle.label!r}: found no certificate in it, expected the leaf behind the key")
    check_key_belongs(bundle.key, bundle.certificates[0])


def check_key_belongs(key, leaf):
    """Make sure that a private key is the one of a certificate.

    :raises ChainError: it is not.
    """
    if key.spki != leaf.spki:
        expected, found = spki_digest(leaf.spki), spki_digest(key.spki)
        raise ChainError(
            f"Cannot use certificate {leaf.title!r} from {leaf.label!r} with the private key in {key.label!r}: they do "
            f"not belong together: the certificate is for the key with SHA-256 {expected}, found {found}; give the key "
            "that the certificate was requested with",
            certificate=leaf.title, expected=expected, found=found)


def spki_digest(spki):
    """SHA-256 of a SubjectPublicKeyInfo, the data of a ``3 1 1`` record (str)."""
    return hashlib.sha256(spki).hexdigest()


def file_text(key, certificates):
    """The content of the one file that a daemon reads: the key, the leaf, the issuers in order (str)."""
    return key.pem + "".join(certificate.pem() for certificate in certificates)


def _blocks(text, label):
    """Yield (kind, DER bytes, the block as it stands) of each PEM block. Encrypted blocks have empty DER."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = text[text.startswith("\ufeff"):]
    start, line, counted = None, 1, 0
    for found in _MARK_LINE.finditer(text):
        line, counted = line + text.count("\n", counted, found.start()), found.start()
        mark = _MARK.fullmatch(found.group())
        if mark is None:
            raise ChainError(f"Cannot read {label!r}: line {line} is no whole PEM line: the file is truncated, or a line "
                             "break is missing where files were joined")
        if start is None and mark.group(1) == "END":
            raise ChainError(f"Cannot read {label!r}: the {mark.group(2)} that ends in line {line} has no beginning")
        if mark.group(1) == "BEGIN" and start is not None:
            break
        if mark.group(1) == "BEGIN":
            start, kind, started = found, mark.group(2), line
            continue
        if mark.group(2) != kind:
            break
        body = text[start.end():found.start()]
        yield kind, _decode(body, kind, started, label), text[start.start():found.end()].rstrip() + "\n"
        start = None
    if start is not None:
        raise ChainError(
            f"Cannot read {label!r}: the {kind} that begins in line {started} is truncated: it has no end")


def _decode(body, kind, line, label):
    if "ENCRYPTED" in kind or (_HEADER.search(body) and "ENCRYPTED" in body):
        return b""
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        # The cause could quote the text, and the text may be a key.
        raise ChainError(
            f"Cannot read {label!r}: the {kind} that begins in line {line} is garbled: not base64") from None


def _load_key(kind, body, block, label):
    if not body:
        raise ChainError(f"Cannot read the private key in {label!r}: it is encrypted, and a daemon that starts "
                         "unattended cannot ask for the password; store it without one")
    try:
        if kind == "PRIVATE KEY" and _pkcs8_algorithm(body) == _PSS_KEY:
            # cryptography forgets that the key is for PSS only, so that our digest would not be the certificate's.
            raise ChainError(f"Cannot use the private key in {label!r}: it is for RSA-PSS only, which mail servers and "
                             "CAs do not support widely; make an ordinary RSA or an ECDSA key")
        key = serialization.load_pem_private_key(block.encode("ascii"), password=None)
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE:
        # Never the library's own words or its traceback here: this is key material.
        raise ChainError(f"Cannot read the private key in {label!r}: it is garbled, or of a kind that is not "
                         "supported; try 'openssl pkey -noout -in FILE'") from None
    if key_algorithm(spki) not in ("rsa", "ecdsa", "ed25519", "ed448"):
        raise ChainError(f"Cannot use the private key in {label!r}: TLS servers need an RSA, ECDSA, Ed25519 or "
                         "Ed448 key")
    return PrivateKey(block, spki, label)


def _pkcs8_algorithm(der):
    return _elements(_elements(_elements(der)[0].content)[1].content)[0].content.hex()


def _der_hint(text):
    start = text[:1]
    if start in (b"\x30", "0"):
        return "; it looks like DER, which 'openssl x509 -inform DER' or 'openssl pkey -inform DER' converts"
    return ""


# ------------------------------------------------------------------------------------------------- the order of a chain


def order(leaf, heap, base_domains, valid_at, want_root=False, now=None):
    """Find the chain that a server should present: the leaf, then each certificate signed by the next.

    All paths through the heap are tried (several certificates of one subject, cross-signed ones, expired ones), those
    that end in a self-signed root first. A path whose last issuer is not in the heap is complete as well: servers
    usually do not present the root.

    :param leaf: :class:`Certificate`. :param heap: certificates in any order, preferred ones first.
    :param base_domains: names that the leaf has to cover. :param valid_at: epoch until which all must stay valid.
    :param want_root: whether the root is part of the result.
    :param now: epoch from which all must be valid; without it only `valid_at` is looked at.
    :returns: list of :class:`Certificate`.
    :raises ChainError: there is no such path. Fields ``certificate``, ``found``, ``expected`` where they apply.
    """
    since = valid_at if now is None else now
    until = max(since, valid_at)
    paths = list(itertools.islice(_paths([leaf], _without_doubles(heap)), _MOST_PATHS))
    paths.sort(key=lambda path: not _looks_self_signed(path[-1]))
    first_problem = None
    for path in paths:
        rooted = _looks_self_signed(path[-1])
        problem = _problem(path, base_domains, since, until)
        if problem is None and not rooted and (len(path) == 1 or want_root):
            problem = _missing_issuer(path, heap)
        if problem is None:
            return path[:-1] if rooted and not want_root and len(path) > 1 else path
        first_problem = first_problem or problem
    raise first_problem


def _paths(path, heap):
    """Yield all paths upwards from `path` that go on as long as the heap has an issuer."""
    top = path[-1]
    issuers = [] if _looks_self_signed(top) or len(path) >= _LONGEST_PATH else [
        candidate for candidate in heap
        # Not the same authority twice, or two that signed each other would go round in circles.
        if _may_have_issued(candidate, top) and _signature_problem(top, candidate) != _NOT_BY_THIS_KEY
        and all((candidate.subject, candidate.spki) != (known.subject, known.spki) for known in path)
    ]
    if not issuers:
        yield path
    for issuer in issuers:
        yield from _paths(path + [issuer], heap)


def _missing_issuer(path, heap):
    top = path[-1]
    namesakes = [one for one in heap if one.x509.subject == top.x509.issuer and one not in path]
    cause = f"the issuer {top.issuer!r} of {top.title!r} is missing among {len(heap)} certificate(s)"
    if namesakes:
        cause += (f"; {len(namesakes)} of that name, such as the one from {namesakes[0].label!r}, did not sign it: "
                  "the authority has another key by now")
    return ChainError(f"Cannot complete the chain of {path[0].title!r}: {cause}; add its PEM file to the issuers",
                      certificate=top.title, expected=top.issuer, found=sorted({one.title for one in heap}))


def _without_doubles(certificates):
    return list(dict.fromkeys(certificates))


def reserve(leaf, most):
    """For how long a certificate has to remain valid when it is deployed (seconds).

    That is `most`, or a third of its life where that is less: a private authority gives certificates of a day and less,
    and what is left of them at a renewal is about a third.

    :param leaf: :class:`Certificate`. :param most: seconds.
    """
    return min(most, (leaf.not_after - leaf.not_before) / 3)


# --------------------------------------------------------------------------------------------- what DANE clients see


def describe(certificates, base_domains, valid_at, now=None, anchor="issuer"):
    """What a presented chain is to DANE clients: the chain JSON of the ledger.

    ``matches`` holds the brief records that match it: with usage 3 everything about the leaf, whatever its dates and
    names (RFC 7671 section 5.1); with usage 2 everything about each certificate above it that a client reaches and
    verifies up to (section 5.2), from now until `valid_at` and for ALL base domains. A self-signed leaf has none of
    usage 2.

    ``issuer_records`` holds those of them that are published for the issuer: digests of the first certificate above the
    leaf, which every chain of that issuer presents; or, with ``anchor`` "root", of the self-signed one at the top. Empty
    when a client does not verify up to it.

    :param certificates: as served, the leaf first (list of :class:`Certificate`).
    :param base_domains: names that the leaf has to cover for usage 2. :param valid_at: epoch seconds.
    :param now: epoch from which on an anchor must hold; without it only `valid_at` is looked at.
    :param anchor: one of ``ANCHORS``: what ``issuer_records`` are about.
    :returns: dict.
    :raises ChainError: an empty chain.
    """
    if not certificates:
        raise ChainError("Cannot describe a chain: found no certificate, expected at least the leaf")
    leaf = certificates[0]
    since = valid_at if now is None else min(now, valid_at)
    # Which way a client goes up can change whenever one of the certificates comes into force or expires.
    turns = {moment for one in certificates for moment in (one.not_before, one.not_after) if since < moment < valid_at}
    anchors = [_anchors(certificates, base_domains, moment) for moment in sorted({since, valid_at} | turns)]
    verified = set.intersection(*anchors)
    matches = every_record(DANE_EE, leaf.der, leaf.spki) | verified
    told = _walk(certificates, since)[1:2] if anchor == "issuer" else served_root(certificates, since)
    issuers = {record for one in told for record in _issuer_records(one)}
    return {
        "id": hashlib.sha256(b"".join(one.der for one in certificates)).hexdigest(),
        "spki": spki_digest(leaf.spki),
        "algorithm": leaf.algorithm,
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": leaf.names,
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "matches": sorted(map(str, matches)),
        "issuer_records": sorted(map(str, issuers & verified)),
    }


def served_root(certificates, when):
    """The self-signed root at the top of a chain as presented (list of one :class:`Certificate`, or of none)."""
    return [one for one in _walk(certificates, when)[1:][-1:] if _looks_self_signed(one)]


def issuer_records(certificate):
    """The records of an issuer, for publishing ahead: usage 2, both selectors, digests only (list of text).

    :raises ChainError: it is not a CA, so that no chain will ever hold it above the leaf.
    """
    problem = next(_issuer_problems(certificate, []), None)
    if problem is not None:
        raise ChainError(f"Cannot use certificate {certificate.title!r} from {certificate.label!r} as an issuer: {problem[1]}",
                         certificate=certificate.title, **problem[2])
    return sorted(map(str, _issuer_records(certificate)))


def _issuer_records(certificate):
    # Whole keys and certificates make answers too large (RFC 7671 section 10.1).
    return {record for record in every_record(DANE_TA, certificate.der, certificate.spki) if record.mtype != FULL}


def records_of(certificate, depth, combinations):
    """The records of a certificate at its place in a chain, for publishing.

    :param depth: 0 is the leaf, which only usage 3 is about; above it only usage 2 applies.
    :param combinations: parameter combinations asked for (``_tlsa.Combination``).
    :returns: dict of combination text to rdata text.
    """
    usage = DANE_TA if depth else DANE_EE
    return {
        str(wanted): str(compute(wanted, certificate.der, certificate.spki))
        for wanted in combinations if wanted.usage == usage
    }


def _anchors(certificates, base_domains, when):
    path, found = _walk(certificates, when), set()
    for depth in range(1, len(path)):
        # What is wrong up to here is wrong with every longer path.
        if _problem(path[:depth + 1], base_domains, when, when) is not None:
            break
        found |= every_record(DANE_TA, path[depth].der, path[depth].spki)
    return found


def _walk(certificates, when):
    """The way that OpenSSL goes up through what a server presented: greedy, before any signature is checked."""
    path, rest = [certificates[0]], _without_doubles(certificates[1:])
    while not _looks_self_signed(path[-1]):
        issuers = [one for one in rest if one not in path and _may_have_issued(one, path[-1])]
        if not issuers:
            break
        path.append(next((one for one in issuers if one.in_force(when)), issuers[-1]))
    return path


def _looks_self_signed(certificate):
    return _may_have_issued(certificate, certificate)


@lru_cache(maxsize=1024)
def _may_have_issued(issuer, certificate):
    """Whether name, key identifiers and algorithms say so (what OpenSSL goes by); the signature is another matter."""
    if issuer.x509.subject != certificate.x509.issuer:
        return False
    if _SIGNATURES.get(certificate.x509.signature_algorithm_oid.dotted_string, (None,))[0] != issuer.algorithm:
        return False
    try:
        authority = certificate.extension(x509.AuthorityKeyIdentifier)
        own = issuer.extension(x509.SubjectKeyIdentifier)
    except ChainError:
        return False
    if authority is None:
        return True
    if own and authority.key_identifier and authority.key_identifier != own.digest:
        return False
    if authority.authority_cert_serial_number not in (None, issuer.x509.serial_number):
        return False
    names = [name.value for name in authority.authority_cert_issuer or () if isinstance(name, x509.DirectoryName)]
    return not names or names[0] == issuer.x509.issuer


# ------------------------------------------------------------------------------------------ what is wrong with a path


def _problem(path, base_domains, since, until):
    """The first thing that is wrong with a path from the leaf upwards, as a ChainError; or None."""
    try:
        found = next(_problems(path, base_domains, since, until), None)
    except ChainError as exc:
        return exc
    if found is None:
        return None
    certificate, cause, fields = found
    return ChainError(f"Cannot use certificate {certificate.title!r} from {certificate.label!r}: {cause}",
                      certificate=certificate.title, **fields)


def _problems(path, base_domains, since, until):
    leaf = path[0]
    for certificate in path:
        yield from _date_problems(certificate, since, until)
    yield from _name_problems(leaf, base_domains)
    for depth, certificate in enumerate(path):
        yield from _extension_problems(certificate)
        yield from _purpose_problems(certificate, is_issuer=depth > 0)
        yield from _key_problems(certificate)
        if depth:
            yield from _issuer_problems(certificate, path[1:depth])
    for certificate, issuer in zip(path, path[1:]):
        cause = _signature_problem(certificate, issuer)
        if cause:
            yield certificate, cause.format(issuer=repr(issuer.title)), {"expected": issuer.title}
    for depth, issuer in enumerate(path):
        constraints = issuer.extension(x509.NameConstraints)
        if constraints:
            # RFC 5280 6.1.3 (b), (c): names of self-issued certificates are free, but for the leaf's.
            for below in path[:depth]:
                if below is leaf or below.x509.subject != below.x509.issuer:
                    yield from _constraint_problems(below, issuer, constraints)


def _date_problems(certificate, since, until):
    if since < certificate.not_before:
        yield certificate, (f"it is not yet valid: valid from {_utc(certificate.not_before)}, and it is "
                            f"{_utc(since)}; check the clock"), {
            "found": certificate.not_before, "expected": int(since)}
    elif since >= certificate.not_after:
        yield certificate, f"it expired at {_utc(certificate.not_after)}, and it is {_utc(since)}; renew it", {
            "found": certificate.not_after, "expected": int(until)}
    elif until >= certificate.not_after:
        yield certificate, (f"it expires at {_utc(certificate.not_after)}, expected to be valid until {_utc(until)}; "
                            "renew it"), {"found": certificate.not_after, "expected": int(until)}


def _name_problems(leaf, base_domains):
    names = leaf.names
    missing = [name for name in base_domains if not any(covers(pattern, name) for pattern in names)]
    if missing:
        yield leaf, (f"the name {', '.join(map(repr, missing))} is missing: found {', '.join(names) or 'no DNS name'}; "
                     "request it for all base domains"), {"found": names, "expected": sorted(base_domains)}


def covers(pattern, name):
    """Whether a DNS name of a certificate covers a base domain: itself, or ``*`` for its whole left-most label.

    RFC 6125 section 6.4.3, without partial wildcards; as in OpenSSL ``*`` needs two labels behind it.
    """
    pattern, name = pattern.lower(), name.lower().rstrip(".")
    if pattern == name:
        return True
    label, _dot, parent = name.partition(".")
    return "." in parent and pattern == f"*.{parent}" and re.fullmatch(r"[a-z0-9-]+", label) is not None


def _extension_problems(certificate):
    for extension in certificate.extensions:
        if extension.critical and extension.oid.dotted_string not in _KNOWN_EXTENSIONS:
            yield certificate, f"it has the critical extension {extension.oid.dotted_string}, which is not supported", {
                "found": extension.oid.dotted_string}


def _purpose_problems(certificate, is_issuer):
    extended = certificate.extension(x509.ExtendedKeyUsage)
    # OpenSSL wants serverAuth itself; anyExtendedKeyUsage does not stand for it.
    if extended is not None and _SERVER_AUTH not in [usage.dotted_string for usage in extended]:
        found = [usage.dotted_string for usage in extended]
        yield certificate, (f"its extended key usage is {', '.join(found)}, expected serverAuth ({_SERVER_AUTH}) or "
                            "none"), {"found": found, "expected": _SERVER_AUTH}
    usage = certificate.extension(x509.KeyUsage)
    if usage is not None and not is_issuer:
        if not (usage.digital_signature or usage.key_encipherment or usage.key_agreement):
            yield certificate, "its key usage has none of digitalSignature, keyEncipherment, keyAgreement", {}
    for extension in certificate.extensions:
        # Netscape's own, still heeded by OpenSSL: a bit string whose bit 1 stands for TLS servers.
        if extension.oid.dotted_string == _NS_CERT_TYPE and not is_issuer and not _is_ns_server(extension):
            yield certificate, "its Netscape certificate type excludes TLS servers", {}


def _is_ns_server(extension):
    bits = extension.value.value[3:4]
    return bool(bits and bits[0] & 0x40)


def _issuer_problems(certificate, below):
    basic = certificate.extension(x509.BasicConstraints)
    if basic is None or not basic.ca:
        found = "no basic constraints" if basic is None else "CA:FALSE"
        yield certificate, f"it is not a CA: found {found}, expected CA:TRUE in an issuer", {
            "found": found, "expected": "CA:TRUE"}
        return
    # RFC 5280 6.1.4 (n): where there is a key usage, it has to allow signing.
    usage = certificate.extension(x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield certificate, "it is not a CA: its key usage lacks keyCertSign", {"expected": "keyCertSign"}
    between = sum(one.x509.subject != one.x509.issuer for one in below)
    if basic.path_length is not None and between > basic.path_length:
        yield certificate, (f"its path length is {basic.path_length}, and {between} other issuer(s) stand between it "
                            "and the leaf"), {"found": between, "expected": basic.path_length}


def _key_problems(certificate):
    least = _LEAST_BITS.get(certificate.algorithm)
    if least is None:
        return
    try:
        bits = certificate.x509.public_key().key_size
    except _UNREADABLE as exc:
        yield certificate, f"its key cannot be read: {exc}", {}
        return
    if bits < least:
        yield certificate, f"its {certificate.algorithm} key has {bits} bits, expected at least {least}", {
            "found": bits, "expected": least}


def _constraint_problems(certificate, issuer, constraints):
    def refuse(kind, value):
        return certificate, f"the name constraints of {issuer.title!r} do not allow its {kind} {value!r}", {
            "found": value, "expected": issuer.title}

    for kind, value in _constrained_names(certificate):
        permitted = [tree for tree in constraints.permitted_subtrees or () if isinstance(tree, kind)]
        excluded = [tree for tree in constraints.excluded_subtrees or () if isinstance(tree, kind)]
        if kind not in _WITHIN:
            # We do not reckon with these, so a constraint on them counts as broken.
            if permitted or excluded:
                yield refuse(kind.__name__, str(value))
        elif (permitted and not any(_WITHIN[kind](value, tree.value, True) for tree in permitted)) or any(
                _WITHIN[kind](value, tree.value, False) for tree in excluded):
            yield refuse(kind.__name__, value.rfc4514_string() if kind is x509.DirectoryName else str(value))


def _constrained_names(certificate):
    subject = certificate.x509.subject
    if list(subject):
        yield x509.DirectoryName, subject
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield x509.RFC822Name, attribute.value
    for name in certificate.extension(x509.SubjectAlternativeName) or ():
        yield type(name), name.value


def _dns_within(name, base, _permitted):
    # OpenSSL's reading: an empty base is everything; with a leading dot only names below it.
    name, base = name.lower(), base.lower()
    return not base or name == base or (name.endswith(base) and (base[0] == "." or name[-len(base) - 1] == "."))


def _address_within(address, network, _permitted):
    return hasattr(address, "packed") and address.version == network.version and address in network


def _directory_within(name, base, permitted):
    # To be permitted a name has to agree to the letter; to be excluded, case and blanks do not save it.
    def normal(part):
        return part if permitted else " ".join(part.casefold().split())

    parts, wanted = ([[(pair.oid.dotted_string, normal(str(pair.value))) for pair in rdn] for rdn in which.rdns]
                     for which in (name, base))
    return [sorted(part) for part in parts[:len(wanted)]] == [sorted(part) for part in wanted]


_WITHIN = {} if not HAS_CRYPTOGRAPHY else {
    x509.DNSName: _dns_within, x509.IPAddress: _address_within, x509.DirectoryName: _directory_within,
}


# -------------------------------------------------------------- signatures, and the adapters to cryptography's versions


@lru_cache(maxsize=1024)
def _signature_problem(certificate, issuer):
    """Why a certificate does not count as signed by an issuer, with a place for ``{issuer}``; or an empty string."""
    oid = certificate.x509.signature_algorithm_oid.dotted_string
    _algorithm, digest = _SIGNATURES.get(oid, (None, None))
    try:
        if oid == _PSS:
            digest = _pss_parameters(certificate)[0]
        if digest is None or not certificate.algorithms_agree:
            return f"its signature algorithm {oid} is not supported"
        if digest in _WEAK_DIGESTS:
            return f"its signature is over {digest}, which is too weak; expected SHA-2"
        _verify(certificate, issuer, digest)
    except InvalidSignature:
        return _NOT_BY_THIS_KEY
    except _UNREADABLE as exc:
        cause = (str(exc) or type(exc).__name__).replace("{", "(").replace("}", ")")
        return f"its signature cannot be verified: {cause}"
    return ""


def _library_verifies():
    # verify_directly_issued_by came with 40, but knows RSA-PSS only since the version that had this attribute (41).
    return hasattr(x509.Certificate, "signature_algorithm_parameters")


def _verify(certificate, issuer, digest):
    """Check a signature.

    :raises InvalidSignature: it is not the issuer's. Whatever else is raised means that it cannot be said.
    """
    if _library_verifies():
        certificate.x509.verify_directly_issued_by(issuer.x509)
        return
    key = issuer.x509.public_key()
    signed = (certificate.x509.signature, certificate.x509.tbs_certificate_bytes)
    if issuer.algorithm == "ecdsa":
        key.verify(*signed, ec.ECDSA(getattr(hashes, digest)()))
    elif issuer.algorithm != "rsa":
        key.verify(*signed)
    elif certificate.x509.signature_algorithm_oid.dotted_string == _PSS:
        digest, mask_digest, salt = _pss_parameters(certificate)
        mask = padding.MGF1(getattr(hashes, mask_digest)())
        key.verify(*signed, padding.PSS(mask, salt), getattr(hashes, digest)())
    else:
        key.verify(*signed, padding.PKCS1v15(), getattr(hashes, digest)())


def _pss_parameters(certificate):
    """Digest, digest of the mask function, and salt length (RFC 4055 section 3.1), each with its default."""
    digest, mask_digest, salt = "SHA1", "SHA1", 20
    for field in _elements(_elements(certificate.signature_algorithm.content)[1].content):
        value = _elements(field.content)[0]
        if field.tag == 0xA0:
            digest = _DIGESTS[_elements(value.content)[0].content.hex()]
        elif field.tag == 0xA1:
            mask_digest = _DIGESTS[_elements(_elements(value.content)[1].content)[0].content.hex()]
        elif field.tag == 0xA2:
            salt = int.from_bytes(value.content, "big")
    return digest, mask_digest, salt


def _epoch(certificate, what):
    moment = getattr(certificate, what + "_utc", None) or getattr(certificate, what)
    return calendar.timegm(moment.utctimetuple())


def _utc(when):
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(when))
    except OverflowError:
        return "a time before year 1" if when < 0 else "a time after year 9999"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


class _Element(NamedTuple):
    """One DER element. cryptography hands out keys re-encoded and old versions no PSS parameters; a digest needs the
    bytes as they stand in the certificate."""

    tag: int
    content: bytes
    raw: bytes


def _elements(data):
    """Split DER into its elements (list of :class:`_Element`).

    :raises ValueError: it is not DER.
    """
    found, at = [], 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("not DER: truncated")
        length, start = data[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2:start], "big")
        if start + length > len(data):
            raise ValueError("not DER: truncated")
        found.append(_Element(data[at], data[start:start + length], data[at:start + length]))
        at = start + length
    return found


def key_algorithm(spki):
    """Name of the key algorithm, or the object identifier in hex where it has none."""
    identifier = _elements(_elements(_elements(spki)[0].content)[0].content)[0].content.hex()
    return _KEY_ALGORITHMS.get(identifier, identifier)
