#!/usr/bin/env bash
# The benchmarks beside their peers: installs what is missing, builds for release, measures, prints a table and
# writes bench/summary.json into cargo's target folder. PART is one of decide jail engines collective rate cancel
# fleet revocation propagation approve.
#     tests/benches/run.sh [--rounds N] [--nodes N] [--only PART]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../../.ci/lib.sh"

packaging/deps/install.sh build engines test bench
step python-engine packaging/engines/make-venv.sh "$target/engines/python"
step build cargo build --locked --release -p muster-cli -p muster-sandbox
step build-fleet cargo build --locked --release -p muster-agent --example fleet --features sim
# The daemons as they are packaged.
step build-server cargo build --locked --profile dist -p muster-server
# The harness looks for it beside the benchmarks.
ln -f "$target/dist/muster-server" "$target/release/muster-server"
step build-node cargo build --locked --profile node -p muster-agent
cargo bench --locked -p muster-tests --features cedar --bench peers -- "$@"
