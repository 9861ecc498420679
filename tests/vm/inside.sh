#!/usr/bin/env bash
# Inside the machine, as root: a collective of one node from the packages, then the tests of the jail. Prints one line for
# each check of lib.sh; what a check that fails has to say stands below its line.
set -uo pipefail
export HOME=/root LANG=C.UTF-8
here=/muster-test
source "$here/lib.sh"
said=/run/muster-test.said
work=/var/lib/muster-test
next=0

# check COMMAND…: the next check of the list is that this succeeds.
check() {
    local name=${checks[next]}
    next=$((next + 1))
    # In a process of its own, where a failing command ends it; as a condition it would not.
    (set -e; "$@") > "$said" 2>&1 < /dev/null
    local code=$?
    if [ $code -eq 0 ]; then
        echo "vm: ok: $name"
    else
        echo "vm: FAILED: $name"
        sed 's/^/    /' "$said"
        journalctl --no-pager --quiet -n 30 -u 'muster-*' | sed 's/^/    /'
    fi
}

# until_true SECONDS COMMAND…
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "not within its time: $*"; return 1; }
        sleep 0.5
    done
}

kernel() {
    uname -r | grep '^6\.1\.'
    grep landlock /sys/kernel/security/lsm
}

groups_v2() {
    [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]
    grep memory /sys/fs/cgroup/cgroup.controllers | grep pids
}

packages() {
    DEBIAN_FRONTEND=noninteractive dpkg --install "$here"/*.deb
    id muster-node
    id muster-jail
    grep '^muster-jail:2046820352:64$' /etc/subuid
    grep '^muster-jail:2046820352:64$' /etc/subgid
}

socket() {
    systemctl is-active muster-jail.socket
    [ "$(stat -c '%U %a' /run/muster/jail.sock)" = "muster-node 600" ]
}

self_test() {
    runuser -u muster-jail -- /usr/lib/muster/muster-jail --self-test | tee /dev/stderr |
        grep 'The jail stands: Landlock version 2'
}

control_plane() {
    runuser -u muster-server -- muster-server init | tee /run/init
    install -m 0644 /var/lib/muster/server/server.toml.sample /etc/muster/server.toml
    systemctl enable --now muster-server
    systemctl is-active muster-server
    # A password file belongs to who reads it.
    install -m 0600 /var/lib/muster/server/admin-password /run/admin-password
    muster login https://localhost:8443 --user admin@SPOTFIRE --password-file /run/admin-password \
        --ca-fingerprint "$(sed -n 's/^CA fingerprint: *//p' /run/init)"
}

code() {
    code=$(runuser -u muster-node -- muster-node status | sed -n 's/^Verification code *//p')
    [ -n "$code" ]
}

connected() {
    runuser -u muster-node -- muster-node status | grep '^Agent .*connected'
}

node() {
    cat > /etc/muster/node.toml << END
[node]
name = "vm"
[control_plane]
registration = ["http://localhost:9080"]
[join]
ca_fingerprint = ["$(sed -n 's/^CA fingerprint: *//p' /run/init)"]
[limits]
memory_mib = 512
processes = 20
END
    systemctl enable --now muster-node
    until_true 120 code
    muster join approve --code "$code" --yes
    until_true 120 connected
    until_true 20 online
}

online() {
    muster node list | grep '^vm .*online'
}

# property UNIT NAME VALUE
property() {
    local found
    found=$(systemctl show --property "$2" --value "$1")
    echo "$1 $2=$found"
    [ "$found" = "$3" ]
}

agent_unit() {
    property muster-node.service ActiveState active
    property muster-node.service User muster-node
    local pid
    pid=$(systemctl show --property MainPID --value muster-node.service)
    [ "$(stat -c %U "/proc/$pid")" = muster-node ]
    grep 'NoNewPrivs:.1' "/proc/$pid/status"
    grep 'Seccomp:.2' "/proc/$pid/status"
    grep 'CapEff:.0000000000000000' "/proc/$pid/status"
}

doctor() {
    local settings
    settings=$(systemctl show --property Environment --value muster-node.service)
    # shellcheck disable=SC2086 # as many settings as there are
    runuser -u muster-node -- env $settings muster-node doctor | tee /run/doctor || true
    grep 'The jail stands and .* (Landlock version 2)' /run/doctor
    if grep -E "degraded|share the agent's user" /run/doctor; then return 1; fi
}

restricted() {
    muster function register "$here/functions/answer.toml"
    muster function run answer | tee /run/answer
    grep 3.932 /run/answer
}

# The launcher that serves the runs: one instance of the template.
launcher() {
    systemctl list-units --plain --no-legend --state running 'muster-jail@*' | awk 'NR == 1 { print $1 }'
}

