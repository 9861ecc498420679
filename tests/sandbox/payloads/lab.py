"""A small machine of its own, beside which jails stand and on which probes do harm without harming anybody.

It is process 1 of new network, mount, host name, IPC and process namespaces; or, with LAB=machine in its environment,
the whole of a machine that nobody misses. What it shows to attackers: an agent
with secrets in files, memory, environment and descriptors, who answers on sockets and notices signals; and traces
of what reached it, in /mnt/trace. It ends, with everything in it, when its standard input is closed.

Arguments: a folder of the host for the jail's wrappers, a Python environment, and programs to show in /mnt/bin.
"""

import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys

SECRET = os.environ["AGENT_SECRET"]
MACHINE = os.environ.get("LAB") == "machine"
FOLDER, ENVIRONMENT, *PROGRAMS = sys.argv[1:]
NOBODY = 65534
IDS = "700000:64"


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def write(path, text, mode=0o644, owner=NOBODY):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    os.chown(path, owner, owner)


def folders():
    run("mount", "-t", "tmpfs", "-o", "size=256m,mode=777", "lab", "/mnt")
    # A copy, so that nothing can be written through to the machine.
    run("mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "shm", "/dev/shm")
    for name in ("agent", "neighbour", "scratch", "bin", "python"):
        os.mkdir(f"/mnt/{name}")
        os.chmod(f"/mnt/{name}", 0o777)
    for program in PROGRAMS:
        shown = f"/mnt/bin/{os.path.basename(program)}"
        write(shown, "")
        run("mount", "--bind", program, shown)
    run("mount", "--bind", ENVIRONMENT, "/mnt/python")
    for name, text in {
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        "subuid": f"nobody:{IDS}\n",
    }.items():
        write(f"/mnt/{name}", text, owner=0)
    run("mount", "--bind", "/mnt/resolv.conf", "/etc/resolv.conf")
    # The ids of a machine are what its package entered.
    for file in () if MACHINE else ("/etc/subuid", "/etc/subgid"):
        run("mount", "--bind", "/mnt/subuid", file)
    write("/mnt/agent/secret.txt", SECRET + "\n")
    write("/mnt/agent/identity.json", f'{{"key": "{SECRET}"}}\n', 0o600)
    write("/mnt/agent/code.R", "cat('HARM')\n")
    write("/mnt/agent/code.py", "print('HARM')\n")
    write("/mnt/canary", "alive", 0o666)
    write("/mnt/trace", "", 0o666)
    for place in ("/mnt/neighbour", "/dev/shm"):
        write(f"{place}/neighbour.txt", SECRET + "\n", 0o666)


def network():
    """The loopback comes up, and has the address at which clouds tell machines their secrets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, up)
        address = socket.inet_aton("169.254.169.254")
        fcntl.ioctl(any_socket, 0x8916, struct.pack("16sH2s4s8s", b"lo:0", socket.AF_INET, b"", address, b""))


WRAPPER = """#!/bin/sh
# The launcher, with as much of an agent about it as a careless one could leave, and the units' mask for files.
export AGENT_SECRET='{secret}'
exec /usr/bin/nsenter --net=/proc/{lab}/ns/net --mount=/proc/{lab}/ns/mnt \\
    /bin/sh -c 'umask 077; exec 7</mnt/agent/identity.json; exec "$@"' sh {rights} /mnt/bin/muster-jail
"""
SOME_USER = "/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "


def wrappers(lab):
    """Programs in the place of muster-jail: as root, as the packages' service user, as somebody without any right."""
    capabilities = "+setuid,+setgid"
    for name, rights in {
        "root": "",
        "service": SOME_USER + f"--bounding-set=-all,{capabilities} --inh-caps={capabilities} "
                               f"--ambient-caps={capabilities}",
        "nobody": SOME_USER + "--bounding-set=-all --inh-caps=-all",
        "without-landlock": "/mnt/bin/native without 444",
        "without-user-namespaces": "/mnt/bin/native without-user-namespaces",
    }.items():
        path = f"{FOLDER}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(WRAPPER.format(secret=SECRET, lab=lab, rights=rights))
        os.chmod(path, 0o755)


def trace(what):
    with open("/mnt/trace", "a", encoding="utf-8") as file:
        file.write(what + "\n")


def listeners():
    """Sockets, each with its name and with what it says to whoever comes."""
    made = {}

    def listen(name, family, kind, address):
        one = socket.socket(family, kind)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(address)
        if kind != socket.SOCK_DGRAM:
            one.listen(64)
        made[one] = name

    listen("TCP", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 4711))
    listen("HTTP", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 80))
    listen("TCP over IPv6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 4711))
    listen("UDP", socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 4712))
    listen("DNS", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 53))
    listen("the agent's socket", socket.AF_UNIX, socket.SOCK_STREAM, "/mnt/agent/agent.sock")
    listen("the agent's datagram socket", socket.AF_UNIX, socket.SOCK_DGRAM, "/mnt/agent/log.sock")
    listen("an abstract socket", socket.AF_UNIX, socket.SOCK_STREAM, "\0muster-agent")
    for path in ("agent.sock", "log.sock"):
        os.chmod(f"/mnt/agent/{path}", 0o777)
    return made


