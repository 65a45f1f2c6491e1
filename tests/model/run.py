# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model checker: ``make model``.

    run.py              worlds to the last state, random runs, and every mutant of the rules
    run.py --short      the same with a sample of the mutants (``make model-short``)
    run.py --worlds [NAME ...]     only the worlds, or only those named
    run.py --mutants TEXT          only mutants whose key holds the text, and what becomes of each

A mutant that is held equivalent is shown to all checks and to the cheap worlds, every other one to everything, until
something notices it.

The last line counts: ``model: states=<n> runs=<n> violations=0 mutants=<killed>/<all>``, where ``all`` is without those
that are held equivalent; the line before it says how many these are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import collection  # noqa: F401  # pylint: disable=unused-import
import killers
import mutation
from ansible_collections.mailops.dane.plugins.module_utils import (
    _fields,
    _ledger,
    _memory,
    _rollover,
    _waivers,
)

HERE = Path(__file__).resolve().parent
EQUIVALENT = HERE / "equivalent.txt"
# The rules: the two questions and all that their answers are made of. Each imports only from those before it.
RULES = (_fields, _rollover, _memory, _waivers, _ledger)
SOURCES = {module.__name__: Path(module.__file__).read_text(encoding="utf-8") for module in RULES}
CODE = {module.__name__: compile(SOURCES[module.__name__], module.__file__, "exec") for module in RULES}
# Who noticed which mutant last time, to be asked first; and what each takes. Nothing depends on it but the time.
HINTS = HERE.parents[1] / "build" / "model-hints.json"
# What a mutant may take of a processor: twice what all together take on the module as it is.
SECONDS = 400
# What is cheap, in the same seconds.
CHEAP = 1.0
# Every so many mutants are hunted by --short; a prime, so that no kind of mutant is left out by rhythm.
SAMPLE = 37


def put(mutant):
    """Put a mutant in the place of its module, for everything that uses it in this process."""
    changed = next(number for number, module in enumerate(RULES) if module.__name__ == mutant.module)
    source = SOURCES[mutant.module]
    code = compile(source[:mutant.first] + mutant.part + source[mutant.last:], RULES[changed].__file__, "exec")
    exec(code, RULES[changed].__dict__)  # noqa: S102
    # Those that come after it hold what they have imported.
    for module in RULES[changed + 1:]:
        exec(CODE[module.__name__], module.__dict__)  # noqa: S102


def all_mutants():
    """Every mutant of every module of the rules (list of :class:`mutation.Mutant`)."""
    found = [mutant for module in RULES for mutant in mutation.mutants(module.__name__, SOURCES[module.__name__])]
    assert len({mutant.key for mutant in found}) == len(found), "two modules have the same line in functions of one name"
    return found


def everything(names, hints):
    """Run every killer on the module as it is; the number of states, of runs, and of violations."""
    states = runs = violations = 0
    for name, kill in killers.killers():
        if names and name not in names:
            continue
        start = time.process_time()
        try:
            done = kill()
        except AssertionError as exc:
            violations += 1
            print(f"model: {name}: VIOLATION: {exc}", flush=True)
            continue
        hints["seconds"][name] = time.process_time() - start
        states, runs = states + done.states, runs + done.runs
        print(f"model: {name}: {done} in {hints['seconds'][name]:.1f} s", flush=True)
    return states, runs, violations


def read_hints():
    hints = json.loads(HINTS.read_text()) if HINTS.exists() else {}
    return {"seconds": hints.get("seconds", {}), "killers": hints.get("killers", {})}


def write_hints(hints):
    HINTS.parent.mkdir(exist_ok=True)
    HINTS.write_text(json.dumps(hints, indent=0, sort_keys=True))


def hunted(chosen, known, workers, hints, loud):
    """Hunt the mutants (list of :class:`mutation.Mutant`); the results."""
    # The checks notice most, and soon.
    everybody = sorted(killers.killers(), key=lambda killer: (
        not killer[0].startswith("check_"), hints["seconds"].get(killer[0], 1e9)))
    cheap = [killer for killer in everybody
             if killer[0].startswith("check_") or hints["seconds"].get(killer[0], 1e9) <= CHEAP]

    def say(result, number, of):
        if loud or not result.killer and result.mutant.key not in known:
            print(f"model: {number}/{of} {result.killer or 'SURVIVED'} after {result.seconds:.1f} s: {result.mutant}"
                  + (f"\n         {result.how}" if loud and result.how else ""), flush=True)
        elif number % 100 == 0:
            print(f"model: {number}/{of} mutants", flush=True)

    def asked(mutant):
        first = hints["killers"].get(mutant.key)
        return sorted(cheap if mutant.key in known else everybody, key=lambda killer: killer[0] != first)

    results = mutation.hunt(chosen, put, asked, workers, SECONDS, say)
    hints["killers"].update((result.mutant.key, result.killer) for result in results if result.killer)
    return results


def judged(results, known, every):
    """What is wrong with the results of a hunt (list of str)."""
    wrong = [f"survived: {result.mutant}" for result in results if not result.killer and result.mutant.key not in known]
    wrong += [f"held equivalent, but noticed by {result.killer} ({result.how}): {result.mutant}"
              for result in results if result.killer and result.mutant.key in known]
    return wrong + [f"held equivalent, but there is no such mutant: {key}" for key in known if key not in every]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--worlds", nargs="*")
    parser.add_argument("--mutants")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    hints = read_hints()
    states, runs, violations = (0, 0, 0) if options.mutants else everything(options.worlds, hints)
    write_hints(hints)
    if options.worlds is not None:
        return 1 if violations else 0
    every = all_mutants()
    known = mutation.equivalents(EQUIVALENT.read_text(encoding="utf-8"))
    chosen = every[::SAMPLE] if options.short else every
    if options.mutants:
        chosen = [mutant for mutant in every if options.mutants in mutant.key]
    results = hunted(chosen, known, options.workers, hints, bool(options.mutants)) if not violations else []
    write_hints(hints)
    wrong = judged(results, known, {mutant.key for mutant in every})
    for one in wrong:
        print(f"model: {one}")
    killed = sum(bool(result.killer) for result in results)
    same = sum(not result.killer and result.mutant.key in known for result in results)
    print(f"model: {same} of {len(chosen)} mutants are held equivalent, see {EQUIVALENT.name}")
    print(f"model: states={states} runs={runs} violations={violations} mutants={killed}/{len(chosen) - same}", flush=True)
    return 1 if violations or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
