#!/usr/bin/env bash
# The tour: builds Muster, starts a control plane and one node in ./.quickstart, lets the node in by its verification
# code, and shows on a real table what trust means. What runs afterwards ends with `make stop`.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

here=packaging/quickstart
bin=${CARGO_TARGET_DIR:-target}/debug
bin=$(realpath -m -- "$bin")
python=${bin%/debug}/engines/python
node=quickstart
table=$home/data/airquality.csv
# Host ids for runs where this is root: the first range belongs to nobody by systemd's convention (UIDS-GIDS); the
# second begins at the first id that a launcher may give, for machines with fewer ids.
ids=(2000000000 65536)
id_count=64

# What the environment sets for an installed Muster is not meant for this one.
# shellcheck disable=SC2086 # names, none or several
unset ${!MUSTER_@}
umask 022

begun=no
step=""
cure=""
ask_again="see what the last command and the log say above; make quickstart begins anew."

# heading TEXT CURE: what follows, and what a person does when it fails.
heading() {
    step=$1
    cure=$2
    printf '\n=== %s\n' "$1"
}

say() {
    printf '%s\n' "$@"
}

indent() {
    sed 's/^/    /'
}

# The last 40 lines of the logs, by time; of a join that did not end, which has no times, all.
last_log_lines() {
    local log name
    if [ -e "$home/log/server.log" ]; then
        echo "The last 40 log lines:"
        for log in "$home"/log/{server,node}.log; do
            name=${log##*/}
            if [ -e "$log" ]; then tail -n 40 "$log" | sed "s/\$/\t(${name%.log})/"; fi
        done | sort | tail -n 40 | indent
        if [ -e "$home/log/join.log" ] && [ ! -e "$home/log/node.log" ]; then
            indent < "$home/log/join.log"
        fi
    fi
}

# At the end, whatever the end is: a failure is told with the logs and the cure, and nothing is left running.
finish() {
    local code=$?
    trap - EXIT INT TERM
    exec 1>&2
    if [ $code -ne 0 ] && [ -n "$step" ]; then
        printf '\nquickstart: failed at "%s".\n' "$step"
        # Until then, logs and processes are those of an earlier run, or of one at work.
        if [ "$begun" = yes ]; then
            last_log_lines
            if [ -e "$record" ]; then stop_recorded; fi
        fi
        printf '\nWhat to do: %s\n' "$cure"
        [ $code -eq 130 ] || code=1
    fi
    exit $code
}
trap finish EXIT
trap 'cure="make quickstart begins anew."; exit 130' INT TERM

# as PERSON COMMAND…: what a person types; it is shown.
as() {
    local who=$1 line="$1\$ muster" word
    shift
    for word in "$@"; do
        word=${word//"$home"/.quickstart}
        [[ $word != *[!a-zA-Z0-9@%+=:,./_-]* ]] || word=${word@Q}
        line+=" $word"
    done
    echo "$line"
    muster_of "$who" "$@"
}

muster_of() {
    local who=$1
    shift
    timeout 120 "$bin/muster" --profile-dir "$home/people/$who" "$@"
}

# refused EXPECTED PERSON COMMAND…: the command must fail, and say the expected words in its first line.
refused() {
    local expected=$1 said code=0
    shift
    as "$@" > "$home/said" 2>&1 || code=$?
    said=$(< "$home/said")
    echo "$said"
    if [ $code -ne 1 ] || [[ $(sed -n 2p <<< "$said") != *"$expected"* ]]; then
        echo "This should have ended with 1 and \"$expected\", but it ended with $code." >&2
        return 1
    fi
}

# show FILE: a CSV file as a small table.
show() {
    tr -d '"' < "$1" | awk -F , '
        { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
        END {
            for (row = 1; row <= NR; row++) {
                line = "   "
                for (i = 1; i <= NF; i++) {
                    left = row == 1 ? cell[2, i] !~ /^-?[0-9.]/ : cell[row, i] !~ /^-?[0-9.]/
                    line = line sprintf(left ? " %-*s " : " %*s ", width[i], cell[row, i])
                }
                sub(/ +$/, "", line)
                print line
            }
        }'
}

# ready PORT: whether /readyz of an operations listener says so.
ready() {
    (
        exec 3<> "/dev/tcp/127.0.0.1/$1"
        printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        read -r line <&3
        [[ $line == *' 200 '* ]]
    ) 2> /dev/null
}

# ready_or_dead PID PORT: ends the waiting, too, when the process has ended.
ready_or_dead() {
    ready "$2" || ! start_time "$1" > /dev/null
}

# expect WHAT SECONDS COMMAND…: waits until the command succeeds, or fails.
expect() {
    local what=$1
    shift
    wait_for "$@" || { echo "$what: not within $1 s" >&2; return 1; }
}

# A TOML string.
toml() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

password() {
    (
        umask 077
        head -c 18 /dev/urandom | base64 > "$1"
    )
}

login() {
    as "$1" login "https://127.0.0.1:$front_end" --user "$1@SPOTFIRE" --password-file "$2" --ca-fingerprint "$fingerprint"
}

node_says() {
    "$bin/muster-node" --config "$home/node.toml" "$@"
}

# first_free_ids: the first range of host ids that this root can give away.
first_free_ids() {
    local first inside count
    for first in "${ids[@]}"; do
        while read -r inside _ count; do
            if [ "$inside" -le "$first" ] && [ $((first + id_count)) -le $((inside + count)) ]; then
                echo "$first"
                return
            fi
        done < /proc/self/uid_map
    done
    echo "This root has no range of $id_count user ids to give to runs (see /proc/self/uid_map)." >&2
    return 1
}

prepare() {
    heading "Packages" "install what is named above, then run make quickstart again."
    packaging/deps/install.sh build engines
    say "R, Python and a C compiler are here."

    heading "Build" "read what the compiler or pip says above; a network is needed the first time."
    cargo build --locked -p muster-server -p muster-agent -p muster-sandbox -p muster-cli
    packaging/engines/make-venv.sh "$python"
    say "The programs are in $bin, the Python engine is in $python."

    cure="remove the link: quickstart empties this folder, so it must be a real one."
    [ ! -L "$home" ] || { echo "$home is a link." >&2; return 1; }
    mkdir -p "$home"
    chmod 0700 "$home"
    cure="wait for it, or end it where it runs."
    exec 9> "$home/lock"
    flock -n 9 || { echo "Another make quickstart is at work in $home." >&2; return 1; }
    if [ -e "$record" ]; then
        heading "An earlier quickstart ends" "see which processes are named above, and end them."
        stop_recorded
    fi
    find "$home" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
    begun=yes
    mkdir -p "$home"/{log,people,data,results,functions,shared}
}

start_control_plane() {
    heading "A control plane on SQLite" \
        "see the log above; $bin/muster-server --config $home/server.toml doctor looks for more."
    local ports
    # Bound all at once, so that they differ.
    ports=$(/usr/bin/python3 -c '
import socket
held = [socket.socket() for _ in range(5)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))')
    read -r registration back_end front_end operations node_operations <<< "$ports"
    cat > "$home/server.toml" << END
[server]
state_dir = $(toml "$home/server")
[registration]
listen = "127.0.0.1:$registration"
[back_end]
listen = "127.0.0.1:$back_end"
[front_end]
listen = "127.0.0.1:$front_end"
[operations]
listen = "127.0.0.1:$operations"
[log]
format = "text"
END
    "$bin/muster-server" --config "$home/server.toml" init > "$home/init"
    fingerprint=$(sed -n 's/^CA fingerprint: *//p' "$home/init")
    say "CA fingerprint: $fingerprint"
    launch "the control plane" "$home/log/server.log" "$bin/muster-server" --config "$home/server.toml" serve
    expect "the control plane is ready" 30 ready_or_dead "$pid" "$operations"
    expect "the control plane runs" 0 ready "$operations"
    say "Joins http://127.0.0.1:$registration, nodes 127.0.0.1:$back_end, people https://127.0.0.1:$front_end (process $pid)"
    login admin "$home/server/admin-password"
}

let_the_node_in() {
    heading "A node asks to be let in" \
        "see the log above; $bin/muster-node --config $home/node.toml doctor looks for more."
    local code
    cat > "$home/node.toml" << END
[node]
name = "$node"
state_dir = $(toml "$home/node")
[control_plane]
registration = ["http://127.0.0.1:$registration"]
[join]
ca_fingerprint = ["$fingerprint"]
[jail]
program = $(toml "$bin/muster-jail")
lock_library = $(toml "$bin/libmuster_lock.so")
$(if [ "$(id -u)" -eq 0 ]; then printf 'id_first = %s\nid_count = %s\n' "$(first_free_ids)" "$id_count"; fi)
[engines]
python = $(toml "$python")
# What trusted code may read beyond its inputs; restricted code may not.
[unrestricted]
readable = [$(toml "$home/shared:/data")]
[operations]
listen = "127.0.0.1:$node_operations"
[log]
format = "text"
END
    launch "the join" "$home/log/join.log" "$bin/muster-node" --config "$home/node.toml" join
    expect "the node shows its code" 60 code_or_dead "$pid"
    say "The node says:"
    grep -E '^(Verification code|Key fingerprint|CA fingerprint):' "$home/log/join.log" | indent
    code=$(sed -n 's/^Verification code: *//p' "$home/log/join.log" | tail -n 1)
    say "An administrator reads the code there, and types it here:"
    as admin join approve --code "$code" --yes
    wait "$pid"

    launch "the node" "$home/log/node.log" "$bin/muster-node" --config "$home/node.toml" run
    expect "the node is connected" 60 ready_or_dead "$pid" "$node_operations"
    expect "the node runs" 0 ready "$node_operations"
    as admin node list
    if [ "$(id -u)" -ne 0 ]; then
        say "You are not root and have no range of user ids: runs share your own, which is for trying out only."
    fi
}

code_or_dead() {
    grep -q '^Verification code:' "$home/log/join.log" || ! start_time "$1" > /dev/null
}

make_people() {
    heading "Two people: ann is a Script Author, bob is an analyst" "$ask_again"
    local who
    for who in ann bob; do
        password "$home/people/$who.password"
        as admin user create "$who@SPOTFIRE" --password-file "$home/people/$who.password"
    done
    as admin group add-member "Script Author" ann@SPOTFIRE
    as admin group create Analysts
    as admin license grant Analysts "Author Scripts"
    as admin license grant Analysts "Register Data Functions"
    as admin group add-member Analysts ann@SPOTFIRE
    as admin group add-member Analysts bob@SPOTFIRE
    login ann "$home/people/ann.password"
    login bob "$home/people/bob.password"
}

# trust FUNCTION: a Script Author trusts the version that is in the library.
trust() {
    local digest
    digest=$(muster_of ann function show "$1" | awk '$1 == "Digest" { print $2 }')
    as ann function trust "$1" --digest "$digest"
}

explain() {
    as bob trust explain "$1" --user bob@SPOTFIRE --node "$node" | indent_answer
}

# The command stands out before its answer.
indent_answer() {
    sed '2,$ s/^/    /'
}

show_trusted_functions() {
    heading "Data" "see what Rscript says above."
    Rscript --vanilla "$here/export-data.R" > "$table"
    cp "$here/levels.csv" "$home/shared/"
    cp "$here"/functions/* "$home/functions/"
    say "$(($(wc -l < "$table") - 1)) days of air quality in New York, 1973, from R's package datasets:"
    show <(head -n 4 "$table")

    heading "A trusted Python function" "$ask_again"
    as ann function register "$home/functions/ozone-by-month.toml"
    trust ozone-by-month
    as bob function run ozone-by-month --input "air=@$table" --save "months=$home/results/months.csv"
    show "$home/results/months.csv"

    heading "A trusted R function" "$ask_again"
    as ann function register "$home/functions/ozone-model.toml"
    trust ozone-model
    as bob function run ozone-model --input "air=@$table" --save "terms=$home/results/terms.csv"
    show "$home/results/terms.csv"
}

run_levels=(bob function run ozone-levels --input "air=@$table" --input path=/data/levels.csv
    --save "days=$home/results/days.csv")

show_three_stages() {
    heading "One terr function, 1: not trusted, so it runs restricted" "$ask_again"
    say "It reads /data/levels.csv, which the node's administrator shows to unrestricted runs only."
    as bob function register "$home/functions/ozone-levels.toml"
    refused "restricted call to Native[file]" "${run_levels[@]}"
    explain ozone-levels

    heading "One terr function, 2: trusted, and restricted mode off on this node" "$ask_again"
    trust ozone-levels
    as admin setting set terr.restricted.execution.mode false --scope "node:$node"
    as "${run_levels[@]}"
    show "$home/results/days.csv"
    explain ozone-levels

    heading "One terr function, 3: one byte changed" "$ask_again"
    sed -i 's/^digits <- 1$/digits <- 2/' "$home/functions/ozone-levels.R"
    diff "$here/functions/ozone-levels.R" "$home/functions/ozone-levels.R" | indent || true
    as bob function register "$home/functions/ozone-levels.toml"
    refused "restricted call to Native[file]" "${run_levels[@]}"
    explain ozone-levels

    heading "A Python function that nobody trusts is refused" "$ask_again"
    as bob function register "$home/functions/hottest-days.toml"
    refused "refused:" bob function run hottest-days --input "air=@$table" --save "hottest=$home/results/hottest.csv"
    explain hottest-days
}

cut_off() {
    heading "The node is untrusted, and cut off" "$ask_again"
    as admin node untrust "$node" --reason "the tour ends" --yes
    expect "the node notices" 60 is_cut_off
    as admin node list
    say "The node says:"
    node_says status | indent
}

is_cut_off() {
    node_says status | grep -Eq '^Agent .* revoked '
}

# What is typed from now on.
write_as() {
    cat > "$home/as" << END
#!/bin/sh
# as PERSON COMMAND…: muster as admin, ann or bob.
case \${1-} in
    admin | ann | bob) who=\$1 ;;
    *) echo "usage: as admin|ann|bob COMMAND..., for example: as admin status" >&2; exit 2 ;;
esac
shift
exec '$bin/muster' --profile-dir '$home/people/'"\$who" "\$@"
END
    chmod +x "$home/as"
}

begin=$SECONDS
prepare
built=$SECONDS
start_control_plane
let_the_node_in
make_people
show_trusted_functions
show_three_stages
cut_off
write_as
step=""
cat << END

=== Done: $((built - begin)) s to install and build, $((SECONDS - built)) s for the tour

Control plane    https://127.0.0.1:$front_end (REST API; administrator admin@SPOTFIRE, password in .quickstart/server/admin-password)
Go on            .quickstart/as admin status        (or ann, bob)
Logs             .quickstart/log
Results          .quickstart/results
Stop             make stop
END
