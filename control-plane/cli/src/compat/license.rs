//! The documented commands about licenses.
//!
//! A documented license is a set of functions. Here the functions are the license features, and a license is only the name
//! under which the documentation lists them; what a group has is always features.

use clap::Parser;
use muster_client::{Request, Rest};
use muster_code_trust::Feature;
use muster_ids::Name;
use muster_wire::admin::v1::group::{Group, License, LicenseSet, SetLicense as Change};
use serde::Serialize;

use super::{Common, group, options};
use crate::{context::Context, escape::escaped, failure::Failure, list, table, terminal};

const GROUPS: &str = "/api/v1/groups";
const LICENSES: &str = "/api/v1/licenses";

/// Where the documentation lists a feature.
struct Place {
    /// The license by its technical name, and as it is displayed.
    license: (&'static str, &'static str),
    /// Technical names of the function, the present one first; none where none is documented.
    functions: &'static [&'static str],
}

const CONSUMER: (&str, &str) = ("Spotfire.Dxp.WebPlayer", "Spotfire Consumer");
const ANALYST: (&str, &str) = ("Spotfire.Dxp.Professional", "Spotfire Analyst");
const EXTENSIONS: (&str, &str) = ("Spotfire.Dxp.Extensions", "Spotfire Extensions");
/// Of features for which no license is documented: whoever gives a documented one gives no more than it says.
const UNDOCUMENTED: (&str, &str) = ("Muster.Authoring", "Muster Authoring");

/// All licenses that exist here.
const ALL: [(&str, &str); 4] = [CONSUMER, ANALYST, EXTENSIONS, UNDOCUMENTED];
/// Documented licenses of which nothing exists here.
const NOTHING_OF: &[&str] = &[
    "Spotfire.Dxp.WebAnalyzer",
    "Spotfire.Dxp.EnterprisePlayer",
    "Spotfire.Dxp.InformationModeler",
    "Spotfire.Dxp.Administrator",
    "Spotfire.Dxp.Metrics",
];

fn place(feature: Feature) -> Place {
    let (license, functions): (_, &[&str]) = match feature {
        Feature::UseExternalActions => (CONSUMER, &[]),
        Feature::ConfigureExternalActions => (ANALYST, &[]),
        Feature::TrustExternalActions => (EXTENSIONS, &["ExternalActionUseTrust"]),
        Feature::TrustMods => (EXTENSIONS, &["ModsUseTrust"]),
        Feature::DevelopVisualizationMod => (EXTENSIONS, &["ModsDevelopment"]),
        Feature::OpenVisualizationMod => (
            EXTENSIONS,
            &["OpenLibraryVisualizationMods", "ModsOpenFromLibrary"],
        ),
        Feature::OpenActionMod => (EXTENSIONS, &["OpenLibraryActionMods"]),
        Feature::AuthorScripts => (EXTENSIONS, &["AuthorScripts"]),
        Feature::CustomQuery | Feature::RegisterDataFunctions => (UNDOCUMENTED, &[]),
    };
    Place { license, functions }
}

/// As `list-licenses` names it.
fn function(feature: Feature) -> &'static str {
    place(feature)
        .functions
        .first()
        .copied()
        .unwrap_or(feature.as_str())
}

/// Sets a license and its functions for a group: these, and no others of the license
#[derive(Debug, Parser)]
#[command(name = "set-license")]
struct SetLicense {
    /// The group
    #[arg(short = 'g', long, value_parser = group::local)]
    group: Name,
    /// The license, as list-licenses names it
    #[arg(short = 'l', long)]
    license: String,
    /// Its functions, with commas between them [default: all]
    #[arg(short = 'f', long)]
    functions: Option<String>,
    /// Leave out what does not exist
    #[arg(short = 'i', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    ignore_non_existing: bool,
    #[command(flatten)]
    common: Common,
}

/// Removes a license with all its functions from a group
#[derive(Debug, Parser)]
#[command(name = "remove-license")]
struct RemoveLicense {
    /// The group
    #[arg(short = 'g', long, value_parser = group::local)]
    group: Name,
    /// The license, as list-licenses names it
    #[arg(short = 'l', long)]
    license: String,
    /// Do nothing where there is no such license, or the group does not have it
    #[arg(short = 'i', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    ignore_non_existing: bool,
    #[command(flatten)]
    common: Common,
}

