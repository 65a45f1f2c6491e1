# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenSSL is the oracle of what matches: real handshakes, chain by chain and record by record.

For every chain below, ``openssl s_server`` presents it and ``openssl s_client`` verifies it with one TLSA record at a
time, as Postfix does (no name checks for DANE-EE). What it accepts is compared with ``matches`` of ``_chain.describe``:

* a record that we say matches and OpenSSL refuses is a failure, always;
* a record that OpenSSL accepts and we do not is a failure, but for those that the chain's entry names with a reason.

One difference cannot be seen with s_client: Postfix as a sender also accepts the next-hop domain as a reference name
for usage 2. We ask for the base domain (RFC 7672 section 3.2.2), which is stricter.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _tlsa
from cryptography import x509

DNS = x509.DNSName
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def constraints(permitted=None, excluded=None):
    return ((x509.NameConstraints(permitted, excluded), True),)


def netscape(bits):
    oid = x509.ObjectIdentifier("2.16.840.1.113730.1.1")
    return ((x509.UnrecognizedExtension(oid, b"\x03\x02\x00" + bits), False),)


ROOT = pki.root()
INTERMEDIATE = pki.intermediate(ROOT)
RSA_ROOT = pki.root("RSA root", kind="rsa")
RSA_INTERMEDIATE = pki.intermediate(RSA_ROOT, "RSA intermediate", kind="rsa")


def under(root=ROOT, leaf_options=None, **options):
    """A leaf, an intermediate with the given peculiarities, and the root."""
    made = pki.intermediate(root, **options)
    return [pki.leaf(made, **(leaf_options or {})), made, root]


def leaf_is(**options):
    return under(leaf_options=options)


def below_root(**options):
    """A leaf, an ordinary intermediate, and a root with the given peculiarities."""
    return under(pki.root("Odd root", **options))


def deep(root=None, upper=None, lower=None):
    root = pki.root("Deep root", **(root or {}))
    upper = pki.intermediate(root, "Upper", **(upper or {}))
    lower = pki.intermediate(upper, "Lower", **(lower or {}))
    return [pki.leaf(lower), lower, upper, root]


def cross_signed():
    other = pki.root("Other root")
    crossed = pki.intermediate(other, "Root", private=ROOT.key)
    return [pki.leaf(INTERMEDIATE), INTERMEDIATE, crossed, other]


def two_of_one_name(first, second, **leaf_options):
    """Two intermediates of one name below two roots; OpenSSL goes up one way only."""
    other = pki.root("Other root")
    ones = [pki.intermediate(ROOT, **first), pki.intermediate(other, **second)]
    return [pki.leaf(ones[0], **leaf_options), *ones, ROOT, other]


def rekeyed_authority(identifiers, kind="ecdsa"):
    """Two authorities of one name and different keys; the one that did not sign stands first."""
    stranger = pki.intermediate(ROOT, private=pki.key("new key of the authority", kind), identifiers=identifiers)
    signer = pki.intermediate(ROOT, identifiers=identifiers)
    return [pki.leaf(signer, identifiers=identifiers), stranger, signer, ROOT]


def self_issued_rollover(**options):
    """An authority certifies its new key itself: names are equal, signatures go from key to key. Path length 0."""
    old = pki.intermediate(ROOT, "Authority", path_length=0, **options)
    new = pki.intermediate(old, "Authority", private=pki.key("Authority 2"))
    return [pki.leaf(new, "O=Example,CN=mx1"), new, old, ROOT]


def authority_by_serial(serial, issuer="Root"):
    name = [x509.DirectoryName(pki.name(issuer))]
    made = pki.intermediate(ROOT, serial=4711)
    extra = ((x509.AuthorityKeyIdentifier(None, name, serial), False),)
    return [pki.leaf(made, identifiers=False, extra=extra), made, ROOT]


def leaf_in_its_issuers_name(identifiers):
    made = pki.intermediate(ROOT, "Namesake")
    return [pki.leaf(made, "Namesake", private=pki.key("namesake's leaf"), identifiers=identifiers), made, ROOT]


def subject_constraint(permitted, subject):
    tree = [x509.DirectoryName(pki.name("O=Example"))]
    given = constraints(tree, None) if permitted else constraints(None, tree)
    return under(extra=given, leaf_options={"subject": subject})


