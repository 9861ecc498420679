//! What a restricted script may not call, by the name that ends its run. One table for each language, in the order of
//! the documented list of what is forbidden.

use super::bench::*;

/// What calls it, and its name.
type Calls = &'static [(&'static str, &'static str)];

const R_CALLS: Calls = &[
    // Restricted evaluation within restricted evaluation.
    ("evalREX(quote(1 + 1))", "evalREX"),
    ("terrUtils::evalREX(quote(1), trace = TRUE)", "evalREX"),
    // The file system.
    ("read.csv('a.csv')", "file"),
    ("source('/etc/passwd')", "file"),
    ("cat('x', file = 'y')", "file"),
    ("sink('x')", "file"),
    ("dput(1, 'x')", "file"),
    ("parse('x')", "file"),
    ("jsonlite::read_json('x')", "file"),
    ("do.call('file', list('/etc/passwd'))", "file"),
    ("get('file', baseenv())('/etc/passwd')", "file"),
    ("load('x')", "gzfile"),
    ("save(sd, file = 'x')", "gzfile"),
    ("saveRDS(1, 'x')", "gzfile"),
    ("readRDS('x')", "gzfile"),
    ("citation()", "gzfile"),
    ("bzfile('x')", "bzfile"),
    ("unz('x', 'y')", "unz"),
    ("fifo('x')", "fifo"),
    ("unlink('x')", "unlink"),
    ("file.create('x')", "file.create"),
    ("file.remove('x')", "file.remove"),
    ("file.rename('x', 'y')", "file.rename"),
    ("file.copy('x', 'y')", "file.copy"),
    ("file.symlink('x', 'y')", "file.symlink"),
    ("dir.create('x')", "dir.create"),
    ("Sys.chmod('x')", "Sys.chmod"),
    ("list.files('/')", "list.files"),
    ("list.dirs('/')", "list.dirs"),
    ("Sys.glob('/*')", "Sys.glob"),
    ("Sys.readlink('/bin')", "Sys.readlink"),
    ("tempfile()", "tempfile"),
    ("tempdir()", "tempdir"),
    ("getwd()", "getwd"),
    ("setwd('/')", "setwd"),
    ("file.exists('x')", "file.exists"),
    ("sapply('x', file.exists)", "file.exists"),
    ("Reduce(function(a, b) file.info(b), c('a', 'b'))", "file.info"),
    ("normalizePath('.')", "normalizePath"),
    ("system.file('x')", "system.file"),
    ("sys.source('x', globalenv())", "sys.source"),
    ("tools::md5sum('x')", "md5sum"),
    ("compiler::loadcmp('x')", "loadcmp"),
    ("png('/usr/x.png')", "png"),
    ("pdf('../x.pdf')", "pdf"),
    ("data('nosuch')", "data"),
    ("Rprof('x')", "Rprof"),
    // The network.
    ("url('http://localhost')", "url"),
    ("readLines(url('http://localhost'))", "url"),
    ("jsonlite::fromJSON('http://localhost')", "url"),
    ("download.file('http://localhost', 'x')", "download.file"),
    ("socketConnection(port = 1)", "socketConnection"),
    ("serverSocket(1)", "serverSocket"),
    ("make.socket('localhost', 1)", "make.socket"),
    ("nsl('localhost')", "nsl"),
    ("curlGetHeaders('http://localhost')", "curlGetHeaders"),
    ("browseURL('http://localhost')", "browseURL"),
    ("install.packages('x')", "install.packages"),
    // Packages that do not belong to the engine.
    ("library(notbundled)", "loadNamespace"),
    ("require('notbundled', character.only = TRUE)", "loadNamespace"),
    ("requireNamespace('notbundled', quietly = TRUE)", "loadNamespace"),
    ("notbundled::f()", "loadNamespace"),
    ("loadNamespace('notbundled')", "loadNamespace"),
    ("library()", "library"),
    // Processes.
    ("system('id')", "system"),
    ("system2('id')", "system2"),
    ("lapply('id', system)", "system"),
    ("pipe('id')", "pipe"),
    ("pdf('|cat')", "pipe"),
    ("Sys.which('ls')", "system"),
    ("tools::pskill(1)", "pskill"),
    ("Sys.setenv(A = '1')", "Sys.setenv"),
    ("mapply(Sys.setenv, A = '1')", "Sys.setenv"),
    // Compiled code.
    (".Call('x')", ".Call"),
    (".C('x')", ".C"),
    (".Fortran('x')", ".Fortran"),
    (".External('x')", ".External"),
    (".External2('x')", ".External2"),
    ("base::.Call('x')", ".Call"),
    ("dyn.load('x.so')", "dyn.load"),
    ("library.dynam('x', 'x', '.')", "library.dynam"),
    ("getNativeSymbolInfo('x')", "getNativeSymbolInfo"),
    (".Primitive('sum')", ".Primitive"),
    (
        "f <- function() .Internal(getwd()); for (i in 1:3) f()",
        ".Internal",
    ),
    ("for (i in 1:2) .Internal(getwd())", ".Internal"),
    ("compiler::cmpfun(function() .Internal(getwd()))()", ".Internal"),
    // Java.
    ("library(terrJava)", "loadNamespace"),
    ("rJava::.jinit()", "loadNamespace"),
    // parallel.
    ("library(parallel)", "loadNamespace"),
    ("parallel::mclapply(1:2, identity)", "loadNamespace"),
    ("parallel:::mcfork()", "loadNamespace"),
    // Environments of functions, and namespaces through them.
    ("f <- function() 1; environment(f) <- baseenv()", "environment<-"),
    ("environment(sd)", "environment"),
    ("environment(tempfile)", "environment"),
    ("parent.env(environment(ecdf(1:3)))", "parent.env"),
    ("e <- new.env(); parent.env(e) <- baseenv()", "parent.env<-"),
    ("asNamespace('stats')", "asNamespace"),
    ("getNamespace('stats')", "getNamespace"),
    ("unlockBinding('file', baseenv())", "unlockBinding"),
    ("assignInNamespace('sd', 1, 'stats')", "assignInNamespace"),
    ("fixInNamespace('sd', 'stats')", "fixInNamespace"),
    ("trace('sd', quote(1))", "trace"),
    ("unloadNamespace('stats4')", "unloadNamespace"),
    ("sys.frames()", "sys.frames"),
    ("sys.frame(1)", "sys.frame"),
    ("detach('muster:restricted')", "detach"),
];

