#!/usr/bin/env bash
# The packages in a booted Debian 12: its own kernel (6.1, Landlock version 2), control groups v2, systemd, and a
# collective of one node made as docs/guide/first-steps.md says. The machine is emulated, so that any machine can do it;
# nothing in it is timed. What it prints on its serial line is checked here, line by line.
#
# The first time it needs a Debian mirror; the image of Debian is kept in target/vm. As an ordinary user it needs
# a range of ids in /etc/subuid.
set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/../.."
target=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")
vm=$target/vm
# The machine switches itself off; this is for one that does not.
seconds=${MUSTER_VM_SECONDS:-900}
debian=systemd,systemd-sysv,dbus,udev,procps,passwd,python3,linux-image-cloud-amd64,r-base-core,r-cran-jsonlite,gcc,libc6-dev

cannot() {
    echo "vm: $1" >&2
    exit 1
}

# What no script can mend is said at once, in one sentence.
able() {
    [ "$(dpkg --print-architecture 2>&1)" = amd64 ] ||
        cannot "the machine for tests is Debian's for amd64, and so must this one be, whose packages it gets"
    as_owner true 2> /dev/null ||
        cannot "this user cannot make files that belong to root; run it as root, or enter ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
    [ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 2600000 ] ||
        cannot "the machine for tests has 2 GiB of memory, and less is available here"
    [ "$(df --output=avail -k "$target" | tail -n 1)" -gt 4000000 ] ||
        cannot "the image of Debian needs 4 GB on the disk of $target; make room"
}

# as_owner COMMAND…: where files can belong to root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else unshare --user --map-root-user --map-auto "$@"; fi
}

# Debian only, and kept: what is tested travels on a disk of its own.
make_image() {
    local key root=$vm/root
    key=$(cat - tests/vm/muster-test.service <<< "$debian" | sha256sum | cut -c 1-16)
    image=$vm/debian-$key.img
    boot=$vm/boot-$key
    if [ -e "$image" ]; then return; fi
    as_owner rm -rf "$vm"
    mkdir -p "$boot"
    # It finds its own way to make files of root.
    mmdebstrap --quiet --variant=apt --include="$debian" bookworm "$vm/root.tar" ||
        cannot "Debian cannot be had; its mirror must be reachable, at least the first time (a proxy is taken from http_proxy)"
    # Devices are the kernel's; where this is not really root they could not be made either.
    mkdir "$root"
    as_owner tar --extract --file "$vm/root.tar" --directory "$root" --exclude './dev/*'
    as_owner cp "$root"/boot/vmlinuz-* "$boot/vmlinuz"
    as_owner cp "$root"/boot/initrd.img-* "$boot/initrd"
    as_owner install -m 0644 tests/vm/muster-test.service "$root/etc/systemd/system/"
    as_owner mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/muster-test"
    as_owner ln -s ../muster-test.service "$root/etc/systemd/system/multi-user.target.wants/"
    # Its prompt would mix with what the test prints.
    as_owner ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
    truncate -s 2G "$image.new"
    as_owner mkfs.ext4 -q -L root -d "$root" "$image.new"
    as_owner rm -rf "$root" "$vm/root.tar"
    mv "$image.new" "$image"
}

# What `make test` builds, with its features and those of its tests, so that nothing is compiled twice.
build() {
    cargo build --workspace --locked --features muster-server/crash-points,muster-agent/crash-points --lib --bins \
        --example probe_engine --example liar --test jail --test sandbox \
        --message-format json-render-diagnostics > "$vm/built.json"
}

make_packages() {
    local shell package
    for shell in bash zsh fish; do
        "$target/debug/muster" completions "$shell" > "$target/debug/muster.$shell"
    done
    for package in muster-server muster-agent muster-cli; do
        cargo deb --quiet --no-build --fast --profile dev -p "$package" -o "$1/"
    done
}

# The test binaries of the jail and what they run lie as cargo laid them: each finds the others from where it is itself.
# Sources of the probes, and what cargo lets them write, they look for where these are on this machine.
make_probes() {
    local name file
    mkdir -p "$1/debug/deps" "$1/debug/examples" "$1/engines/python" "$1/payloads"
    cp tests/sandbox/payloads/* "$1/payloads/"
    printf '%s\n' "$PWD/tests/sandbox/payloads" "$target/tmp" > "$1/places"
    for name in jail sandbox; do
        file=$(sed -n "/\"name\":\"$name\"/s/.*\"executable\":\"\([^\"]*\)\".*/\1/p" "$vm/built.json")
        strip --strip-debug -o "$1/debug/deps/$name" "$file"
    done
    for file in muster-jail libmuster_lock.so examples/probe_engine examples/liar; do
        strip --strip-debug -o "$1/debug/$file" "$target/debug/$file"
    done
}

make_disk() {
    local folder=$vm/disk
    rm -rf "$folder"
    mkdir "$folder"
    cp tests/vm/inside.sh tests/vm/lib.sh "$folder/"
    cp -r tests/vm/functions "$folder/"
    build
    make_packages "$folder"
    make_probes "$folder"
    chmod -R go=u-w "$folder"
    rm -f "$vm/test.img"
    truncate -s 512M "$vm/test.img"
    as_owner mkfs.ext4 -q -L muster-test -E root_owner=0:0 -d "$folder" "$vm/test.img"
    rm -r "$folder"
}

packaging/deps/install.sh build package vm
# One at a time: image, disk and serial line have one place.
mkdir -p "$target"
able
exec 9> "$target/vm.lock"
flock 9
make_image
make_disk
echo "vm: it boots ($SECONDS s so far)"
serial=$vm/serial.txt
rm -f "$serial"
# Changes to the disks are forgotten when it ends.
timeout --kill-after=10 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 2048 -smp 2 \
    -nodefaults -nic none -display none -serial "file:$serial" -no-reboot \
    -kernel "$boot/vmlinuz" -initrd "$boot/initrd" -append "root=LABEL=root rw console=ttyS0 quiet loglevel=3 panic=-1" \
    -drive "file=$image,if=virtio,format=raw,snapshot=on" \
    -drive "file=$vm/test.img,if=virtio,format=raw,snapshot=on" ||
    echo "vm: the machine did not switch itself off within $seconds s" >&2

# Each line must be there, in its order, and no other.
source tests/vm/lib.sh
mapfile -t said < <(tr -d '\r' < "$serial" | grep -a '^vm: ')
if [ "$(printf '%s\n' "${said[@]}")" = "$(printf 'vm: ok: %s\n' "${checks[@]}")" ]; then
    printf '%s\n' "${said[@]}"
    echo "vm: all ${#checks[@]} checks hold ($SECONDS s)"
    exit
fi
tr -d '\r' < "$serial" | tail -n 300 >&2
echo "vm: of ${#checks[@]} checks $(printf '%s\n' "${said[@]}" | grep -c '^vm: ok: ') hold; all that it said is in $serial" >&2
exit 1
