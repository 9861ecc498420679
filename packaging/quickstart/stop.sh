#!/usr/bin/env bash
# Stops what start.sh started, by its recorded processes, and nothing else; may be run twice.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

stop_recorded
if [ -e "$home/lock" ] && ! flock -n "$home/lock" true; then
    echo "A make quickstart is still at work; it ends at its next step, or with Ctrl-C."
fi
if [ -d "$home" ]; then
    echo "Its files stay in .quickstart until the next start; rm -r .quickstart removes them."
fi