/// Lists licenses and their functions by their technical names
#[derive(Debug, Parser)]
#[command(name = "list-licenses")]
struct ListLicenses {
    #[command(flatten)]
    common: Common,
}

/// Lists functions that groups have and that this version does not know
#[derive(Debug, Parser)]
#[command(name = "list-obsolete-licenses")]
struct ListObsolete {
    #[command(flatten)]
    common: Common,
}

/// Takes functions that this version does not know from all groups
#[derive(Debug, Parser)]
#[command(name = "delete-obsolete-licenses")]
struct DeleteObsolete {
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// What a group gives of a license, for programs.
#[derive(Debug, Serialize)]
struct Told {
    group: Name,
    license: String,
    functions: Vec<&'static str>,
    /// Features that it did not give before, and that it gave before.
    given: Vec<String>,
    taken: Vec<String>,
}

/// A line of `list-licenses`.
#[derive(Serialize)]
struct Line {
    license: &'static str,
    display_name: &'static str,
    function: String,
    feature: String,
    groups: Vec<Name>,
}

/// A function that nobody knows, and who has it.
#[derive(Serialize)]
struct Obsolete {
    function: String,
    groups: Vec<Name>,
}

/// `set-license -g GROUP -l LICENSE [-f FUNCTIONS] [-i]`.
pub(super) async fn set(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<SetLicense>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let (all, wanted) = match chosen(&options.license, options.functions.as_deref()) {
        Ok((all, wanted, missing)) if missing.is_empty() || options.ignore_non_existing => (all, wanted),
        Ok((_, _, missing)) => return Err(no_function(&options.license, &missing)),
        Err(_) if options.ignore_non_existing => (Vec::new(), Vec::new()),
        Err(refused) => return Err(refused),
    };
    // What does not exist is left out; of the rest nothing is taken because of it.
    let all = if wanted.is_empty() { Vec::new() } else { all };
    let done = make(&context.rest()?, &options.group, &all, &wanted).await?;
    told(context, options.group, options.license, &wanted, done)
}

/// `remove-license -g GROUP -l LICENSE [-i]`.
pub(super) async fn remove(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<RemoveLicense>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let all = match chosen(&options.license, None) {
        Ok((all, _, _)) => all,
        Err(_) if options.ignore_non_existing => Vec::new(),
        Err(refused) => return Err(refused),
    };
    let done = make(&context.rest()?, &options.group, &all, &[]).await?;
    if done.taken.is_empty() && !options.ignore_non_existing {
        return Err(Failure::failed(
            "not-found",
            format!(
                "\"{}\" has nothing of {} by itself; muster group show shows what it has, and its parents",
                options.group,
                escaped(&options.license)
            ),
        ));
    }
    told(context, options.group, options.license, &[], done)
}

/// `list-licenses`.
pub(super) async fn list(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListLicenses>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let licenses: Vec<License> = list::every(&context.rest()?, LICENSES).await?;
    let mut lines: Vec<Line> = licenses
        .into_iter()
        .map(|license| {
            let known = license.feature.parse::<Feature>().ok();
            // A newer control plane may know more than this program.
            let (technical, displayed) = known.map_or(("", ""), |feature| place(feature).license);
            Line {
                license: technical,
                display_name: displayed,
                function: known
                    .map_or_else(|| license.feature.clone(), |feature| function(feature).to_owned()),
                feature: license.feature,
                groups: license.groups,
            }
        })
        .collect();
    lines.sort_by_key(|line| line.license);
    context.show(&lines, || {
        table::rows(
            ["license", "display name", "function", "feature", "groups"],
            lines.iter().map(|line| {
                [
                    line.license.to_owned(),
                    line.display_name.to_owned(),
                    line.function.clone(),
                    line.feature.clone(),
                    table::list(&line.groups),
                ]
            }),
            "No licenses.",
            context.colour,
        )
    })
}

/// `list-obsolete-licenses`.
pub(super) async fn list_obsolete(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListObsolete>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let found = obsolete(&context.rest()?).await?;
    context.show(&found, || {
        table::rows(
            ["function", "groups"],
            found
                .iter()
                .map(|one| [one.function.clone(), table::list(&one.groups)]),
            "No group has a function that this version does not know.",
            context.colour,
        )
    })
}

/// `delete-obsolete-licenses [-f]`.
pub(super) async fn delete_obsolete(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<DeleteObsolete>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let found = match obsolete(&rest).await {
        // What they tried is the change, and not the reading before it.
        Err(Failure::Call(error)) if error.problem().is_some_and(|problem| problem.status == 403) => {
            return Err(Failure::failed(
                "not-allowed",
                "only administrators take functions from groups, so nothing was changed; ask for membership of the group \
                 Administrator",
            ));
        }
        found => found?,
    };
    if found.is_empty() {
        return context.show(&found, || {
            "No group has a function that this version does not know; nothing was changed.".to_owned()
        });
    }
    let names: Vec<String> = found.iter().map(|one| format!("\"{}\"", one.function)).collect();
    let question = format!("Take {} from all groups?", escaped(&names.join(", ")));
    terminal::confirm(options.force, &question, "give -f")?;
    for one in &found {
        for group in &one.groups {
            take(&rest, group, &one.function).await?;
        }
    }
    context.show(&found, || {
        let groups: usize = found.iter().map(|one| one.groups.len()).sum();
        format!("Deleted {} functions, from {groups} groups.", found.len())
    })
}

/// The functions of a license, those that are wanted of them, and what does not exist.
type Chosen = (Vec<Feature>, Vec<Feature>, Vec<String>);

fn chosen(license: &str, functions: Option<&str>) -> Result<Chosen, Failure> {
    let is = |known: &str| known.eq_ignore_ascii_case(license.trim());
    let Some(found) = ALL
        .iter()
        .find(|(technical, displayed)| is(technical) || is(displayed))
    else {
        let why = if NOTHING_OF.iter().any(|documented| is(documented)) {
            "nothing that it permits exists here, so nobody needs it"
        } else {
            "there is no such license; list-licenses shows all of them"
        };
        return Err(Failure::failed(
            "not-found",
            format!("{}: {why}; -i leaves it out", escaped(license)),
        ));
    };
    let all: Vec<Feature> = Feature::ALL
        .iter()
        .copied()
        .filter(|feature| place(*feature).license == *found)
        .collect();
    let Some(functions) = functions else {
        return Ok((all.clone(), all, Vec::new()));
    };
    let (mut wanted, mut missing) = (Vec::new(), Vec::new());
    for name in functions
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let named = |feature: &&Feature| {
            let names = place(**feature).functions;
            names.iter().any(|known| known.eq_ignore_ascii_case(name))
                || feature.as_str().eq_ignore_ascii_case(name)
        };
        match all.iter().find(named) {
            Some(feature) => wanted.push(*feature),
            None => missing.push(name.to_owned()),
        }
    }
    if wanted.is_empty() && missing.is_empty() {
        return Err(Failure::usage(
            "-f names no function; leave it away for all functions of the license, or use remove-license",
        ));
    }
    Ok((all, wanted, missing))
}

