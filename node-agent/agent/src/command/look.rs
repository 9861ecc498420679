//! `status` and `doctor`: look, and change nothing.

use std::process::ExitCode;

use muster_agent::{
    cli::Output,
    credentials::Credentials,
    doctor,
    home::{Home, HomeError},
    revoked::Revoked,
    status::{Live, Status, holder},
};

use super::{Context, Failure, say};

pub(super) fn status(context: &Context) -> Result<ExitCode, Failure> {
    let (credentials, live, process, revoked) = match Home::open(&context.state_dir) {
        Ok(home) => {
            let credentials = Credentials::peek(&home).map_err(|error| Failure::of("identity", &error))?;
            let member = credentials.as_ref().and_then(Credentials::trusted);
            let revoked = member.and_then(|member| Revoked::read(&home, member.node));
            (credentials, Live::read(&home.status()), holder(&home), revoked)
        }
        Err(HomeError::Missing(_)) => (None, None, None, None),
        Err(error) => return Err(Failure::of("state-folder", &error)),
    };
    let status = Status {
        process: process.filter(|_| live.is_none()),
        ..Status::of(credentials.as_ref(), live, revoked.as_ref())
    };
    say(&match context.output {
        Output::Json => format!("{}\n", serde_json::json!(status)),
        Output::Table => status.table(),
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn doctor(context: &Context) -> Result<ExitCode, Failure> {
    let home = Home::open(&context.state_dir);
    let findings = doctor::examine(&context.config, home.as_ref(), &context.clock).await;
    let ill = findings.iter().filter(|finding| !finding.ok).count();
    match context.output {
        Output::Json => say(&format!(
            "{}\n",
            serde_json::json!({ "findings": findings, "problems": ill })
        )),
        Output::Table => {
            for finding in &findings {
                let mark = if finding.ok { "ok      " } else { "PROBLEM " };
                say(&format!("{mark} {}\n", finding.sentence));
            }
        }
    }
    Ok(if ill == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
