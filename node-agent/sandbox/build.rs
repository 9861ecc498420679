//! Compiles `node-agent/policies` into constants of the crate: seccomp programs, shown paths, fixed limits.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/constants.rs"]
mod constants;
#[path = "build/policy.rs"]
mod policy;
#[path = "build/syscalls.rs"]
mod syscalls;

use std::{error::Error, fmt::Write as _, fs, path::PathBuf};

use policy::Policy;
use syscalls::ARCHITECTURES;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from("../policies");
    println!("cargo::rerun-if-changed=../policies");
    println!("cargo::rerun-if-changed=build");
    let read = |name: &str| -> Result<Policy, Box<dyn Error>> {
        let text = fs::read_to_string(folder.join(format!("{name}.toml")))?;
        Policy::parse(&text).map_err(|why| format!("policies/{name}.toml: {why}").into())
    };
    let mut text = String::new();
    for name in [
        "restricted",
        "unrestricted",
        "listed-programs",
        "no-programs",
        "supervisor",
    ] {
        let mut policy = read(name)?;
        let has_base = policy.base.is_some();
        // The others only refuse calls; what they show is what their base shows.
        let shows = !policy.shown.is_empty();
        while let Some(base) = policy.base.take() {
            policy = policy.on(&read(&base)?);
        }
        let shown: Vec<&str> = policy.shown.iter().map(|shown| shown.path.as_str()).collect();
        let upper = name.to_uppercase().replace('-', "_");
        for architecture in &ARCHITECTURES {
            let program = compile::compile(&policy, architecture)
                .map_err(|why| format!("policies/{name}.toml, {}: {why}", architecture.name))?;
            let target = architecture.name;
            writeln!(text, "#[cfg(any(test, target_arch = {target:?}))]")?;
            writeln!(
                text,
                "pub(crate) static {upper}_{}: &[(u16, u8, u8, u32)] = &{program:?};",
                target.to_uppercase()
            )?;
            writeln!(text, "#[cfg(target_arch = {target:?})]")?;
            writeln!(
                text,
                "pub(crate) use {upper}_{} as {upper};",
                target.to_uppercase()
            )?;
        }
        if let (Some(limits), true) = (&policy.limits, shows) {
            writeln!(text, "pub(crate) static {upper}_SHOWN: &[&str] = &{shown:?};")?;
            if !has_base {
                writeln!(
                    text,
                    "pub(crate) const STACK_BYTES: u64 = {};",
                    limits.stack_bytes
                )?;
                writeln!(
                    text,
                    "pub(crate) const SCRATCH_FILES: u64 = {};",
                    limits.scratch_files
                )?;
                let bytes = limits.engine_temporary_bytes;
                writeln!(text, "pub(crate) const ENGINE_TEMPORARY_BYTES: u64 = {bytes};")?;
            }
        }
    }
    fs::write(
        PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("policies.rs"),
        text,
    )?;
    Ok(())
}
