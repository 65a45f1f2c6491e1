# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which lineage is whose."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _lineages
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from rollover_values import OWNER, T0, TIMING, chain, look, outcome, record, version

MX = "mx1.example.test"
E1, E2 = chain("e1"), chain("e2")
R1, R2 = chain("r1", algorithm="rsa"), chain("r2", algorithm="rsa")
OPEN = {"id": "1", "kind": "rekey", "target_spki": "", "started": T0}


def lineage(name, of, made=T0 - 1):
    """A lineage that exists."""
    return {"lineage": name, "spki": of.spki, "spki512": "", "algorithm": of.algorithm, "made": made}


def file(*chains):
    """The keys in the chain file."""
    return [{"spki": one.spki, "algorithm": one.algorithm} for one in chains]


def ledger(presented=(), records=(), retired=(), ours=()):
    """A ledger whose last looks saw this."""
    chains = Chains()
    if presented:
        chains = chains.observe(
            [outcome(T0, one, algorithm=one.algorithm) for one in presented], TIMING, nothing_before=True)
    made = Ledger(chains=chains, retired=frozenset(one.spki for one in retired))
    if records:
        made = made.with_name(Name(OWNER).observe(look(T0, version(*records)), TIMING))
    return made.with_published(OWNER, ours).to_dict()


def host(told, in_file=(), **more):
    """The host of `_plan`."""
    return {"ledger": told, "file_keys": file(*in_file), "owners": [OWNER], **more}


def units(keys, wanted, presented=(), retired=(), in_file=(), **more):
    return _lineages.of_algorithms(keys, MX, wanted, host(ledger(presented, retired=retired, **more), in_file))


def of(algorithm, found):
    (unit,) = [unit for unit in found if unit["algorithm"] == algorithm]
    return unit


# -------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("wanted", [[], ["ecdsa"], ["rsa"], ["ecdsa", "rsa"], ["rsa", "ecdsa"]])
def test_types_that_can_be_had(wanted):
    assert _lineages.impossible_types(wanted) == []


@pytest.mark.parametrize("wanted", [["ed25519"], ["ecdsa", "ecdsa"], "rsa", ["ECDSA"], [["rsa"]], {"rsa": 1}, [None]])
def test_types_that_cannot(wanted):
    (said,) = _lineages.impossible_types(wanted)
    assert said.startswith("dane_key_types: Cannot use") and "ecdsa and rsa" in said


def test_every_directory_that_a_host_may_have():
    assert _lineages.directories("mx") == ["mx", "mx-2", "mx-ecdsa", "mx-ecdsa-2", "mx-rsa", "mx-rsa-2"]


# ----------------------------------------------------------------------------------------------------- what is served now


def served(keys=(), presented=(), records=(), in_file=(), **more):
    return _lineages.served(list(keys), host(ledger(presented, records, **more), in_file))


def test_a_virgin_host_gets_ecdsa_whatever_its_own_certificate_is():
    assert served() == ["ecdsa"]
    assert served(presented=[R1]) == served(in_file=[R1]) == served(presented=[R1], in_file=[R1]) == ["ecdsa"]


def test_a_lineage_is_adopted_whatever_its_key_is():
    assert served([lineage(MX, R1)], presented=[R1]) == ["rsa"]
    assert served([lineage(MX, R1)]) == ["rsa"]
    assert served([lineage(MX, R1), lineage(MX + "-2", E1)], presented=[E1]) == ["ecdsa"]


def test_a_retired_key_says_nothing():
    assert served([lineage(MX, R1)], retired=[R1]) == ["ecdsa"]


def test_keys_in_the_file_that_certbot_has_or_that_are_published():
    assert served([lineage(MX, E1)], in_file=[R1, E1], presented=[R1, E1]) == ["ecdsa"]
    assert served([lineage(MX, E1), lineage(MX + "-rsa", R1)], in_file=[R1, E1]) == ["rsa", "ecdsa"]
    assert served(in_file=[R1, E1], presented=[R1, E1], records=[record("e1"), record("r1")]) == ["rsa", "ecdsa"]
    assert served(in_file=[R1, E1], presented=[R1, E1], records=[record("r1")]) == ["rsa"]


