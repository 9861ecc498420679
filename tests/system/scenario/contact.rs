//! First contact: what strangers on the registration listener achieve, and those who listen to them.

use muster_tests::{Applicant, Server, answer_of, refusal, unique};
use muster_wire::node::v1::join::{POLL_PATH, REVEAL_PATH};

#[tokio::test(flavor = "multi_thread")]
async fn join_01_the_same_request_sent_again_is_the_same_request() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let offered = node.greet(server).await;
    let reveal = node.reveal(&offered).await;
    let transcript = node.transcript(&offered);
    for _ in 0..2 {
        let answer = server.registers(REVEAL_PATH, &reveal).await.expect("revealed");
        let answer = answer_of(&server.roots(), &answer);
        assert_eq!(answer.transcript, transcript.digest());
        assert_eq!((answer.state.as_str(), answer.counter), ("pending", 0));
    }
    let admin = server.admin().await;
    let first = admin.join(transcript.join_id()).await;
    let poll = node.poll(&transcript, 7).await;
    server.registers(POLL_PATH, &poll).await.expect("answered");
    server.registers(REVEAL_PATH, &reveal).await.expect("revealed");

    let replayed = server.registers(POLL_PATH, &poll).await;
    assert_eq!(
        refusal(replayed),
        (409, "join-replayed".to_owned()),
        "the counter was not reset"
    );
    let again = admin.join(transcript.join_id()).await;
    assert_eq!((again.id, again.created), (first.id, first.created));
    let revealed = admin.audited("join.revealed").await;
    let mine = revealed
        .iter()
        .filter(|row| row["subject"] == node.hello.name.as_str());
    assert_eq!(mine.count(), 1, "one entry");
}
