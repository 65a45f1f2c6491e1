# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written into a playbook by hand, through the modules as Ansible runs them: never a traceback.

Each module is given options that work, and then the same with one value changed, left out or added, at any depth.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import time
import traceback
from unittest import mock

import pki
import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils import basic
from ansible_collections.mailops.dane.plugins.action import tlsa_wait as action
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _dns, _gate, _update
from ansible_collections.mailops.dane.plugins.module_utils._errors import RecordError
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Timing, Version
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from ansible_collections.mailops.dane.plugins.modules import (
    chain_assemble,
    chain_deploy,
    dane_ledger,
    tlsa_record,
    tlsa_wait,
)
from hostile import ODD, changed, check_message, examples, hand_edited, json_values, refusal_or, without
from hypothesis import assume, example, given
from hypothesis import strategies as st
from rollover_values import TIMING, chain, look, record, version

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

OWNER = "_25._tcp.mx1.example.test."
ROOT = pki.root("Root of bad options")
LEAF_A, LEAF_B = (pki.leaf(ROOT, private=pki.key(f"bad options {key}")) for key in "AB")
FILE_A, FILE_B = (leaf.key_pem + leaf.pem + ROOT.pem for leaf in (LEAF_A, LEAF_B))
SPKI_A, SPKI_B = (_chain.spki_digest(pki.spki(leaf.key)) for leaf in (LEAF_A, LEAF_B))
BOTH = version(*(Record(3, 1, 1, spki) for spki in (SPKI_A, SPKI_B)))


def run(module, arguments, check=False):
    """The module's result (dict). It ends by exit_json or fail_json, or it is a traceback."""
    arguments = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
    out = io.StringIO()
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
        with contextlib.redirect_stdout(out), module_arguments(arguments), pytest.raises(SystemExit):
            module.main()
    except (OverflowError, UnicodeEncodeError, ValueError, TypeError) as exc:
        # What no module is ever given; and what ansible-core itself ends at before the module begins: infinity and
        # endless digits for a whole number, true for a dictionary.
        places = [frame.filename for frame in traceback.extract_tb(exc.__traceback__)]
        assert places[-1] == __file__ or "integer string conversion" in str(exc) or any(
            place.endswith(("/arg_spec.py", "/common/parameters.py")) for place in places), exc
        return {"failed": True, "msg": "not given to the module"}
    result = json.loads(out.getvalue())
    if result.get("failed"):
        by_core = result["msg"].startswith("Could not replace file")
        assert (by_core or "exception" not in result) and "Traceback" not in result["msg"], result
        # The project's own form, or Ansible's words for an option of the wrong type.
        assert re.match(r"Cannot \w+ .", result["msg"], re.DOTALL) or ANSIBLES.search(result["msg"]), result["msg"][:300]
    return result


ANSIBLES = re.compile(
    r"required|Could not replace file|unable to convert|Unsupported parameters|value of \S+ must be one of|mutually exclusive|"
    r"dictionary requested|cannot be converted|could not be converted|Elements value for option|of type|must be|expected|"
    r"not given to the module|ch(?:mod|own|grp) failed|failed to look up",
    re.IGNORECASE)


