#!/usr/bin/env python3
"""Runs the libFuzzer targets of build/fuzz one after another at the lowest priority, each for some time: `make fuzz-run SECONDS=600 TARGETS="http-h1 json-parse"`.

New inputs go to build/fuzz/found/<target>/, what crashes, leaks, hangs or takes more than 2 GiB to build/fuzz/crash/<target>/. Ends with one line per target and exit code 1 when any failed."""
import argparse
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(build, target, seconds):
    """(good, line)"""
    found, crash = (os.path.join(build, d, target) for d in ("found", "crash"))
    os.makedirs(found, exist_ok=True)
    os.makedirs(crash, exist_ok=True)
    seeds = os.path.join(TOP, "fuzz", "corpus", target)
    words = [os.path.join(build, "fuzz", "fuzz-" + target), found, seeds, f"-max_total_time={seconds}", "-timeout=25", "-rss_limit_mb=2048", "-max_len=65536",
             "-print_final_stats=1", f"-artifact_prefix={crash}/"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(19))
    out = done.stdout.decode(errors="replace")
    with open(os.path.join(crash, "log"), "w") as f:
        f.write(out)
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
    cov = re.findall(r" cov: (\d+)", out)
    line = f"{'ok  ' if done.returncode == 0 else 'FAIL'} {target}: {seconds} s, {runs.group(1) if runs else '?'} runs, {cov[-1] if cov else '?'} edges"
    return done.returncode == 0, line if done.returncode == 0 else f"{line}; see {crash}/"


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--build", default=os.path.join(TOP, "build", "fuzz"))
    args.add_argument("--seconds", type=int, default=600)
    args.add_argument("targets", nargs="*")
    a = args.parse_args()
    every = sorted(f[5:] for f in os.listdir(os.path.join(a.build, "fuzz")) if f.startswith("fuzz-") and not f.endswith(".p"))
    bad = 0
    for target in a.targets or every:
        good, line = run(a.build, target, a.seconds)
        bad += not good
        print(line, flush=True)
    sys.exit(1 if bad else 0)


main()
