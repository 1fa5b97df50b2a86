#!/usr/bin/env python3
"""Runs the unit tests, the fuzz replays and the end-to-end tests, and counts them. The last line is "N passed, N failed"."""
import argparse
import glob
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
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


# These make containers, cgroups and links: one at a time. The last two wait more than they compute and run beside the end-to-end tests.
ALONE = ("runtime", "net", "image", "volume")
WAITING = ("node", "gate")
# The longest first, so that both lanes end together. What is not named follows.
LONG = ("agent", "controllers", "hub_lines", "install", "registry", "policy", "kubectl_api", "network", "hub", "hub_view", "kubectl", "store", "csi", "workloads")


def show_unit(result):
    name, passed, failed, skipped, out = result
    print(f"{'FAIL' if failed else 'ok  '} {name}: {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    if out:
        print("\n".join(line for line in out.splitlines() if not re.match(r"ok \d+", line))[-6000:], flush=True)
    return [passed, failed, skipped]


def unit_tests(build):
    return json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))


def unit(build, waiting):
    """The unit programs; with waiting those too that otherwise run beside the end-to-end tests."""
    tests = unit_tests(build)
    total = [0, 0, 0]
    alone = [t for t in tests if t["name"] in ALONE + WAITING]
    together = [t for t in tests if t not in alone]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for result in itertools.chain(pool.map(run_unit, together), (run_unit(t) for t in alone if waiting or t["name"] in ALONE)):
            total = [x + y for x, y in zip(total, show_unit(result))]
    return total


def counted(report, code):
    """[passed, failed, skipped] of a pytest run by its report."""
    if not os.path.exists(report):
        return [0, 0 if code == 5 else 1, 0]
    passed = failed = skipped = 0
    for suite in ET.parse(report).getroot().iter("testsuite"):
        n, bad = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors"))
        s = int(suite.get("skipped"))
        passed, failed, skipped = passed + n - bad - s, failed + bad, skipped + s
    return [passed, failed or (1 if code not in (0, 5) else 0), skipped]


def run_file(build, folder, file, words):
    """One file of end-to-end tests in a pytest of its own: (name, counts, output to show)."""
    name = os.path.basename(file)[5:-3]
    report = os.path.join(folder, name + ".xml")
    env = dict(os.environ, SAMPAN_BIN=os.path.abspath(os.path.join(build, "sampan")))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--basetemp", os.path.join(folder, name), "--junitxml", report, file, *words],
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return name, counted(report, done.returncode), "" if done.returncode in (0, 5) else done.stdout


def show_file(result):
    name, counts, out = result
    if sum(counts):
        print(f"{'FAIL' if counts[1] else 'ok  '} e2e {name}: {counts[0]} passed, {counts[1]} failed" + (f", {counts[2]} skipped" if counts[2] else ""), flush=True)
    if out:
        print(out, flush=True)
    return counts


def e2e(build, words, beside):
    """The end-to-end tests in two lanes, a file at a time, and beside them the unit programs that mostly wait."""
    files = glob.glob("tests/e2e/test_*.py")
    order = {name: i for i, name in enumerate(LONG)}
    files.sort(key=lambda f: (order.get(os.path.basename(f)[5:-3], len(LONG)), f))
    total = [0, 0, 0]
    folder = tempfile.mkdtemp(prefix="sampan-e2e-")

    def waiting():
        return [run_unit(t) for t in unit_tests(build) if t["name"] in WAITING] if beside else []

    with ThreadPoolExecutor(max_workers=2) as pool:
        units = pool.submit(waiting)
        for result in pool.map(lambda f: run_file(build, folder, f, words), files):
            total = [x + y for x, y in zip(total, show_file(result))]
        for result in units.result():
            total = [x + y for x, y in zip(total, show_unit(result))]
    shutil.rmtree(folder, ignore_errors=True)
    return total


def lint(build):
    """Static analysis, counted as one test."""
    done = subprocess.run([os.path.join(TOP, "tools", "lint.sh"), os.path.join(build, "cppcheck"), os.path.join(build, "inc", "all")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    good = done.returncode == 0
    print(f"{'ok  ' if good else 'FAIL'} lint: cppcheck" + ("" if good else "\n" + done.stdout), flush=True)
    return [int(good), int(not good), 0]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--build", required=True)
    args.add_argument("--what", choices=["all", "unit", "e2e"], default="all")
    args.add_argument("words", nargs="*")
    a = args.parse_args()
    total = [0, 0, 0]
    if a.what in ("all", "unit"):
        total = [x + y for x, y in zip(total, lint(a.build))]
        total = [x + y for x, y in zip(total, unit(a.build, a.what == "unit"))]
    if a.what in ("all", "e2e"):
        total = [x + y for x, y in zip(total, e2e(a.build, a.words, a.what == "all"))]
    if total[2]:
        print(f"{total[2]} skipped: this machine cannot run them (see above)")
    print(f"{total[0]} passed, {total[1]} failed")
    sys.exit(1 if total[1] or not total[0] else 0)


main()