class Site:
    """Files of a host, a daemon that presents its chain file, and DNS servers that say what they are told."""

    def __init__(self, directory, patch):
        self.directory = directory
        self.dest, self.src, self.ledger = (str(directory / name) for name in ("chain.pem", "candidate.pem", "ledger.json"))
        patch.setattr(_gate._probe, "look", self.presented)
        patch.setattr(_gate, "_run", self.command)
        patch.setitem(_gate.DAEMONS, "postfix", _gate.POSTFIX._replace(objections=lambda dest, run=None, managed=False: []))
        patch.setattr(_gate.open_ledger.__wrapped__, "__defaults__", (_gate.LEDGER_PATH, 1, True, time.time))
        patch.setattr(tlsa_wait._wait._dns, "look", self.looked)
        patch.setattr(tlsa_wait._wait._dns, "addresses_of", lambda names, settings=None: {
            name: _dns.Addresses(name, ("192.0.2.25",), "secure", 10) for name in names})
        self.reset()

    def reset(self):
        """Everything as in the beginning; other files are removed."""
        for name in os.listdir(self.directory):
            if os.path.isfile(self.directory / name):
                os.unlink(self.directory / name)
        for path, text in ((self.dest, FILE_A), (self.src, FILE_B), (self.ledger, json.dumps(self.known().to_dict()))):
            with open(path, "w", encoding="ascii") as stream:
                stream.write(text)
        self.reads = FILE_A

    @staticmethod
    def known():
        """A ledger that has known both records for long."""
        now = time.time()
        name = Name(OWNER).observe(look(now - 99, BOTH, owner=OWNER), TIMING)._replace(unknown_until=0.0)
        return Ledger().with_name(name)

    def files(self):
        return {name: (self.directory / name).read_bytes() for name in os.listdir(self.directory)
                if os.path.isfile(self.directory / name) and not name.endswith(".lock")}

    def command(self, command):
        if "reload" in command:
            with open(self.dest, encoding="ascii") as stream:
                self.reads = stream.read()
        return 0, ""

    def presented(self, endpoints, handshakes=1, **_more):
        described = _chain.describe(_chain.load_certificates(self.reads, "daemon"), [pki.NAME], pki.NOW)
        return [{"endpoint": endpoint, "at": time.time(), "detail": "", "chain": described, "outcome": "chain"}
                if endpoint["algorithm"] == "ecdsa" else
                {"endpoint": endpoint, "at": time.time(), "detail": "", "chain": None, "outcome": "no-chain-for-algorithm"}
                for endpoint in endpoints]

    @staticmethod
    def looked(names, settings=None, leaving=None):
        return {_dns.canonical(name): _dns.Look(
            _dns.canonical(name), "example.test.", "secure", time.time(), tuple(look(0, BOTH)["servers"])) for name in names}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("site")
        # Where the files go that a relative path names.
        patch.chdir(directory)
        yield Site(directory, patch)


ENDPOINTS = {"names": [{"name": pki.NAME, "addresses": ["192.0.2.25"], "ttl": 10}],
             "services": [{"port": 25, "starttls": "smtp"}]}
SMALL = {"factor": 1, "floor": 0, "slack": 0, "linger": 0, "ceiling": 0}
WAIVE = [{"what": "server", "name": "192.0.2.1", "until": "2999-12-31", "reason": "gone"}]


def options_of(site):
    """Options that work, for each module."""
    now = time.time()
    return {
        "chain_deploy": (chain_deploy, {
            "src": site.src, "dest": site.dest, "ledger": site.ledger, "looks": [look(now, BOTH, owner=OWNER)],
            "handshake_timeout": 1, "timing": SMALL, "waive": WAIVE, "expected_spki": SPKI_B, **ENDPOINTS}),
        "dane_ledger": (dane_ledger, {
            "path": site.ledger, "looks": [look(now, BOTH, owner=OWNER)],
            "memories": {OWNER: site.known().name(OWNER).to_dict()},
            "intents": {OWNER: [BOTH.to_dict()]}, "settled": {OWNER: [BOTH.to_dict()]},
            "published": {OWNER: [f"3 1 1 {SPKI_A}"]}, "retire": ["ab" * 32],
            "operation": {"id": "1", "kind": "rekey", "target_spki": SPKI_B, "started": now}, "chain_file": site.dest,
            "lineages": [str(site.directory / "live" / pki.NAME)],
            "service": "postfix", "timing": SMALL, "waive": WAIVE, "clock": now, **ENDPOINTS}),
        "tlsa_wait": (tlsa_wait, {
            "names": [OWNER], "memories": {OWNER: site.known().name(OWNER).to_dict()}, "timing": SMALL, "waive": WAIVE,
            "candidates": {OWNER: [{"host": "mx1", "chain": chain("B").to_dict(), "replaced": [chain("A").to_dict()]}]},
            "resolver": ["192.0.2.53"], "query_timeout": 1.0, "ip_versions": [4]}),
        "chain_assemble": (chain_assemble, {
            "privatekey_path": site.src, "certificate_path": site.src, "base_domains": [pki.NAME], "dest": site.dest,
            "valid_for": 60, "combinations": ["3 1 1"], "mode": "0600", "issuers": [site.src],
            "_ansible_remote_tmp": str(site.directory)}),
    }