fn no_function(license: &str, missing: &[String]) -> Failure {
    Failure::failed(
        "not-found",
        format!(
            "{} has no function {} here, so nothing was changed; list-licenses shows those that it has, and -i leaves out the others",
            escaped(license),
            escaped(&missing.join(", "))
        ),
    )
}

/// Has the group give `wanted` and none of the others in `all`, at once; done twice it is the same. Nothing is read before,
/// so that who may not is refused, and recorded, for the change.
async fn make(rest: &Rest, group: &Name, all: &[Feature], wanted: &[Feature]) -> Result<LicenseSet, Failure> {
    let Some(first) = all.first() else {
        // Nothing is to be changed, of a group that there is.
        let request = Request::get(GROUPS).segment(group.as_str());
        rest.call::<Group>(request).await?;
        return Ok(LicenseSet::default());
    };
    let names = |features: &[Feature]| features.iter().map(ToString::to_string).collect();
    let change = Change {
        license: place(*first).license.0.to_owned(),
        of: names(all),
        features: names(wanted),
    };
    let request = Request::put(GROUPS)
        .segment(group.as_str())
        .segment("licenses")
        .json(&change);
    Ok(rest.call(request).await?)
}

/// Takes a feature; that somebody else did so meanwhile is as good.
async fn take(rest: &Rest, group: &Name, feature: &str) -> Result<(), Failure> {
    match rest.call::<()>(of(Request::delete(GROUPS), group, feature)).await {
        Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => Ok(()),
        other => Ok(other?),
    }
}

