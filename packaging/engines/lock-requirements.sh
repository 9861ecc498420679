#!/bin/sh
# Writes node-agent/engines/python/requirements.lock: exact versions and hashes of requirements.in and of all
# that it needs, for CPython 3.11 on x86_64 as Debian 12 has it. Wheels only: nothing is compiled or executed.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$here/../../node-agent/engines/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed --only-binary :all: \
    --report "$work/report.json" -r "$folder/requirements.in"
"$work/venv/bin/python" - "$work/report.json" > "$work/lock" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
print("# Made by packaging/engines/lock-requirements.sh from requirements.in; not edited by hand.")
for item in sorted(report["install"], key=lambda item: item["metadata"]["name"].lower()):
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    print(f"{item['metadata']['name']}=={item['metadata']['version']} \\\n    --hash=sha256:{digest}")
PYTHON
mv "$work/lock" "$folder/requirements.lock"
chmod 0644 "$folder/requirements.lock"
