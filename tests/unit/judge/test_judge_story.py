# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states and steps that the picture shows, and the picture as far as a program can look at it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from judge import match, story, timeline
from worlds import START, TTL, World, certificate, owner, record

OLD, NEW = record("mx1 old"), record("mx1 new")


def lagging(**times):
    """ns1 follows ns0 after 8 seconds."""
    world = World().rekey(**times)
    prompt = world.records["mx1", "ns0"]
    world.records["mx1", "ns1"] = lambda t: prompt(t - 8)
    return world.evidence()


def states(evidence, wanted, server):
    """A row as (from, to, state) in seconds since the start."""
    versions = story.served(evidence, owner("mx1"))
    rows = story.segments(wanted, server, versions, evidence.start, evidence.end)
    return [(round(a - START), round(b - START), state) for a, b, state in rows]


def test_a_new_record_is_rumoured_until_the_last_cache_has_let_go():
    evidence = lagging(publish=10, deploy=35, withdraw=45)
    assert states(evidence, NEW, "ns0") == [(10, 28, "RUMOURED"), (28, 60, "OMNIPRESENT")]
    assert states(evidence, NEW, "ns1") == [(18, 28, "RUMOURED"), (28, 60, "OMNIPRESENT")]


def test_an_old_record_is_unretentive_until_the_last_cache_has_let_go():
    evidence = lagging(publish=5, deploy=25, withdraw=35)
    assert states(evidence, OLD, "ns0") == [(0, 35, "OMNIPRESENT"), (35, 53, "UNRETENTIVE")]
    assert states(evidence, OLD, "ns1") == [(0, 35, "OMNIPRESENT"), (35, 53, "UNRETENTIVE")]


def test_the_steps():
    evidence = lagging(publish=10, deploy=35, withdraw=45)
    steps = {step: round(at - START) for step, at in story.steps(evidence, owner("mx1"), "mx1").items()}
    assert steps == {"published": 10, "on all servers": 18, "caches have let go": 18 + TTL, "deployed": 35,
                     "withdrawn": 45}
    assert story.steps(evidence, owner("mx2"), "mx2") == {}


def test_a_record_that_never_got_everywhere_has_no_such_step():
    world = World().rekey()
    world.records["mx1", "ns1"] = lambda t: [OLD]
    steps = story.steps(world.evidence(), owner("mx1"), "mx1")
    assert "published" in steps and "on all servers" not in steps and "caches have let go" not in steps


def test_records_by_first_appearance_and_only_what_could_be_had():
    evidence = lagging(publish=10)
    versions = story.served(evidence, owner("mx1"))
    assert story.records(versions, START, START + 60) == [OLD, NEW]
    assert story.records(versions, START, START + 5) == [OLD]


def texts(evidence):
    root = ET.fromstring(timeline.draw(evidence))
    return [element for element in root.iter() if element.tag.endswith("text")]


@pytest.mark.parametrize("times", [{}, {"publish": 20, "deploy": 12}, {"publish": 10, "deploy": 10.5, "withdraw": 11},
                                   {"publish": 50, "deploy": 55, "withdraw": 58}])
def test_no_label_lies_on_another_and_none_leaves_the_picture(times):
    boxes = []
    for element in texts(lagging(**times)):
        size, x, y = (float(element.get(name)) for name in ("font-size", "x", "y"))
        width = timeline.WIDTH_PER_LETTER * size * len(element.text)
        left = x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor")]
        boxes.append((left, y - size * 0.75, left + width, y + size * 0.1, element.text))
    for number, a in enumerate(boxes):
        assert a[0] >= 0 and a[2] <= timeline.WIDTH, a
        for b in boxes[:number]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (a, b)


def test_the_picture_tells_keys_steps_and_failures():
    world = World().rekey(publish=20, deploy=12)
    world.deliver = lambda sender, host, t: "Untrusted" if host == "mx1" and 12 < t < 30 else "Verified"
    said = [element.text for element in texts(world.evidence())]
    new = match.spki_sha256(certificate("mx1 new"))
    assert f"key {new[:8]}" in said and "deployed" in said and "17 of 60 failed" in said
    assert any(text.startswith("exposed for") for text in said)


def test_a_window_in_which_nothing_happens():
    assert "120 deliveries" not in timeline.draw(World().evidence())
    assert "240 deliveries" in timeline.draw(World().evidence())
