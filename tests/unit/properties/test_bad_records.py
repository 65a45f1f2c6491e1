# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever is given for a TLSA record, a parameter combination or a base domain: the right value, or an error."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _tlsa
from ansible_collections.mailops.dane.plugins.module_utils._errors import RecordError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Combination, Record
from hostile import examples, json_values, odd, refusal_or
from hypothesis import example, given
from hypothesis import strategies as st

numbers = st.sampled_from(("0", "1", "2", "3", "03", "255", "256", "-1", "+1", "1_0", "\u0661", "\u00b2", "9" * 5000, "x"))
words = numbers | st.sampled_from(("DANE-EE", "dane-ta", "pkix-ee", "PKIX-TA", "SPKI", "cert", "FULL", "sha2-256",
                                   "SHA2-512", "SHA-256", "DANE EE", ""))
hexes = st.sampled_from(("ab" * 32, "AB" * 32, "cd" * 64, "abc", "a b", "0xab", "sha256:", "sha256:" + "ab" * 32,
                         "sha256:ab", "SHA256:" + "AB" * 32, "sha256:sha256:" + "ab" * 32, "\uff10" * 64, "ab\x00")) | st.text(
                             "0123456789abcdefABCDEFg: \t\n\r\x00\x1c\u3000", max_size=40)
texts = st.tuples(words, words, words, hexes).map(" ".join) | st.text(max_size=60)


@given(texts | json_values)
@example("3 1 1 " + "9" * 5000)
@example("9" * 5000 + " 1 1 ab")
@example("3 1 0 sha256:ab")
def test_a_record_is_read_right_or_refused(text):
    record = refusal_or(Record.parse, text)
    if record is None:
        return
    assert all(isinstance(number, int) and 0 <= number <= 255 for number in record[:3])
    brief = record.data.startswith("sha256:")
    if brief:
        assert record.mtype == 0
        assert re.fullmatch("sha256:[0-9a-f]{64}", record.data)
    else:
        assert bytes.fromhex(record.data).hex() == record.data != ""
    assert Record.parse(str(record)) == record
    # What is not a number or an acronym is not guessed at.
    assert [word for word in str(text).split()[:3] if not word.isascii()] == []
    assert "".join(str(text).split()[3:]).lower() == record.data


@given(st.tuples(words, words, words).map(" ".join) | json_values)
@example("9" * 5000 + " 1 1")
def test_a_combination_is_read_right_or_refused(text):
    combination = refusal_or(Combination.parse, text)
    if combination is not None:
        assert combination in {Combination(u, s, m) for u in range(4) for s in range(2) for m in range(3)}
        for word, number, table in zip(str(text).split(), combination, (_tlsa.USAGES, _tlsa.SELECTORS, _tlsa.MTYPES)):
            assert table.get(word.upper(), word.lstrip("0") or "0") in (number, str(number))


LABEL = "[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
names = st.sampled_from((
    "mx1.example.org", "MX1.EXAMPLE.ORG.", "mx1.example.org..", ".example.org", "mx1..org", "mx1\n.example.org",
    "mx1.example.org\n", "-mx1.example.org", "mx1-.example.org", "m\u212a.example.org", "m\xfc.example.org",
    "xn--mx-xka.example.org", "a" * 63 + ".org", "a" * 64 + ".org", ".".join(["a" * 59] * 4), ".".join(["a" * 60] * 4),
    "192.0.2.1", "2001:db8::1", "*.example.org", "mx 1.org", "_25._tcp.mx1.example.org", "localhost", "",
)) | st.text("aA0-_.\n\u0130", max_size=12)
ports = st.sampled_from((25, "25", 0, 1, 65535, 65536, -1, 25.7, True, None, "x", "\u0662\u0665", "2_5", float("nan"),
                         float("inf"), 10**400, "9" * 5000, [25]))


@given(names | odd, ports)
@example("mx1\n.example.org", 25)
@example("192.0.2.1", 25)
def test_an_owner_name_is_made_right_or_refused(base, port):
    owner = refusal_or(_tlsa.owner_name, base, port)
    if owner is None:
        return
    assert re.fullmatch(rf"_([1-9][0-9]*)\._tcp\.{LABEL}(?:\.{LABEL})*\.", owner), owner
    assert len(owner) <= 254 and all(len(label) <= 63 for label in owner.split("."))
    assert owner.split("._tcp.", 1)[1] == base.strip().lower().rstrip(".") + "."
    assert int(owner[1:].split(".")[0]) == int(port) <= 65535
    assert isinstance(port, (int, str)) and not isinstance(port, bool) and str(port).isascii() and str(port).isdigit()
    assert not owner.rstrip(".").rpartition(".")[2].isdigit(), "the last label of a host name is no number"


@pytest.mark.parametrize("port", [True, 25.0, "2_5", None])
def test_a_port_is_a_whole_number(port):
    with pytest.raises(RecordError, match="Cannot make an owner name for 'mx1.example.org': port .* is not in 1..65535"):
        _tlsa.owner_name("mx1.example.org", port)


records = st.builds(lambda usage, selector, mtype, data: Record(usage, selector, mtype, data.hex()), *[st.integers(0, 255)] * 3,
                    st.binary(min_size=1, max_size=70))


usual = st.builds(Record, st.just(3), st.sampled_from((0, 1)), st.just(1), st.just("ab" * 32))


@given(st.frozensets(records | usual, max_size=6))
@examples(50)
def test_any_set_of_records_can_be_looked_at(found):
    assert all(isinstance(finding, str) for finding in _tlsa.lint(found))
    for record in found:
        reason = _tlsa.unusable_reason(record)
        wanted = {1: 64, 2: 128}.get(record.mtype, len(record.data))
        fits = record.usage in (2, 3) and record.selector in (0, 1) and record.mtype in (0, 1, 2) and len(record.data) == wanted
        assert (reason is None) == fits
        published = refusal_or(lambda one: [_tlsa.check_publishable(one)], record)
        assert (published is not None) == fits
