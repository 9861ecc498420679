//! `find-analysis-scripts`.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::{Common, options};
use crate::{
    context::Context,
    failure::Failure,
    library::find::{Search, Trusted},
};

/// Finds scripts, data functions and custom queries in the library
#[derive(Debug, Parser)]
#[command(name = "find-analysis-scripts")]
#[expect(clippy::struct_excessive_bools, reason = "the documented options are flags")]
struct FindAnalysisScripts {
    /// The folder of the library; folders in it are searched too
    #[arg(short = 'p', long, default_value = "/")]
    library_parent_path: String,
    /// Only items with all these words; * stands for anything, and title:, description:, path: and type: say where
    #[arg(short = 'e', long)]
    library_search_expression: Option<String>,
    /// Trust the scripts that are found
    #[arg(short = 's', long, default_value_t = false, action = ArgAction::Set)]
    auto_trust_scripts: bool,
    /// Trust the data functions that are found
    #[arg(short = 'd', long, default_value_t = false, action = ArgAction::Set)]
    auto_trust_data_functions: bool,
    /// Trust the custom queries that are found
    #[arg(short = 'q', long, default_value_t = false, action = ArgAction::Set)]
    auto_trust_custom_queries: bool,
    /// Do not ask
    #[arg(short = 'n', long)]
    no_prompt: bool,
    /// Read one item after the other
    #[arg(short = 'i', long)]
    single_threaded: bool,
    /// Say what was found in each item
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Folder for the report, the two scripts and the progress
    #[arg(default_value = ".")]
    output_directory: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// `find-analysis-scripts [-p PATH] [-e EXPRESSION] [-s BOOL] [-d BOOL] [-q BOOL] [-n] [-i] [-v] [FOLDER]`.
pub(super) async fn find(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<FindAnalysisScripts>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let trust = [
        (Trusted::Scripts, options.auto_trust_scripts),
        (Trusted::DataFunctions, options.auto_trust_data_functions),
        (Trusted::Queries, options.auto_trust_custom_queries),
    ];
    let search = Search {
        output: options.output_directory,
        folder: folder(&options.library_parent_path),
        expression: options.library_search_expression,
        trust: trust
            .iter()
            .filter(|(_, on)| *on)
            .map(|(kind, _)| *kind)
            .collect(),
        single_threaded: options.single_threaded,
        verbose: options.verbose,
    };
    search.confirmed(options.no_prompt, "give -n")?;
    search.run(context).await
}

/// A path as the library takes it: it is often given with a slash at its end.
fn folder(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if !path.is_empty() => "/".to_owned(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_as_they_are_documented_and_used() {
        let parse = |line: &str| FindAnalysisScripts::try_parse_from(line.split(' '));
        let real = parse("find-analysis-scripts -d true -s true -q true -n --library-parent-path=/Team/")
            .expect("taken");
        assert!(real.auto_trust_scripts && real.auto_trust_data_functions && real.auto_trust_custom_queries);
        assert_eq!(folder(&real.library_parent_path), "/Team");
        let long = parse(
            "find-analysis-scripts --auto-trust-scripts=false --auto-trust-custom-queries=true -i -v out",
        )
        .expect("taken");
        assert!(
            !long.auto_trust_scripts
                && long.auto_trust_custom_queries
                && long.single_threaded
                && long.verbose
        );
        assert_eq!(long.output_directory, PathBuf::from("out"));
        assert!(parse("find-analysis-scripts -s maybe").is_err());
        let none = parse("find-analysis-scripts").expect("taken");
        assert!(
            !none.auto_trust_scripts && !none.auto_trust_data_functions && !none.auto_trust_custom_queries
        );
        for (path, expected) in [("/", "/"), ("//", "/"), ("/a", "/a"), ("/a//", "/a"), ("", "")] {
            assert_eq!(folder(path), expected);
        }
    }
}