CHAINS = {
    "plain, with root": lambda: [pki.leaf(INTERMEDIATE), INTERMEDIATE, ROOT],
    "plain, without root": lambda: [pki.leaf(INTERMEDIATE), INTERMEDIATE],
    "issuer missing": lambda: [pki.leaf(INTERMEDIATE)],
    "issuer missing, root there": lambda: [pki.leaf(INTERMEDIATE), ROOT],
    "issued by the root": lambda: [pki.leaf(ROOT), ROOT],
    "four deep": deep,
    "unordered": lambda: [pki.leaf(INTERMEDIATE), ROOT, INTERMEDIATE],
    "superfluous": lambda: [pki.leaf(INTERMEDIATE), RSA_ROOT, INTERMEDIATE, RSA_INTERMEDIATE, ROOT],
    "leaf twice": lambda: [pki.leaf(INTERMEDIATE, serial=77)] * 2 + [INTERMEDIATE],
    # dates
    "expired leaf": lambda: leaf_is(start=-9 * pki.DAY, end=-pki.DAY),
    "future leaf": lambda: leaf_is(start=pki.DAY),
    "expired intermediate": lambda: under(start=-9 * pki.DAY, end=-pki.DAY),
    "expired root": lambda: below_root(start=-9 * pki.DAY, end=-pki.DAY),
    "expired intermediate, no root": lambda: under(start=-9 * pki.DAY, end=-pki.DAY)[:2],
    # names
    "wrong name": lambda: leaf_is(names=["mx2.example.test"]),
    "wildcard": lambda: leaf_is(names=["*.example.test"]),
    "name in capitals": lambda: leaf_is(names=["MX1.Example.TEST"]),
    "wildcard too high": lambda: leaf_is(names=["*.test"]),
    "wildcard over two labels": lambda: leaf_is(names=["*.example.test"], subject="mx1.example.test"),
    "partial wildcard": lambda: leaf_is(names=["mx*.example.test"]),
    "name in the subject only": lambda: leaf_is(names=[]),
    "name in the subject, another as alternative": lambda: leaf_is(names=["mx2.example.test"], subject=pki.NAME),
    "no subject": lambda: leaf_is(subject=""),
    # what makes a CA
    "intermediate CA:FALSE": lambda: under(path_length=None, usage=("key_cert_sign",), **{"basic": False}, extra=(
        (x509.BasicConstraints(False, None), True),)),
    "intermediate without basic constraints": lambda: under(basic=False),
    "intermediate without keyCertSign": lambda: under(usage=("crl_sign",)),
    "intermediate without key usage": lambda: under(usage=None),
    "root without key usage": lambda: below_root(usage=None),
    "root without basic constraints": lambda: below_root(basic=False),
    "path length 0 at the intermediate": lambda: under(path_length=0),
    "path length 0 at the root": lambda: below_root(path_length=0),
    "path length 0 above two": lambda: deep(upper={"path_length": 0}),
    "path length 1 above three": lambda: deep(root={"path_length": 1}),
    "path length 0 and a self-issued intermediate": self_issued_rollover,
    # what it is for
    "leaf for clients only": lambda: leaf_is(extended=[pki.CLIENT_AUTH]),
    "leaf for any purpose": lambda: leaf_is(extended=[pki.ANY_USAGE]),
    "leaf for both": lambda: leaf_is(extended=[pki.CLIENT_AUTH, pki.SERVER_AUTH]),
    "leaf without extended key usage": lambda: leaf_is(extended=None),
    "intermediate for clients only": lambda: under(extended=[pki.CLIENT_AUTH]),
    "intermediate for any purpose": lambda: under(extended=[pki.ANY_USAGE]),
    "intermediate for servers": lambda: under(extended=[pki.SERVER_AUTH]),
    "root for clients only": lambda: below_root(extended=[pki.CLIENT_AUTH]),
    "leaf with keyEncipherment": lambda: under(RSA_ROOT, kind="rsa", leaf_options={
        "kind": "rsa", "usage": ("key_encipherment",)}),
    "leaf with keyCertSign only": lambda: leaf_is(usage=("key_cert_sign",)),
    "leaf without key usage": lambda: leaf_is(usage=None),
    "leaf that is a CA": lambda: leaf_is(ca=True, usage=("digital_signature", "key_cert_sign")),
    "Netscape server leaf": lambda: leaf_is(extra=netscape(b"\x40")),
    "Netscape client leaf": lambda: leaf_is(extra=netscape(b"\x80")),
    "Netscape object CA": lambda: under(extra=netscape(b"\x01")),
    "unknown critical extension in the leaf": lambda: leaf_is(extra=((UNKNOWN, True),)),
    "unknown extension in the leaf": lambda: leaf_is(extra=((UNKNOWN, False),)),
    "unknown critical extension in the intermediate": lambda: under(extra=((UNKNOWN, True),)),
    # self-signed
    "self-signed leaf": lambda: [pki.leaf()],
    "self-signed leaf, twice": lambda: [pki.leaf(serial=78, private=pki.key("self"))] * 2,
    "self-signed CA as leaf": lambda: [pki.leaf(ca=True, usage=("digital_signature", "key_cert_sign"))],
    "self-signed leaf with strangers": lambda: [pki.leaf(), INTERMEDIATE, ROOT],
    "leaf in its issuer's name": lambda: leaf_in_its_issuers_name(True),
    "leaf in its issuer's name, no identifiers": lambda: leaf_in_its_issuers_name(False),
    # several ways up
    "cross-signed root": cross_signed,
    "cross-signed intermediate": lambda: two_of_one_name({}, {}),
    "cross-signed, first expired": lambda: two_of_one_name({"start": -9 * pki.DAY, "end": -pki.DAY}, {}),
    "cross-signed, second expired": lambda: two_of_one_name({}, {"start": -9 * pki.DAY, "end": -pki.DAY}),
    "cross-signed, first constrained": lambda: two_of_one_name({"extended": [pki.CLIENT_AUTH]}, {}),
    "authority with another key first": lambda: rekeyed_authority(True),
    "authority with another key first, no identifiers": lambda: rekeyed_authority(False),
    "authority with another kind of key first": lambda: rekeyed_authority(False, "rsa"),
    "authority named by serial": lambda: authority_by_serial(4711),
    "authority named by another serial": lambda: authority_by_serial(4712),
    "authority named by another issuer": lambda: authority_by_serial(4711, "Other root"),
    # algorithms
    "RSA": lambda: [pki.leaf(RSA_INTERMEDIATE, kind="rsa"), RSA_INTERMEDIATE, RSA_ROOT],
    "RSA-PSS signatures": lambda: under(RSA_ROOT, kind="rsa", pss=32, leaf_options={"pss": 32, "kind": "rsa"}),
    "RSA-PSS over SHA-512": lambda: under(RSA_ROOT, kind="rsa", leaf_options={"pss": 64, "pss_digest": "SHA512"}),
    "RSA-PSS over SHA-1": lambda: under(RSA_ROOT, kind="rsa", leaf_options={"pss": 20, "pss_digest": "SHA1"}),
    "Ed25519": lambda: under(pki.root("Ed root", kind="ed25519"), kind="ed25519", leaf_options={"kind": "ed25519"}),
    "Ed448": lambda: under(pki.root("Ed448 root", kind="ed448"), kind="ed448", leaf_options={"kind": "ed448"}),
    "P-384": lambda: under(kind="p384", digest="SHA384", leaf_options={"kind": "p384", "digest": "SHA384"}),
    "leaf signed over SHA-1": lambda: under(RSA_ROOT, kind="rsa", leaf_options={"digest": "SHA1"}),
    "root signed over SHA-1": lambda: under(pki.root("Old root", kind="rsa", digest="SHA1")),
    "small issuer": lambda: under(subject="Small", kind="rsa1024"),
    "small curve": lambda: under(subject="Small curve", kind="p192"),
    # name constraints
    "name permitted": lambda: under(extra=constraints([DNS("example.test")])),
    "name permitted below a dot": lambda: under(extra=constraints([DNS(".example.test")])),
    "name not permitted": lambda: under(extra=constraints([DNS("example.org")])),
    "name not permitted, only looks so": lambda: under(extra=constraints([DNS("ample.test")])),
    "one of two names not permitted": lambda: under(
        extra=constraints([DNS("example.test")]), leaf_options={"names": [pki.NAME, "mx.example.org"]}),
    "name excluded": lambda: under(extra=constraints(None, [DNS("mx1.example.test")])),
    "other name excluded": lambda: under(extra=constraints(None, [DNS("mx2.example.test")])),
    "wildcard permitted": lambda: under(
        extra=constraints([DNS("example.test")]), leaf_options={"names": ["*.example.test"]}),
    "name not permitted by the root": lambda: below_root(extra=constraints([DNS("example.org")])),
    "address not permitted": lambda: under(
        extra=constraints([x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))]),
        leaf_options={"names": [pki.NAME, x509.IPAddress(ipaddress.ip_address("198.51.100.1"))]}),
    "address permitted": lambda: under(
        extra=constraints([x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))]),
        leaf_options={"names": [pki.NAME, x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]}),
    "constraint on addresses, none there": lambda: under(
        extra=constraints([x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))])),
    "constraint on mail addresses, none there": lambda: under(extra=constraints([x509.RFC822Name("example.org")])),
    "mail address not permitted": lambda: under(
        extra=constraints([x509.RFC822Name("example.org")]),
        leaf_options={"names": [pki.NAME, x509.RFC822Name("a@example.test")]}),
    "mail address permitted": lambda: under(
        extra=constraints([x509.RFC822Name("example.test")]),
        leaf_options={"names": [pki.NAME, x509.RFC822Name("a@example.test")]}),
    "subject permitted": lambda: subject_constraint(True, "O=Example,CN=mx1"),
    "subject permitted but for its case": lambda: subject_constraint(True, "O=EXAMPLE,CN=mx1"),
    "subject not permitted": lambda: subject_constraint(True, "O=Other,CN=mx1"),
    "subject of an intermediate not permitted": lambda: under(
        pki.root("Odd root", extra=constraints([x509.DirectoryName(pki.name("O=Example"))])),
        leaf_options={"subject": "O=Example,CN=mx1"}),
    "subject of a self-issued intermediate not permitted": lambda: self_issued_rollover(
        extra=constraints([x509.DirectoryName(pki.name("O=Example"))])),
    "subject excluded": lambda: subject_constraint(False, "O=Example,CN=mx1"),
    "subject excluded in other case": lambda: subject_constraint(False, "O=EXAMPLE,CN=mx1"),
    "subject not excluded": lambda: subject_constraint(False, "O=Other,CN=mx1"),
}