def test_before_there_is_a_file_what_is_presented_and_published():
    assert served(presented=[R1, E1], records=[record("e1"), record("r1")]) == ["ecdsa", "rsa"]
    assert served(presented=[R1], records=[record("stranger")]) == ["ecdsa"]


def test_under_dane_the_file_counts_even_when_all_records_went():
    assert served(presented=[R1], in_file=[R1], ours=[record("r1")]) == ["rsa"]


def test_what_nobody_can_make_is_not_kept():
    other = chain("x", algorithm="ed25519")
    assert served([lineage(MX, other)], in_file=[other]) == ["ecdsa"]


# ------------------------------------------------------------------------------------------------------------- lineages


def test_two_take_turns():
    first = of("ecdsa", units([lineage(MX, E1)], ["ecdsa"], in_file=[E1]))
    assert first == {"algorithm": "ecdsa", "current": MX, "fresh": "", "standby": "", "other": MX + "-2", "other_exists": False}
    second = of("ecdsa", units([lineage(MX, E1), lineage(MX + "-2", E2)], ["ecdsa"], in_file=[E2], retired=[E1]))
    assert second == {"algorithm": "ecdsa", "current": MX + "-2", "fresh": "", "standby": "", "other": MX, "other_exists": True}


def test_a_virgin_host_has_the_first_names_for_its_first_type():
    found = units([], ["rsa", "ecdsa"])
    assert [(unit["algorithm"], unit["other"], unit["current"]) for unit in found] == [
        ("rsa", MX, ""), ("ecdsa", MX + "-ecdsa", "")]


@pytest.mark.parametrize("bare, more", [((E1, E2), (R1, R2)), ((R1, R2), (E1, E2))])
def test_another_type_has_lineages_of_its_own(bare, more):
    kind = more[0].algorithm
    keys = [lineage(MX, bare[0])]
    added = units(keys, [kind, bare[0].algorithm], in_file=[bare[0]])
    assert [unit["algorithm"] for unit in added] == [bare[0].algorithm, kind], "in the order of the file"
    assert of(kind, added) == {
        "algorithm": kind, "current": "", "fresh": "", "standby": "", "other": f"{MX}-{kind}", "other_exists": False}
    keys += [lineage(f"{MX}-{kind}", more[0])]
    assert of(kind, units(keys, [kind], in_file=[bare[0]]))["current"] == f"{MX}-{kind}", "made, and not served yet"
    both = units(keys, [bare[0].algorithm, kind], in_file=[bare[0], more[0]])
    assert [unit["other"] for unit in both] == [MX + "-2", f"{MX}-{kind}-2"]
    keys += [lineage(MX + "-2", bare[1]), lineage(f"{MX}-{kind}-2", more[1])]
    ready = units(keys, [bare[0].algorithm, kind], in_file=[bare[0], more[0]])
    assert [unit["fresh"] for unit in ready] == [MX + "-2", f"{MX}-{kind}-2"]


def test_the_name_of_a_lineage_says_nothing_about_its_key():
    keys = [lineage(MX, E1), lineage(MX + "-rsa", E2)]
    assert of("rsa", units(keys, ["ecdsa", "rsa"], in_file=[E1]))["current"] == ""
    assert of("ecdsa", units(keys, ["ecdsa"], in_file=[E2]))["current"] == MX + "-rsa"


def test_a_key_that_is_served_is_never_replaced():
    """Somebody has put an RSA key into the lineage that takes turns with the ECDSA key's."""
    keys = [lineage(MX, E1), lineage(MX + "-2", R1)]
    found = units(keys, ["ecdsa", "rsa"], in_file=[E1, R1])
    assert of("ecdsa", found)["other"] == MX + "-ecdsa" and of("rsa", found)["other"] == MX + "-rsa"
    unserved = of("ecdsa", units(keys, ["ecdsa"], in_file=[E1]))
    assert (unserved["other"], unserved["other_exists"]) == (MX + "-2", True)
    full = [lineage(MX + more, chain(more, algorithm="ecdsa")) for more in ("", "-2", "-ecdsa", "-ecdsa-2")]
    everywhere = [chain(more, algorithm="ecdsa") for more in ("", "-2", "-ecdsa", "-ecdsa-2")]
    with pytest.raises(_lineages.LineageError, match="all lineages of that name are served"):
        units(full, ["ecdsa"], in_file=everywhere)