@pytest.mark.parametrize("name", ["chain_deploy", "dane_ledger", "tlsa_wait", "chain_assemble"])
def test_the_options_work_as_they_are(site, name):
    site.reset()
    module, options = options_of(site)[name]
    result = run(module, options)
    assert not result.get("failed"), result


@pytest.mark.parametrize("name", ["chain_deploy", "dane_ledger", "tlsa_wait", "chain_assemble"])
@given(data=st.data())
@examples(80)
def test_options_edited_by_hand(site, name, data):
    """The module does what it should or refuses. A refusal leaves the chain file alone and the ledger readable."""
    site.reset()
    module, options = options_of(site)[name]
    edited = data.draw(hand_edited(options))[0]
    assume(isinstance(edited, dict))
    check_run(site, module, edited, data.draw(st.booleans()))


def check_run(site, module, options, check=False):
    before = site.files()
    result = run(module, options, check)
    after = site.files()
    if check or result.get("failed"):
        assert after["chain.pem"] == before["chain.pem"]
    if check or (result.get("failed") and module is not chain_deploy):
        assert after == before
    assert _gate.OpenLedger(site.ledger).lost is None
    return result


@pytest.mark.parametrize("new", ODD, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("module, where", [
    ("chain_deploy", ("looks",)), ("chain_deploy", ("looks", 0)), ("chain_deploy", ("looks", 0, "taken_at")),
    ("chain_deploy", ("looks", 0, "servers")), ("chain_deploy", ("looks", 0, "servers", 0)),
    ("chain_deploy", ("looks", 0, "servers", 0, "version")), ("chain_deploy", ("looks", 0, "owner")),
    ("chain_deploy", ("handshake_timeout",)), ("chain_deploy", ("services", 0, "port")), ("chain_deploy", ("names", 0, "name")),
    ("dane_ledger", ("looks", 0, "taken_at")), ("dane_ledger", ("published", OWNER)), ("dane_ledger", ("operation", "started")),
    ("dane_ledger", ("retire",)), ("dane_ledger", ("services", 0, "port")), ("dane_ledger", ("chain_file",)),
    ("dane_ledger", ("lineages",)), ("dane_ledger", ("lineages", 0)),
    ("dane_ledger", ("path",)), ("dane_ledger", ("clock",)), ("dane_ledger", ("memories", OWNER)), ("tlsa_wait", ("names",)),
    ("tlsa_wait", ("memories", OWNER)), ("tlsa_wait", ("candidates", OWNER)), ("tlsa_wait", ("query_timeout",)),
    ("chain_assemble", ("valid_for",)), ("chain_assemble", ("issuers",)), ("chain_assemble", ("certificate_path",)),
], ids=lambda value: "/".join(map(str, value)) if isinstance(value, tuple) else value)
def test_each_odd_value_at_each_door(site, module, where, new):
    if isinstance(new, str) and where[-1] == "path":
        return  # a ledger of any name may be made
    site.reset()
    module, options = options_of(site)[module]
    check_run(site, module, changed(options, where, new))


@pytest.mark.parametrize("wrong, says", [
    ([{}], r"looks\[0\].*owner"),
    ([None], "looks"),
    ([{"owner": OWNER}], r"looks\[0\].*taken_at'? is missing"),
    ([without(look(time.time(), BOTH, owner=OWNER), ("servers", 0, "outcome"))], r"looks\[0\].*outcome'? is missing"),
    ([{**look(time.time(), BOTH, owner=OWNER), "servers": "none"}], r"looks\[0\]"),
    ([{**look(time.time(), BOTH, owner=OWNER), "taken_at": float("nan")}], r"looks\[0\].*(seconds|time)"),
])
@pytest.mark.parametrize("name", ["chain_deploy", "dane_ledger"])
def test_malformed_looks_name_the_place_and_the_next_step(site, name, wrong, says):
    site.reset()
    module, options = options_of(site)[name]
    result = check_run(site, module, {**options, "looks": wrong})
    assert result["failed"] and re.search(says, result["msg"]), result["msg"]
    if wrong != [None]:
        assert "tlsa_wait" in result["msg"]


def test_the_age_of_the_key_is_told_to_whoever_asks(site):
    site.reset()
    module, options = options_of(site)["dane_ledger"]
    shutil.rmtree(site.directory / "first", ignore_errors=True)
    begun = _chain.load_certificates(FILE_A, "file")[0].not_before
    assert run(module, options, check=True)["key_since"] == begun and not (site.directory / "first").exists()
    assert run(module, options)["key_since"] == begun
    assert (site.directory / "first" / f"{SPKI_A}.pem").exists()
    assert run(module, options)["lineage_keys"] == []
    told = run(module, without(options, ("lineages",)))
    assert "key_since" not in told and "lineage_keys" not in told


def test_what_cannot_be_kept_leaves_the_ledger_as_it_was(site):
    site.reset()
    shutil.rmtree(site.directory / "first", ignore_errors=True)
    (site.directory / "first").write_text("in the way")
    module, options = options_of(site)["dane_ledger"]
    result = check_run(site, module, options)
    (site.directory / "first").unlink()
    assert result["failed"] and result["msg"].startswith("Cannot write") and "first" in result["msg"]


@pytest.mark.parametrize("digest", ["abc", "AB" * 32, "ab" * 31, "ab" * 33, "3 1 1 " + "ab" * 32, ""])
def test_a_key_to_retire_is_a_digest(site, digest):
    """Anything else would be written down and never be found again."""
    site.reset()
    module, options = options_of(site)["dane_ledger"]
    result = check_run(site, module, {**options, "retire": [digest]})
    assert result["failed"] and "retire" in result["msg"], result


LOST = ["", "{", "\x00" * 100, "[" * 100000, '{"format": 99}', '{"format": 1, "names": {}}', "null", "\ufeff{}"]


@pytest.mark.parametrize("text", LOST, ids=lambda text: f"{text!r:.20}")
@pytest.mark.parametrize("name", ["chain_deploy", "dane_ledger"])
def test_a_ledger_that_cannot_be_read_is_lost_for_the_modules_too(site, name, text):
    """No failure by itself: why is returned, the file is kept, and what is not known counts as dangerous."""
    site.reset()
    with open(site.ledger, "w", encoding="utf-8") as stream:
        stream.write(text)
    module, options = options_of(site)[name]
    result = run(module, {**options, "memories": {}, "timing": {}} if name == "dane_ledger" else {**options, "timing": {}})
    if name == "chain_deploy":
        assert result["failed"] and "this ledger has not seen" in result["msg"], result["msg"]
        assert result["answer"]["verdict"] == "no" and result["answer"]["safe_at"] > time.time()
    else:
        assert not result.get("failed") and result["lost"] and "kept" in result["lost"], result
    kept = [name for name in os.listdir(site.directory) if name.startswith("ledger.json.") and not name.endswith(".lock")]
    assert len(kept) == 1 and (site.directory / kept[0]).read_text() == text
    assert _gate.OpenLedger(site.ledger).lost is None


@pytest.mark.parametrize("place", ["directory", "below a file", "nul", "dangling link"])
@pytest.mark.parametrize("name, option", [
    ("chain_deploy", "src"), ("chain_deploy", "dest"), ("chain_deploy", "ledger"), ("dane_ledger", "path"),
    ("dane_ledger", "chain_file"), ("chain_assemble", "privatekey_path"), ("chain_assemble", "certificate_path"),
    ("chain_assemble", "dest"), ("chain_assemble", "issuers")])
def test_paths_that_lead_nowhere(site, name, option, place):
    site.reset()
    module, options = options_of(site)[name]
    path = {"directory": str(site.directory), "below a file": site.src + "/x", "nul": "/tmp/a\x00b",
            "dangling link": str(site.directory / "dangling")}[place]
    if place == "dangling link":
        os.symlink("/nonexistent/x", path)
    try:
        check_run(site, module, {**options, option: [path] if option == "issuers" else path})
    finally:
        if place == "dangling link":
            os.unlink(path)


# ---------------------------------------------------------------------------------------------------------- tlsa_record


async def nobody(_self, wire, address, port, tcp, timeout):
    """In the place of the transport: nothing listens anywhere."""
    raise ConnectionRefusedError(111, "Connection refused")


RECORD = {
    "records": [{"name": OWNER, "rdata": [f"3 1 1 {SPKI_A}"], "ttl": 10, "combination": ["3 1 1"], "port": 25}],
    "server": "192.0.2.1", "port": 53, "key_name": "dane.", "key_algorithm": "hmac-sha256", "key_secret": "AAAA",
    "zone": "example.test.", "timeout": 0.1, "query_timeout": 0.1, "resolver": ["192.0.2.53"], "extra_servers": [],
    "ip_versions": [4], "state": "present",
    "view": {OWNER: {"chains": [chain("A").to_dict()], "seen_at": 1.7e9, "versions": [BOTH.to_dict()], "chains_known": True,
                     "enabling": False, "retiring": False}},
}


@given(edition=hand_edited(RECORD))
@examples(60)
@example(edition=(changed(RECORD, ("timeout",), float("nan")), (), None))
@example(edition=(changed(RECORD, ("port",), 70000), (), None))
@example(edition=(changed(RECORD, ("records", 0, "rdata"), ["3 1 1 " + "9" * 5000, "9" * 5000 + " 1 1 ab"]), (), None))
@example(edition=(changed(RECORD, ("view",), {OWNER: {}, OWNER.upper(): {}}), (), None))
def test_tlsa_record_with_options_edited_by_hand(site, edition):
    assume(isinstance(edition[0], dict))
    with mock.patch.object(_dns.Transport, "exchange", nobody):
        result = run(tlsa_record, edition[0])
    # Nobody is there to be asked: what is not refused for itself ends with that.
    assert result.get("failed") or not edition[0].get("records") or edition[0].get("records") == "", result
    assert RECORD["key_secret"] * 2 not in json.dumps(result)


def test_one_owner_name_has_one_view():
    """Of two spellings one would be forgotten."""
    with pytest.raises(RecordError) as caught:
        tlsa_record.check_view({OWNER: VIEW, OWNER.upper().rstrip("."): VIEW})
    check_message(caught.value)


@pytest.mark.parametrize("path", ["/nonexistent", "/etc", "/tmp/a\x00b", __file__])
@pytest.mark.parametrize("option", ["certificate_path", "publickey_path"])
def test_tlsa_record_of_files_that_are_none(option, path):
    result = run(tlsa_record, changed(RECORD, ("records",), [{"name": OWNER, option: path}]))
    assert result["failed"] and repr(path) in result["msg"]


VIEW = {"chains": [chain("A").to_dict()], "seen_at": 1000.0, "chains_known": True, "versions": [
    version(record("A"), record("B")).to_dict()], "enabling": False, "retiring": False, "gone_at": {chain("A").id: 2000.0}}
SERVED = _update.Served(frozenset({record("A")}), 10)
NONE_LEFT = _update.Served(frozenset(), 10)


@given(hand_edited(VIEW))
@examples(300)
def test_a_view_edited_by_hand_never_lets_more_through(edition):
    """Removing the last record of a chain that is presented is refused, whatever the view says but for ``retiring``."""
    view, where, new = edition
    door = _update.Door({OWNER: view} if isinstance(view, dict) else {OWNER: {"chains": view}}, lambda: 1000.0)
    said = refusal_or(lambda: [door.ask(OWNER, SERVED, NONE_LEFT)])
    assert said is None or where[-1:] in (("retiring",), ("enabling",)) and new in (True, 1, "1", "true"), (where, new)
    # Another record in the same combination is always fine, if the view can be read and is fresh.
    more = refusal_or(lambda: [door.ask(OWNER, SERVED, _update.Served(SERVED.records | {record("B")}, 10))])
    if where[-1:] == ("seen_at",):
        assert more is None or abs(float(new) - 1000.0) <= Timing().view_max_age
    if where[-1:] == ("chains_known",) and more is not None:
        assert new in (True, False, 0, 1, None, "", " ", "0", "1", "true", "no", "without")


@pytest.mark.parametrize("new", [float("nan"), float("inf"), 10**400, "nan", None, True, [], -1])
def test_a_view_of_no_time_is_refused(new):
    door = _update.Door({OWNER: {**VIEW, "seen_at": new}}, lambda: 1000.0)
    with pytest.raises(_update.RefusedError) as caught:
        door.ask(OWNER, SERVED, _update.Served(SERVED.records | {record("B")}, 10))
    check_message(caught.value)


@pytest.mark.parametrize("word", ["false", "False", "no", "0", "off", False, 0, ""])
def test_a_word_for_no_is_no(word):
    """The last record must not go because somebody wrote "false" in quotes."""
    door = _update.Door({OWNER: {**VIEW, "retiring": word}}, lambda: 1000.0)
    assert not door.retiring(OWNER)
    with pytest.raises(_update.RefusedError):
        door.ask(OWNER, SERVED, NONE_LEFT)


# --------------------------------------------------------------------------------------------- the action of tlsa_wait


def waited(results, **args):
    """What the action makes of module results and options; None when it refuses."""
    task = mock.MagicMock(async_val=0, check_mode=False, run_once=False, action="mailops.dane.tlsa_wait")
    task.args = {"names": [OWNER], **args}
    task.get_play.return_value.strategy = "linear"
    made = action.ActionModule(task, *[mock.MagicMock() for _more in range(5)])
    clock = iter(range(10**6))
    made.clock, made.sleep, script = lambda: float(next(clock)), lambda seconds: None, list(results)
    made._execute_module = lambda **_more: script.pop(0) if len(script) > 1 else script[0]
    with mock.patch.object(action.display, "display"):
        try:
            return made.run(task_vars={})
        except AnsibleActionFail as exc:
            assert re.match(r"Cannot \w+ ", str(exc))
            return None


@given(st.sampled_from(ODD), st.sampled_from(ODD), st.sampled_from(ODD))
@example(float("inf"), 10, "auto")
def test_times_of_a_wait_are_numbers_or_refused(timeout, interval, progress):
    waited([{"failed": True, "msg": "no"}], timeout=timeout, interval=interval, progress=progress)


LOOKED = {"answer": {"verdict": "no", "yes": False, "reasons": [{"code": "x", "text": "wait", "owner": OWNER}], "safe_at": 5.0},
          "now": 1.0, "names": [{"name": OWNER, "look": look(1.0, BOTH, owner=OWNER), "memory": Name(OWNER).to_dict()}]}


@given(hand_edited(LOOKED))
@examples(200)
def test_a_module_that_says_something_else_is_no_traceback(edition):
    """A look by another version of the module, or by something between here and there."""
    assume(isinstance(edition[0], dict))
    result = waited([edition[0]], timeout=3)
    assert result is None or result.get("failed") or result["answer"]["yes"] is not False


@given(json_values)
def test_any_json_is_no_version(value):
    assert refusal_or(Version.from_dict, value) is None
