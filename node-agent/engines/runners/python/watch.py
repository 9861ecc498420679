"""The check of restricted scripts: it makes good messages, the kernel is the wall. Part of the runner (runner.py)."""

import _posixshmem
import _posixsubprocess
import _socket
import os
import signal
import sys
import threading


def bundled_names():
    """The packages that a restricted script may import: the standard library and the environment's own."""
    names = set(sys.stdlib_module_names)
    for folder in sys.path:
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        names.update(entry.split(".")[0] for entry in entries if not entry.endswith((".dist-info", ".pth")))
    return frozenset(names)


# Events that end a restricted run whatever their arguments; a final dot means all that begin so.
REFUSED = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "os.kill",
    "os.killpg", "os.chroot", "os.setxattr", "os.removexattr", "os.lockf", "pty.spawn", "subprocess.Popen",
    "signal.pthread_kill", "signal.pidfd_send_signal", "gc.get_objects", "gc.get_referrers", "gc.get_referents",
    "sys.addaudithook", "sys.settrace", "sys.setprofile", "setopencodehook", "cpython.PyInterpreterState_New",
    "resource.setrlimit", "resource.prlimit", "syslog.", "socket.", "ctypes.", "urllib.", "http.", "ftplib.",
    "smtplib.", "imaplib.", "poplib.", "nntplib.", "telnetlib.", "webbrowser.", "ensurepip.",
    "sqlite3.enable_load_extension", "sqlite3.load_extension", "_posixsubprocess.fork_exec", "_socket.socketpair",
    "_posixshmem.shm_open", "_posixshmem.shm_unlink", "os.setuid", "os.setgid", "os.seteuid", "os.setegid",
    "os.setreuid", "os.setregid", "os.setresuid", "os.setresgid", "os.setgroups", "os.initgroups", "os.setsid",
    "os.setpgid", "os.setpriority", "os.nice", "os.mkfifo", "os.mknod", "os.memfd_create", "os.openpty",
    "os.pidfd_open", "os.sched_setaffinity", "os.sched_setscheduler", "os.sched_setparam",
)
# Events that libraries need for their own work; they end the run when it is the script that causes them.
DIRECT = ("sys._getframe", "sys._current_frames", "sys._current_exceptions", "code.__new__", "fcntl.")
# Events whose first arguments are paths; the number says how many. They may touch the run's own folder only.
PATHS = {
    "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2,
    "os.symlink": 2, "os.chmod": 1, "os.chown": 1, "os.truncate": 1, "os.utime": 1, "os.chdir": 1, "os.chflags": 1,
    "os.getxattr": 1, "os.listxattr": 1, "sqlite3.connect": 1, "shutil.rmtree": 1, "os.walk": 1, "os.fwalk": 1,
    "os.stat": 1, "os.lstat": 1, "os.access": 1, "os.readlink": 1, "os.statvfs": 1,
}
READABLE = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.stat", "os.lstat", "os.access", "os.readlink",
            "os.statvfs")
# Of these, libraries may ask wherever they look for something.
ASKED = ("os.stat", "os.lstat", "os.access", "os.readlink", "os.statvfs")
# Functions that cause no event by themselves: they are wrapped to do so.
SILENT = (
    (os, tuple(name[3:] for name in ASKED) + (
        "chroot", "setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid",
        "setgroups", "initgroups", "setsid", "setpgid", "setpriority", "nice", "mkfifo", "mknod", "memfd_create",
        "openpty", "pidfd_open", "sched_setaffinity", "sched_setscheduler", "sched_setparam")),
    (_posixsubprocess, ("fork_exec",)), (_posixshmem, ("shm_open", "shm_unlink")),
    (_socket, ("socketpair",)), (signal, ("pidfd_send_signal",)),
)
# Modules of the standard library by whose functions a script acts itself; those that are frozen are such, too.
THIN = ("glob.py", "importlib/__init__.py", "inspect.py", "pathlib.py", "shutil.py")

