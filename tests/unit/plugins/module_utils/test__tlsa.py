# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLSA records as values."""

from __future__ import annotations

import hashlib
import re
import subprocess

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _tlsa
from ansible_collections.mailops.dane.plugins.module_utils._errors import RecordError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Combination, Record
from hypothesis import assume, given
from hypothesis import strategies as st

# RFC 7218 section 2, written down again on purpose.
ACRONYMS = [
    {0: "PKIX-TA", 1: "PKIX-EE", 2: "DANE-TA", 3: "DANE-EE"},
    {0: "Cert", 1: "SPKI"},
    {0: "Full", 1: "SHA2-256", 2: "SHA2-512"},
]
SHA256 = "ab" * 32
SHA512 = "cd" * 64
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

octets = st.integers(0, 255)
combinations = st.builds(
    Combination, st.sampled_from((0, 1, 2, 3)), st.sampled_from((0, 1)), st.sampled_from((0, 1, 2)))
data = st.binary(min_size=1, max_size=80)
records = st.builds(lambda usage, selector, mtype, value: Record(usage, selector, mtype, value.hex()),
                    octets, octets, octets, data)
blanks = st.text(" \t\n", min_size=1, max_size=3)


def refused(call, *arguments):
    with pytest.raises(RecordError) as caught:
        call(*arguments)
    return caught.value.message


# -------------------------------------------------------------------------------------------------------- combinations


@given(combinations, st.lists(st.booleans(), min_size=3, max_size=3), st.sampled_from((str.upper, str.lower, str)),
       blanks)
def test_a_combination_is_read_in_numbers_and_acronyms(combination, as_word, case, blank):
    words = [case(ACRONYMS[place][number]) if as_word[place] else str(number)
             for place, number in enumerate(combination)]
    assert Combination.parse(blank.join(words)) == combination


@given(combinations)
def test_a_combination_is_written_as_it_is_read(combination):
    assert re.fullmatch(r"[0-3] [01] [0-2]", str(combination))
    assert Combination.parse(str(combination)) == combination


@pytest.mark.parametrize("text, sentence", [
    ("3 1", "Cannot read parameter combination '3 1': expected three fields such as '3 1 1' (usage, selector, matching "
            "type), found 2"),
    ("", "Cannot read parameter combination '': expected three fields such as '3 1 1' (usage, selector, "
         "matching type), "
         "found 0"),
    ("3 1 1 00", "Cannot read parameter combination '3 1 1 00': expected three fields such as '3 1 1' (usage, "
                 "selector, "
                 "matching type), found 4"),
    ("4 1 1", "Cannot read '4 1 1': usage '4' is none of 0 (PKIX-TA), 1 (PKIX-EE), 2 (DANE-TA), 3 (DANE-EE)"),
    ("3 2 1", "Cannot read '3 2 1': selector '2' is none of 0 (CERT), 1 (SPKI)"),
    ("3 1 3", "Cannot read '3 1 3': matching type '3' is none of 0 (FULL), 1 (SHA2-256), 2 (SHA2-512)"),
    ("DANE-EE SPKI SHA256",
     "Cannot read 'DANE-EE SPKI SHA256': matching type 'SHA256' is none of 0 (FULL), 1 (SHA2-256), 2 (SHA2-512)"),
    ("3 1 \u0661", "Cannot read '3 1 \u0661': matching type '\u0661' is none of 0 (FULL), 1 (SHA2-256), 2 (SHA2-512)"),
    ("-3 1 1", "Cannot read '-3 1 1': usage '-3' is none of 0 (PKIX-TA), 1 (PKIX-EE), 2 (DANE-TA), 3 (DANE-EE)"),
])
def test_what_is_no_combination(text, sentence):
    assert refused(Combination.parse, text) == sentence


# ------------------------------------------------------------------------------------------------------------- records


@given(records)
def test_a_record_is_read_as_it_is_written(record):
    assert Record.parse(str(record)) == record


@given(records, st.data())
def test_white_space_and_case_do_not_matter(record, draw):
    """Zone files break long data over lines (RFC 6698 section 2.2)."""
    digits = record.data.upper() if draw.draw(st.booleans()) else record.data
    cuts = sorted(draw.draw(st.lists(st.integers(1, len(digits)), max_size=3)))
    pieces = [digits[start:end] for start, end in zip([0, *cuts], [*cuts, len(digits)])]
    text = f"{record.usage}\t{record.selector}  {record.mtype} " + draw.draw(blanks).join(pieces)
    assert Record.parse(text) == record


@given(records)
def test_brief_records_are_read_as_written_and_stay_what_they_are(record):
    brief = record.brief()
    assert brief.brief() == brief
    assert Record.parse(str(brief)) == brief
    assert brief.combination == record.combination
    assert (brief == record) == (record.mtype != 0)
    if record.mtype == 0:
        assert brief.data == "sha256:" + hashlib.sha256(bytes.fromhex(record.data)).hexdigest()


