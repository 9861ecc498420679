//! The promise: whatever a run puts where its outputs are taken from, what is taken is its own plain file.
//!
//! Outside, `outputs/0` is collected as a careless collector would do it: with `cat`, and a special file counts as harm
//! because such a collector waits for ever or never ends.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "hands in a link",
        "file.symlink('/mnt/agent/secret.txt', 'outputs/0')",
    ),
    r(
        "hands in a second name",
        "file.link('/mnt/agent/secret.txt', 'outputs/0')",
    ),
    r("hands in a pipe", "system('mkfifo outputs/0')"),
    r(
        "hands in a folder that leads elsewhere",
        "unlink('outputs', recursive = TRUE); file.symlink('/mnt/agent', 'outputs'); file.symlink('secret.txt', 'outputs/0')",
    ),
    python(
        "hands in a link",
        "import os; os.symlink('/mnt/agent/secret.txt', 'outputs/0')",
    ),
    python(
        "hands in a second name",
        "import os; os.link('/mnt/agent/secret.txt', 'outputs/0')",
    ),
    python("hands in a pipe", "import os; os.mkfifo('outputs/0')"),
    python(
        "hands in a device",
        "import os, stat; os.mknod('outputs/0', 0o666 | stat.S_IFCHR, os.makedev(1, 5))",
    ),
    python(
        "hands in a link to its parent's environment",
        "import os; os.symlink('/proc/1/environ', 'outputs/0')",
    ),
    python(
        "hands in a moved file",
        "import os; os.rename('/mnt/agent/secret.txt', 'outputs/0'); os.link('outputs/0', '/mnt/agent/secret.txt')",
    ),
    c(
        "hands in a link",
        r#"harm_if(symlink("/mnt/agent/secret.txt", "outputs/0") == 0 && 0);"#,
    ),
    c(
        "hands in a second name",
        r#"harm_if(link("/mnt/agent/secret.txt", "outputs/0") == 0 && 0);"#,
    ),
    c(
        "hands in a pipe",
        r#"harm_if(mkfifo("outputs/0", 0600) == 0 && 0);"#,
    ),
    c(
        "hands in a device",
        r#"harm_if(mknod("outputs/0", S_IFCHR | 0666, makedev(1, 5)) == 0 && 0);"#,
    ),
    c(
        "hands in a link through a descriptor",
        r#"harm_if(symlinkat("/proc/self/root/mnt/agent/secret.txt", open("outputs", O_RDONLY), "0") == 0 && 0);"#,
    ),
    c(
        "hands in a bound file",
        r#"
        int file = open("outputs/0", O_WRONLY | O_CREAT, 0600);
        close(file);
        harm_if(mount("/mnt/agent/secret.txt", "outputs/0", 0, MS_BIND, 0) == 0 && 0);"#,
    ),
];

crate::check::promise!(PROBES);
