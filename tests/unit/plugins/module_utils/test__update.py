# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import hashlib
import time
import traceback

import dns.message
import dns.rcode
import dns.tsig
import dns_world as lab
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mailops.dane.plugins.module_utils import _update
from ansible_collections.mailops.dane.plugins.module_utils._errors import RecordError, RefusedError, UpdateError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record

A, B, C = (Record(3, 1, 1, digest) for digest in (lab.DIGEST_A, lab.DIGEST_B, lab.DIGEST_C))
FULL = Record(2, 0, 0, "30820102" + "ab" * 40)
MALFORMED = Record(3, 1, 1, "0102")
ZONE = "example.test."


@pytest.fixture
def owner(request, dns_world):
    """An owner name of its own for each test."""
    return f"_25._tcp.u{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}.{ZONE}"


@pytest.fixture
def primary(dns_world):
    """A function that makes the publisher under test."""
    def make(key_name="dane.", key_secret=lab.SECRET, server=lab.PRIMARY, scripted=None, timeout=5, **more):
        settings = dns_world.settings(scripted)
        return _update.Rfc2136(
            server, key_name=key_name, key_secret=key_secret, timeout=timeout, settings=settings, **more)
    return make


def updates(publisher):
    return sum(one.rdtype == "UPDATE" for one in publisher.settings.transport.asked)


def apply(publisher, owner, state, *records, **more):
    return _update.apply(publisher, ZONE, owner, state, records, **more)


# ---- the three states


@pytest.mark.real_dns
def test_present_adds_and_leaves_the_rest(dns_world, primary, owner):
    dns_world.update(owner, add=[A], ttl=77)
    publisher = primary()
    change = apply(publisher, owner, "present", A, B)
    assert change == (owner, ({A}, 77, False), ({A, B}, 77, False), True)
    assert publisher.read(ZONE, owner) == ({A, B}, 77, False)
    assert updates(publisher) == 1


@pytest.mark.real_dns
def test_nothing_to_do_sends_nothing_and_asks_nothing(dns_world, primary, owner):
    dns_world.update(owner, add=[A, B])
    publisher = primary()

    def ask(_before, _after):
        raise AssertionError("nothing changes, so nothing is to be asked")

    for state, records in (("present", [A]), ("exact", [A, B]), ("absent", [C])):
        change = apply(publisher, owner, state, *records, ask=ask)
        assert not change.changed
        assert change.before == change.after == ({A, B}, 10, False)
    assert updates(publisher) == 0


@pytest.mark.real_dns
def test_a_rehearsal_changes_nothing(dns_world, primary, owner):
    dns_world.update(owner, add=[A], ttl=33)
    publisher = primary()
    publisher.rehearse(ZONE, owner)
    assert updates(publisher) == 1
    assert publisher.read(ZONE, owner) == ({A}, 33, False)


@pytest.mark.real_dns
def test_a_rehearsal_is_refused_like_a_change(primary, owner):
    with pytest.raises(UpdateError, match="REFUSED: the server does not let key stranger. change TLSA records"):
        primary(key_name="stranger.").rehearse(ZONE, owner)


@pytest.mark.real_dns
def test_a_new_rrset_gets_the_ttl_asked_for(primary, owner):
    assert apply(primary(), owner, "present", A, ttl=42).after.ttl == 42
    assert primary().read(ZONE, owner) == ({A}, 42, False)


@pytest.mark.real_dns
def test_a_new_rrset_has_a_default_ttl(primary, owner):
    apply(primary(), owner, "exact", A)
    assert primary().read(ZONE, owner).ttl == 3600


@pytest.mark.real_dns
def test_absent_removes_exactly_these(dns_world, primary, owner):
    dns_world.update(owner, add=[A, B, FULL], ttl=33)
    change = apply(primary(), owner, "absent", A, C, ttl=99)
    assert change.after == ({B, FULL}, 33, False)
    assert primary().read(ZONE, owner) == ({B, FULL}, 33, False)


@pytest.mark.real_dns
def test_a_full_record_can_be_named_by_its_digest(dns_world, primary, owner):
    dns_world.update(owner, add=[A, FULL])
    assert not apply(primary(), owner, "present", FULL.brief()).changed
    assert apply(primary(), owner, "absent", FULL.brief()).after.records == {A}
    with pytest.raises(RecordError, match="the ledger's short form"):
        apply(primary(), owner, "present", FULL.brief())


