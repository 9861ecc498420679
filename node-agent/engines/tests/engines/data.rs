//! Inputs and outputs: what goes in comes out, with its type.

use std::{fmt::Write as _, fs};

use muster_engines::Outcome;

use super::bench::{Order, *};

const MTCARS: &str = include_str!("../data/mtcars.csv");

#[test]
fn r_fits_a_model_to_a_table() {
    let script = "m <- summary(lm(mpg ~ wt, cars))$coefficients\n\
                  result <- data.frame(term = rownames(m), estimate = m[, 1])";
    let order = order(R, Unrestricted, script);
    let ended = NODE
        .run(
            order
                .input("cars", Table, Csv, MTCARS)
                .output("result", Table, Csv),
        )
        .succeeded();
    let lines: Vec<_> = ended.outputs["result"].lines().collect();
    assert_eq!(lines[0], "term,estimate");
    assert!(lines[1].starts_with("(Intercept),37.28512616"), "{lines:?}");
    assert!(lines[2].starts_with("wt,-5.34447157"), "{lines:?}");
    assert!(
        ended
            .schema
            .contains(r#""columns":[{"name":"term","type":"String"},{"name":"estimate","type":"Real"}]"#)
    );
}

#[test]
fn python_groups_a_table() {
    let script = "result = cars.groupby('cyl')['mpg'].mean().round(2).reset_index()\nbest = cars.loc[cars.mpg.idxmax(), 'model']";
    let order = order(Python, Unrestricted, script).input("cars", Table, Csv, MTCARS);
    let ended = NODE
        .run(order.output("result", Table, Csv).output("best", Value, Json))
        .succeeded();
    assert_eq!(ended.outputs["result"], "cyl,mpg\n4,26.66\n6,19.74\n8,15.1\n");
    assert_eq!(
        ended.outputs["best"],
        r#"{"type":"String","value":"Toyota Corolla"}"#
    );
}

const TYPED: &str = r#"{"columns":[
    {"name":"b","type":"Boolean","values":[true,null,false]},
    {"name":"i","type":"Integer","values":[1,null,-2147483647]},
    {"name":"l","type":"LongInteger","values":[9007199254740991,null,-1]},
    {"name":"f","type":"SingleReal","values":[0.5,null,-2]},
    {"name":"r","type":"Real","values":[0.1,null,1e-300]},
    {"name":"at","type":"DateTime","values":["2020-02-29T03:04:05.25",null,"1901-01-01T00:00:00Z"]},
    {"name":"d","type":"Date","values":["2020-02-29",null,"1901-01-01"]},
    {"name":"t","type":"Time","values":["03:04:05",null,"23:59:59.5"]},
    {"name":"span","type":"TimeSpan","values":["1.02:03:04.5",null,"-00:00:01"]},
    {"name":"s","type":"String","values":["é\n\"x\",","NA",null]},
    {"name":"bin","type":"Binary","values":["AAEC",null,""]},
    {"name":"c","type":"Currency","values":["12.30",null,4]}]}"#;

#[test]
fn python_keeps_all_twelve_types() {
    let order = order(Python, Restricted, "print([type(x).__name__ for x in x.iloc[0]])");
    let order = order
        .input("x", Table, Json, TYPED)
        .output("x", Table, Json)
        .output("x", Table, Csv);
    let ended = NODE.run(order).succeeded();
    let classes = "['bool', 'int32', 'int64', 'float32', 'float64', 'datetime', 'date', 'time', 'timedelta', 'str', 'bytes', 'Decimal']";
    assert_eq!(ended.stdout().trim(), classes);
    let schema = ended.schema.replace(' ', "");
    let names = [
        "Boolean",
        "Integer",
        "LongInteger",
        "SingleReal",
        "Real",
        "DateTime",
        "Date",
        "Time",
        "TimeSpan",
    ];
    for name in names.into_iter().chain(["String", "Binary", "Currency"]) {
        assert_eq!(
            schema.matches(&format!("\"type\":\"{name}\"")).count(),
            2,
            "{name}: {schema}"
        );
    }
    // The map keeps the last of the same name: CSV.
    let csv = &ended.outputs["x"];
    assert!(csv.contains("true,1,9007199254740991,0.5,0.1,2020-02-29T03:04:05.250000,2020-02-29,03:04:05,1.02:03:04.500000,\"é\n\"\"x\"\",\",AAEC,12.30\n"), "{csv}");
}

