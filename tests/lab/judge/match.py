# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a presented chain match a TLSA RRset? RFC 7671, in the strict reading: every parameter combination must.

A certificate is its DER bytes here, a record is the text ``"3 1 1 <hex>"``.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DANE_TA, DANE_EE = 2, 3
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}


class Record(NamedTuple):
    """One TLSA record: three numbers and lower-case hex."""

    usage: int
    selector: int
    mtype: int
    data: str

    @property
    def combination(self):
        """The parameter combination as text, ``"3 1 1"``."""
        return f"{self.usage} {self.selector} {self.mtype}"

    @property
    def usable(self):
        """SMTP knows usages 2 and 3 only (RFC 7672 section 3.1.3); a digest of the wrong length matches nothing."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (0, 1) or self.mtype not in (0, 1, 2):
            return False
        return not self.mtype or len(self.data) == 2 * _DIGESTS[self.mtype]().digest_size


def parse_record(text):
    """Read ``"3 1 1 <hex, blanks allowed>"``."""
    usage, selector, mtype, data = text.split(None, 3)
    return Record(int(usage), int(selector), int(mtype), "".join(data.split()).lower())


def association(der, selector, mtype):
    """The hex that a record of this selector and matching type must carry for this certificate."""
    selected = der
    if selector == 1:
        key = x509.load_der_x509_certificate(der).public_key()
        selected = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _DIGESTS[mtype](selected).hexdigest() if mtype else selected.hex()


def spki_sha256(der):
    """SHA-256 of the certificate's public key: the data of a ``3 1 1``, and how the judge names keys."""
    return association(der, 1, 1)


def issuer(der):
    """Who signed a certificate, as it says itself (text)."""
    return x509.load_der_x509_certificate(der).issuer.rfc4514_string()


def _covers(leaf, base_domain):
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    for name in (n.lower().rstrip(".") for n in names.get_values_for_type(x509.DNSName)):
        if name == base_domain or (name.startswith("*.") and base_domain.partition(".")[2] == name[2:]):
            return True
    return False


def _is_anchor(chain, depth, base_domain, at):
    """May the certificate at ``depth`` be a DANE-TA anchor? Signed all the way, CAs, dates, and the leaf's name."""
    certs = [x509.load_der_x509_certificate(der) for der in chain[: depth + 1]]
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    for cert in certs:
        if not cert.not_valid_before_utc <= when <= cert.not_valid_after_utc:
            return False
    for child, issuer in zip(certs, certs[1:]):
        try:
            child.verify_directly_issued_by(issuer)
            if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                return False
        except Exception:  # the library's own errors differ by kind of flaw; each means "not issued by"
            return False
    return _covers(certs[0], base_domain)


def matches(record, chain, base_domain, at):
    """Does this record match this chain (DER bytes, leaf first) presented for ``base_domain`` at epoch ``at``?

    DANE-EE looks at the leaf alone, neither names nor dates (RFC 7671 section 5.1); DANE-TA at issuers only.
    """
    if record.usage == DANE_EE:
        return association(chain[0], record.selector, record.mtype) == record.data
    return any(
        association(der, record.selector, record.mtype) == record.data and _is_anchor(chain, depth, base_domain, at)
        for depth, der in enumerate(chain)
        if depth
    )


def unmatched(records, chain, base_domain, at):
    """The parameter combinations of an RRset in which no record matches this chain (list of text, [] = fine).

    Combination by combination because of digest agility: a sender may look at the strongest digest only
    (RFC 7671 section 8). An empty chain (STARTTLS not offered, or the handshake refused) matches nothing.
    """
    usable = [record for record in map(parse_record, records) if record.usable]
    if not usable:
        return ["no usable record"]
    combinations = sorted({record.combination for record in usable})
    if not chain:
        return combinations
    matched = {r.combination for r in usable if matches(r, chain, base_domain, at)}
    return [c for c in combinations if c not in matched]