def test_what_is_presented_or_retired_is_not_fresh():
    keys = [lineage(MX, E1), lineage(MX + "-2", E2)]
    assert of("ecdsa", units(keys, ["ecdsa"], in_file=[E1]))["fresh"] == MX + "-2"
    assert of("ecdsa", units(keys, ["ecdsa"], in_file=[E1], retired=[E2]))["fresh"] == ""
    assert of("ecdsa", units(keys, ["ecdsa"], in_file=[E1], presented=[E2]))["fresh"] == ""


def test_a_key_that_was_removed_is_not_taken_up_again():
    keys = [lineage(MX, E1), lineage(MX + "-rsa", R1)]
    assert of("rsa", units(keys, ["ecdsa", "rsa"], in_file=[E1], retired=[R1])) == {
        "algorithm": "rsa", "current": "", "fresh": "", "standby": "", "other": MX + "-rsa", "other_exists": True}


# ---------------------------------------------------------------------------------------------------------------- a rekey

BOTH = [lineage(MX, E1), lineage(MX + "-rsa", R1)]
MADE = [*BOTH, lineage(MX + "-2", E2, T0), lineage(MX + "-rsa-2", R2, T0)]


def following(keys, target=None, in_file=(E1, R1), retired=(), kind="rekey", given=False, **more):
    found = units(keys, ["ecdsa", "rsa"], in_file=in_file, retired=retired, **more)
    operation = {**OPEN, "target_spki": target.spki if target else "", "kind": kind}
    return [unit["next"] for unit in _lineages.following(
        found, keys, host(None, in_file, operation=operation), given)]


def test_a_rekey_makes_every_key():
    assert following(BOTH) == ["", ""]


def test_a_run_that_died_goes_on_with_what_it_made():
    assert following([*BOTH, MADE[2]]) == [MX + "-2", ""]
    assert following([*BOTH, MADE[2]], E2) == [MX + "-2", ""]
    assert following(MADE, E2) == [MX + "-2", MX + "-rsa-2"]
    assert following(MADE, R2) == [MX + "-2", MX + "-rsa-2"], "whichever of them was noted"


def test_an_older_key_was_not_made_for_it():
    older = [*BOTH, lineage(MX + "-2", E2, T0), lineage(MX + "-rsa-2", R2, T0 - 1)]
    assert following(older) == [MX + "-2", ""]
    assert following([*BOTH, lineage(MX + "-2", E2, T0 - 1)], E2) == [MX + "-2", ""], "but one that was noted is it"


def test_after_the_deployment_all_of_them_are_served():
    """The old keys may not be retired yet; one of them must not be taken for the next."""
    assert following(MADE, E2, in_file=(E2, R2)) == [MX + "-2", MX + "-rsa-2"]
    younger = [lineage(MX, E1, T0 + 9), lineage(MX + "-rsa", R1, T0 + 9), *MADE[2:]]
    assert following(younger, E2, in_file=(E2, R2)) == [MX + "-2", MX + "-rsa-2"]


def test_a_noted_key_that_is_nowhere_makes_no_other():
    assert following(BOTH, chain("lost")) == ["", ""]


# ------------------------------------------------------------------------------------------------------------- standbys


def spki_record(of):
    return Record.parse(f"3 1 1 {of.spki}")


OLDER = [*BOTH, lineage(MX + "-2", E2), lineage(MX + "-rsa-2", R2)]


