#!/usr/bin/env python3
"""Runs the unit tests, the fuzz replays and the end-to-end tests, and counts them. The last line is "N passed, N failed"."""
import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENV = dict(os.environ, ASAN_OPTIONS="abort_on_error=0:detect_leaks=1:strict_string_checks=1", UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")


def run_unit(test):
    """One program of the build: (name, passed, failed, skipped, output to show)."""
    try:
        done = subprocess.run(test["cmd"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=ENV, timeout=600)
        out, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as e:
        out, code = (e.stdout or b"").decode(errors="replace") + "\ntimed out", 1
    if test["protocol"] == "tap":
        lines = out.splitlines()
        skipped = sum(1 for line in lines if re.match(r"ok \d+ .*# SKIP", line))
        passed = sum(1 for line in lines if re.match(r"ok \d+", line)) - skipped
        failed = sum(1 for line in lines if re.match(r"not ok \d+", line))
        if not re.search(r"^1\.\.\d+$", out, re.M) or (code != 0 and failed == 0):
            failed += 1  # it died on the way, or a sanitizer spoke
    else:
        passed, failed, skipped = (1, 0, 0) if code == 0 else (0, 1, 0)
    return test["name"], passed, failed, skipped, out if failed else ""


def unit(build):
    tests = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
    total = [0, 0, 0]
    # These make containers, cgroups and links: one at a time, when the others are through.
    alone = [t for t in tests if t["name"] in ("node", "runtime", "net", "image", "volume", "gate")]
    together = [t for t in tests if t not in alone]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for name, passed, failed, skipped, out in itertools.chain(pool.map(run_unit, together), map(run_unit, alone)):
            print(f"{'FAIL' if failed else 'ok  '} {name}: {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
            if out:
                print("\n".join(line for line in out.splitlines() if not re.match(r"ok \d+", line))[-6000:])
            total = [total[0] + passed, total[1] + failed, total[2] + skipped]
    return total


def lint(build):
    """Static analysis, counted as one test."""
    done = subprocess.run([os.path.join(TOP, "tools", "lint.sh"), os.path.join(build, "cppcheck"), os.path.join(build, "inc", "all")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    good = done.returncode == 0
    print(f"{'ok  ' if good else 'FAIL'} lint: cppcheck" + ("" if good else "\n" + done.stdout), flush=True)
    return [int(good), int(not good), 0]


def e2e(build, words):
    report = os.path.join(build, "e2e.xml")
    if os.path.exists(report):
        os.unlink(report)
    env = dict(os.environ, SAMPAN_BIN=os.path.abspath(os.path.join(build, "sampan")))
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x" if os.environ.get("FAIL_FAST") else "-rfE", "-p", "no:cacheprovider", "--junitxml", report, "tests/e2e", *words], env=env).returncode
    if not os.path.exists(report):
        return [0, 1, 0]
    passed = failed = skipped = 0
    for suite in ET.parse(report).getroot().iter("testsuite"):
        n, bad = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors"))
        s = int(suite.get("skipped"))
        passed, failed, skipped = passed + n - bad - s, failed + bad, skipped + s
    if code not in (0, 5) and failed == 0:
        failed = 1
    return [passed, failed, skipped]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--build", required=True)
    args.add_argument("--what", choices=["all", "unit", "e2e"], default="all")
    args.add_argument("words", nargs="*")
    a = args.parse_args()
    total = [0, 0, 0]
    if a.what in ("all", "unit"):
        total = [x + y for x, y in zip(total, lint(a.build))]
        total = [x + y for x, y in zip(total, unit(a.build))]
    if a.what in ("all", "e2e"):
        total = [x + y for x, y in zip(total, e2e(a.build, a.words))]
    if total[2]:
        print(f"{total[2]} skipped: this machine cannot run them (see above)")
    print(f"{total[0]} passed, {total[1]} failed")
    sys.exit(1 if total[1] or not total[0] else 0)


main()