# All 12 records of every certificate are tried with these, and with the others those in which chains differ.
THOROUGH = {
    "plain, with root", "plain, without root", "issuer missing", "unordered", "expired leaf", "expired intermediate",
    "wrong name", "intermediate CA:FALSE", "path length 0 at the root", "leaf for clients only",
    "intermediate for clients only", "self-signed leaf", "cross-signed root", "RSA-PSS signatures", "Ed25519",
}

# What OpenSSL accepts and we do not: depths of the certificates that the records are about, combinations, the reason.
ANY = None
FULL_CERTIFICATE = {"2 0 0"}
A_CERTIFICATE_FROM_DNS = (
    "OpenSSL takes a whole certificate in DNS as if the server had presented it first, and so finds another way up; "
    "other clients need not (RFC 7671 section 5.2.1 wants the anchor presented)")
STRICTER = {
    "cross-signed intermediate": ([2], FULL_CERTIFICATE, A_CERTIFICATE_FROM_DNS),
    "cross-signed, first constrained": ([2], FULL_CERTIFICATE, A_CERTIFICATE_FROM_DNS),
    "authority with another key first, no identifiers": ([2], FULL_CERTIFICATE, A_CERTIFICATE_FROM_DNS),
    **dict.fromkeys(("expired intermediate", "expired intermediate, no root"), (
        [1], ANY, "OpenSSL does not look at the dates of an anchor that is not self-signed; others may")),
    "partial wildcard": ([1, 2], ANY, "refused by RFC 6125 section 7.2 and by Postfix, which asks OpenSSL to"),
    "name in the subject only": ([1, 2], ANY, "RFC 6125 section 6.4.4 lets clients drop the common name, and many do"),
    "intermediate without basic constraints": ([1], ANY, "RFC 5280 section 6.1.4 (k) demands them of a version 3 CA"),
    "root without basic constraints": ([2], ANY, "RFC 5280 section 6.1.4 (k) demands them of a version 3 CA"),
    "mail address permitted": ([1, 2], ANY, "constraints on mail addresses are not reckoned with, so count as broken"),
    "subject permitted but for its case": ([1, 2], ANY, "subjects are compared to the letter to be permitted"),
}


