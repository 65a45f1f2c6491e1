# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLSA records as values: parse, compute, compare, lint. Pure, standard library only. Private to this collection.

A TLSA record (RFC 6698 section 2.1) is a *parameter combination* of usage, selector and matching type (mtype), and
association data. Two forms of the data occur here:

* in the DNS, and in :class:`Record` as parsed: the data as published, lower-case hex;
* in the ledger and wherever sets are compared, *brief*: the data of matching type Full is replaced by
  ``sha256:<hex>`` of itself, so that a ledger holds digests only and a certificate presented by a server can be
  compared without carrying it around. :meth:`Record.brief` makes it; comparing is only done between brief records.

The DER bytes that digests are taken over come from the caller (``_chain`` gets them from cryptography).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from ._errors import RecordError

# RFC 7218 section 2: acronyms. The private-use values (255) are no business of SMTP and not accepted.
USAGES = {"PKIX-TA": 0, "PKIX-EE": 1, "DANE-TA": 2, "DANE-EE": 3}
SELECTORS = {"CERT": 0, "SPKI": 1}
MTYPES = {"FULL": 0, "SHA2-256": 1, "SHA2-512": 2}

PKIX_TA, PKIX_EE, DANE_TA, DANE_EE = 0, 1, 2, 3
CERT, SPKI = 0, 1
FULL, SHA2_256, SHA2_512 = 0, 1, 2

_DIGESTS = {SHA2_256: hashlib.sha256, SHA2_512: hashlib.sha512}
_DIGEST_BYTES = {SHA2_256: 32, SHA2_512: 64}
_EMPTY_DIGESTS = {hashlib.sha256(b"").hexdigest(), hashlib.sha512(b"").hexdigest()}
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A number as people write one: int() takes Arabic-Indic digits, 2_5 and True as well, and gives up on very long ones.
_NUMBER = re.compile(r"[0-9]{1,5}")


class Combination(NamedTuple):
    """A parameter combination (RFC 7671 section 8): the unit in which "every combination matches" is asked."""

    usage: int
    selector: int
    mtype: int

    @classmethod
    def parse(cls, text):
        """Read ``3 1 1`` or ``DANE-EE SPKI SHA2-256`` (str, RFC 7218 acronyms in any case) into a Combination.

        :raises RecordError: not three fields, or a field that is neither a number in range nor an acronym.
        """
        fields = str(text).split()
        if len(fields) != 3:
            raise RecordError(
                f"Cannot read parameter combination {text!r:.200}: expected three fields such as '3 1 1' "
                f"(usage, selector, matching type), found {len(fields)}"
            )
        tables = (("usage", USAGES), ("selector", SELECTORS), ("matching type", MTYPES))
        return cls(*(_number(field, what, table, text) for field, (what, table) in zip(fields, tables)))

    def __str__(self):
        return f"{self.usage} {self.selector} {self.mtype}"


class Record(NamedTuple):
    """One TLSA record. ``data`` is lower-case hex, or ``sha256:<hex>`` for a brief record of matching type Full."""

    usage: int
    selector: int
    mtype: int
    data: str

    @classmethod
    def parse(cls, text):
        """Read rdata in zone-file form, ``3 1 1 <hex, white space allowed>`` or the brief form (str).

        Numbers outside RFC 7218's tables are accepted, because foreign records have to be seen; see
        :func:`unusable_reason`.

        :raises RecordError: fewer than four fields, a field out of 0..255, or data that is not hex.
        """
        fields = str(text).split(None, 3)
        if len(fields) != 4:
            raise RecordError(
                f"Cannot read TLSA record {text!r:.200}: expected 'usage selector matching-type data', "
                f"found {len(fields)} field(s)"
            )
        numbers = []
        for field, (what, table) in zip(
            fields, (("usage", USAGES), ("selector", SELECTORS), ("matching type", MTYPES))
        ):
            if _NUMBER.fullmatch(field) and int(field) <= 255:
                numbers.append(int(field))
            else:
                numbers.append(_number(field, what, table, text))
        data = "".join(fields[3].split()).lower()
        if numbers[2] == FULL and data.startswith("sha256:"):
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", data):
                raise RecordError(f"Cannot read TLSA record {text!r:.200}: 'sha256:' needs 64 hex digits behind it")
        elif not re.fullmatch(r"(?:[0-9a-f]{2})+", data):
            raise RecordError(
                f"Cannot read TLSA record {text!r:.200}: the association data is not an even number of hex digits")
        return cls(numbers[0], numbers[1], numbers[2], data)

    @property
    def combination(self):
        """The record's parameter combination."""
        return Combination(self.usage, self.selector, self.mtype)

    def brief(self):
        """The record with Full data replaced by its SHA-256, for comparing and for the ledger."""
        if self.mtype != FULL or self.data.startswith("sha256:"):
            return self
        return self._replace(data="sha256:" + hashlib.sha256(bytes.fromhex(self.data)).hexdigest())

    def __str__(self):
        return f"{self.usage} {self.selector} {self.mtype} {self.data}"


