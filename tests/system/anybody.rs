//! Whatever people who are neither Script Authors nor administrators do, nothing runs unrestricted that no Script
//! Author stamped; and a Script Author takes away no stamp of another one.

use std::collections::BTreeMap;

use muster_ids::Digest;
use muster_tests::{Applicant, Member, Person, Server, problem, unique};
use muster_wire::admin::v1::function::{Function, Untrusted};
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
    Stamp { by: usize, function: usize },
    /// A Script Author takes trust away.
    Unstamp { by: usize, function: usize },
    /// An administrator takes trust away.
    UnstampAll { function: usize },
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
        4 => (0..2_usize, function.clone()).prop_map(|(by, function)| Act::Stamp { by, function }),
        2 => (0..2_usize, function.clone()).prop_map(|(by, function)| Act::Unstamp { by, function }),
        1 => function.prop_map(|function| Act::UnstampAll { function }),
    ]
}

/// A control plane with settings as loose as the documentation allows without switching trust off.
struct World {
    server: Server,
    people: Vec<Person>,
    admin: Person,
    authors: [Person; 2],
    member: Member,
}

/// What one sequence of acts works on.
struct Scene {
    names: Vec<String>,
    contents: Vec<String>,
    /// Contents that are stamped now, per function, and by which Script Author.
    stamped: BTreeMap<(usize, Digest), usize>,
    granted: (usize, usize),
    /// How often an author was refused because the stamps were another's.
    others: usize,
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
    let seen = std::cell::Cell::new((0, 0, 0));
    let outcome = runner.run(&proptest::collection::vec(act(), 20..60), |acts| {
        let scene = runtime.block_on(world.play(&acts))?;
        let (restricted, unrestricted, others) = seen.get();
        seen.set((
            restricted + scene.granted.0,
            unrestricted + scene.granted.1,
            others + scene.others,
        ));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (restricted, unrestricted, others) = seen.get();
    assert!(
        restricted > 0 && unrestricted > 0 && others > 0,
        "the sequences reach both modes, and stamps of another: {restricted} restricted, {unrestricted} unrestricted, {others}"
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
        let authors = [server.author().await, server.author().await];
        let member = Applicant::new("terr01").await.join(&server).await;
        Self {
            server,
            people,
            admin,
            authors,
            member,
        }
    }

    /// Plays one sequence.
    async fn play(&self, acts: &[Act]) -> Result<Scene, TestCaseError> {
        let mut scene = Scene {
            names: (0..3).map(|n| unique(&format!("f{n}"))).collect(),
            contents: (0..4).map(|n| unique(&format!("# {n}"))).collect(),
            stamped: BTreeMap::new(),
            granted: (0, 0),
            others: 0,
        };
        for act in acts {
            self.act(&mut scene, act).await?;
        }
        Ok(scene)
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
                    None if whom == 3 => self.authors[0].name(),
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
            Act::Stamp { by, function } => {
                if let Some(current) = self.function(scene, function).await {
                    self.authors[by].trust(&current).await;
                    // What is stamped already is not stamped once more.
                    scene.stamped.entry((function, current.digest)).or_insert(by);
                }
            }
            Act::Unstamp { by, function } => {
                let before = scene.stamped.len();
                scene
                    .stamped
                    .retain(|(stamped, _), author| *stamped != function || *author != by);
                let own = before - scene.stamped.len();
                let others = scene
                    .stamped
                    .keys()
                    .filter(|(stamped, _)| *stamped == function)
                    .count();
                let said = self.untrusted(scene, &self.authors[by], function).await;
                match said {
                    Ok(done) => prop_assert_eq!((done.removed, done.others), (own as u64, others as u64)),
                    Err(status) => {
                        prop_assert_eq!(own, 0);
                        prop_assert_eq!(status == 403, others > 0, "{}", status);
                        scene.others += usize::from(others > 0);
                    }
                }
            }
            Act::UnstampAll { function } => {
                let before = scene.stamped.len();
                scene.stamped.retain(|(stamped, _), _| *stamped != function);
                let all = (before - scene.stamped.len()) as u64;
                let said = self.untrusted(scene, &self.admin, function).await;
                prop_assert_eq!(said.map_or(0, |done| done.removed), all);
            }
        }
        Ok(())
    }

    /// What becomes of it when somebody takes the trust in a function away: what was removed, or the status.
    async fn untrusted(&self, scene: &Scene, person: &Person, function: usize) -> Result<Untrusted, u16> {
        let parts = ["functions", &scene.names[function], "untrust"];
        match person.tell(&parts, &Value::Null).await {
            Ok(answer) => Ok(answer.json().expect("what was removed")),
            refused => Err(problem(refused).status),
        }
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
        let stamped = scene.stamped.keys().any(|(_, digest)| *digest == grant.item);
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
        let shown = self.authors[0].ask(&http::Method::GET, &path, &Value::Null).await;
        shown.ok().map(|answer| answer.json().expect("a function"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.kill();
    }
}