@pytest.mark.real_dns
def test_exact_replaces_in_one_step(dns_world, primary, owner):
    dns_world.update(owner, add=[A, B])
    publisher = primary()
    assert apply(publisher, owner, "exact", B, C).after.records == {B, C}
    assert publisher.read(ZONE, owner).records == {B, C}
    assert updates(publisher) == 1


@pytest.mark.real_dns
def test_exact_with_nothing_in_common_is_never_empty_in_between(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    publisher = primary()
    apply(publisher, owner, "exact", B)
    assert updates(publisher) == 1
    assert publisher.read(ZONE, owner).records == {B}


@pytest.mark.real_dns
def test_ttl_is_changed_only_when_another_one_is_asked_for(dns_world, primary, owner):
    dns_world.update(owner, add=[A, B], ttl=10)
    assert not apply(primary(), owner, "present", A, ttl=10).changed
    assert apply(primary(), owner, "present", C).after == ({A, B, C}, 10, False)
    change = apply(primary(), owner, "present", A, ttl=50)
    assert change == (owner, ({A, B, C}, 10, False), ({A, B, C}, 50, False), True)
    assert primary().read(ZONE, owner) == ({A, B, C}, 50, False)


@pytest.mark.real_dns
def test_check_mode_reads_and_asks_but_sends_nothing(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    publisher, asked = primary(), []
    change = apply(publisher, owner, "present", B, check_mode=True, ask=lambda *both: asked.append(both))
    assert change == (owner, ({A}, 10, False), ({A, B}, 10, False), True)
    assert asked == [(change.before, change.after)]
    assert updates(publisher) == 0
    assert publisher.read(ZONE, owner).records == {A}


@pytest.mark.real_dns
def test_a_no_prevents_the_change(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    publisher = primary()

    def ask(before, after):
        raise RefusedError(f"no: {sorted(map(str, after.records - before.records))}")

    with pytest.raises(RefusedError, match="no: .'3 1 1 bb"):
        apply(publisher, owner, "present", B, ask=ask)
    assert updates(publisher) == 0
    assert publisher.read(ZONE, owner).records == {A}


@pytest.mark.real_dns
def test_the_last_record_stays_unless_the_name_is_retired(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    for state, records in (("absent", [A]), ("exact", [])):
        with pytest.raises(UpdateError, match="no record would be left"):
            apply(primary(), owner, state, *records)
    with pytest.raises(UpdateError, match="no record would be left"):
        primary().change(ZONE, owner, 10, remove=[A], expected=frozenset({A}))
    assert primary().read(ZONE, owner).records == {A}
    assert apply(primary(), owner, "absent", A, allow_empty=True).after.records == frozenset()
    assert primary().read(ZONE, owner).records == frozenset()


@pytest.mark.real_dns
@pytest.mark.parametrize("record", [MALFORMED, Record(1, 1, 1, lab.DIGEST_A)])
def test_what_senders_ignore_is_never_published(primary, owner, record):
    publisher = primary()
    with pytest.raises(RecordError, match="Cannot publish TLSA record"):
        apply(publisher, owner, "present", A, record)
    assert updates(publisher) == 0


def keys(count):
    return [Record(3, 1, 1, hashlib.sha256(bytes([number])).hexdigest()) for number in range(count)]


@pytest.mark.real_dns
def test_an_answer_that_would_not_get_through_is_refused(dns_world, primary, owner):
    dns_world.update(owner, add=keys(2))
    publisher, most = primary(), next(n for n in range(199) if _update.answer_size(owner, keys(n + 1)) > 4096)
    assert 70 <= most <= 80
    assert apply(publisher, owner, "present", *keys(most)).changed
    with pytest.raises(UpdateError, match="more than the 4096 that senders"):
        apply(publisher, owner, "present", *keys(most + 1))
    assert publisher.read(ZONE, owner).records == set(keys(most))
    # What is too large already may shrink, step by step.
    dns_world.update(owner, add=keys(most + 5))
    assert apply(publisher, owner, "absent", keys(most + 5)[-1]).changed


@pytest.mark.real_dns
def test_the_size_of_an_answer_is_near_enough(dns_world, primary, owner):
    """BIND's own, signed with ECDSA here: what is left is the allowance for a larger signature."""
    dns_world.update(owner, add=keys(4))
    dns_world.settle()
    query = dns.message.make_query(owner, "TLSA", want_dnssec=True, payload=1232)
    transport = dns_world.settings().transport
    wire = asyncio.run(transport.exchange(query.to_wire(), lab.PRIMARY, 53, False, 5))
    assert 0 <= _update.answer_size(owner, keys(4)) - len(wire) <= _update.SIGNATURE


@pytest.mark.real_dns
def test_a_malformed_record_that_is_there_can_be_kept_and_removed(dns_world, primary, owner):
    # nsupdate would refuse it, so the publisher's lower part puts it there.
    primary().change(ZONE, owner, 10, add=[MALFORMED])
    assert apply(primary(), owner, "present", A).after.records == {A, MALFORMED}
    assert apply(primary(), owner, "absent", MALFORMED).after.records == {A}
    assert primary().read(ZONE, owner).records == {A}


@pytest.mark.real_dns
def test_a_wildcard_is_seen_and_hidden_by_what_is_published(primary):
    owner, asked = "_25._tcp.update.wild.example.test.", []
    # 30, and 10 more that caches may hold that the name itself has nothing (RFC 8198 section 5.3).
    assert primary().read(ZONE, owner) == ({C}, 40, True)
    assert not apply(primary(), owner, "absent", C).changed
    change = apply(primary(), owner, "present", A, ttl=10, ask=lambda *both: asked.append(both))
    assert asked == [(({C}, 40, True), ({A}, 10, False))]
    assert change.after.records == {A}
    assert primary().read(ZONE, owner) == ({A}, 10, False)


@pytest.mark.real_dns
def test_an_alias_is_refused_and_its_target_named(primary):
    publisher = primary()
    with pytest.raises(UpdateError, match="it is an alias of '_tlsa.inside.example.test.'"):
        apply(publisher, "_25._tcp.inside.example.test.", "present", B)
    assert updates(publisher) == 0


@pytest.mark.real_dns
def test_the_server_may_be_given_by_name(dns_world, primary, owner):
    publisher = primary(server="ns1.example.test.")
    apply(publisher, owner, "present", A)
    assert publisher.name == "ns1.example.test."
    with pytest.raises(Exception, match="there is no such host"):
        primary(server="ns9.example.test.").read(ZONE, owner)


# ---- somebody else is quicker


@pytest.mark.real_dns
@pytest.mark.parametrize("start", [[], [A]])
def test_after_a_conflict_it_reads_and_asks_again(dns_world, primary, owner, start):
    if start:
        dns_world.update(owner, add=start)
    publisher, asked = primary(), []

    def ask(before, after):
        asked.append((before.records, after.records))
        if len(asked) == 1:
            dns_world.update(owner, add=[B])

    change = apply(publisher, owner, "present", C, ttl=10, ask=ask)
    there = set(start)
    assert asked == [(there, there | {C}), (there | {B}, there | {B, C})]
    assert change.before.records == there
    assert change.after.records == there | {B, C}
    assert publisher.read(ZONE, owner).records == there | {B, C}
    assert updates(publisher) == 2


@pytest.mark.real_dns
def test_the_second_no_counts(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    asked = []

    def ask(before, _after):
        asked.append(before)
        if len(asked) > 1:
            raise RefusedError("no, not any more")
        dns_world.update(owner, add=[B])

    with pytest.raises(RefusedError, match="not any more"):
        apply(primary(), owner, "present", C, ask=ask)
    assert primary().read(ZONE, owner).records == {A, B}


@pytest.mark.real_dns
def test_an_endless_conflict_ends(dns_world, primary, owner):
    publisher, digests = primary(), iter("0123456789")

    def ask(_before, _after):
        dns_world.update(owner, add=[Record(3, 1, 1, next(digests) * 64)])

    with pytest.raises(UpdateError, match="5 times in a row") as caught:
        apply(publisher, owner, "present", C, ask=ask)
    assert caught.value.fields["rcode"] == "NXRRSET"
    assert updates(publisher) == 5


@pytest.mark.real_dns
def test_a_conflict_is_an_error_of_its_own(dns_world, primary, owner):
    dns_world.update(owner, add=[A])
    for expected in (frozenset(), frozenset({A, B}), frozenset({B})):
        with pytest.raises(_update.Conflict, match="somebody else has changed it"):
            primary().change(ZONE, owner, 10, add=[C], expected=expected)
    assert primary().read(ZONE, owner).records == {A}


class Deaf:
    """A publisher whose server says yes and does nothing."""

    name = "deaf"

    def __init__(self, records):
        self.served = _update.Served(frozenset(records), 10)
        self.changes = 0

    def read(self, _zone, _owner):
        return self.served

    def change(self, *_args):
        self.changes += 1


def test_a_yes_without_effect_is_not_believed():
    publisher = Deaf([A])
    with pytest.raises(UpdateError, match="was not, or did not become"):
        apply(publisher, "x.", "present", B)
    assert publisher.changes == _update.ATTEMPTS


# ---- every refusal has a name


@pytest.mark.real_dns
@pytest.mark.parametrize("publisher, rcode, text", [
    ({"key_name": "stranger."}, "REFUSED", "the server does not let key stranger. change TLSA records of this name"),
    ({"key_name": None}, "REFUSED", "the server does not let a message without a key change"),
    ({"key_name": "unknown."}, "BADKEY", "the server does not know key unknown. with hmac-sha256"),
    ({"key_algorithm": "hmac-sha512"}, "BADKEY", "the server does not know key dane. with hmac-sha512"),
    ({"key_secret": lab.OTHER_SECRET}, "BADSIG", "the server's secret for key dane. is another"),
    ({"server": "192.0.2.10"}, "", "Name the primary server of zone example.test."),
    ({"server": lab.NOT_VALIDATING}, "BADSIG", "the answer is not signed with key dane."),
    ({"server": lab.CLOSED}, "", "connection refused: nothing listens there"),
])
def test_refusals(primary, owner, publisher, rcode, text):
    with pytest.raises(UpdateError) as caught:
        apply(primary(**publisher), owner, "present", A)
    assert text in str(caught.value)
    assert caught.value.fields["rcode"] == rcode
    assert caught.value.fields["server"] == publisher.get("server", lab.PRIMARY)
    assert owner in str(caught.value)
    assert primary().read(ZONE, owner).records == frozenset()


@pytest.mark.real_dns
def test_a_name_outside_the_zone(primary):
    with pytest.raises(UpdateError, match="NOTZONE: the name is not in zone example.test.") as caught:
        primary().change(ZONE, "_25._tcp.mx1.other.test.", 10, add=[A])
    assert caught.value.fields["rcode"] == "NOTZONE"


@pytest.mark.real_dns
def test_a_zone_the_server_is_not_primary_of(primary):
    with pytest.raises(UpdateError, match="the server is not the primary of zone nowhere.test."):
        primary().change("nowhere.test.", "x.nowhere.test.", 10, add=[A])


@pytest.mark.real_dns
def test_a_zone_that_takes_no_updates(primary):
    with pytest.raises(UpdateError, match="REFUSED: .*insecure|REFUSED: the server does not let"):
        _update.apply(primary(), "insecure.test.", "_25._tcp.new.insecure.test.", "present", [A])


@pytest.mark.real_dns
@pytest.mark.parametrize("offset", [-1000, 1000])
def test_clocks_that_differ(primary, owner, monkeypatch, offset):
    real = dns.tsig.sign
    monkeypatch.setattr(dns.tsig, "sign", lambda wire, key, rdata, now=None, *rest: real(
        wire, key, rdata, int(time.time()) + offset, *rest))
    with pytest.raises(UpdateError, match="BADTIME: the clocks here and there differ by more than 300 s") as caught:
        apply(primary(), owner, "present", A)
    assert caught.value.fields["rcode"] == "BADTIME"


def answering(rcode, keep_silent=False):
    """A script for a server that answers every update so, unsigned."""
    async def script(wire, tcp, ask):
        if lab.Asked.read(wire, "", tcp).rdtype != "UPDATE":
            return await ask()
        if keep_silent:
            return None
        return wire[:2] + bytes([wire[2] | 0x80, rcode]) + bytes(8)
    return script


@pytest.mark.real_dns
@pytest.mark.parametrize("rcode", [
    dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTZONE,
    dns.rcode.NOTIMP + 7])
def test_every_rcode_has_a_meaning_and_a_next_step(primary, owner, rcode):
    name = dns.rcode.to_text(rcode)
    with pytest.raises(UpdateError, match=f"Cannot change '{owner}' on 192.0.2.1: {name}: .*[.] [A-Z]") as caught:
        apply(primary(scripted={lab.PRIMARY: answering(rcode)}), owner, "present", A)
    assert caught.value.fields["rcode"] == name


@pytest.mark.real_dns
def test_an_unsigned_yes_is_not_believed(primary, owner):
    with pytest.raises(UpdateError, match="BADSIG: the answer is not signed with key dane."):
        apply(primary(scripted={lab.PRIMARY: answering(dns.rcode.NOERROR)}), owner, "present", A)


@pytest.mark.real_dns
def test_no_answer_to_an_update_leaves_it_open(primary, owner):
    publisher = primary(scripted={lab.PRIMARY: answering(0, keep_silent=True)})
    with pytest.raises(UpdateError, match="on 192.0.2.1: no answer over TCP within 5 s.*not known: run again"):
        apply(publisher, owner, "present", A)


@pytest.mark.real_dns
def test_a_server_that_never_answers(dns_world, owner):
    settings = dns_world.settings(timeout=0.1)
    publisher = _update.Rfc2136(lab.BLACKHOLE, key_name="dane.", key_secret=lab.SECRET, settings=settings)
    with pytest.raises(UpdateError, match="Cannot read .* on 192.0.2.99: timeout after 3 tries. See that it runs"):
        apply(publisher, owner, "present", A)


# ---- keys


@pytest.mark.parametrize("key", [
    {"key_secret": None}, {"key_secret": ""}, {"key_secret": "not base64!"}, {"key_secret": lab.SECRET[:-2]},
    {"key_algorithm": "hmac-sha3"}, {"key_name": "a..b"}])
def test_a_key_that_cannot_be_used(key):
    with pytest.raises(UpdateError, match="Cannot use TSIG key"):
        _update.Rfc2136(lab.PRIMARY, **{"key_name": "dane.", "key_secret": lab.SECRET, **key})


@pytest.mark.real_dns
@pytest.mark.parametrize("key", [
    {"key_secret": "canary" + lab.OTHER_SECRET[6:]}, {"key_secret": "canary!"},
    {"key_name": "canary.", "key_secret": lab.SECRET},
])
def test_the_secret_is_in_no_error(primary, owner, key):
    with pytest.raises(UpdateError) as caught:
        apply(primary(**key), owner, "present", A)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value.fields)
    # A name of the same form would be shown: the test can see what it looks for.
    assert ("canary" in text) == (key.get("key_name") == "canary.")
    assert lab.SECRET not in text


# ---- plans


RECORDS = st.sets(st.sampled_from([A, B, C, FULL, MALFORMED]))


@given(
    RECORDS, RECORDS, st.sampled_from(["present", "absent", "exact"]), st.sampled_from([None, 10, 60]), st.booleans())
def test_plans(there, wanted, state, ttl, wildcard):
    served = _update.Served(frozenset(there), 10, wildcard)
    after, add, remove = _update.plan(served, state, wanted, ttl)
    own = set() if wildcard else there
    assert after.records == (own - remove) | add
    assert after.records == {"present": own | wanted, "absent": own - wanted, "exact": wanted}[state]
    # Nobody else's record is touched, whatever is removed is there, and a second plan has nothing left to do.
    assert remove <= own
    if state == "present":
        assert not remove
    assert not after.wildcard
    if after.records:
        assert _update.plan(after, state, wanted, ttl)[1:] == (frozenset(), frozenset())


def test_lines_of_a_diff():
    served = _update.Served(frozenset({B, A}), 10)
    assert served.lines("_25._tcp.mx1.example.test.") == [
        f"_25._tcp.mx1.example.test. 10 IN TLSA 3 1 1 {lab.DIGEST_A}",
        f"_25._tcp.mx1.example.test. 10 IN TLSA 3 1 1 {lab.DIGEST_B}"]