def compute(combination, cert_der, spki_der):
    """The record of a certificate in a combination (RFC 6698 section 2.1 and appendix B).

    :param combination: :class:`Combination`.
    :param cert_der: the whole certificate, DER bytes. May be ``None`` for selector SPKI.
    :param spki_der: its SubjectPublicKeyInfo, DER bytes.
    :returns: :class:`Record`.
    :raises RecordError: the combination asks for the certificate and only a key is there, or the input is empty.
    """
    selected = spki_der if combination.selector == SPKI else cert_der
    if not selected:
        raise RecordError(
            f"Cannot compute a {combination} record: there is only a key; selector 0 is over the certificate"
        )
    if combination.mtype == FULL:
        return Record(*combination, selected.hex())
    return Record(*combination, _DIGESTS[combination.mtype](selected).hexdigest())


def every_record(usage, cert_der, spki_der):
    """All brief records of one usage that a certificate matches: both selectors, all matching types (set of Record)."""
    return {
        compute(Combination(usage, selector, mtype), cert_der, spki_der).brief()
        for selector in SELECTORS.values()
        for mtype in MTYPES.values()
    }


def unusable_reason(record):
    """Why we count on no sender heeding this record for SMTP, or None (RFC 7672 section 3.1.3: usages 0 and 1 are
    undefined there, and senders may treat them as unusable; RFC 6698 section 4.1).

    Such records are never published by us, and neither match nor mismatch.

    :returns: str or None.
    """
    if record.usage in (PKIX_TA, PKIX_EE):
        return f"usage {record.usage} (PKIX) is not for SMTP (RFC 7672 section 3.1.3)"
    if record.usage not in USAGES.values():
        return f"unknown usage {record.usage}"
    if record.selector not in SELECTORS.values():
        return f"unknown selector {record.selector}"
    if record.mtype not in MTYPES.values():
        return f"unknown matching type {record.mtype}"
    wanted = _DIGEST_BYTES.get(record.mtype)
    if wanted and len(record.data) != 2 * wanted:
        return f"matching type {record.mtype} needs {wanted} bytes, found {len(record.data) // 2}"
    return None


def check_publishable(record):
    """Refuse what must never be put into the DNS.

    :raises RecordError: an unusable record, or the digest of nothing (the classic of hashing an empty pipe).
    """
    reason = unusable_reason(record)
    if reason is None and record.data in _EMPTY_DIGESTS:
        reason = "this is the digest of no data at all: whatever made it hashed an empty input"
    if reason is None and record.data.startswith("sha256:"):
        reason = "this is the ledger's short form, not the data itself"
    if reason:
        raise RecordError(f"Cannot publish TLSA record {str(record)!r}: {reason}", record=str(record))


def owner_name(base_domain, port, protocol="tcp"):
    """The owner name of a service (RFC 6698 section 3), absolute, lower case: ``_25._tcp.mx1.example.org.``

    :param base_domain: host name, with or without the final dot (str).
    :param port: 1..65535 (int, or its digits).
    :raises RecordError: not a host name or not a port.
    """
    text = base_domain.strip() if isinstance(base_domain, str) else ""
    name = text[:-1] if text.endswith(".") else text
    # ASCII before lower(), which makes a plain k of the Kelvin sign. The last label of an address is a number.
    labels = name.lower().split(".") if name.isascii() else [""]
    if len(name) > 240 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise RecordError(f"Cannot make an owner name from base domain {base_domain!r:.320}: not a host name")
    if isinstance(port, bool) or not _NUMBER.fullmatch(str(port)) or not 1 <= int(port) <= 65535:
        raise RecordError(f"Cannot make an owner name for {base_domain!r:.200}: port {port!r:.60} is not in 1..65535")
    name = ".".join(labels)
    return f"_{int(port)}._{protocol}.{name}."


def lint(records):
    """Findings about an RRset that work today and bite later, one sentence each (list of str)."""
    findings = [f"{record}: senders ignore it: {reason}" for record in sorted(records) if (reason := unusable_reason(record))]
    findings += [
        f"{record}: the digest of no data at all" for record in sorted(records) if record.data in _EMPTY_DIGESTS
    ]
    usable = [record for record in records if not unusable_reason(record)]
    by_selection = {}
    for record in usable:
        by_selection.setdefault((record.usage, record.selector), set()).add(record.mtype)
    findings += [
        f"{usage} {selector} x: only SHA2-512 is published; SHA2-256 is the one every sender has (RFC 6698 section 6)"
        for (usage, selector), mtypes in sorted(by_selection.items())
        if mtypes == {SHA2_512}
    ]
    findings += [
        f"{record.combination}: pins the certificate, so every renewal changes it; 3 1 1 pins the key (RFC 7671 section 5.1)"
        for record in sorted(usable)
        if (record.usage, record.selector) == (DANE_EE, CERT)
    ]
    return findings


def _number(field, what, table, text):
    if _NUMBER.fullmatch(field) and int(field) in table.values():
        return int(field)
    if field.upper() in table:
        return table[field.upper()]
    known = ", ".join(f"{number} ({name})" for name, number in table.items())
    raise RecordError(f"Cannot read {text!r:.200}: {what} {field!r:.60} is none of {known}")
