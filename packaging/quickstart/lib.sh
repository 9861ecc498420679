# Sourced by start.sh and stop.sh: where things are, and the processes that quickstart started.
# A process is known by number and start time of one boot, so that a number used again is never mistaken for ours.
# shellcheck shell=bash
cd "$(dirname -- "${BASH_SOURCE[0]}")/../.." || exit
root=$PWD
home=$root/.quickstart
record=$home/processes
boot=$(< /proc/sys/kernel/random/boot_id)

# start_time PID: when the process began, in ticks since boot; fails when it has ended.
start_time() {
    local stat fields
    { stat=$(< "/proc/$1/stat"); } 2> /dev/null || return 1
    # The name may hold anything; the rest begins behind its closing parenthesis.
    read -r -a fields <<< "${stat##*) }"
    [ "${fields[0]}" != Z ] && echo "${fields[19]}"
}

# lives PID START: whether this very process is still there.
lives() {
    local start
    start=$(start_time "$1") && [ "$start" = "$2" ]
}

# wait_for SECONDS COMMAND…: until the command succeeds; fails when it has not by then.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# launch NAME LOG COMMAND…: starts a program that outlives this script, and records it. Sets $pid.
launch() {
    local name=$1 log=$2
    shift 2
    setsid "$@" > "$log" 2>&1 < /dev/null 9>&- &
    pid=$!
    echo "$boot $pid $(start_time $pid) $name" >> "$record"
}

# family PID: all descendants of a process, each as "PID START".
family() {
    local -A children=()
    local file stat fields
    for file in /proc/[0-9]*/stat; do
        { stat=$(< "$file"); } 2> /dev/null || continue
        read -r -a fields <<< "${stat##*) }"
        children[${fields[1]}]+=" ${stat%% *}:${fields[19]}"
    done
    local open=("$1") one child
    while [ ${#open[@]} -gt 0 ]; do
        one=${open[0]}
        open=("${open[@]:1}")
        for child in ${children[$one]:-}; do
            echo "${child/:/ }"
            open+=("${child%%:*}")
        done
    done
}

# none_lives PID START …
none_lives() {
    while [ $# -gt 0 ]; do
        if lives "$1" "$2"; then return 1; fi
        shift 2
    done
}

# none_listed PID START …: whether none of these numbers is in use, be it by the dead.
none_listed() {
    while [ $# -gt 0 ]; do
        if [ -e "/proc/$1" ]; then return 1; fi
        shift 2
    done
}

# groups_of PID START …: control groups that launchers among these processes made.
groups_of() {
    local names=()
    while [ $# -gt 0 ]; do
        names+=(-o -name "muster-jail-$1" -o -name "muster-keeper-$1")
        shift 2
    done
    if [ ${#names[@]} -gt 0 ]; then
        find /sys/fs/cgroup -depth -type d \( "${names[@]:1}" \) 2> /dev/null || true
    fi
}

no_groups_of() {
    [ -z "$(groups_of "$@")" ]
}

# stop_recorded: ends every recorded process and what it started, the last one first, and says so.
stop_recorded() {
    local booted pid start name all=() kin=()
    if [ -e "$record" ]; then
        while read -r booted pid start name; do
            if [ "$booted" != "$boot" ] || ! lives "$pid" "$start"; then
                continue
            fi
            # shellcheck disable=SC2207 # numbers only
            kin+=($(family "$pid"))
            all+=("$pid" "$start")
            kill -TERM "$pid" 2> /dev/null || true
            if wait_for 20 none_lives "$pid" "$start"; then
                echo "Stopped $name (process $pid)."
            else
                kill -KILL "$pid" 2> /dev/null || true
                wait_for 10 none_lives "$pid" "$start" || true
                echo "Killed $name (process $pid), which did not stop within 20 s."
            fi
        done < <(tac "$record")
    fi
    if [ ${#all[@]} -eq 0 ]; then
        echo "Nothing that quickstart started is running."
    else
        end_kin "${kin[@]}"
        # Until somebody has read how they ended, the dead stand in the list of processes.
        wait_for 5 none_listed "${all[@]}" "${kin[@]}" || true
    fi
    rm -f "$record"
}

# end_kin PID START …: what the stopped processes had started ends by itself; makes sure of it.
end_kin() {
    [ $# -gt 0 ] || return 0
    local one group all=("$@")
    if ! wait_for 10 none_lives "$@"; then
        for ((one = 0; one < ${#all[@]}; one += 2)); do
            if lives "${all[one]}" "${all[one + 1]}"; then
                kill -KILL "${all[one]}" 2> /dev/null || true
                echo "Killed process ${all[one]}, which the node had left behind."
            fi
        done
        wait_for 10 none_lives "$@" || { echo "Some of these processes did not end: ${all[*]}" >&2; return 1; }
    fi
    wait_for 5 no_groups_of "$@" || true
    groups_of "$@" | while IFS= read -r group; do
        rmdir "$group" && echo "Removed the control group $group."
    done
    echo "The node's jails ended ($(($# / 2)) processes); their mounts and control groups are gone."
}
