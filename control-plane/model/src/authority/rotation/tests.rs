use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn root(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

/// A collective as far as roots matter: standings, and what each node knows and holds.
#[derive(Debug, Clone)]
struct World {
    standings: Vec<Standing>,
    /// The keys on the control plane's disk.
    keys: BTreeSet<Digest>,
    /// The authority that its process signs with.
    process: Digest,
    /// The older of two roots that certified the newer one's intermediate.
    bridges: BTreeSet<(Digest, Digest)>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    roots: BTreeSet<Digest>,
    leaf: Digest,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Step(Step),
    /// The program is killed in a step, and started again.
    Killed(Step, Point),
    /// A step is committed, and then an error keeps the process from following it until it looks again.
    Stray(Step),
    Look,
    Hear(usize),
    Renew(usize),
    Join,
}

/// Where the program is killed in a step.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// Keys are on disk, and nothing names them.
    KeysStored,
    /// The states are stored; the process has not followed, and no key is destroyed.
    Committed,
}

impl World {
    fn new() -> Self {
        let first = root(1);
        let node = Node {
            roots: [first].into(),
            leaf: first,
        };
        Self {
            standings: vec![Standing {
                number: 1,
                root: first,
                state: AuthorityState::Active,
            }],
            keys: [first].into(),
            process: first,
            bridges: BTreeSet::new(),
            nodes: vec![node; 3],
        }
    }

    fn stage(&self) -> Stage {
        Stage::of(&self.standings).expect("one rotation at a time")
    }

    fn accepted(&self) -> BTreeSet<Digest> {
        let accepted = self.standings.iter().filter(|one| one.state.is_accepted());
        accepted.map(|one| one.root).collect()
    }

