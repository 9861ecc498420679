//! The smallest engine with a language of its own: each step of `run.json` is one attempt, its result one line.
//!
//! The jail's tests run it to see what a payload can and cannot do. Arguments make it misbehave before it forks.

#![expect(
    unsafe_code,
    reason = "it calls the lock library as a C program would, and the kernel as an attacker would"
)]

use std::{
    ffi::{CString, c_char, c_int},
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{FileExt as _, symlink},
    ptr,
};

use muster_lock::abi;

#[derive(serde::Deserialize)]
struct Run {
    steps: Vec<Vec<String>>,
    #[serde(default)]
    ending: Option<String>,
}

fn main() {
    let argument = std::env::args().nth(1).unwrap_or_default();
    misbehave(&argument);
    let mut status = 0;
    // SAFETY: the status can be written, and unless an argument asked for it there is one thread.
    unsafe { abi::muster_fork_run(&raw mut status) };
    if status != 0 {
        std::process::exit(status);
    }
    let mode = std::env::var_os("MODE")
        .unwrap_or_default()
        .into_string()
        .unwrap_or_default();
    if argument == "thread-after-fork" {
        // A hook or an import in the child could do that.
        misbehave("thread");
    }
    if let Err(why) = lock(&mode) {
        leave("script_error", &why, 3);
    }
    let run: Run = match fs::read("/scratch/run.json").map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(run)) => run,
        other => leave("script_error", &format!("{:?}", other.err()), 4),
    };
    for step in &run.steps {
        let words: Vec<&str> = step.iter().map(String::as_str).collect();
        let line = match attempt(&words) {
            Ok(found) => serde_json::json!({ "ok": found }),
            Err(error) => serde_json::json!({ "error": error.raw_os_error().unwrap_or(0) }),
        };
        let _ = writeln!(io::stdout(), "{line}");
    }
    leave(run.ending.as_deref().unwrap_or("succeeded"), "the end", 0)
}

fn lock(mode: &str) -> Result<(), String> {
    let mode = CString::new(mode).unwrap_or_default();
    let mut mode = mode.into_raw();
    let mut buffer: Vec<c_char> = vec![0; abi::MESSAGE_BYTES];
    let (mut status, mut message): (c_int, _) = (0, buffer.as_mut_ptr());
    // SAFETY: all pointers are to locals, and the buffer has the size that is asked for.
    unsafe { abi::muster_lock(&raw mut mode, &raw mut status, &raw mut message) };
    let words: Vec<u8> = buffer
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.to_ne_bytes()[0])
        .collect();
    if status == 0 {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&words).into_owned())
    }
}

fn leave(ending: &str, message: &str, code: c_int) -> ! {
    let text = |text: &str| CString::new(text).unwrap_or_default().into_raw();
    let (mut ending, mut message, mut code) = (text(ending), text(message), code);
    // SAFETY: pointers to C strings and a number, as asked for.
    unsafe { abi::muster_leave(&raw mut ending, &raw mut message, &raw mut code) };
    std::process::exit(99)
}

/// What an import may do to an engine.
fn misbehave(how: &str) {
    match how {
        "thread" => drop(std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        })),
        "descriptor" => std::mem::forget(io::pipe()),
        "folder" => std::mem::forget(fs::File::open("/usr")),
        "file" => std::mem::forget(fs::File::open("/etc/ld.so.cache")),
        "shared" => {
            let (rights, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            );
            // SAFETY: a new mapping at no particular place.
            unsafe { libc::mmap(ptr::null_mut(), 4096, rights, kind, -1, 0) };
        }
        "die" => {
            let _ = writeln!(io::stderr(), "no package called sorry");
            std::process::exit(3);
        }
        _ => {}
    }
}