@contextmanager
def served(chain, directory):
    """Present the chain on a free port of the loopback interface; yields the port."""
    leaf = directory / "leaf.pem"
    leaf.write_text(chain[0].key_pem + chain[0].pem)
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(leaf), "-key", str(leaf),
               "-cipher", "DEFAULT:@SECLEVEL=0", "-no_ticket", "-no-CAfile", "-no-CApath"]
    if chain[1:]:
        issuers = directory / "issuers.pem"
        issuers.write_text("".join(one.pem for one in chain[1:]))
        command += ["-cert_chain", str(issuers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    server = subprocess.Popen(command, text=True, **pipes)
    try:
        seen = []
        for line in server.stdout:
            seen.append(line)
            found = re.match(r"ACCEPT 127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            pytest.fail("s_server does not start: " + "".join(seen))
        # Nobody reads on: the server's own words about each connection must not fill the pipe.
        reader = ThreadPoolExecutor(1)
        reader.submit(server.stdout.read)
        yield int(found.group(1))
    finally:
        server.kill()
        server.wait()
        reader.shutdown()


def accepts(port, record):
    """Whether openssl verifies the handshake by this record."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", pki.NAME, "-dane_tlsa_domain", pki.NAME,
         "-dane_tlsa_rrdata", str(record), "-dane_ee_no_namechecks", "-verify_return_error", "-brief",
         "-no-CAfile", "-no-CApath"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20,
        check=False)
    verified = "Verification: OK" in done.stdout and re.search(r"^DANE TLSA .*matched", done.stdout, re.MULTILINE)
    if not verified and "verif" not in done.stdout.lower():
        pytest.fail(f"the handshake failed for another reason than the certificate: {done.stdout}")
    return bool(verified)


def every_combination(certificates, thorough):
    """The records of each certificate, in usages 2 and 3: all, or those in which chains differ."""
    return sorted({
        _tlsa.compute(_tlsa.Combination(usage, selector, mtype), one.der, one.spki)
        for one in certificates for usage in (2, 3) for selector in (0, 1) for mtype in (0, 1, 2)
        if thorough or usage_applies(usage, one, certificates) and mtype < 2 or (selector, mtype) == (1, 1)
    })


def usage_applies(usage, one, certificates):
    return (usage == 3) == (one == certificates[0])


@pytest.mark.parametrize("name", CHAINS)
def test_matches_what_openssl_accepts(name, tmp_path):
    chain = CHAINS[name]()
    certificates = [_chain.Certificate(one.der, name) for one in chain]
    ours = set(_chain.describe(certificates, [pki.NAME], pki.NOW)["matches"])
    records = every_combination(certificates, name in THOROUGH)
    with served(chain, tmp_path) as port, ThreadPoolExecutor(3) as pool:
        answers = dict(zip(records, pool.map(lambda record: accepts(port, record), records)))

    accepted = {str(record.brief()) for record, yes in answers.items() if yes}
    of_depth = {depth: {str(record) for usage in (2, 3) for record in _tlsa.every_record(usage, one.der, one.spki)}
                for depth, one in enumerate(certificates)}
    asked = {str(record.brief()) for record in records}
    ours &= asked
    leaf = {str(record) for record in _tlsa.every_record(3, certificates[0].der, certificates[0].spki)}
    assert leaf & asked <= accepted, "the oracle has to accept the leaf's own DANE-EE records"
    assert ours - accepted == set(), "laxer than OpenSSL"
    found = {(depth, text[:5]) for depth in of_depth for text in (accepted - ours) & of_depth[depth]}
    depths, combinations, _reason = STRICTER.get(name, ((), (), ""))
    allowed = {(depth, text[:5]) for depth in depths for text in of_depth[depth] & asked
               if text[0] == "2" and (combinations is ANY or text[:5] in combinations)}
    assert found == allowed, "stricter than OpenSSL, or no more so where that is listed"