    /// Whether the node believes the server: by its root or over the bridge.
    fn believes(&self, node: &Node) -> bool {
        node.roots.contains(&self.process)
            || node
                .roots
                .iter()
                .any(|known| self.bridges.contains(&(*known, self.process)))
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Step(step) => {
                self.step(step);
                self.follow();
            }
            Act::Killed(Step::Prepare, Point::KeysStored) => {
                self.keys.insert(root(1_000 + self.keys.len() as u64));
                self.follow();
            }
            // As if it had not begun.
            Act::Killed(_, Point::KeysStored) | Act::Look => self.follow(),
            Act::Killed(step, Point::Committed) => {
                self.step(step);
                // The next process begins with what is stored.
                self.follow();
            }
            Act::Stray(step) => {
                // Whoever takes a step looks first.
                self.follow();
                self.step(step);
            }
            Act::Hear(node) => {
                let node = node % self.nodes.len();
                if self.believes(&self.nodes[node]) && self.accepted().contains(&self.nodes[node].leaf) {
                    self.nodes[node].roots = self.accepted();
                }
            }
            Act::Renew(node) => {
                let node = node % self.nodes.len();
                if self.believes(&self.nodes[node]) && self.accepted().contains(&self.nodes[node].leaf) {
                    self.nodes[node].leaf = self.process;
                }
            }
            Act::Join => {
                let (roots, leaf) = (self.accepted(), self.process);
                self.nodes.push(Node { roots, leaf });
            }
        }
    }

    /// The process takes over what is stored, and destroys the keys of what was revoked.
    fn follow(&mut self) {
        self.process = self.stage().active();
        for one in self.standings.iter().filter(|one| !one.state.is_accepted()) {
            self.keys.remove(&one.root);
        }
    }

    /// As an administrator who never says `--force`.
    fn step(&mut self, step: Step) {
        let stage = self.stage();
        let Ok(outcome) = stage.step(step) else { return };
        let Outcome::Change(changes) = outcome else {
            if outcome == Outcome::Make {
                let number = self.standings.len() as u64 + 1;
                self.bridges.insert((stage.active(), root(number)));
                self.keys.insert(root(number));
                self.standings.push(Standing {
                    number,
                    root: root(number),
                    state: AuthorityState::Prepared,
                });
            }
            return;
        };
        let everybody_knows = |new: Digest| self.nodes.iter().all(|node| node.roots.contains(&new));
        let nobody_holds = |old: Digest| self.nodes.iter().all(|node| node.leaf != old);
        match (step, stage) {
            (Step::Activate, Stage::Prepared { new, .. }) if !everybody_knows(new) => return,
            (Step::Revoke, _) if !stage.left().is_some_and(nobody_holds) => return,
            _ => {}
        }
        for (root, state) in changes {
            let standing = self.standings.iter_mut().find(|one| one.root == root);
            standing.expect("a known authority").state = state;
        }
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let step = prop_oneof![
        Just(Step::Prepare),
        Just(Step::Activate),
        Just(Step::Taint),
        Just(Step::Revoke),
        Just(Step::Abort)
    ];
    let point = prop_oneof![Just(Point::KeysStored), Just(Point::Committed)];
    prop_oneof![
        3 => step.clone().prop_map(Act::Step),
        2 => (step.clone(), point).prop_map(|(step, point)| Act::Killed(step, point)),
        1 => step.prop_map(Act::Stray),
        1 => Just(Act::Look),
        4 => any::<usize>().prop_map(Act::Hear),
        4 => any::<usize>().prop_map(Act::Renew),
        1 => Just(Act::Join),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_in_whatever_order_no_node_is_left_out(acts in prop::collection::vec(any_act(), 0..80)) {
        let mut world = World::new();
        for act in acts {
            let revoked: Vec<Digest> = world.standings.iter()
                .filter(|one| one.state == AuthorityState::Revoked).map(|one| one.root).collect();
            world.act(act);
            let actives = world.standings.iter().filter(|one| one.state == AuthorityState::Active).count();
            prop_assert_eq!(actives, 1);
            prop_assert!(world.accepted().len() <= 2);
            prop_assert!(world.accepted().contains(&world.process), "it signs with what is refused");
            for root in world.accepted() {
                prop_assert!(world.keys.contains(&root), "a key is gone that is needed");
            }
            let strays = matches!(act, Act::Stray(_) | Act::Hear(_) | Act::Renew(_) | Act::Join);
            for one in world.standings.iter().filter(|one| !one.state.is_accepted()) {
                prop_assert!(strays || !world.keys.contains(&one.root), "a key outlives its authority");
            }
            for root in revoked {
                prop_assert!(!world.accepted().contains(&root), "what was revoked came back");
            }
            for node in &world.nodes {
                prop_assert!(world.accepted().contains(&node.leaf), "a leaf is refused: {:?}", node);
                prop_assert!(world.believes(node), "a node does not believe the server: {:?}", node);
            }
        }
    }

    #[test]
    fn a_step_taken_twice_is_taken_once(acts in prop::collection::vec(any_act(), 0..40)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
            if let Act::Step(step) = act && step != Step::Revoke && step != Step::Abort {
                let before = world.standings.clone();
                if world.stage().step(step) == Ok(Outcome::Already) {
                    world.act(Act::Step(step));
                    prop_assert_eq!(before, world.standings.clone());
                }
            }
        }
    }

    #[test]
    fn any_standings_are_a_stage_or_refused(
        states in prop::collection::vec(prop::sample::select(vec![
            AuthorityState::Prepared, AuthorityState::Active, AuthorityState::Retired, AuthorityState::Tainted,
            AuthorityState::Revoked,
        ]), 0..5),
    ) {
        let standings: Vec<Standing> = states.iter().zip(1..)
            .map(|(state, number)| Standing { number, root: root(number), state: *state }).collect();
        let actives = states.iter().filter(|state| **state == AuthorityState::Active).count();
        match Stage::of(&standings) {
            Ok(stage) => {
                prop_assert_eq!(actives, 1);
                for step in [Step::Prepare, Step::Activate, Step::Taint, Step::Revoke, Step::Abort] {
                    if let Ok(Outcome::Change(changes)) = stage.step(step) {
                        let mut after = standings.clone();
                        for (root, state) in changes {
                            after.iter_mut().find(|one| one.root == root).expect("known").state = state;
                        }
                        prop_assert!(Stage::of(&after).is_ok());
                    }
                }
            }
            Err(error) => prop_assert_eq!(error, RotationRefused::Inconsistent),
        }
    }
}

#[test]
fn a_rotation_goes_through_its_four_steps_and_can_begin_again() {
    let mut world = World::new();
    for (step, stage) in [
        (Step::Prepare, "prepared"),
        (Step::Activate, "activated"),
        (Step::Taint, "tainted"),
        (Step::Revoke, "idle"),
        (Step::Prepare, "prepared"),
    ] {
        for node in 0..3 {
            world.act(Act::Hear(node));
            world.act(Act::Renew(node));
        }
        world.act(Act::Step(step));
        assert_eq!(world.stage().as_str(), stage);
    }
}

#[test]
fn a_refused_step_names_the_next_one() {
    let mut world = World::new();
    world.act(Act::Step(Step::Prepare));
    let refused = world.stage().step(Step::Revoke).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "the rotation of the authority is prepared; the next step is muster ca rotate activate"
    );
    assert_eq!(World::new().stage().step(Step::Abort), Err(RotationRefused::Idle));
}

#[test]
fn renewals_are_spread_over_the_time_that_the_control_plane_needs() {
    assert_eq!(spread(0, 50, 60_000), 1000);
    assert_eq!(spread(500, 50, 60_000), 10_000);
    assert_eq!(spread(5000, 50, 60_000), 60_000);
    assert_eq!(spread(usize::MAX, 0, 60_000), 60_000);
    assert!(is_past_half(0, 10, 5) && !is_past_half(0, 10, 4));
}
