"""Runs data functions in Python: preloads packages, and in a forked child of the jail runs one script.

Order, which is the security: packages are imported, the process forks (`muster_fork_run`), the child draws new
random numbers, locks itself (`muster_lock`), reads the run below /scratch, and only then executes the script.
Whatever ends the run leaves by `muster_leave` or `os._exit`, so that nothing of the parent is cleaned up twice.

The runner is one file for the engine, joined from inputs.py, outputs.py, watch.py and this file, in this order.
What runs and data look like is in ../README.md.
"""

import ctypes
import gc
import importlib
import json
import linecache
import os
import random
import sys
import tempfile
import threading
import time
import traceback
import types

# The control descriptor of a run (payload.rs), and how often a script may say how far it is: so many times at once,
# and so many a second.
CONTROL = 250
PROGRESS_BURST = 20
PROGRESS_RATE = 20
PROGRESS_BYTES = 1024


def run_script(script, namespace, inputs, outputs, before):
    """Executes the script in its namespace, which the runs of a session share."""
    code = compile(script, SCRIPT_NAME, "exec", dont_inherit=True)
    namespace.update({"__builtins__": __builtins__, "__spotfire_inputs__": inputs[1], "__spotfire_outputs__": outputs})
    namespace["muster_progress"] = make_progress()
    namespace.update(inputs[0])
    before()
    exec(code, namespace)


def make_progress():
    """What scripts call to say how far they are: written to the control descriptor, with nothing native in reach."""
    write, clock, encode, pack = os.write, time.monotonic, json.JSONEncoder().encode, int.to_bytes
    budget, at, turn = PROGRESS_BURST, clock(), threading.Lock()

    def muster_progress(fraction=None, text=""):
        """Says how far the script is: a fraction from 0 to 1, or None, and words. Told too often, it does nothing."""
        nonlocal budget, at
        millionths = None
        if fraction is not None:
            fraction = float(fraction)
            if fraction == fraction:
                millionths = round(min(max(fraction, 0.0), 1.0) * 1_000_000)
        words = str(text).encode("utf-8", "replace")[:PROGRESS_BYTES].decode("utf-8", "ignore")
        # Not waited for: threads must not mix their frames, and a signal's handler may be one of them.
        if not turn.acquire(blocking=False):
            return
        try:
            now = clock()
            budget = min(budget + (now - at) * PROGRESS_RATE, PROGRESS_BURST)
            at = now
            if budget < 1:
                return
            budget -= 1
            frame = encode({"report": "progress", "millionths": millionths, "text": words}).encode()
            frame = pack(len(frame), 4, "big") + frame
            while frame:
                frame = frame[write(CONTROL, frame):]
        finally:
            turn.release()

    return muster_progress


def explain(error):
    """The message of a failed script: what happened first, then where, without the runner's own frames."""
    lines = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    part = lines
    seen = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        frames = [frame for frame in part.stack if frame.filename != __file__]
        for frame in frames:
            frame.filename = os.path.basename(frame.filename)
        part.stack = traceback.StackSummary.from_list(frames)
        part = part.__cause__ or part.__context__
    only = "".join(traceback.format_exception_only(type(error), error)).strip()
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}\n\n{only}"
    first = only
    return f"{first}\n\n{''.join(lines.format()).strip()}"