fn attempt(words: &[&str]) -> io::Result<String> {
    let done = |()| String::new();
    match *words {
        ["read", path] => fs::read_to_string(path),
        ["write", path, text] => fs::write(path, text).map(done),
        ["fill", path, bytes] => fs::write(path, vec![b'x'; bytes.parse().unwrap_or(0)]).map(done),
        ["list", path] => {
            let mut names = fs::read_dir(path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            Ok(names.join(" "))
        }
        ["mkdir", path] => fs::create_dir(path).map(done),
        ["symlink", to, at] => symlink(to, at).map(done),
        ["hardlink", to, at] => fs::hard_link(to, at).map(done),
        ["rename", from, to] => fs::rename(from, to).map(done),
        ["sparse", path, bytes] => fs::File::create(path)?
            .set_len(bytes.parse().unwrap_or(0))
            .map(done),
        ["copy", from, to] => fs::copy(from, to).map(|_| String::new()),
        ["run", program, ref arguments @ ..] => {
            #[expect(
                clippy::disallowed_methods,
                reason = "whether a payload can do it is the question"
            )]
            let output = std::process::Command::new(program).args(arguments).output()?;
            if !output.status.success() {
                return Err(io::Error::other("it failed"));
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        ["find", "memory", shifted] => find_in_memory(shifted.as_bytes()).map(|count| count.to_string()),
        ["find", "proc", shifted] => Ok(find_in_processes(shifted.as_bytes()).to_string()),
        ["print", text] => Ok(text.to_owned()),
        ["connect", address] => {
            let mut said = String::new();
            TcpStream::connect(address)?.read_to_string(&mut said)?;
            Ok(said)
        }
        ["listen", address] => TcpListener::bind(address).map(|_| String::new()),
        _ => low_level(words),
    }
}

/// How often something occurs. It is given with each byte raised by one, so that the search does not find itself.
fn occurrences(bytes: &[u8], shifted: &[u8]) -> usize {
    let same = |window: &[u8]| {
        window
            .iter()
            .zip(shifted)
            .all(|(byte, raised)| byte.wrapping_add(1) == *raised)
    };
    bytes.windows(shifted.len()).filter(|window| same(window)).count()
}

/// In all that this process has in memory.
fn find_in_memory(shifted: &[u8]) -> io::Result<usize> {
    let memory = fs::File::open("/proc/self/mem")?;
    let mut found = 0;
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let (range, rest) = line.split_once(' ').unwrap_or((line, ""));
        let address = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        let (from, to) = range
            .split_once('-')
            .map_or((0, 0), |(from, to)| (address(from), address(to)));
        if !rest.starts_with('r') || line.contains("[v") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
        memory.read_exact_at(&mut bytes, from)?;
        found += occurrences(&bytes, shifted);
    }
    Ok(found)
}