def test_each_algorithm_has_a_standby():
    found = units(OLDER, ["ecdsa", "rsa"], in_file=[E1, R1], ours=[spki_record(E2), spki_record(R2)])
    assert [unit["standby"] for unit in found] == [MX + "-2", MX + "-rsa-2"]
    one = units(OLDER, ["ecdsa", "rsa"], in_file=[E1, R1], ours=[spki_record(R2)])
    assert [unit["standby"] for unit in one] == ["", MX + "-rsa-2"]
    assert _lineages.standbys(found, [], True) == [
        {"lineage": MX + "-2", "exists": True, "algorithm": "ecdsa", "other_exists": True},
        {"lineage": MX + "-rsa-2", "exists": True, "algorithm": "rsa", "other_exists": True}]
    assert [part["exists"] for part in _lineages.standbys(one, [], True)] == [False, True]
    assert [part["lineage"] for part in _lineages.standbys(one, [], False)] == [MX + "-rsa-2"]
    assert _lineages.standbys(found, [MX + "-2", MX + "-rsa-2"], False) == []


def test_in_check_mode_the_standby_is_not_the_first_lineage():
    """None is there yet, and the first will be the one to be served."""
    none = units([], ["ecdsa", "rsa"])
    assert [part["lineage"] for part in _lineages.parts(none, "current")] == [MX, MX + "-rsa"]
    assert [part["lineage"] for part in _lineages.standbys(none, [], True)] == [MX + "-2", MX + "-rsa-2"]


def test_what_comes_to_be_served_is_no_standby():
    """Published and not served yet: a key type that is being added."""
    found = units([lineage(MX, E1), lineage(MX + "-rsa", R1)], ["ecdsa", "rsa"], in_file=[E1], ours=[spki_record(R1)])
    assert (found[1]["current"], found[1]["standby"]) == (MX + "-rsa", "")


def test_the_standby_of_a_key_whose_lineage_is_lost():
    """It is all that is left, and a rekey takes it at once; no other is made beside it."""
    keys = [lineage(MX + "-2", E2)]
    told = host(ledger([E1], ours=[spki_record(E1), spki_record(E2)]), [E1], operation=OPEN)
    found = _lineages.of_algorithms(keys, MX, ["ecdsa"], told)
    assert [(unit["current"], unit["standby"]) for unit in found] == [(MX + "-2", MX + "-2")]
    assert [unit["next"] for unit in _lineages.following(found, keys, told)] == [MX + "-2"]
    assert [part["exists"] for part in _lineages.standbys(found, [], True)] == [True]
    burnt = {**told, "operation": {**OPEN, "kind": "compromise"}}
    assert [unit["next"] for unit in _lineages.following(found, keys, burnt)] == [""]


def test_a_rekey_takes_the_standbys():
    ours = [spki_record(E2), spki_record(R2)]
    assert following(OLDER, ours=ours) == [MX + "-2", MX + "-rsa-2"]
    assert following(OLDER, E2, ours=ours) == [MX + "-2", MX + "-rsa-2"]
    assert following(OLDER, ours=ours[:1]) == [MX + "-2", ""]
    assert following(OLDER, ours=ours, given=True) == ["", ""], "who gives a key wants that one"


def test_after_a_compromise_no_standby_is_taken():
    ours = [spki_record(E2), spki_record(R2)]
    assert following(OLDER, ours=ours, kind="compromise") == ["", ""]
    assert following(MADE, ours=ours, kind="compromise") == [MX + "-2", MX + "-rsa-2"], "but what was made for it"


def test_the_files_of_a_chain_file():
    found = units([lineage(MX, E1)], ["ecdsa", "rsa"], in_file=[E1])
    told = _lineages.parts(found, "current")
    assert told == [{"lineage": MX, "exists": True}, {"lineage": MX + "-rsa", "exists": False}]
    assert _lineages.chain_files(told, "/le/live")[1] == {
        "privatekey_path": f"/le/live/{MX}-rsa/privkey.pem", "certificate_path": f"/le/live/{MX}-rsa/cert.pem",
        "issuers": [f"/le/live/{MX}-rsa/chain.pem"]}


def test_the_lineages_that_have_a_key():
    found = ["1700000000.5000000000 /le/live/mail-2/privkey.pem", "1.0 /le/live/mail-2/cert.pem",
             "2.0 /le/live/mail/cert.pem", "3.0 /le/live/mail-rsa/privkey.pem", "4.0 /le/renewal/mail.conf"]
    assert _lineages.there(_lineages.directories("mail"), found, "/le/live") == [
        {"name": "mail-2", "made": 1700000000.5}, {"name": "mail-rsa", "made": 3.0}]