def main(argv):
    mode = argv[1]
    settings = dict(word[2:].split("=", 1) for word in argv[2:] if word.startswith("--"))
    if "library" in settings:
        sys.path.append(settings["library"])
    if "set" in settings:
        # Before the environment's own packages, behind the standard library.
        own = [folder.endswith("site-packages") for folder in sys.path]
        sys.path.insert(own.index(True) if True in own else len(own), settings["set"])
    for package in argv[2:]:
        if not package.startswith("--"):
            importlib.import_module(package)
    if "hook" in settings:
        importlib.import_module("subprocess")
    bundled = bundled_names() if mode == "restricted" else frozenset()
    library = ctypes.PyDLL("/muster/libmuster_lock.so")
    leave = make_leave(library, sys.stdout, sys.stderr)
    succeeded = make_succeeded(library, leave)
    # The hook's own way out, made of objects that no frame holds once the script runs.
    second = ctypes.PyDLL("/muster/libmuster_lock.so")
    sealed = [(make_leave(second, sys.stdout, sys.stderr), make_tell(second))]
    del second
    sys.stdout.reconfigure(line_buffering=True)
    rehearse("/tmp")
    gc.collect()
    gc.freeze()

    status = ctypes.c_int(2)
    ctypes.pythonapi.PyOS_BeforeFork()
    library.muster_fork_run(ctypes.byref(status))
    if status.value != 0:
        os._exit(status.value)
    ctypes.pythonapi.PyOS_AfterFork_Child()

    reseed()
    os.environ.update({"HOME": SCRATCH, "TMPDIR": f"{SCRATCH}/tmp"})
    tempfile.tempdir = None
    if "hook" in settings:
        start_up(settings["hook"], leave)
    idle = ctypes.c_int(0)
    library.muster_is_idle(ctypes.byref(idle))
    if idle.value:
        rehearse(f"{SCRATCH}/tmp")
        gc.collect()
        gc.freeze()
    lock(library, mode, leave)

    # The script must not find the runner where it looks for its own module.
    myself = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [SCRIPT_NAME]
    namespace = {}
    ending, message, code = one_run(mode, sealed, bundled, namespace)
    # More than once in a session: what a script leaves stays for the next.
    while ending == "succeeded":
        succeeded()
        ending, message, code = one_run(mode, sealed, bundled, namespace)
    sys.modules["__main__"] = myself
    if ending is None:
        flush(sys.stdout, sys.stderr)
        os._exit(code)
    leave(ending, message, code)


def rehearse(folder):
    """Does what every run does, so that the parent has it in memory, and then each child, while it waits and before it
    is locked: what a process changes of its parent's memory, and be it a count of references, is copied page by page.
    Nothing of it is left."""
    path, before = f"{folder}/rehearsal", os.getcwd()
    names = dict(zip("abcdefgh", ("Integer", "Real", "DateTime", "TimeSpan", "Boolean", "Date", "Time", "String")))
    with open(path, "w", encoding="utf-8") as file:
        file.write('a,b,c,d,e,f,g,h\n1,0.1,2020-01-02 03:04:05.5,1.02:03:04,true,2020-01-02,03:04:05,"x,""y"\n,,,,,,,\n')
    for given in (names, {}):
        table = read_csv(path, {"name": "x", "kind": "table", "format": "csv", "types": given})
        columns = [(name, *typed(table[name])) for name in table]
    write_csv(path, columns, "table")
    write_json(path, columns, "table")
    read_json(path, {"name": "x", "kind": "table", "format": "json"})
    with open(path, "w", encoding="utf-8") as file:
        file.write("a,b,c\n" + "".join(f"g{row % 7},{row}.5,{row}\n" for row in range(200)))
    files = [path] + [f"{folder}/rehearsal{index}" for index in range(3)]
    run = {
        "script": REHEARSED,
        "inputs": [{"name": "x", "kind": "table", "format": "csv", "types": {}, "file": path}],
        "outputs": [{"name": "y", "kind": "table", "format": "csv", "file": files[1]},
                    {"name": "n", "kind": "value", "format": "json", "file": files[2]}],
    }
    with open(files[3], "w", encoding="utf-8") as file:
        json.dump(run, file)
    with open(files[3], encoding="utf-8") as file:
        perform(json.load(file), {}, files[3], lambda: None)
    # The parent has no place of its own there.
    os.chdir(before)
    del linecache.cache[SCRIPT_NAME]
    for file in files:
        os.remove(file)


# What most functions do with a table.
REHEARSED = """
y = x[x["b"] > 1].groupby("a", as_index=False)["b"].mean()
y = y.merge(x.groupby("a", as_index=False)["c"].sum(), on="a").sort_values("b")
y["d"] = y["b"] * 2 + y["c"]
n = float(y["d"].sum())
"""


def perform(run, namespace, schema_file, before):
    """A run from its description to its outputs. `before` is called right before the script."""
    values = {item["name"]: read_input(item) for item in run["inputs"]}
    described = tuple((item["name"], item["kind"], item.get("file")) for item in run["inputs"])
    script = run["script"]
    # The mtime None tells linecache to keep the text although there is no such file.
    linecache.cache[SCRIPT_NAME] = (len(script), None, script.splitlines(True), SCRIPT_NAME)
    outputs = tuple((item["name"], item["kind"]) for item in run["outputs"])
    run_script(script, namespace, (values, described), outputs, before)
    os.chdir(SCRATCH)
    schema = [write_output(item, namespace) for item in run["outputs"]]
    with open(schema_file, "w", encoding="utf-8") as file:
        json.dump(schema, file, ensure_ascii=False)