# Executed in a namespace and with builtins of its own: what a script does to the real builtins changes nothing here.
WATCH = compile('''
def hook(event, arguments):
    if ident() in looking:
        return
    try:
        what = judged(event, arguments)
    except BaseException:
        what = event
    if what is not None and not importing():
        over(what)

def judged(event, arguments):
    if event == "open":
        path, _, flags = arguments
        return None if type(path) is int or allowed(path, not flags & writing) else "open"
    if event == "import":
        module, filename = arguments[0], arguments[1]
        if filename is None:
            return "import " + module if module.split(".")[0] not in bundled and by_script() else None
        ours = allowed(filename, True) and not below(absolute(filename), scratch)
        return None if ours else "import " + module
    if event == "muster.import":
        module = arguments[0]
        return "import " + module if module.split(".")[0] not in bundled and by_script() else None
    if event == "object.__setattr__":
        return "function.__code__" if arguments[1] == "__code__" and by_script() else None
    if event == "object.__getattr__":
        return "traceback.tb_frame" if arguments[1] == "tb_frame" and by_script() else None
    if event in paths:
        for path in arguments[:paths[event]]:
            if path is not None and path != ":memory:" and type(path) is not int \\
                    and not allowed(path, event in readable) and (event not in asked or by_script()):
                return event
        return None
    group = event[:event.find(".") + 1]
    if event in refused or group in refused:
        return names.get(event, event)
    if event in direct or group in direct:
        return event if by_script() else None
    return None

# The innermost frame that is not this check's, nor of a module by whose functions others act.
def caller():
    me = ident()
    looking.add(me)
    try:
        at = frame(1)
        while at is not None:
            name = at.f_code.co_filename
            if name != "<watch>" and name[:7] != "<frozen" and name not in thin:
                return at
            at = at.f_back
        return None
    finally:
        looking.discard(me)

# Whether the script's own code acts: all that is not of a file outside its folder.
def by_script():
    at = caller()
    return at is not None and is_script(at)

def is_script(at):
    name = at.f_code.co_filename
    return name[:1] != "/" and name != "<watch>" and name[:7] != "<frozen" or below(name, scratch)

# Whether a library begins that the script imports: what it looks for then is the kernel's to refuse.
def importing():
    me = ident()
    looking.add(me)
    try:
        at = frame(1)
        while at is not None and not is_script(at):
            if at.f_code.co_name == "<module>" and at.f_code.co_filename[:1] == "/":
                return True
            at = at.f_back
        return False
    finally:
        looking.discard(me)

def over(what):
    if tell is None:
        leave("restricted_call", what, 1)
    at = caller()
    while at is not None and at.f_code.co_filename != script_name:
        at = at.f_back
    if at is not None:
        what = what + ", line " + to_string(at.f_lineno)
    # An agent keeps no more, and reads no more.
    if what not in told and len(told) < 1000:
        told.add(what)
        tell(what)

def absolute(path):
    if isinstance(path, bytes):
        path = bytes_decode(path, "utf-8", "surrogateescape")
    elif not isinstance(path, str):
        path = fspath(path)
    path = to_text(path)
    if path[:1] != "/":
        path = getcwd() + "/" + path
    parts = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)

def below(path, folder):
    return path == folder or path[:len(folder) + 1] == folder + "/"

def allowed(path, reading):
    path = absolute(path)
    if below(path, scratch) or path == "/dev/null":
        return True
    if reading:
        for folder in libraries:
            if below(path, folder):
                return True
    return False
''', "<watch>", "exec")

# What is put in the way of the script, with nothing of the check in reach: it only causes events.
AROUND = compile('''
class Finder:
    def find_spec(self, name, path=None, target=None):
        audit("muster.import", name)

def wrapped(event, original):
    def function(*arguments, **options):
        audit(event, *arguments, *options.values())
        return original(*arguments, **options)
    function.__name__ = function.__qualname__ = original.__name__
    function.__doc__ = original.__doc__
    return function
''', "<watch>", "exec")


def watch(leave, tell, bundled):
    """Ends the run at the first thing that a restricted script may not do; it cannot be removed or caught. With
    `tell`, every such thing is told instead, and goes on into the kernel's wall."""
    import builtins

    own = {name: getattr(builtins, name) for name in (
        "BaseException", "bytes", "str", "isinstance", "len", "type", "int")}
    libraries = tuple({os.path.realpath(folder) for folder in sys.path if folder.startswith("/")} | {
        folder for folder in sys.path if folder.startswith("/")} | {"/muster", "/usr/share/zoneinfo", "/dev/urandom"})
    space = {
        "__builtins__": own, "leave": leave, "tell": tell, "told": set(), "bundled": bundled, "paths": dict(PATHS),
        "readable": READABLE, "asked": ASKED, "refused": frozenset(REFUSED), "direct": frozenset(DIRECT),
        "names": {"socket.__new__": "socket.socket", "_socket.socketpair": "socket.socketpair"},
        "scratch": SCRATCH, "libraries": libraries,
        "writing": os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, "getcwd": os.getcwd,
        "frame": sys._getframe, "script_name": SCRIPT_NAME, "to_text": str.__str__, "to_string": int.__str__,
        "bytes_decode": bytes.decode, "fspath": os.fspath, "ident": threading.get_ident, "looking": set(),
        "thin": frozenset(os.path.join(os.path.dirname(os.__file__), name) for name in THIN),
    }
    exec(WATCH, space)
    around = {"__name__": "muster", "audit": sys.audit}
    exec(AROUND, around)
    sys.meta_path.insert(0, around["Finder"]())
    sets = (os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks)
    for module, functions in SILENT:
        for name in functions:
            original = getattr(module, name, None)
            if original is None:
                continue
            function = around["wrapped"](f"{module.__name__}.{name}", original)
            for known in sets:
                if original in known:
                    known.add(function)
            setattr(module, name, function)
    sys.addaudithook(space["hook"])
