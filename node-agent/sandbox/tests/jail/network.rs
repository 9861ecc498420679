//! A brokered jail: an empty network with one door, and who stands behind it.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    thread,
};

use muster_lock::{
    client::Launcher,
    protocol::{DOOR, Mode, Network, Start},
};

use crate::harness::{
    NOBODY, as_nobody, as_service, begin, jail_with_door, launcher, limits, lines, root, start,
};

fn brokered() -> Start {
    Start {
        network: Network::Brokered,
        ..start(Mode::Unrestricted)
    }
}

/// What a run finds in a jail whose door is `door`, while the test answers behind it.
fn found(launcher: Launcher, door: TcpListener) {
    assert_eq!(door.local_addr().expect("its address"), SocketAddr::V4(DOOR));
    let answering = thread::spawn(move || {
        let (mut stream, peer) = door.accept().expect("a run knocks");
        assert!(peer.ip().is_loopback(), "{peer}");
        stream.write_all(b"welcome").expect("said");
        door
    });
    let outside = TcpListener::bind("127.0.0.1:0").expect("a listener of the host");
    let address = outside.local_addr().expect("its address");
    let steps = format!(
        "connect {DOOR}
        connect {address}
        connect 192.0.2.1:9
        connect [2001:db8::1]:9
        listen {DOOR}
        listen 0.0.0.0:{port}
        listen [::]:{port}
        list /proc/self/fd",
        port = DOOR.port()
    );
    let run = begin(&launcher, 1, limits(), &steps);
    let door = answering.join().expect("answered");
    let results = lines(&run.finish().expect("finished"));
    let no_way = |result: &Result<String, i32>| {
        result
            .as_ref()
            .is_err_and(|error| [libc::ENETUNREACH, libc::EADDRNOTAVAIL].contains(error))
    };
    assert_eq!(results[0], Ok("welcome".to_owned()), "{results:?}");
    assert_eq!(
        results[1],
        Err(libc::ECONNREFUSED),
        "the host's loopback is another"
    );
    assert!(no_way(&results[2]) && no_way(&results[3]), "{results:?}");
    for taken in &results[4..7] {
        assert_eq!(*taken, Err(libc::EADDRINUSE), "{results:?}");
    }
    // The standard streams, the control socket, and the listing itself.
    assert_eq!(results[7], Ok("0 1 2 250 251 3".to_owned()));
    launcher.close().expect("closed");
    drop(door);
}

#[test]
fn a_brokered_run_finds_one_door_and_no_way_beside_it() {
    let (launcher, door) = jail_with_door(brokered());
    found(launcher, door);
}

#[test]
fn ordinary_users_build_the_same_door() {
    let folder = tempfile::tempdir().expect("folder");
    let mut launchers = vec![as_nobody(brokered(), folder.path())];
    if root() {
        let plan = brokered();
        let first = plan.ids.expect("ids").first;
        launchers.push(as_service(plan, folder.path(), &format!("{NOBODY}:{first}:9\n")));
    }
    for launcher in launchers {
        let (_, door) = launcher.until_open().expect("ready");
        found(launcher, door.expect("a door"));
    }
}

#[test]
fn a_jail_without_network_has_no_door_and_not_even_a_loopback() {
    let launcher = launcher(start(Mode::Unrestricted));
    let (_, door) = launcher.until_open().expect("ready");
    assert!(door.is_none());
    let run = begin(&launcher, 1, limits(), &format!("connect {DOOR}"));
    assert_eq!(lines(&run.finish().expect("finished")), [Err(libc::ENETUNREACH)]);
    launcher.close().expect("closed");
}
