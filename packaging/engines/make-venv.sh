#!/bin/sh
# Builds the virtual environment of the Python engine from the locked requirements:
#     make-venv.sh [DIR]          (default: target/engines/python of the workspace)
# In a package the lock file lies beside this script, and DIR is what node.toml says: /opt/muster/python.
# Safe to run twice: an environment made from the same lock file and interpreter is left alone. A new one is
# built beside the old one and put in its place by rename, so that a reader sees one or the other, whole.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
lock=${MUSTER_REQUIREMENTS:-$here/requirements.lock}
if [ ! -e "$lock" ]; then
    lock=$root/node-agent/engines/python/requirements.lock
fi
python=/usr/bin/python3
target=${1:-$root/target/engines/python}

if [ ! -x "$python" ] || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot make virtual environments; install them: apt-get install python3-venv" >&2
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
case $version in
    3.11.*) ;;
    *) echo "$python is $version, but $lock is for 3.11 (Debian 12)" >&2; exit 1 ;;
esac
stamp="$version $(sha256sum < "$lock" | cut -d ' ' -f 1)"
if [ -x "$target/bin/python" ] && [ "$(cat "$target/muster-stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

mkdir -p "$(dirname -- "$target")"
build=$(mktemp -d "$target.build.XXXXXX")
trap 'rm -rf "$build"' EXIT
"$python" -m venv --without-pip "$build"
# Debian's own pip, as it lies in ensurepip, installs; the environment's pip is one of the locked packages.
"$python" -m venv "$build/.installer"
"$build/.installer/bin/python" -m pip --python "$build/bin/python" install --quiet --require-hashes --no-deps \
    --only-binary :all: --no-compile -r "$lock"
rm -rf "$build/.installer"
# The jail shows the environment read-only, so the byte code is made here. It is checked by content and not by
# time: copies in packages change times.
"$build/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$build/lib" > /dev/null
echo "$stamp" > "$build/muster-stamp"
chmod 0755 "$build"
if [ -e "$target" ]; then
    mv -T "$target" "$build.old"
fi
mv -T "$build" "$target"
rm -rf "$build.old"
