#!/usr/bin/env bash
# Stops what start.sh started, by its recorded processes, and nothing else; may be run twice.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

if [ -d "$home" ]; then
    exec 9> "$home/lock"
    flock -n 9 || { echo "make quickstart is at work in $home; end it there with Ctrl-C." >&2; exit 1; }
fi
stop_recorded
if [ -d "$home" ]; then
    echo "Its files stay in .quickstart until the next start; rm -r .quickstart removes them."
fi