fn of(request: Request, group: &Name, feature: &str) -> Request {
    request
        .segment(group.as_str())
        .segment("licenses")
        .segment(feature)
}

fn told(
    context: &Context,
    group: Name,
    license: String,
    wanted: &[Feature],
    done: LicenseSet,
) -> Result<(), Failure> {
    let told = Told {
        group,
        license,
        functions: wanted.iter().copied().map(function).collect(),
        given: done.given,
        taken: done.taken,
    };
    context.show(&told, || {
        let state = match told.functions.as_slice() {
            [] if told.taken.is_empty() => "nothing was changed".to_owned(),
            [] => "none of its functions".to_owned(),
            some => some.join(", "),
        };
        let mut said = format!(
            "\"{}\" has of {} now: {state}.",
            told.group,
            escaped(&told.license)
        );
        for (what, features) in [("Given", &told.given), ("Taken", &told.taken)] {
            if !features.is_empty() {
                said = format!("{said} {what}: {}.", escaped(&features.join(", ")));
            }
        }
        said
    })
}

/// What groups have and the control plane does not know.
async fn obsolete(rest: &Rest) -> Result<Vec<Obsolete>, Failure> {
    let known: Vec<License> = list::every(rest, LICENSES).await?;
    let groups: Vec<Group> = list::every(rest, GROUPS).await?;
    let mut found: Vec<Obsolete> = Vec::new();
    for group in groups {
        for feature in group.features {
            if known.iter().any(|license| license.feature == feature) {
                continue;
            }
            match found.iter_mut().find(|one| one.function == feature) {
                Some(one) => one.groups.push(group.name.clone()),
                None => found.push(Obsolete {
                    function: feature,
                    groups: vec![group.name.clone()],
                }),
            }
        }
    }
    found.sort_by(|one, other| one.function.cmp(&other.function));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_a_function_of_one_license_that_exists() {
        let mut names = std::collections::BTreeSet::new();
        for feature in Feature::ALL {
            assert!(ALL.contains(&place(*feature).license), "{feature}");
            assert!(names.insert(function(*feature)), "{feature}");
        }
        let of: usize = ALL
            .iter()
            .map(|(technical, _)| chosen(technical, None).expect("it exists").0.len())
            .sum();
        assert_eq!(of, Feature::ALL.len());
    }

    #[test]
    fn functions_are_named_as_documented_or_as_displayed() {
        let (all, wanted, missing) = chosen(
            "spotfire extensions",
            Some("ModsUseTrust, author scripts,ModsOpenFromLibrary, openFile"),
        )
        .expect("a license");
        assert_eq!(all.len(), 6);
        assert_eq!(
            wanted,
            [
                Feature::TrustMods,
                Feature::AuthorScripts,
                Feature::OpenVisualizationMod
            ]
        );
        assert_eq!(missing, ["openFile"]);
        assert!(chosen("Spotfire.Dxp.Extensions", Some(" , ")).is_err());
        let (_, wanted, missing) = chosen("Spotfire.Dxp.WebPlayer", None).expect("a license");
        assert_eq!((wanted, missing.len()), (vec![Feature::UseExternalActions], 0));
    }

    #[test]
    fn what_exists_elsewhere_only_is_refused_with_the_reason() {
        let said = |license: &str| chosen(license, None).expect_err(license).sentence();
        assert!(said("Spotfire.Dxp.Metrics").contains("nothing that it permits exists here"));
        assert!(said("Spotfire.Dxp.Nothing").contains("no such license"));
    }
}
