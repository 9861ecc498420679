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
    /// A key was made and the program killed before the row.
    Orphan,
    Hear(usize),
    Renew(usize),
    Join,
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
        let active = self.stage().active();
        node.roots.contains(&active)
            || node
                .roots
                .iter()
                .any(|known| self.bridges.contains(&(*known, active)))
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Step(step) => self.step(step),
            Act::Orphan => {}
            Act::Hear(node) => {
                let node = node % self.nodes.len();
                if self.believes(&self.nodes[node]) && self.accepted().contains(&self.nodes[node].leaf) {
                    self.nodes[node].roots = self.accepted();
                }
            }
            Act::Renew(node) => {
                let node = node % self.nodes.len();
                if self.believes(&self.nodes[node]) && self.accepted().contains(&self.nodes[node].leaf) {
                    self.nodes[node].leaf = self.stage().active();
                }
            }
            Act::Join => {
                let (roots, leaf) = (self.accepted(), self.stage().active());
                self.nodes.push(Node { roots, leaf });
            }
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
    prop_oneof![
        3 => step.prop_map(Act::Step),
        1 => Just(Act::Orphan),
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
