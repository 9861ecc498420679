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
        svg("plot.svg"); boxplot(mpg ~ cyl, mtcars); invisible(dev.off()); pdf(NULL); plot(1); invisible(dev.off())
        f <- y ~ x; environment(f) <- globalenv(); set.seed(1); sample(3)
        e <- ecdf(c(1, 2)); ls(environment(e)); g <- function() environment(); parent.env(g()); environment(g)
        sapply(split(mtcars$mpg, mtcars$cyl), mean); Map(`+`, 1:2, 3:4); do.call(rbind, list(1:2, 3:4))
        tapply(mtcars$mpg, mtcars$cyl, median); apply(as.matrix(mtcars), 2, sd); vapply(1:3, sqrt, 0); outer(1:2, 1:2)
        regmatches("a1b22", gregexpr("[0-9]+", "a1b22")); sprintf("%05.1f", pi); toupper(letters[1:3]); strsplit("a b", " ")
        format(as.Date("2020-02-29") + 0:2, "%d.%m.%Y"); difftime(Sys.time(), as.POSIXct(0, origin = "1970-01-01"))
        as.POSIXct("2020-01-02", tz = "Europe/Berlin"); seq(as.Date("2020-01-31"), by = "month", length.out = 3)
        arima(lh, order = c(1, 0, 0)); prcomp(mtcars); hclust(dist(mtcars[1:5, ])); predict(smooth.spline(cars)); stl(nottem, "per")
        attach(mtcars); mean(mpg); detach(mtcars); local({ q <- 1; q }); Vectorize(function(a, b) a + b)(1:2, 3)
        setRefClass("R", fields = list(n = "numeric"), methods = list(up = function() { n <<- n + 1 }))$new(n = 1)$up()
        stats:::Pillai; stats::sd(1:3); jsonlite::toJSON(list(a = 1)); con <- rawConnection(raw(0), "wb"); close(con)
        tryCatch(stop("x"), error = conditionMessage); match.arg("a", c("a", "b")); Recall; sys.call(); nchar("é")
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