/// In every file that it can read of what the process file system shows, one folder deep.
fn find_in_processes(shifted: &[u8]) -> usize {
    let folders = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let paths = folders.flat_map(|path| {
        let within = fs::read_dir(&path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        within.chain([path.clone()]).collect::<Vec<_>>()
    });
    // These are memory, which is searched above, or have no end.
    let skipped = [
        "mem",
        "pagemap",
        "clear_refs",
        "kmsg",
        "kcore",
        "kpagecount",
        "kpageflags",
        "kpagecgroup",
        "trace_pipe",
    ];
    paths
        .filter(|path| path.is_file() && !skipped.iter().any(|name| path.ends_with(name)))
        .filter_map(|path| fs::read(path).ok())
        .map(|bytes| occurrences(&bytes, shifted))
        .sum()
}

fn low_level(words: &[&str]) -> io::Result<String> {
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let path = |path: &str| CString::new(path).unwrap_or_default();
    // SAFETY: the arguments are numbers, C strings that live to the end of the statement, or null; some are attacks
    // on the jail that are meant to fail, and if they do not, this process is not worth keeping.
    let result: i64 = unsafe {
        match *words {
            ["socket", family] => i64::from(libc::socket(
                number(family).try_into().unwrap_or(0),
                libc::SOCK_STREAM,
                0,
            )),
            ["fifo", at] => i64::from(libc::mkfifo(path(at).as_ptr(), 0o600)),
            // To now, for which everybody has the right who may write; any other time is the owner's to set.
            ["touch", at] => i64::from(libc::utimensat(libc::AT_FDCWD, path(at).as_ptr(), ptr::null(), 0)),
            ["mount"] => i64::from(libc::mount(
                c"tmpfs".as_ptr(),
                c"/scratch".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                ptr::null(),
            )),
            ["unshare"] => i64::from(libc::unshare(libc::CLONE_NEWUSER)),
            ["exec", program] => i64::from(libc::execv(path(program).as_ptr(), [ptr::null()].as_ptr())),
            ["fork"] => match libc::fork() {
                0 => libc::_exit(0),
                pid => i64::from(pid),
            },
            ["ptrace"] => libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0),
            ["call", which, first] => {
                libc::syscall(number(which).try_into().unwrap_or(-1), number(first), 0, 0, 0, 0)
            }
            ["uid"] => i64::from(libc::getuid()),
            ["pid"] => i64::from(libc::getpid()),
            ["exit", code] => libc::_exit(number(code).try_into().unwrap_or(0)),
            ["abort"] => libc::abort(),
            ["pause"] => i64::from(libc::pause()),
            ["spin"] => loop {
                std::hint::spin_loop();
            },
            // Whoever is stopped goes on with this signal, from itself or from a timer.
            ["continue"] => loop {
                libc::raise(libc::SIGCONT);
            },
            ["continue", "later"] => {
                extern "C" fn nothing(_: c_int) {}
                // A timer whose signal is ignored stands still.
                let nothing: extern "C" fn(c_int) = nothing;
                libc::signal(libc::SIGCONT, nothing as *const () as libc::sighandler_t);
                let mut event: libc::sigevent = std::mem::zeroed();
                event.sigev_notify = libc::SIGEV_SIGNAL;
                event.sigev_signo = libc::SIGCONT;
                let mut timer = ptr::null_mut();
                libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer);
                let often = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 20_000_000,
                };
                let often = libc::itimerspec {
                    it_interval: often,
                    it_value: often,
                };
                i64::from(libc::timer_settime(timer, 0, &raw const often, ptr::null_mut()))
            }
            // A child that only waits; with its own process group it would outlive a careless killer.
            ["linger"] => match libc::fork() {
                0 => {
                    libc::setsid();
                    loop {
                        libc::pause();
                    }
                }
                pid => i64::from(pid),
            },
            // The byte that tells process 1 of the run that this is its end.
            ["word"] => i64::try_from(libc::write(251, c".".as_ptr().cast(), 1)).unwrap_or(-1),
            // A child that writes a file, prints and forks as fast as it can.
            ["scribble", at] => match libc::fork() {
                0 => loop {
                    let file = libc::open(path(at).as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o600);
                    libc::write(file, c"xxxxxxxxxxxxxxxx".as_ptr().cast(), 16);
                    libc::close(file);
                    libc::write(1, c"and more\n".as_ptr().cast(), 9);
                    if libc::fork() == 0 {
                        libc::_exit(0);
                    }
                    libc::waitpid(-1, ptr::null_mut(), 0);
                },
                pid => i64::from(pid),
            },
            ["group", "nice"] => i64::from(libc::setpriority(libc::PRIO_PGRP, 0, 19)),
            ["group", "kill"] => i64::from(libc::kill(0, libc::SIGKILL)),
            // Orphans that give process 1 of the run, their parent, children without end.
            ["storm", many] => {
                let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::SIGCHLD;
                for _ in 0..number(many) {
                    if libc::fork() != 0 {
                        continue;
                    }
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                    while libc::getppid() != 1 {
                        std::hint::spin_loop();
                    }
                    loop {
                        // clone, and in the child exit at once: it has this one's stack and must not touch it.
                        std::arch::asm!(
                            "syscall", "test eax, eax", "jnz 2f", "mov eax, 60", "xor edi, edi", "syscall", "2:",
                            inout("rax") libc::SYS_clone => _, inout("rdi") i64::from(flags) => _,
                            in("rsi") 0, in("rdx") 0, in("r10") 0, in("r8") 0, out("rcx") _, out("r11") _,
                        );
                    }
                }
                0
            }
            ["bomb", most] => {
                let mut born = 0;
                while born < number(most) {
                    match libc::fork() {
                        0 => loop {
                            libc::pause();
                        },
                        -1 => break,
                        _ => born += 1,
                    }
                }
                i64::try_from(born).unwrap_or(-1)
            }
            ["eat", bytes] => {
                let size = number(bytes);
                let rights = libc::PROT_READ | libc::PROT_WRITE;
                let memory = libc::mmap(
                    ptr::null_mut(),
                    size,
                    rights,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                if memory == libc::MAP_FAILED {
                    -1
                } else {
                    for offset in (0..size).step_by(4096) {
                        memory.cast::<u8>().add(offset).write_volatile(1);
                    }
                    0
                }
            }
            ["foreign"] => {
                let mut answer: i64 = 20; // getpid of the 32-bit table
                std::arch::asm!("int 0x80", inout("rax") answer);
                answer
            }
            _ => return Err(io::Error::other(format!("unknown step {words:?}"))),
        }
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result.to_string())
    }
}
