//! The control: what ordinary statistics need works in restricted mode, for each user.

use muster_engines::{EngineKind, Engines, EnginesConfig, Mode, NetworkPolicy, Outcome};

use crate::{
    check::jails,
    jail::{self, LIMITS, RUNTIME, User},
};

const IN_R: &str = r#"
    model <- lm(mpg ~ wt + factor(cyl), mtcars)
    stopifnot(all.equal(summary(lm(mpg ~ wt, mtcars))$r.squared, 0.7528328, tolerance = 1e-6))
    print(anova(model)); print(predict(model, head(mtcars, 3)))
    people <- data.frame(name = c("Ann", "Bob", "Cid"), age = c(31L, 45L, 27L), stringsAsFactors = TRUE)
    people$old <- people$age > 30
    stopifnot(nrow(merge(people, data.frame(name = "Ann", x = 1))) == 1)
    print(aggregate(age ~ old, people, mean)); print(tapply(mtcars$mpg, mtcars$cyl, mean))
    print(glm(am ~ wt, binomial, mtcars)); print(t.test(extra ~ group, sleep)$p.value)
    png("plot.png"); plot(mpg ~ wt, mtcars); abline(lm(mpg ~ wt, mtcars)); invisible(dev.off())
    pdf("plot.pdf"); hist(mtcars$mpg); invisible(dev.off())
    svg("plot.svg"); boxplot(mpg ~ cyl, mtcars); invisible(dev.off())
    cat("all of it\n")"#;

const IN_PYTHON: &str = r#"
import math, statistics, json, io, datetime, collections, itertools, re, decimal, csv
import numpy as np
import pandas as pd
x = np.arange(20.0)
y = 3 * x + 2 + np.sin(x)
slope, intercept = np.polyfit(x, y, 1)
assert abs(slope - 3) < 0.1, slope
coefficients, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(20)]), y, rcond=None)
assert np.allclose(coefficients, [slope, intercept])
frame = pd.DataFrame({"x": x, "y": y, "even": x % 2 == 0})
print(frame.describe(), frame.groupby("even").y.mean(), frame.merge(frame, on="x").shape)
frame.to_csv("frame.csv", index=False)
assert pd.read_csv("frame.csv").shape == (20, 3)
assert math.isclose(statistics.correlation(list(x), list(y)), frame.x.corr(frame.y))
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot(x, y, "o", x, slope * x + intercept, "-", label="a line")
axes.set_title("Ordinary work"); axes.legend()
figure.savefig("plot.png")
with open("plot.png", "rb") as file:
    assert file.read(8) == b"\x89PNG\r\n\x1a\n"
frame.plot(x="x", y="y").figure.savefig("frame.png")
figure.savefig("plot.svg"); figure.savefig("plot.pdf")
print("all of it")"#;

#[test]
fn ordinary_statistics_pass_in_r_for_each_user() {
    for user in [User::Root, User::Service, User::Nobody] {
        passes(&jails(user).engines, EngineKind::R, IN_R, user);
    }
}

#[test]
fn ordinary_statistics_pass_in_python_for_each_user() {
    for user in [User::Root, User::Service, User::Nobody] {
        let jails = jails(user);
        let engines = Engines::new(EnginesConfig {
            python_packages: vec!["numpy".into(), "pandas".into(), "matplotlib.pyplot".into()],
            ..jail::config(&jails.lab, user, NetworkPolicy::None)
        });
        passes(&engines, EngineKind::Python, IN_PYTHON, user);
        RUNTIME.block_on(async { drop(engines) });
    }
}

fn passes(engines: &Engines, kind: EngineKind, script: &str, user: User) {
    let ending = RUNTIME.block_on(jail::run(engines, kind, Mode::Restricted, script, LIMITS));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        ending.outcome,
        Outcome::Succeeded,
        "{user:?}: {}\n{}",
        text(&ending.stdout.bytes),
        text(&ending.stderr.bytes)
    );
    let said = text(&ending.stdout.bytes);
    assert!(said.ends_with("all of it\n"), "{user:?}: {said}");
}