def answer(one, name):
    trace(name)
    if one.type == socket.SOCK_DGRAM:
        asked, whom = one.recvfrom(4096)
        said = SECRET.encode()
        if name == "DNS":
            # The question again, and for an IPv4 address: this machine.
            question = asked[12:].split(b"\0", 1)[0] + b"\0" + asked[12:].split(b"\0", 1)[1][:4]
            address = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if question[-4:] == b"\0\1\0\1" else b""
            said = asked[:2] + b"\x81\x80\0\1\0" + bytes([len(address) > 0]) + b"\0\0\0\0" + question + address
        if whom:
            one.sendto(said, whom)
        return
    caller, _ = one.accept()
    with caller:
        if name == "HTTP":
            caller.settimeout(1)
            caller.recv(4096)
            said = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s\n"
            caller.sendall((said % (len(SECRET) + 1, SECRET)).encode())
        else:
            caller.sendall(f"{SECRET}\n".encode())


def shared():
    """System V memory and a message queue with the secret in them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    memory = libc.shmget(0x4D5553, 4096, 0o1666)
    assert memory >= 0, os.strerror(ctypes.get_errno())
    ctypes.memmove(libc.shmat(memory, None, 0), SECRET.encode(), len(SECRET))
    queue = libc.msgget(0x4D5553, 0o1666)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    # Each reader takes one.
    for _ in range(20):
        text = struct.pack("l", 1) + SECRET.encode()
        assert libc.msgsnd(queue, text, len(SECRET), 0) == 0
    return libc


def agent():
    """The one whom probes are after: an ordinary user, as open to others of that user as a process can be."""
    sockets = listeners()
    libc = shared()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: a change of user took it away.
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: a machine does not end with its process 1.
    key = open("/mnt/agent/identity.json", encoding="utf-8")
    os.chdir("/mnt/neighbour")
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, frame: trace(f"signal {number}"))
    os.write(1, b"ready\n")
    while key:
        for one in select.select(list(sockets), [], [])[0]:
            try:
                answer(one, sockets[one])
            except OSError as error:
                trace(f"{sockets[one]}: {error}")


def main():
    # This /proc is still the host's, and says what the host calls us.
    lab = os.readlink("/proc/self")
    folders()
    network()
    wrappers(lab)
    # Before the fork, so that it is the host's number that is said first.
    os.write(1, f"{lab}\n".encode())
    if os.fork() == 0:
        try:
            agent()
        finally:
            os._exit(1)
    # Orphans of probes come to process 1.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    shutil.rmtree(FOLDER, ignore_errors=True)


main()
