//! The language check: ordinary work passes, an overstep ends the run with its name.

use super::bench::*;

#[test]
fn pure_computation_passes() {
    let ended = NODE
        .run(order(Terr, Restricted, "y <- sum((1:10)^2)").output("y", Value, Json))
        .succeeded();
    assert_eq!(ended.outputs["y"].trim(), r#"{"type":"Real","value":385}"#);
}

#[test]
fn an_overstep_names_the_call_and_the_cure() {
    let script =
        "x <- tryCatch(readLines('/etc/passwd'), error = function(e) 'caught', finally = cat('finally'))";
    let ended = NODE.run(order(Terr, Restricted, script));
    let words = ended.words();
    let lines: Vec<_> = words.lines().collect();
    assert_eq!(lines[0], "restricted call to Native[file]");
    assert_eq!(
        lines[1],
        "Have a Script Author trust this function (muster function trust F), or remove the call."
    );
    assert_eq!(ended.stdout(), "");
}

#[test]
fn what_was_printed_before_an_overstep_is_kept() {
    let r = NODE.run(order(Terr, Restricted, "cat('before'); tempfile()"));
    assert_eq!(
        (r.overstep(), r.stdout().as_str()),
        ("Native[tempfile]", "before")
    );
    let python = NODE.run(order(
        Python,
        Restricted,
        "print('before', end='')\nopen('/etc/passwd')",
    ));
    assert_eq!((python.overstep(), python.stdout().as_str()), ("open", "before"));
}

#[test]
fn r_oversteps_are_named() {
    let cases = [
        ("try(read.csv('a.csv'))", "Native[file]"),
        ("source('/etc/passwd')", "Native[file]"),
        ("cat('x', file = 'y')", "Native[file]"),
        ("load('x')", "Native[gzfile]"),
        ("url('http://localhost')", "Native[url]"),
        ("socketConnection(port = 1)", "Native[socketConnection]"),
        ("download.file('http://localhost', 'x')", "Native[download.file]"),
        ("system('id')", "Native[system]"),
        ("system2('id')", "Native[system2]"),
        ("unlink('x')", "Native[unlink]"),
        ("getwd()", "Native[getwd]"),
        ("list.files('/')", "Native[list.files]"),
        ("Sys.setenv(A = '1')", "Native[Sys.setenv]"),
        ("dyn.load('x.so')", "Native[dyn.load]"),
        ("library(parallel)", "Native[loadNamespace]"),
        ("parallel::mclapply(1:2, identity)", "Native[loadNamespace]"),
        (".Call('x')", "Native[.Call]"),
        (".C('x')", "Native[.C]"),
        (
            "f <- function() .Internal(getwd()); for (i in 1:3) f()",
            "Native[.Internal]",
        ),
        ("for (i in 1:2) .Internal(getwd())", "Native[.Internal]"),
        (
            "compiler::cmpfun(function() .Internal(getwd()))()",
            "Native[.Internal]",
        ),
        (
            "f <- function() 1; environment(f) <- baseenv()",
            "Native[environment<-]",
        ),
        ("unlockBinding('file', baseenv())", "Native[unlockBinding]"),
        ("do.call('file', list('/etc/passwd'))", "Native[file]"),
        ("get('file', baseenv())('/etc/passwd')", "Native[file]"),
    ];
    for (script, expected) in cases {
        let ended = NODE.run(order(
            Terr,
            Restricted,
            &format!("try({{ {script} }}, silent = TRUE)"),
        ));
        assert_eq!(ended.overstep(), expected, "{script}");
    }
}

#[test]
fn python_oversteps_are_named() {
    let cases = [
        ("open('/etc/passwd')", "open"),
        ("open('/scratch/../etc/passwd')", "open"),
        ("import pathlib; pathlib.Path('/etc/passwd').read_text()", "open"),
        ("import pandas; pandas.read_csv('/etc/passwd')", "open"),
        ("import os; os.listdir('/')", "os.listdir"),
        ("import os; os.system('id')", "os.system"),
        ("import os; os.fork()", "os.fork"),
        ("import subprocess; subprocess.run(['id'])", "subprocess.Popen"),
        ("import socket; socket.socket()", "socket.socket"),
        (
            "import urllib.request; urllib.request.urlopen('http://localhost')",
            "urllib.Request",
        ),
        ("import ctypes; ctypes.CDLL(None)", "ctypes.dlopen"),
        ("import requests", "import requests"),
        ("import gc; gc.get_objects()", "gc.get_objects"),
        ("import os; os.kill(1, 9)", "os.kill"),
    ];
    for (script, expected) in cases {
        let guarded = format!(
            "try:\n    {script}\nexcept BaseException as e:\n    print('caught', e)\nfinally:\n    print('finally')"
        );
        let ended = NODE.run(order(Python, Restricted, &guarded));
        assert_eq!(
            (ended.overstep(), ended.stdout().as_str()),
            (expected, ""),
            "{script}"
        );
    }
}

#[test]
fn ordinary_statistics_pass_in_r() {
    let script = r#"
        con <- textConnection("a,b\n1,2\n3,5"); x <- read.csv(con); print(x); close(con)
        print(summary(lm(mpg ~ wt, mtcars))); print(anova(glm(am ~ wt, binomial, mtcars)))
        print(aggregate(mpg ~ cyl, mtcars, mean)); print(merge(x, x)); t.test(mtcars$mpg)
        nls(mpg ~ a + b * wt, mtcars, start = list(a = 30, b = -3)); kmeans(mtcars$mpg, 2)$size
        loess(mpg ~ wt, mtcars); optim(c(1, 1), function(p) sum(p^2))$par; str(iris); ecdf(1:3)(2)
        setClass("P", representation(x = "numeric")); new("P", x = 1)
        library(splines); require(stats4); bs(1:10, df = 4)[1, ]; data(mtcars)
        png("plot.png"); plot(1:3); invisible(dev.off())
        pdf("plot.pdf"); hist(mtcars$mpg); invisible(dev.off())
        f <- y ~ x; environment(f) <- globalenv(); set.seed(1); sample(3)
        y <- nchar(paste(capture.output(print(mtcars)), collapse = ""))"#;
    let ended = NODE
        .run(order(Terr, Restricted, script).output("y", Value, Csv))
        .succeeded();
    assert!(
        ended.stdout().contains("An object of class \"P\""),
        "{}",
        ended.stdout()
    );
}

#[test]
fn ordinary_work_passes_in_python() {
    let script = "import collections, io, sqlite3, statistics, tempfile, uuid, warnings, zoneinfo\n\
        import numpy as np, pandas as pd\n\
        d = pd.DataFrame({'a': [1, 2, 2], 'b': [1.0, 2.0, 4.0]})\n\
        print(d.describe(), d.groupby('a').b.mean(), d.pivot_table(index='a', values='b'))\n\
        d.to_csv('x.csv'); assert len(pd.read_csv('x.csv')) == 3\n\
        pd.Timestamp('2020-01-01').tz_localize('Europe/Berlin'); zoneinfo.ZoneInfo('Asia/Tokyo')\n\
        np.linalg.lstsq(np.ones((3, 1)), np.ones(3), rcond=None); np.save('x.npy', np.arange(3)); np.load('x.npy')\n\
        collections.namedtuple('A', 'a b', defaults=[1]); uuid.uuid4(); warnings.warn('careful')\n\
        sqlite3.connect(':memory:').execute('select 1'); tempfile.TemporaryFile().write(b'x')\n\
        y = float(d.b.sum())";
    let ended = NODE
        .run(order(Python, Restricted, script).output("y", Value, Csv))
        .succeeded();
    assert_eq!(ended.outputs["y"], "y\n7.0\n");
    assert!(
        ended.stderr().contains("<data_function>:8: UserWarning: careful"),
        "{}",
        ended.stderr()
    );
}
