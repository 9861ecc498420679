"""A Python engine without any check of the language: what stops its scripts is the jail."""

import ctypes
import os
import sys

library = ctypes.PyDLL("/muster/libmuster_lock.so")
status = ctypes.c_int(2)
ctypes.pythonapi.PyOS_BeforeFork()
library.muster_fork_run(ctypes.byref(status))
if status.value != 0:
    os._exit(status.value)
ctypes.pythonapi.PyOS_AfterFork_Child()


def texts(text):
    return (ctypes.c_char_p * 1)(text.encode("utf-8", "replace"))


def leave(ending, message, code):
    sys.stdout.flush()
    sys.stderr.flush()
    library.muster_leave(texts(ending), texts(message), ctypes.byref(ctypes.c_int(code)))


buffer = ctypes.create_string_buffer(1024)
message = (ctypes.c_char_p * 1)(ctypes.cast(buffer, ctypes.c_char_p))
library.muster_lock(texts("restricted"), ctypes.byref(status), message)
if status.value != 0:
    leave("script_error", buffer.value.decode(), 3)
os.environ["TMPDIR"] = "/scratch/tmp"
os.makedirs("/scratch/outputs")
try:
    with open("/scratch/code", encoding="utf-8") as file:
        exec(file.read(), {"__name__": "probe"})
except BaseException as error:
    leave("script_error", f"{type(error).__name__}: {error}", 1)
leave("succeeded", "", 0)
