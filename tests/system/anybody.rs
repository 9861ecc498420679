//! Whatever people who are neither Script Authors nor administrators do, nothing runs unrestricted that no Script
//! Author stamped.

use std::collections::BTreeSet;

use muster_ids::Digest;
use muster_tests::{Applicant, Member, Person, Server, unique};
use muster_wire::admin::v1::function::Function;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

const LANGUAGES: [&str; 3] = ["terr", "r", "python"];

/// What somebody tries. Numbers choose among the people, functions and contents that there are.
#[derive(Debug, Clone)]
enum Act {
    /// Somebody saves a content under a name.
    Register {
        who: usize,
        function: usize,
        content: usize,
        language: usize,
    },
    /// Somebody runs a function.
    Run { who: usize, function: usize },
    /// Somebody tries to trust a function as it is.
    Trust { who: usize, function: usize },
    /// Somebody tries to take trust away.
    Untrust { who: usize, function: usize },
    /// Somebody tries to loosen a setting.
    Set {
        who: usize,
        setting: usize,
        scope: usize,
    },
    /// Somebody tries to get into a group, or their group into one.
    Rise { who: usize, group: usize, by: usize },
    /// Somebody tries to take over another account.
    TakeOver { who: usize, whom: usize },
    /// A Script Author trusts a function as it is.
    Stamp { function: usize },
    /// A Script Author takes trust away.
    Unstamp { function: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let (who, function) = (0..3_usize, 0..3_usize);
    prop_oneof![
        4 => (who.clone(), function.clone(), 0..4_usize, 0..3_usize)
            .prop_map(|(who, function, content, language)| Act::Register { who, function, content, language }),
        6 => (who.clone(), function.clone()).prop_map(|(who, function)| Act::Run { who, function }),
        2 => (who.clone(), function.clone()).prop_map(|(who, function)| Act::Trust { who, function }),
        1 => (who.clone(), function.clone()).prop_map(|(who, function)| Act::Untrust { who, function }),
        1 => (who.clone(), 0..3_usize, 0..4_usize).prop_map(|(who, setting, scope)| Act::Set { who, setting, scope }),
        1 => (who.clone(), 0..3_usize, 0..3_usize).prop_map(|(who, group, by)| Act::Rise { who, group, by }),
        1 => (who, 0..5_usize).prop_map(|(who, whom)| Act::TakeOver { who, whom }),
        3 => function.clone().prop_map(|function| Act::Stamp { function }),
        1 => function.prop_map(|function| Act::Unstamp { function }),
    ]
}

/// A control plane with settings as loose as the documentation allows without switching trust off.
struct World {
    server: Server,
    people: Vec<Person>,
    author: Person,
    member: Member,
}

/// What one sequence of acts works on.
struct Scene {
    names: Vec<String>,
    contents: Vec<String>,
    /// Contents that a Script Author stamps now, per function.
    stamped: BTreeSet<(usize, Digest)>,
    granted: (usize, usize),
}

#[test]
fn nothing_runs_unrestricted_that_no_script_author_stamped() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::new());
    let mut runner = TestRunner::new(Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    });
    let seen = std::cell::Cell::new((0, 0));
    let outcome = runner.run(&proptest::collection::vec(act(), 20..60), |acts| {
        let granted = runtime.block_on(world.play(&acts))?;
        seen.set((seen.get().0 + granted.0, seen.get().1 + granted.1));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (restricted, unrestricted) = seen.get();
    assert!(
        restricted > 0 && unrestricted > 0,
        "the sequences reach both modes: {restricted} restricted, {unrestricted} unrestricted"
    );
}

impl World {
    async fn new() -> Self {
        let server = Server::private();
        let admin = server.admin().await;
        admin.set("terr.restricted.execution.mode", "all", "false").await;
        admin
            .set("restricted_engines", "pool:default", "python_service")
            .await;
        let people = vec![
            server.registrar().await,
            server.registrar().await,
            server.person(&["Custom Query Author"]).await,
        ];
        let author = server.author().await;
        let member = Applicant::new("terr01").await.join(&server).await;
        Self {
            server,
            people,
            author,
            member,
        }
    }

    /// Plays one sequence; how many grants were restricted and unrestricted.
    async fn play(&self, acts: &[Act]) -> Result<(usize, usize), TestCaseError> {
        let mut scene = Scene {
            names: (0..3).map(|n| unique(&format!("f{n}"))).collect(),
            contents: (0..4).map(|n| unique(&format!("# {n}"))).collect(),
            stamped: BTreeSet::new(),
            granted: (0, 0),
        };
        for act in acts {
            self.act(&mut scene, act).await?;
        }
        Ok(scene.granted)
    }

    async fn act(&self, scene: &mut Scene, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Register {
                who,
                function,
                content,
                language,
            } => {
                let definition = json!({
                    "name": scene.names[function],
                    "language": LANGUAGES[language],
                    "script": scene.contents[content],
                });
                let saved = self.people[who].post("/api/v1/functions", &definition).await;
                prop_assert_eq!(saved.is_ok(), who < 2);
            }
            Act::Run { who, function } => self.run(scene, who, function).await?,
            Act::Trust { who, function } => {
                if let Some(function) = self.function(scene, function).await {
                    prop_assert!(self.people[who].try_trust(&function).await.is_err());
                }
            }
            Act::Untrust { who, function } => {
                let parts = ["functions", &scene.names[function], "untrust"];
                prop_assert!(self.people[who].tell(&parts, &Value::Null).await.is_err());
            }
            Act::Set { who, setting, scope } => {
                let (name, value) = [
                    ("disable.spotfire.trust.checks", "true"),
                    ("terr.restricted.execution.mode", "false"),
                    ("restricted_engines", "r_service"),
                ][setting];
                let scope = ["all", "site:default", "pool:default", "node:terr01"][scope];
                prop_assert!(self.people[who].try_set(name, scope, value).await.is_err());
            }
            Act::Rise { who, group, by } => {
                let group = ["Script Author", "Administrator", "Everyone"][group];
                let person = &self.people[who];
                let refused = match by {
                    0 => person
                        .put(&["groups", group, "members", person.name()])
                        .await
                        .is_err(),
                    1 => person
                        .put(&["groups", "Everyone", "parents", group])
                        .await
                        .is_err(),
                    _ => person
                        .put(&["groups", group, "licenses", "Author Scripts"])
                        .await
                        .is_err(),
                };
                prop_assert!(refused);
            }
            Act::TakeOver { who, whom } => {
                let victim = match self.people.get(whom) {
                    Some(person) => person.name(),
                    None if whom == 3 => self.author.name(),
                    None => "admin@SPOTFIRE",
                };
                if whom != who {
                    let request = muster_client::Request::put("/api/v1/users")
                        .segment(victim)
                        .segment("password")
                        .json(&json!({ "password": "taken over by somebody" }));
                    prop_assert!(self.people[who].send(request).await.is_err());
                }
            }
            Act::Stamp { function } => {
                if let Some(current) = self.function(scene, function).await {
                    self.author.trust(&current).await;
                    scene.stamped.insert((function, current.digest));
                }
            }
            Act::Unstamp { function } => {
                let parts = ["functions", &scene.names[function], "untrust"];
                let removed = self.author.tell(&parts, &Value::Null).await.is_ok();
                let before = scene.stamped.len();
                scene.stamped.retain(|(stamped, _)| *stamped != function);
                prop_assert_eq!(removed, scene.stamped.len() < before);
            }
        }
        Ok(())
    }

    /// Runs a function and looks at what the node is granted.
    async fn run(&self, scene: &mut Scene, who: usize, function: usize) -> Result<(), TestCaseError> {
        let Some(current) = self.function(scene, function).await else {
            return Ok(());
        };
        let run = self.people[who].run(&current, &json!({})).await;
        let connection = self.member.connect().await;
        let Some(claimed) = self.member.claim(&connection).await else {
            prop_assert_eq!(self.people[who].run_now(run.id).await.state, "refused");
            return Ok(());
        };
        let grant = &claimed.grant;
        prop_assert_eq!((grant.run, grant.item), (run.id, current.digest));
        let stamped = scene.stamped.iter().any(|(_, digest)| *digest == grant.item);
        prop_assert_eq!(
            grant.mode == "unrestricted",
            stamped,
            "{} by {} under the rule {}",
            grant.mode,
            grant.user,
            grant.rule
        );
        if stamped {
            scene.granted.1 += 1;
        } else {
            scene.granted.0 += 1;
        }
        Ok(())
    }

    async fn function(&self, scene: &Scene, function: usize) -> Option<Function> {
        let path = format!("/api/v1/functions/{}", scene.names[function]);
        let shown = self.author.ask(&http::Method::GET, &path, &Value::Null).await;
        shown.ok().map(|answer| answer.json().expect("a function"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.kill();
    }
}