def one_run(mode, sealed, bundled, namespace):
    exit_ = SystemExit
    try:
        os.chdir(SCRATCH)
        os.makedirs("tmp", exist_ok=True)
        os.makedirs("outputs", exist_ok=True)
        with open("run.json", encoding="utf-8") as file:
            run = json.load(file)

        def before():
            # In place from the first script to the end of the process.
            if mode == "restricted" and sealed:
                leave, tell = sealed.pop()
                watch(leave, tell if run.get("trace") else None, bundled)

        perform(run, namespace, "outputs/schema.json", before)
        return "succeeded", "", 0
    except exit_ as error:
        # The script asked to end: told as an exit, whatever the outputs are.
        if error.code is None or isinstance(error.code, int):
            return None, "", (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return None, "", 1
    except DataError as error:
        return "script_error", str(error), 1
    except BaseException as error:
        try:
            return "script_error", explain(error), 1
        except BaseException:
            return "script_error", type(error).__name__, 1


def reseed():
    """New random numbers for this child: its siblings were copied from the same parent."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def start_up(hook, leave):
    """Runs the administrator's script, which programs can do only before the lock, and keeps what it exports."""
    import subprocess

    command = ["/usr/bin/bash", "-c", '. "$0" >&2 && env -0', hook]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        said = done.stderr[-1000:].decode("utf-8", "replace").strip()
        leave("script_error", f"the start-up hook ended with code {done.returncode}; it said: {said}", 1)
    for entry in done.stdout.split(b"\0"):
        name, _, value = os.fsdecode(entry).partition("=")
        if name not in ("", "_", "PWD", "OLDPWD", "SHLVL"):
            os.environ[name] = value


def lock(library, mode, leave):
    strings = ctypes.c_char_p * 1
    status = ctypes.c_int(1)
    buffer = ctypes.create_string_buffer(1024)
    message = strings(ctypes.cast(buffer, ctypes.c_char_p))
    library.muster_lock(strings(mode.encode()), ctypes.byref(status), message)
    if status.value != 0:
        leave("script_error", buffer.value.decode("utf-8", "replace"), 1)


def flush(*streams):
    for stream in streams:
        try:
            stream.flush()
        except BaseException:
            pass


def make_leave(library, stdout, stderr):
    """The way out: reports, and ends the process without any clean-up that a script could hook into."""
    strings, number = ctypes.c_char_p * 1, ctypes.c_int
    muster_leave, byref, flush_, exit_ = library.muster_leave, ctypes.byref, flush, os._exit
    utf8, system = str.encode, sys

    def leave(ending, message, code):
        try:
            flush_(stdout, stderr, system.stdout, system.stderr)
        finally:
            text = utf8(message, "utf-8", "replace").replace(b"\0", b"?")
            muster_leave(strings(utf8(ending)), strings(text), byref(number(code)))
            exit_(1)

    return leave


def make_succeeded(library, leave):
    """What ends a run that has succeeded; it returns with the next one of the session staged, or never."""
    muster_succeeded, byref, flush_, system = library.muster_succeeded, ctypes.byref, flush, sys
    status, buffer = ctypes.c_int(1), ctypes.create_string_buffer(1024)
    message = (ctypes.c_char_p * 1)(ctypes.cast(buffer, ctypes.c_char_p))
    streams = sys.stdout, sys.stderr

    def succeeded():
        flush_(*streams, system.stdout, system.stderr)
        muster_succeeded(byref(status), message)
        if status.value != 0:
            leave("script_error", buffer.value.decode("utf-8", "replace"), 1)

    return succeeded


def make_tell(library):
    """Reports an overstep of a run that is traced."""
    strings, utf8, muster_overstep = ctypes.c_char_p * 1, str.encode, library.muster_overstep

    def tell(what):
        muster_overstep(strings(utf8(what, "utf-8", "replace").replace(b"\0", b"?")))

    return tell


if __name__ == "__main__":
    main(sys.argv)
