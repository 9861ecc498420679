# Sourced by the scripts beside it: begins in the workspace's folder and knows where cargo builds.
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

# step NAME COMMAND…: runs the command, prints how long it took and returns its exit code.
step() {
    local name=$1 begin=$SECONDS code=0
    shift
    printf '=== %s\n' "$name"
    "$@" || code=$?
    if [ "$code" -eq 0 ]; then
        printf '=== %s: ok, %d s\n' "$name" $((SECONDS - begin))
    else
        printf '=== %s: FAILED (%d), %d s\n' "$name" "$code" $((SECONDS - begin)) >&2
    fi
    return "$code"
}

# ours PATTERN…: the files of the repository, separated by NUL; new ones that are not ignored are among them.
ours() {
    git -c safe.directory='*' ls-files -z --cached --others --exclude-standard -- "$@"
}
