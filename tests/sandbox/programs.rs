//! The promise: a restricted run starts no program, and no code gets into it that it brought along as a file.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r("starts a program", "system('echo HARM')").trusted(),
    r("starts a program by its newer function", "cat(system2('echo', 'HARM', stdout = TRUE))").trusted(),
    r("reads from a program", "cat(readLines(pipe('echo HARM')))").trusted(),
    r(
        "starts a program with the internal function",
        "eval(quote(.Internal(system('echo HARM', FALSE, 0L))), baseenv())",
    )
    .trusted(),
    r("starts a program as an editor", "file.edit('x', editor = function(...) system('echo HARM'))").trusted(),
    r(
        "loads an object that it dropped",
        "digits <- '@dropped@'
         at <- seq(1, nchar(digits), 2)
         writeBin(as.raw(strtoi(substring(digits, at, at + 1), 16)), 'dropped.so')
         dyn.load('./dropped.so')",
    )
    .trusted(),
    r(
        "loads an object that it dropped from behind the stubs",
        "e <- parent.env(parent.env(environment(tempfile)))
         digits <- '@dropped@'
         at <- seq(1, nchar(digits), 2)
         con <- get('file', e)('dropped.so', 'wb')
         writeBin(as.raw(strtoi(substring(digits, at, at + 1), 16)), con)
         close(con)
         eval(quote(.Internal(dyn.load('./dropped.so', TRUE, TRUE, ''))), baseenv())",
    )
    .trusted(),
    python("starts a program", "import subprocess; print(subprocess.run(['/bin/echo', 'HARM'], capture_output=True).stdout)")
        .trusted(),
    python("starts a shell", "import os; os.system('echo HARM')").trusted(),
    python("becomes a program", "import os; os.execv('/bin/echo', ['echo', 'HARM'])").trusted(),
    python(
        "starts a program without a fork",
        "import os; os.waitpid(os.posix_spawn('/bin/echo', ['echo', 'HARM'], {}), 0)",
    )
    .trusted(),
    python(
        "starts a program below the library",
        "import _posixsubprocess, os
r, w = os.pipe()
pid = _posixsubprocess.fork_exec([b'echo', b'HARM'], [b'/bin/echo'], True, (w,), None, None, -1, -1, -1, -1, -1, -1,
    r, w, False, False, 0, None, None, None, -1, None, False)
os.waitpid(pid, 0)",
    )
    .trusted(),
    python(
        "becomes a program with the loader's help",
        "import os; os.execv('/lib64/ld-linux-x86-64.so.2', ['ld', '/bin/echo', 'HARM'])",
    )
    .trusted(),
    python(
        "becomes a program that it dropped",
        "import os
open('dropped', 'wb').write(open('/bin/echo', 'rb').read())
os.chmod('dropped', 0o700)
os.execv('./dropped', ['echo', 'HARM'])",
    )
    .trusted(),
    python(
        "becomes a program that is nowhere",
        "import os
file = os.memfd_create('x')
os.write(file, open('/bin/echo', 'rb').read())
os.execve(file, ['echo', 'HARM'], {})",
    )
    .trusted(),
    python(
        "loads an object that it dropped",
        "import ctypes
open('dropped.so', 'wb').write(bytes.fromhex('@dropped@'))
ctypes.CDLL('./dropped.so')",
    )
    .trusted(),
    python(
        "imports an object that it dropped",
        "import sys
open('dropped.so', 'wb').write(bytes.fromhex('@dropped@'))
sys.path.insert(0, '.')
import dropped",
    )
    .trusted(),
    python(
        "loads an object that is nowhere",
        "import ctypes, os
file = os.memfd_create('x')
os.write(file, bytes.fromhex('@dropped@'))
ctypes.CDLL(f'/proc/self/fd/{file}')",
    )
    .trusted(),
    c(
        "becomes a program",
        r#"harm_if(execv("/bin/echo", (char *[]){"echo", "HARM", 0}) == 0);"#,
    )
    .trusted(),
    c(
        "starts a shell",
        r#"errno = EPERM; harm_if(system("echo HARM") == 0);"#,
    )
    .trusted(),
    c(
        "becomes a program that is nowhere",
        r#"int file = (int)syscall(SYS_memfd_create, "x", 0), echo = open("/bin/echo", O_RDONLY);
        char bytes[4096];
        for (ssize_t count; file >= 0 && (count = read(echo, bytes, sizeof bytes)) > 0;)
            if (write(file, bytes, (size_t)count) < 0) return;
        harm_if(file >= 0 && syscall(SYS_execveat, file, "", (char *[]){"echo", "HARM", 0}, environ, AT_EMPTY_PATH) == 0);"#,
    )
    .trusted(),
    c(
        "loads an object that it dropped",
        r#"drop("dropped.so");
        if (!dlopen("./dropped.so", RTLD_NOW)) dprintf(2, "refused: %s\n", dlerror());"#,
    )
    .trusted(),
    c(
        "executes the memory of a file that it dropped",
        r#"int file = drop("dropped.so");
        harm_if(file >= 0 && mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) != MAP_FAILED);"#,
    )
    .trusted(),
    c(
        "makes the memory of a file executable that it dropped",
        r#"int file = drop("dropped.so");
        void *memory = file < 0 ? MAP_FAILED : mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
        harm_if(memory != MAP_FAILED && mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0);"#,
    )
    .trusted(),
    c(
        "makes a file that is nowhere",
        r#"harm_if(syscall(SYS_memfd_create, "x", 0) >= 0);"#,
    )
    .trusted(),
];

crate::check::promise!(PROBES);