const PYTHON_CALLS: Calls = &[
    // The file system.
    ("open('/etc/passwd')", "open"),
    ("open('/scratch/../etc/passwd')", "open"),
    ("import pathlib; pathlib.Path('/etc/passwd').read_text()", "open"),
    ("import io; io.open_code('/etc/passwd')", "open"),
    ("import pandas; pandas.read_csv('/etc/passwd')", "open"),
    (
        "import pandas; pandas.DataFrame({'a': [1]}).to_csv('/usr/x.csv')",
        "open",
    ),
    ("import numpy; numpy.fromfile('/etc/passwd')", "open"),
    ("import numpy; numpy.arange(3).tofile('/usr/x')", "open"),
    ("import zipfile; zipfile.ZipFile('/etc/x.zip')", "open"),
    ("import tempfile; tempfile.mkstemp(dir='/var')", "open"),
    ("import os; os.open('/etc/passwd', 0)", "open"),
    ("import os; os.listdir('/')", "os.listdir"),
    ("import os; list(os.scandir('/'))", "os.scandir"),
    ("import glob; glob.glob('/etc/*')", "os.scandir"),
    ("import os; os.stat('/etc/passwd')", "os.stat"),
    ("import os; os.path.exists('/etc/passwd')", "os.stat"),
    ("import pathlib; pathlib.Path('/etc/passwd').exists()", "os.stat"),
    ("import os; os.access('/etc', 4)", "os.access"),
    ("import os; os.readlink('/proc/self/exe')", "os.readlink"),
    ("import os; os.chdir('/')", "os.chdir"),
    ("import os; os.mkdir('/usr/x')", "os.mkdir"),
    ("import os; os.remove('/usr/x')", "os.remove"),
    ("import os; os.rename('x', '/usr/x')", "os.rename"),
    ("import os; os.symlink('/etc/passwd', 'x')", "os.symlink"),
    ("import os; os.mkfifo('x')", "os.mkfifo"),
    ("import os; os.mknod('x')", "os.mknod"),
    ("import os; os.memfd_create('x')", "os.memfd_create"),
    ("import os; os.chmod('/usr', 0o777)", "os.chmod"),
    ("import shutil; shutil.rmtree('/usr/x')", "shutil.rmtree"),
    ("import sqlite3; sqlite3.connect('/etc/x.db')", "sqlite3.connect"),
    // The network.
    ("import socket; socket.socket()", "socket.socket"),
    (
        "import socket; socket.getaddrinfo('localhost', 80)",
        "socket.getaddrinfo",
    ),
    (
        "import urllib.request; urllib.request.urlopen('http://localhost')",
        "urllib.Request",
    ),
    (
        "import http.client; http.client.HTTPConnection('localhost').connect()",
        "http.client.connect",
    ),
    (
        "import pandas; pandas.read_csv('http://localhost/x.csv')",
        "urllib.Request",
    ),
    (
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "socket.socketpair",
    ),
    // Packages that do not belong to the engine.
    ("import requests", "import requests"),
    ("import requests.sessions as s", "import requests.sessions"),
    ("from requests import get", "import requests"),
    ("__import__('requests')", "import requests"),
    ("exec('import requests')", "import requests"),
    (
        "import importlib; importlib.import_module('requests')",
        "import requests",
    ),
    (
        "import importlib.util; importlib.util.find_spec('requests')",
        "import requests",
    ),
    (
        "open('m.py', 'w').close(); import sys; sys.path.insert(0, '.'); import m",
        "import m",
    ),
    // Processes.
    ("import os; os.system('id')", "os.system"),
    ("import os; os.popen('id')", "subprocess.Popen"),
    ("import os; os.fork()", "os.fork"),
    ("import os; os.forkpty()", "os.forkpty"),
    ("import os; os.execv('/bin/id', ['id'])", "os.exec"),
    ("import os; os.spawnv(0, '/bin/id', ['id'])", "os.fork"),
    (
        "import os; os.posix_spawn('/bin/id', ['id'], {})",
        "os.posix_spawn",
    ),
    ("import os; os.kill(1, 9)", "os.kill"),
    ("import os; os.setuid(0)", "os.setuid"),
    ("import os; os.setsid()", "os.setsid"),
    ("import os; os.nice(1)", "os.nice"),
    ("import os; os.chroot('/')", "os.chroot"),
    ("import subprocess; subprocess.run(['id'])", "subprocess.Popen"),
    ("import pty; pty.spawn('id')", "pty.spawn"),
    (
        "import signal; signal.pidfd_send_signal(1, 1)",
        "signal.pidfd_send_signal",
    ),
    (
        "import resource; resource.setrlimit(0, (1, 1))",
        "resource.setrlimit",
    ),
    (
        "import _posixsubprocess; _posixsubprocess.fork_exec()",
        "_posixsubprocess.fork_exec",
    ),
    // Compiled code.
    ("import ctypes; ctypes.CDLL(None)", "ctypes.dlopen"),
    ("import ctypes; ctypes.pythonapi.Py_IncRef", "ctypes.dlsym"),
    ("import ctypes; ctypes.string_at(1)", "ctypes.string_at"),
    (
        "import sqlite3; sqlite3.connect(':memory:').enable_load_extension(True)",
        "sqlite3.enable_load_extension",
    ),
    // multiprocessing stands for Java and parallel.
    (
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "os.fork",
    ),
    // What would reach or undo the check.
    ("import sys; sys.addaudithook(print)", "sys.addaudithook"),
    ("import sys; sys.settrace(print)", "sys.settrace"),
    ("import sys; sys.setprofile(print)", "sys.setprofile"),
    ("import sys; sys._getframe()", "sys._getframe"),
    ("import inspect; inspect.currentframe()", "sys._getframe"),
    ("import inspect; inspect.stack()", "sys._getframe"),
    ("import gc; gc.get_objects()", "gc.get_objects"),
    ("import gc; gc.get_referrers(1)", "gc.get_referrers"),
    ("(lambda: 0).__code__.replace(co_name='g')", "code.__new__"),
    ("f = lambda: 0; f.__code__ = f.__code__", "function.__code__"),
    ("import fcntl; fcntl.ioctl(0, 0x5412, b'x')", "fcntl.ioctl"),
    (
        "import _xxsubinterpreters as i; i.create()",
        "cpython.PyInterpreterState_New",
    ),
];

#[test]
fn r_scripts_stop_at_the_first_restricted_call_which_is_named() {
    for (script, name) in R_CALLS {
        let guarded =
            format!("tryCatch(try({{ {script} }}, silent = TRUE), finally = cat('finally')); cat('after')");
        let ended = NODE.run(order(Terr, Restricted, &guarded));
        let first = ended.words().lines().next().map(str::to_owned);
        assert_eq!(
            (first.as_deref(), ended.stdout().as_str()),
            (Some(format!("restricted call to Native[{name}]").as_str()), ""),
            "{script}"
        );
    }
}

#[test]
fn python_scripts_stop_at_the_first_restricted_call_which_is_named() {
    for (script, name) in PYTHON_CALLS {
        let guarded = format!(
            "try:\n    {script}\nexcept BaseException as e:\n    print('caught', e)\nfinally:\n    print('finally')"
        );
        let ended = NODE.run(order(Python, Restricted, &guarded));
        let first = ended.words().lines().next().map(str::to_owned);
        assert_eq!(
            (first.as_deref(), ended.stdout().as_str()),
            (Some(format!("restricted call to {name}").as_str()), ""),
            "{script}"
        );
    }
}