#[test]
fn r_reads_all_twelve_types_as_documented() {
    let script = "cat(vapply(x, function(c) class(c)[[1]], ''), '\\n'); cat(format(x$at[1], '%H:%M:%OS2'), x$s[2], '\\n')";
    let ended = NODE.run(
        order(R, Restricted, script)
            .input("x", Table, Json, TYPED)
            .output("x", Table, Json),
    );
    let ended = ended.succeeded();
    let classes =
        "logical integer numeric numeric numeric POSIXct POSIXct POSIXct difftime character list numeric";
    assert_eq!(ended.stdout(), format!("{classes} \n03:04:05.25 NA \n"));
    let json = &ended.outputs["x"];
    assert!(
        json.contains(r#"{"name":"r","type":"Real","values":[0.1,null,1e-300]}"#),
        "{json}"
    );
    assert!(
        json.contains(r#""values":["1.02:03:04.500000",null,"-00:00:01"]"#),
        "{json}"
    );
    assert!(
        json.contains(r#""values":["2020-02-29T03:04:05.250000",null,"1901-01-01T00:00:00"]"#),
        "{json}"
    );
    assert!(
        json.contains(r#""type":"Binary","values":["AAEC",null,""]"#),
        "{json}"
    );
}

#[test]
fn a_table_that_could_be_read_as_other_rows_is_refused() {
    let tables: [(&[u8], &str); 6] = [
        (b"id,s\n1,M\xfcnchen\n2,x\n", ""),
        (
            b"id,s\n1,5\" pipe\n2,6\" pipe\n3,x\n",
            "record 2 of the CSV file has a quote within a field",
        ),
        (
            b"id,s\n1,x\n2,\"y\n3,z\n",
            "record 3 of the CSV file has a quote within a field",
        ),
        (
            b"id,s\n1,x\n2\n",
            "record 3 of the CSV file has another number of fields (1) than the header (2)",
        ),
        (
            b"id,s\n1,x,y\n",
            "record 2 of the CSV file has another number of fields (3) than the header (2)",
        ),
        (b"id,s\n1,x\r2,y\n", "ends with a return alone"),
    ];
    for (csv, why) in tables {
        for (language, script) in [(R, "n <- nrow(t)"), (Python, "n = len(t)")] {
            let order = order(language, Unrestricted, script).input("t", Table, Csv, csv);
            let ended = NODE.run(order.output("n", Value, Json));
            assert!(
                matches!(&ended.ending.outcome, Outcome::ScriptError { message } if message.contains(why)),
                "{why}: {:?}",
                ended.ending.outcome
            );
        }
    }
}

#[test]
fn both_languages_infer_the_same_types_from_csv() {
    let csv = "a,b,c,d,e,f,g,h\n1,1.5,true,2020-01-02,2020-01-02 03:04:05,007,,3000000000\n,,,,,,,\n-3,2,FALSE,1999-12-31,2020-01-02T03:04:05Z,x,,1\n";
    for (engine, dates) in [(Python, "Date"), (R, "DateTime")] {
        let order = order(engine, Restricted, "")
            .input("x", Table, Csv, csv)
            .output("x", Table, Json);
        let ended = NODE.run(order).succeeded();
        // R has no 64-bit integers, and keeps dates as times, as the original does.
        let long = if engine == R { "Real" } else { "LongInteger" };
        let types = [
            "Integer", "Real", "Boolean", dates, "DateTime", "String", "String", long,
        ];
        assert_eq!(types_of(&ended.schema), types, "{engine}");
    }
}

/// The types in a schema, in the order of the columns.
fn types_of(schema: &str) -> Vec<&str> {
    schema
        .split("\"type\"")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap_or(""))
        .collect()
}

#[test]
fn a_said_type_wins_over_what_the_text_looks_like() {
    for engine in [R, Python] {
        let order = order(engine, Restricted, "")
            .input("x", Column, Csv, "code\n1\n2\n")
            .with_type("code", "String");
        let ended = NODE.run(order.output("x", Column, Json)).succeeded();
        assert!(
            ended.outputs["x"].contains(r#""type":"String","values":["1","2"]"#),
            "{}",
            ended.outputs["x"]
        );
    }
}

#[test]
fn absent_inputs_are_null() {
    let r = NODE
        .run(
            order(R, Restricted, "y <- is.null(x)")
                .absent("x")
                .output("y", Value, Json),
        )
        .succeeded();
    let python = order(Python, Restricted, "y = x is None")
        .absent("x")
        .output("y", Value, Json);
    let python = NODE.run(python).succeeded();
    assert_eq!(r.outputs["y"].trim(), r#"{"type":"Boolean","value":true}"#);
    assert_eq!(python.outputs["y"], r#"{"type":"Boolean","value":true}"#);
}

#[test]
fn bad_inputs_and_outputs_are_named() {
    let cases: [(Order, &str); 6] = [
        (
            order(R, Restricted, "").output("y", Value, Csv),
            "Output variable y was not set",
        ),
        (
            order(Python, Restricted, "").output("y", Value, Csv),
            "Output variable y was not set",
        ),
        (
            order(R, Restricted, "")
                .input("x", Table, Csv, "a\nz\n")
                .with_type("a", "Integer"),
            "Input x: column a cannot be read as Integer: \"z\"",
        ),
        (
            order(Python, Restricted, "")
                .input("x", Table, Csv, "a\nz\n")
                .with_type("a", "Integer"),
            "Input x: column a cannot be read as Integer",
        ),
        (
            order(Python, Restricted, "").input("x", Table, Json, "{"),
            "Input x is not valid JSON",
        ),
        (
            order(R, Restricted, "").input("x", Table, Csv, "a,a\n1,2\n"),
            "column a appears twice",
        ),
    ];
    for (order, expected) in cases {
        let ended = NODE.run(order);
        assert!(
            matches!(&ended.ending.outcome, Outcome::ScriptError { message } if message.contains(expected)),
            "{expected}: {:?}",
            ended.ending.outcome
        );
    }
}

#[test]
fn python_takes_outputs_of_many_shapes() {
    let script = "import numpy as np\na = {'x': [1, 2], 'y': ['p', None]}\nb = [1.5, 2]\nc = range(3)\nd = np.float32(0.5)\ne = (i for i in 'ab')\nf = None";
    let ended = NODE.run(
        order(Python, Restricted, script)
            .output("a", Table, Csv)
            .output("b", Column, Json)
            .output("c", Column, Json)
            .output("d", Value, Json)
            .output("e", Column, Json)
            .output("f", Value, Json),
    );
    let outputs = ended.succeeded().outputs;
    assert_eq!(outputs["a"], "x,y\n1,p\n2,\n");
    assert_eq!(outputs["b"], r#"{"name":"b","type":"Real","values":[1.5,2.0]}"#);
    assert_eq!(
        outputs["c"],
        r#"{"name":"c","type":"LongInteger","values":[0,1,2]}"#
    );
    assert_eq!(outputs["d"], r#"{"type":"Real","value":0.5}"#);
    assert_eq!(outputs["e"], r#"{"name":"e","type":"String","values":["a","b"]}"#);
    assert_eq!(outputs["f"], r#"{"type":"String","value":null}"#);
}

#[test]
fn a_million_rows_go_through_python() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.csv");
    let mut csv = String::from("id,x,name\n");
    for row in 0..1_000_000_u32 {
        writeln!(csv, "{row},{}.5,name {}", row / 7, row % 1000).expect("text");
    }
    fs::write(&path, &csv).expect("written");
    let ended = NODE
        .run(
            order(Python, Restricted, "")
                .file("t", &path)
                .output("t", Table, Csv),
        )
        .succeeded();
    assert!(ended.outputs["t"] == csv, "the table came back changed");
}

#[test]
fn two_hundred_thousand_rows_go_through_r() {
    let mut csv = String::from("id,x,name\n");
    for row in 0..200_000_u32 {
        writeln!(csv, "{row},{}.5,name {}", row / 7, row % 1000).expect("text");
    }
    let ended = NODE
        .run(
            order(R, Restricted, "")
                .input("t", Table, Csv, &csv)
                .output("t", Table, Csv),
        )
        .succeeded();
    assert!(ended.outputs["t"] == csv, "the table came back changed");
}

#[test]
fn a_file_of_plain_lines_is_read_as_one_with_quotes() {
    let lines = "a,b,c,d\n1, x,2020-01-02,\n-3,\u{2028}é,2021-01-02,0.5\n,NA,,1e3\n";
    // One quoted field, and pandas reads it.
    let quoted = lines.replacen("NA", "\"NA\"", 1);
    for kind in ["csv", "json"] {
        let format = if kind == "csv" { Csv } else { Json };
        let of = |text: &str| {
            let order = order(Python, Unrestricted, "y = x").input("x", Table, Csv, text);
            let ended = NODE.run(order.output("y", Table, format)).succeeded();
            (ended.outputs["y"].clone(), ended.schema)
        };
        assert_eq!(of(lines), of(&quoted), "{kind}");
    }
}
