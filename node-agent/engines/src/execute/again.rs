//! The next run of a child that stayed.

use std::time::Duration;

use muster_sandbox::protocol::{Limits, Supervised, ToSupervisor};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::timeout,
};

use crate::{RunOrder, frame};

/// A supervisor answers at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// Tells the supervisor of a child that stayed about its next run. Whether it heard.
pub(super) async fn begin(
    order: &RunOrder,
    limits: Limits,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> bool {
    let begin = ToSupervisor::Begin {
        outputs: order.output_paths(),
        wall_ms: limits.wall_ms,
        output_bytes: limits.output_bytes,
    };
    let told = async {
        frame::write(to, &begin).await.is_ok()
            && matches!(frame::read(from).await, Ok(Some(Supervised::Begun)))
    };
    timeout(DEADLINE, told).await.unwrap_or(false)
}
