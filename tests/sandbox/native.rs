//! The probes in C: compiled once into a program, which is an engine too, and into a shared object.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::probe::{Language, SECRET};

/// Where cargo lets tests write.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// What was compiled.
pub(crate) struct Native {
    pub(crate) program: PathBuf,
    /// All probes as a shared object, in hexadecimal digits.
    pub(crate) object: String,
    /// A small one that says that it was loaded.
    pub(crate) dropped: String,
}

pub(crate) static NATIVE: LazyLock<Native> = LazyLock::new(|| {
    let folder = Path::new(FOLDER).join(format!("native-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let native = compile_all(&folder);
    forget_older(&folder);
    native
});

/// Those of processes that have ended.
fn forget_older(ours: &Path) {
    for entry in fs::read_dir(FOLDER).expect("the folder of tests").flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("native-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) && entry.path() != ours {
            // Another test may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn compile_all(folder: &Path) -> Native {
    let small = folder.join("dropped.c");
    let says = "#include <unistd.h>\n\
        __attribute__((constructor)) static void loaded(void) { if (write(1, \"HARM\\n\", 5)) {} }\n\
        void *PyInit_dropped(void) { return 0; }\n";
    fs::write(&small, says).expect("written");
    let dropped = compile(
        &small,
        &["-shared", "-fPIC", "-Wl,-s"],
        &folder.join("dropped.so"),
    );
    let dropped = fs::read(dropped).expect("compiled");
    let source = folder.join("native.c");
    fs::write(&source, source_code(&dropped)).expect("written");
    let object = compile(
        &source,
        &["-shared", "-fPIC", "-Wl,-s"],
        &folder.join("native.so"),
    );
    Native {
        program: compile(&source, &["-DPROGRAM"], &folder.join("native")),
        object: digits(&fs::read(object).expect("compiled")),
        dropped: digits(&dropped),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes everything");
        digits
    })
}

fn source_code(dropped: &[u8]) -> String {
    let mut text = String::from("#define HIDDEN \"");
    for byte in SECRET.bytes() {
        write!(text, "\\{:03o}", byte + 1).expect("a string takes everything");
    }
    text.push_str("\"\n#define DROPPED ");
    for byte in dropped {
        write!(text, "{byte},").expect("a string takes everything");
    }
    let probes = || {
        crate::PROMISES
            .iter()
            .flat_map(|promise| promise.iter())
            .filter(|probe| probe.language == Language::C)
            .enumerate()
    };
    text.push_str("\n#define EACH_PROBE(E)");
    for (number, probe) in probes() {
        write!(text, " E({number}, probe_{number}, \"{}\")", probe.name).expect("a string takes everything");
    }
    text.push_str("\n#line 1 \"payloads/native.c\"\n");
    text.push_str(include_str!("payloads/native.c"));
    for (number, probe) in probes() {
        write!(
            text,
            "\n#line 1 \"{}\"\nstatic void probe_{number}(void) {{\n{}\n}}\n",
            probe.name, probe.code
        )
        .expect("a string takes everything");
    }
    text
}

fn compile(source: &Path, options: &[&str], target: &Path) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test calls the C compiler")]
    let said = Command::new("cc")
        .args([
            "-std=gnu17",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
        ])
        .args(["-Wno-unused-variable", "-Wno-nonnull", "-fvisibility=hidden"])
        .args(options)
        .arg("-o")
        .args([target, source])
        .output()
        .expect("cc, of the Debian package gcc");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    target.to_owned()
}
