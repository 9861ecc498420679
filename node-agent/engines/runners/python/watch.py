"""The check of restricted scripts: it makes good messages, the kernel is the wall. Part of the runner, see runner.py."""

import os
import sys


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
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "os.kill", "os.killpg",
    "os.chroot", "os.setxattr", "os.removexattr", "os.lockf", "pty.spawn", "subprocess.Popen", "signal.pthread_kill",
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.addaudithook",
    "resource.setrlimit", "resource.prlimit", "syslog.", "socket.", "ctypes.", "urllib.", "http.", "ftplib.", "smtplib.",
    "imaplib.", "poplib.", "nntplib.", "telnetlib.", "webbrowser.", "sqlite3.enable_load_extension",
    "sqlite3.load_extension",
)
# Events whose first arguments are paths; the number says how many. They may touch the run's own folder only.
PATHS = {
    "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2,
    "os.symlink": 2, "os.chmod": 1, "os.chown": 1, "os.truncate": 1, "os.utime": 1, "os.chdir": 1, "os.chflags": 1,
    "os.getxattr": 1, "os.listxattr": 1, "sqlite3.connect": 1, "shutil.rmtree": 1, "os.walk": 1, "os.fwalk": 1,
}
READABLE = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")

# Compiled in a namespace and with builtins of its own: what a script does to the real builtins changes nothing here.
WATCH = '''
def hook(event, arguments):
    try:
        if event == "open":
            path, _, flags = arguments
            if type(path) is not int and not allowed(path, not flags & writing):
                leave("restricted_call", "open", 1)
        elif event == "import":
            module, filename = arguments[0], arguments[1]
            if filename is None:
                if module.split(".")[0] not in bundled and frame(1).f_code.co_filename == script_name:
                    leave("restricted_call", "import " + module, 1)
            elif not allowed(filename, True) or below(absolute(filename), scratch):
                leave("restricted_call", "import " + module, 1)
        elif event == "object.__setattr__":
            if arguments[1] == "__code__":
                leave("restricted_call", "function.__code__", 1)
        elif event in paths:
            for path in arguments[:paths[event]]:
                if path is not None and path != ":memory:" and type(path) is not int \\
                        and not allowed(path, event in readable):
                    leave("restricted_call", event, 1)
        elif event in refused or event[:event.find(".") + 1] in refused:
            leave("restricted_call", names.get(event, event), 1)
    except BaseException:
        leave("restricted_call", event, 1)

def absolute(path):
    if isinstance(path, bytes):
        path = bytes_decode(path, "utf-8", "surrogateescape")
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
'''


def watch(leave, bundled):
    """Ends the run at the first thing that a restricted script may not do. It cannot be removed or caught."""
    import builtins

    own = {name: getattr(builtins, name) for name in ("BaseException", "bytes", "isinstance", "len", "type", "int")}
    libraries = tuple({os.path.realpath(folder) for folder in sys.path if folder.startswith("/")} | {
        folder for folder in sys.path if folder.startswith("/")} | {"/muster", "/usr/share/zoneinfo", "/dev/urandom"})
    space = {
        "__builtins__": own, "leave": leave, "bundled": bundled, "paths": dict(PATHS), "readable": READABLE,
        "refused": frozenset(REFUSED), "names": {"socket.__new__": "socket.socket"}, "scratch": SCRATCH,
        "libraries": libraries, "writing": os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND,
        "getcwd": os.getcwd, "frame": sys._getframe, "script_name": SCRIPT_NAME, "to_text": str.__str__,
        "bytes_decode": bytes.decode,
    }
    exec(compile(WATCH, "<watch>", "exec"), space)
    sys.addaudithook(space["hook"])
