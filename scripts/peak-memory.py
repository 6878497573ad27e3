#!/usr/bin/env python3
"""Runs a command and fails when its process took more memory than it may: peak-memory.py MB COMMAND [ARGUMENT...]"""
import resource
import subprocess
import sys

limit_mb, command = int(sys.argv[1]), sys.argv[2:]
code = subprocess.run(command, check=False).returncode
peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(f"Peak memory: {peak_mb} MB of {limit_mb}")
if code == 0 and peak_mb > limit_mb:
    sys.exit(f"{command[0]} took {peak_mb} MB; it may take {limit_mb}")
sys.exit(code)