@given(records, records)
def test_brief_records_are_equal_as_the_records_are(one, other):
    assert (one.brief() == other.brief()) == (one == other)


@pytest.mark.parametrize("text, sentence", [
    ("3 1 1", "Cannot read TLSA record '3 1 1': expected 'usage selector matching-type data', found 3 field(s)"),
    ("", "Cannot read TLSA record '': expected 'usage selector matching-type data', found 0 field(s)"),
    ("256 1 1 ab", "Cannot read '256 1 1 ab': usage '256' is none of 0 (PKIX-TA), 1 (PKIX-EE), 2 (DANE-TA), 3 "
                   "(DANE-EE)"),
    ("3 x 1 ab", "Cannot read '3 x 1 ab': selector 'x' is none of 0 (CERT), 1 (SPKI)"),
    ("3 1 -1 ab", "Cannot read '3 1 -1 ab': matching type '-1' is none of 0 (FULL), 1 (SHA2-256), 2 (SHA2-512)"),
    ("3 1 1 abc", "Cannot read TLSA record '3 1 1 abc': the association data is not an even number of hex digits"),
    ("3 1 1 xy", "Cannot read TLSA record '3 1 1 xy': the association data is not an even number of hex digits"),
    ("3 1 1 sha256:ab",
     "Cannot read TLSA record '3 1 1 sha256:ab': the association data is not an even number of hex digits"),
    ("3 0 0 sha256:",
     "Cannot read TLSA record '3 0 0 sha256:': 'sha256:' needs 64 hex digits behind it"),
])
def test_what_is_no_record(text, sentence):
    assert refused(Record.parse, text) == sentence


def test_foreign_records_outside_the_tables_can_be_seen():
    assert Record.parse("255 7 9 00") == Record(255, 7, 9, "00")
    assert Record.parse("dane-ee spki sha2-256 AB CD") == Record(3, 1, 1, "abcd")


@given(st.text(max_size=60))
def test_any_text_is_a_record_or_an_error(text):
    try:
        assert Record.parse(str(Record.parse(text))) == Record.parse(text)
    except RecordError as exc:
        assert exc.message.startswith("Cannot read ")


# ------------------------------------------------------------------------------------------------------------ computing


@given(combinations, data, data)
def test_computed_data_is_what_the_rfc_says(combination, cert, spki):
    selected = spki if combination.selector else cert
    wanted = {0: selected.hex(), 1: hashlib.sha256(selected).hexdigest(), 2: hashlib.sha512(selected).hexdigest()}
    record = _tlsa.compute(combination, cert, spki)
    assert record == Record(*combination, wanted[combination.mtype])
    assert Record.parse(str(record)) == record
    assert _tlsa.unusable_reason(record) is None or combination.usage < 2


def test_computed_data_is_what_openssl_says():
    done = subprocess.run(["openssl", "sha512", "-r"], input=b"key", capture_output=True, check=True)
    assert _tlsa.compute(Combination(3, 1, 2), None, b"key").data == done.stdout.split()[0].decode()


@given(st.sampled_from((2, 3)), data, data)
def test_every_record_of_a_usage(usage, cert, spki):
    found = _tlsa.every_record(usage, cert, spki)
    assert found == {_tlsa.compute(Combination(usage, selector, mtype), cert, spki).brief()
                     for selector in (0, 1) for mtype in (0, 1, 2)}
    assert {record.combination for record in found} == {
        Combination(usage, selector, mtype) for selector in (0, 1) for mtype in (0, 1, 2)}
    assert all(record.brief() == record for record in found)


@pytest.mark.parametrize("combination, cert, spki", [
    ((3, 0, 1), None, b"key"), ((3, 0, 1), b"", b"key"), ((3, 1, 1), b"cert", b""), ((2, 1, 0), b"cert", None)])
def test_nothing_is_computed_from_nothing(combination, cert, spki):
    combination = Combination(*combination)
    assert refused(_tlsa.compute, combination, cert, spki) == (
        f"Cannot compute a {combination} record: there is only a key; selector 0 is over the certificate")


# -------------------------------------------------------------------------------------------------------------- usable


