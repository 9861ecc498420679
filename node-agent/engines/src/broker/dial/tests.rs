//! Where connections lead, with listeners of this machine.

use std::{collections::BTreeSet, net::TcpListener};

use super::*;
use crate::{broker::resolve::Asker, policy::Destination};

fn rules(listed: &[(&str, u16)]) -> Rules {
    let destinations = listed.iter().map(|(host, port)| Destination {
        host: (*host).to_owned(),
        port: *port,
    });
    Rules::new(destinations.collect::<BTreeSet<_>>())
}

fn wanted(host: &str, port: u16) -> Wanted {
    let host = Host::parse(host).expect("a host");
    Wanted { host, port }
}

fn dialed(rules: Rules, control_plane: &[&str], to: &Wanted) -> Result<TcpStream, Refusal> {
    let hosts = control_plane.iter().map(|host| (*host).to_owned()).collect();
    let policy = Policy {
        rules,
        control_plane: ControlPlane::new(hosts).into(),
        names: Asker::of_policy(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(dial(&policy, to))
}

/// A listener of this machine and its port.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// A name that no resolver looks for: one of its parts is too long.
fn nameless() -> String {
    format!("{}.example.com", "x".repeat(64))
}

#[test]
fn an_address_of_this_node_is_reached_only_when_it_is_listed_as_such() {
    let (_listener, port) = listener();
    let by_address = rules(&[("127.0.0.1", port)]);
    assert!(dialed(by_address, &[], &wanted("127.0.0.1", port)).is_ok());
    let by_name = || rules(&[("localhost", port)]);
    let refusal = dialed(by_name(), &[], &wanted("localhost", port)).expect_err("refused");
    assert!(
        refusal.to_string().contains("which is this node itself"),
        "{refusal}"
    );
    let refusal = dialed(by_name(), &[], &wanted("127.0.0.1", port)).expect_err("refused");
    assert!(matches!(refusal, Refusal::NotListed(_)), "{refusal}");
    let by_both = rules(&[("localhost", port), ("127.0.0.1", port)]);
    assert!(dialed(by_both, &[], &wanted("localhost", port)).is_ok());
    let other_port = rules(&[("localhost", port), ("127.0.0.1", port ^ 1)]);
    assert!(dialed(other_port, &[], &wanted("localhost", port)).is_err());
}

#[test]
fn the_addresses_of_this_nodes_interfaces_are_its_own() {
    let of = |address: &str| is_own(address.parse().expect("an address")).expect("a socket");
    // Those of a subnet too that no way begins with.
    assert!(of("127.0.0.1") && of("127.1.2.3") && !of("192.0.2.1"));
    // What no socket can be bound to for another reason is nobody's for certain.
    assert!(is_own("fe80::1".parse().expect("an address")).is_err());
    // The one by which it reaches others, where it reaches any.
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    if socket.connect("192.0.2.1:9").is_ok() {
        let own = socket.local_addr().expect("its address");
        assert!(is_own(own.ip()).expect("a socket"), "{own}");
        let rules = rules(&[("somewhere.example.com", own.port())]);
        let to = wanted("somewhere.example.com", own.port());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let IpAddr::V4(v4) = own.ip() else { return };
        let [a, b, c, d] = v4.octets();
        let translated: IpAddr = format!("64:ff9b::{a}.{b}.{c}.{d}").parse().expect("an address");
        for address in [own, SocketAddr::new(translated, own.port())] {
            let refusal = runtime
                .block_on(judged(&rules, &ControlPlane::new(Vec::new()), &to, address))
                .expect_err("refused");
            assert!(refusal.to_string().contains("this node itself"), "{refusal}");
        }
    }
}

#[test]
fn the_control_plane_is_no_destination_by_whatever_name() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let to = wanted("data.example.com", 443);
    let judge_at = |address: &str, listed: &[(&str, u16)], hosts: &[&str]| {
        let address = address.parse().expect("an address");
        let control_plane = ControlPlane::new(hosts.iter().map(|host| (*host).to_owned()).collect());
        runtime.block_on(judged(&rules(listed), &control_plane, &to, address))
    };
    let judge = |listed: &[(&str, u16)], hosts: &[&str]| judge_at("192.0.2.55:443", listed, hosts);
    let by_name = &[("data.example.com", 443)];
    for (address, host) in [
        ("[64:ff9b::192.0.2.55]:443", "192.0.2.55"),
        ("[64:ff9b:1::192.0.2.55]:443", "192.0.2.55"),
        ("[2002:c000:237::1]:443", "192.0.2.55"),
        ("192.0.2.55:443", "64:ff9b::192.0.2.55"),
    ] {
        let refusal = judge_at(address, by_name, &[host]).expect_err("refused");
        assert!(refusal.to_string().contains("the control plane"), "{refusal}");
    }
    assert!(judge(by_name, &["192.0.2.56"]).is_ok());
    let refusal = judge(by_name, &["192.0.2.56", "192.0.2.55"]).expect_err("refused");
    assert!(
        refusal.to_string().contains("which is the control plane"),
        "{refusal}"
    );
    assert!(judge(&[("192.0.2.55", 443)], &["192.0.2.55"]).is_ok());
    let refusal = judge(by_name, &["192.0.2.56", &nameless()]).expect_err("refused");
    assert!(matches!(refusal, Refusal::Doubtful(..)), "{refusal}");
}

#[test]
fn what_does_not_answer_is_told_apart_from_what_is_refused() {
    let (gone, port) = listener();
    drop(gone);
    let refusal = dialed(rules(&[("127.0.0.1", port)]), &[], &wanted("127.0.0.1", port));
    let refusal = refusal.expect_err("nobody listens");
    assert!(matches!(refusal, Refusal::Unreachable(..)), "{refusal}");
    let name = nameless();
    let refusal = dialed(rules(&[("*.example.com", 443)]), &[], &wanted(&name, 443));
    let refusal = refusal.expect_err("no address");
    assert!(matches!(refusal, Refusal::Unresolved(..)), "{refusal}");
}
