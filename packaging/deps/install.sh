#!/usr/bin/env bash
# Installs what is missing of the named profiles, and nothing else:
#     packaging/deps/install.sh PROFILE…          profiles: build engines test bench check package vm
#
# Debian packages are installed as root: by this process, else by `sudo -n`, else the script prints the one command
# that does it and ends with 1. Tools written in Rust are built by cargo for the calling user.
set -euo pipefail

packages=()
tools=()
for profile in "$@"; do
    case $profile in
        build)   packages+=(gcc libc6-dev make) ;;
        engines) packages+=(r-base-core r-cran-jsonlite python3-venv) ;;
        test)    packages+=(postgresql-15 sqlite3 bubblewrap libcap2-bin openssl softhsm2 golang-cfssl) ;;
        bench)   packages+=(r-cran-rserve nats-server) ;;
        check)   packages+=(git systemd); tools+=(cargo-deny@0.20.2) ;;
        package) packages+=(dpkg-dev); tools+=(cargo-deb@3.8.0) ;;
        vm)      packages+=(qemu-system-x86 mmdebstrap e2fsprogs uidmap binutils) ;;
        *) echo "install.sh: there is no profile '$profile'; use: build engines test bench check package vm" >&2; exit 2 ;;
    esac
done
if [ ${#packages[@]} -eq 0 ]; then
    echo "install.sh: name at least one profile: build engines test bench check package vm" >&2
    exit 2
fi
if ! command -v dpkg-query > /dev/null; then
    echo "install.sh: this is not a Debian system; install what corresponds to: ${packages[*]}" >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    apt='apt-get -o DPkg::Lock::Timeout=300'
    as_root="$apt update && DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends ${missing[*]}"
    # The tests start servers of their own; Debian's package would make one that runs for ever.
    conf=/etc/postgresql-common/createcluster.conf
    if [[ " ${missing[*]} " == *" postgresql-15 "* && ! -e $conf ]]; then
        as_root="mkdir -p ${conf%/*} && echo 'create_main_cluster = false' > $conf && $as_root"
    fi
    # So do the benchmarks, and that of nats-server's package listens on all addresses.
    unit=/etc/systemd/system/nats-server.service
    if [[ " ${missing[*]} " == *" nats-server "* && ! -e $unit && ! -L $unit ]]; then
        as_root="mkdir -p ${unit%/*} && ln -s /dev/null $unit && $as_root"
    fi
    echo "Missing Debian packages: ${missing[*]}"
    if [ "$(id -u)" -eq 0 ]; then
        sh -c "$as_root"
    elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
        sudo -n sh -c "$as_root"
    else
        printf 'Installing them needs root. Run this, then try again:\n\n    sudo sh -c "%s"\n\n' "$as_root" >&2
        exit 1
    fi
fi

if ! command -v cargo > /dev/null; then
    echo "cargo is missing; install Rust from https://rustup.rs, then try again" >&2
    exit 1
fi
for tool in "${tools[@]}"; do
    name=${tool%@*}
    version=${tool#*@}
    if ! command -v "$name" > /dev/null; then
        echo "Building $name $version"
        cargo install --locked --version "$version" "$name"
    elif ! "$name" --version | grep -qwF "$version"; then
        echo "$name is there, but not as $version: $("$name" --version | head -n 1)" >&2
    fi
done
