#!/usr/bin/env bash
# The fuzz targets, each for FUZZ_SECONDS (default 600). With arguments, only those targets. Finds go to
# tests/fuzz/artifacts/, which git does not keep; the corpus grows in target/fuzz/ and comes into the repository by
# FUZZ_KEEP=1, which adds some that reach more.
set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/../.."

seconds="${FUZZ_SECONDS:-600}"
kept=12 # messages of a target in the repository
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
corpus="$CARGO_TARGET_DIR/corpus"

rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

# The same versions of everything as in the product.
cp Cargo.lock tests/fuzz/Cargo.lock
cd tests/fuzz
fuzz() {
    cargo +nightly fuzz "$@"
}
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(fuzz list --fuzz-dir .)
fuzz build --fuzz-dir . "${targets[@]:0:$((${#targets[@]} == 1))}"

for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s"
    mkdir -p "$corpus/$target" "artifacts/$target"
    fuzz run --fuzz-dir . "$target" "$corpus/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=16384 -print_final_stats=1
    if [[ -n "${FUZZ_KEEP:-}" ]]; then
        new="$(mktemp -d)"
        cp "corpus/$target/"* "$new/"
        fuzz run --fuzz-dir . "$target" "$new" "$corpus/$target" -- -merge=1 -max_len=16384
        # What is there stays: among it are messages that are accepted. Of those that reach more some of each length come in.
        for old in "corpus/$target/"*; do rm "$new/${old##*/}"; done
        mapfile -t found < <(find "$new" -type f -printf '%s %f\n' | sort -n | cut -d' ' -f2-)
        room=$((kept - $(find "corpus/$target" -type f | wc -l)))
        ((room > 0)) || found=()
        for ((n = 0; n < ${#found[@]}; n += (${#found[@]} + room - 1) / room)); do
            cp "$new/${found[n]}" "corpus/$target/"
        done
        rm -r "$new"
    fi
done