jail_unit() {
    local unit pid user
    unit=$(launcher)
    property "$unit" User muster-jail
    property "$unit" Delegate yes
    pid=$(systemctl show --property MainPID --value "$unit")
    # Files of a process that nobody may look into are root's.
    [ "$(stat -c %U "/proc/$pid/mem")" = root ]
    [ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" = "$(id -u muster-jail)" ]
    # Capabilities are given up, and the engine is none of the host's users.
    grep 'CapEff:.0000000000000000' "/proc/$pid/status"
    systemctl status --no-pager "$unit" || true
    local found=no group
    group=/sys/fs/cgroup$(systemctl show --property ControlGroup --value "$unit")
    while read -r one; do
        user=$(awk '/^Uid:/ { print $2 }' "/proc/$one/status") || continue
        echo "process $one of user $user"
        if [ "$user" -ge 2046820352 ] && [ "$user" -le 2046820415 ]; then found=yes; fi
        [ "$user" -ne 0 ]
    done < <(find "$group" -name cgroup.procs -exec cat {} +)
    [ $found = yes ]
}

jail_group() {
    local group
    group=$(find /sys/fs/cgroup -type d -name 'muster-jail-*' -print -quit)
    [ -n "$group" ]
    [ "$(cat "$group/memory.max")" = $((512 * 1024 * 1024)) ]
    [ "$(cat "$group/pids.max")" = $((20 + 64)) ]
    # Its files have no size.
    [ -n "$(cat "$group/cgroup.procs")" ]
}

eater() {
    muster function register "$here/functions/eater.toml"
    if muster function run eater > /run/eater 2>&1; then cat /run/eater; return 1; fi
    cat /run/eater
    grep 'memory limit' /run/eater
}

# reader WORDS: what the trusted function says of its six attempts.
reader() {
    muster function run reader | tee /run/reader
    grep "$*" /run/reader
}

# Trusted code gets what its policy allows, by way of the agent's unit and the jail's.
policy() {
    install -d /srv/data /srv/else
    # A folder of the host that runs may write needs this of the unit.
    install -d -m 0777 /srv/out /run/systemd/system/muster-jail@.service.d
    printf '[Service]\nReadWritePaths=/srv/out\n' > /run/systemd/system/muster-jail@.service.d/out.conf
    chmod 0755 /run/systemd/system/muster-jail@.service.d
    systemctl daemon-reload
    echo of the host | tee /srv/data/in > /srv/else/in
    muster group add-member "Script Author" admin@SPOTFIRE
    local digest
    digest=$(muster function register "$here/functions/reader.toml" --output json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])')
    muster function trust reader --digest "$digest"
    # What is read, written to what is read, written, elsewhere, connected to, started: as node.toml has it …
    reader FALSE FALSE FALSE FALSE FALSE TRUE
    # … as a policy has it …
    echo '{"read": ["/srv/data"], "write": ["/srv/out"]}' > /run/policy.json
    muster function policy reader --file /run/policy.json
    reader TRUE FALSE TRUE FALSE FALSE FALSE
    local user
    user=$(stat -c %u /srv/out/new)
    [ "$user" -ge 2046820352 ] && [ "$user" -le 2046820415 ]
    # … and as another one has it.
    echo '{"read": ["/srv/else"], "network": {"class": "host"}, "programs": "all"}' > /run/policy.json
    muster function policy reader --file /run/policy.json
    reader FALSE FALSE FALSE TRUE TRUE TRUE
}

whole() {
    muster run list
    if runuser -u muster-node -- muster-node status | grep -i degraded; then return 1; fi
}

# Where both users find what the tests make; a trusted run's folder must be writable in the unit, as its README says.
prepare() {
    install -d -m 0777 "$work" /run/systemd/system/muster-jail@.service.d
    printf '[Service]\nReadWritePaths=%s\n' "$work" > /run/systemd/system/muster-jail@.service.d/test.conf
    chmod 0755 /run/systemd/system/muster-jail@.service.d
    systemctl daemon-reload
    systemctl stop muster-node
}

# Emulated machines are slow, and tests that wait have a time.
probes_of_unit() {
    prepare
    cd "$work"
    runuser -u muster-node -- env TMPDIR="$work" MUSTER_JAIL_SOCKET=/run/muster/jail.sock \
        "$here/debug/deps/jail" --test-threads 2 --skip two_runs_share_neither walls:: limits:: files:: engines:: \
        network:: policy::
}

# Each promise of the jail with its probes in R, Python and C. This machine is their lab, since nobody misses it.
promises() {
    local places
    mapfile -t places < "$here/places"
    mkdir -p "$(dirname "${places[0]}")" "${places[1]}"
    ln -sfn "$here/payloads" "${places[0]}"
    cd "$work"
    TMPDIR=$work MUSTER_JAIL_SOCKET=/run/muster/jail.sock "$here/debug/deps/sandbox" --test-threads 1 \
        restricted_runs_behind_a_unit | tee /run/promises
    grep '^test result: ok. 11 passed' /run/promises
}

probes_of_root() {
    cd "$work"
    TMPDIR=$work "$here/debug/deps/jail" --test-threads 2 start:: lies::
}

no_groups() {
    [ -z "$(find /sys/fs/cgroup -type d \( -name 'muster-jail-*' -o -name 'muster-keeper-*' \))" ]
}

no_launchers() {
    [ -z "$(launcher)" ]
}

the_end() {
    systemctl stop muster-node muster-server muster-jail.socket
    until_true 20 no_groups
    until_true 20 no_launchers
    if pgrep -l muster; then return 1; fi
}

# What an installer writes and a bare image lacks.
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
[ -f /etc/resolv.conf ] || { rm -f /etc/resolv.conf; touch /etc/resolv.conf; }

check kernel
check groups_v2
check packages
check socket
check self_test
check control_plane
check node
check agent_unit
check doctor
check restricted
check jail_unit
check jail_group
check eater
check policy
check whole
check probes_of_unit
check promises
check probes_of_root
check the_end