@pytest.mark.parametrize("text, reason", [
    (f"3 1 1 {SHA256}", None),
    (f"2 0 2 {SHA512}", None),
    ("3 0 0 00", None),
    ("2 1 0 3059", None),
    (f"0 1 1 {SHA256}", "usage 0 (PKIX) is not for SMTP (RFC 7672 section 3.1.3)"),
    (f"1 1 1 {SHA256}", "usage 1 (PKIX) is not for SMTP (RFC 7672 section 3.1.3)"),
    (f"4 1 1 {SHA256}", "unknown usage 4"),
    (f"255 1 1 {SHA256}", "unknown usage 255"),
    (f"3 2 1 {SHA256}", "unknown selector 2"),
    (f"3 1 3 {SHA256}", "unknown matching type 3"),
    (f"3 1 1 {SHA256}00", "matching type 1 needs 32 bytes, found 33"),
    ("3 1 1 ab", "matching type 1 needs 32 bytes, found 1"),
    (f"3 1 2 {SHA256}", "matching type 2 needs 64 bytes, found 32"),
    (f"3 1 1 {SHA512}", "matching type 1 needs 32 bytes, found 64"),
])
def test_unusable_records(text, reason):
    assert _tlsa.unusable_reason(Record.parse(text)) == reason


@pytest.mark.parametrize("text, reason", [
    (f"1 1 1 {SHA256}", "usage 1 (PKIX) is not for SMTP (RFC 7672 section 3.1.3)"),
    (f"3 1 1 {SHA256[2:]}", "matching type 1 needs 32 bytes, found 31"),
    (f"3 1 1 {EMPTY_SHA256}", "this is the digest of no data at all: whatever made it hashed an empty input"),
    ("3 1 2 " + hashlib.sha512(b"").hexdigest(),
     "this is the digest of no data at all: whatever made it hashed an empty input"),
    (f"3 0 0 sha256:{SHA256}", "this is the ledger's short form, not the data itself"),
])
def test_what_is_never_published(text, reason):
    record = Record.parse(text)
    with pytest.raises(RecordError) as caught:
        _tlsa.check_publishable(record)
    assert caught.value.message == f"Cannot publish TLSA record {text!r}: {reason}"
    assert caught.value.fields == {"record": text}


@given(st.builds(Combination, st.sampled_from((2, 3)), st.sampled_from((0, 1)), st.sampled_from((0, 1, 2))), data, data)
def test_what_was_computed_is_published(combination, cert, spki):
    _tlsa.check_publishable(_tlsa.compute(combination, cert, spki))


# --------------------------------------------------------------------------------------------------------- owner names


label = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)


@given(st.lists(label, min_size=1, max_size=6), st.integers(1, 65535), st.booleans(), st.booleans())
def test_owner_names(labels, port, upper, dot):
    name = ".".join(labels)
    assume(not labels[-1].isdigit())
    given_name = (name.upper() if upper else name) + ("." if dot else "")
    assert _tlsa.owner_name(given_name, port) == f"_{port}._tcp.{name}."


@pytest.mark.parametrize("name", ["", ".", "mx1..example", "-mx.example", "mx-.example", "mx 1.example", "a" * 64,
                                  "m\u00fcller.example", "*.example", ".".join(["a" * 60] * 5), "mx1.example/",
                                  "192.0.2.1"])
def test_what_is_no_host_name(name):
    assert refused(_tlsa.owner_name, name, 25) == (
        f"Cannot make an owner name from base domain {name!r}: not a host name")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(port):
    assert refused(_tlsa.owner_name, "mx1.example", port) == (
        f"Cannot make an owner name for 'mx1.example': port {port} is not in 1..65535")


# ----------------------------------------------------------------------------------------------------------------- lint


def test_nothing_to_say_about_the_recommended_records():
    assert _tlsa.lint([Record.parse(f"3 1 1 {SHA256}"), Record.parse(f"2 1 1 {SHA256}")]) == []
    assert _tlsa.lint([]) == []
    assert _tlsa.lint([Record.parse(f"3 1 1 {SHA256}"), Record.parse(f"3 1 2 {SHA512}")]) == []


@pytest.mark.parametrize("text, finding", [
    (f"1 1 1 {SHA256}", f"1 1 1 {SHA256}: senders ignore it: usage 1 (PKIX) is not for SMTP (RFC 7672 section 3.1.3)"),
    ("3 1 1 ab", "3 1 1 ab: senders ignore it: matching type 1 needs 32 bytes, found 1"),
    (f"3 1 1 {EMPTY_SHA256}", f"3 1 1 {EMPTY_SHA256}: the digest of no data at all"),
    (f"3 1 2 {SHA512}", "3 1 x: only SHA2-512 is published; SHA2-256 is the one every sender has (RFC 6698 section 6)"),
    (f"3 0 1 {SHA256}",
     "3 0 1: pins the certificate, so every renewal changes it; 3 1 1 pins the key (RFC 7671 section 5.1)"),
])
def test_findings(text, finding):
    assert _tlsa.lint([Record.parse(text)]) == [finding]


@given(st.lists(records, max_size=6))
def test_any_rrset_can_be_linted_in_any_order(rrset):
    assert _tlsa.lint(rrset) == _tlsa.lint(rrset[::-1])
