//! The promise: a run finds nothing of other runs, neither beside it nor before it.
//!
//! In the lab the agent plays the other run; in the jails a run of the same engine goes on beside each probe and keeps
//! the secret in its folders and in shared memory.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "reads from shared folders",
        "places <- c('/tmp', '/dev/shm', '/scratch', '/scratch/tmp')
         for (f in Sys.glob(file.path(places, 'neighbour.txt'))) cat(readLines(f))",
    ),
    r(
        "reads from others' working folders",
        "for (f in Sys.glob('/proc/[0-9]*/cwd/neighbour.txt')) cat(readLines(f))",
    ),
    r(
        "reads others' descriptions",
        "for (f in Sys.glob(c('/proc/[0-9]*/root/scratch/*', '/proc/[0-9]*/root/mnt/neighbour/*')))
           if (!dir.exists(f) && f != '/scratch/run.json') cat(readLines(f, warn = FALSE))",
    ),
    python(
        "reads from shared folders",
        "import glob
for place in ('/tmp', '/var/tmp', '/dev/shm', '/run', '/scratch', '/scratch/tmp'):
    for path in glob.glob(place + '/neighbour.txt'): print(open(path).read())",
    ),
    python(
        "reads from others' working folders",
        "import glob
for path in glob.glob('/proc/[0-9]*/cwd/neighbour.txt'): print(open(path).read())",
    ),
    python(
        "reads from others' roots",
        "import glob
for path in glob.glob('/proc/[0-9]*/root/scratch/neighbour.txt') + glob.glob('/proc/[0-9]*/root/dev/shm/neighbour.txt'):
    print(open(path).read())",
    ),
    python(
        "maps shared memory of another",
        "from multiprocessing import resource_tracker, shared_memory
resource_tracker.register = lambda *ignored: None
memory = shared_memory.SharedMemory('neighbour.txt')
print(bytes(memory.buf[:20]), bytes(memory.buf[:28]))",
    ),
    c("reads shared memory by its name", r#"show_file("/dev/shm/neighbour.txt");"#),
    c(
        "attaches shared memory by its key",
        "int memory = shmget(0x4d5553, 0, 0);
        void *where = memory < 0 ? (void *)-1 : shmat(memory, 0, SHM_RDONLY);
        if (where == (void *)-1) harm_if(0);
        else say(where);",
    ),
    c(
        "takes a message from a queue",
        "struct { long kind; char text[100]; } message = {0};
        int queue = msgget(0x4d5553, 0);
        if (queue < 0 || msgrcv(queue, &message, sizeof message.text - 1, 0, IPC_NOWAIT) < 0) harm_if(0);
        else say(message.text);",
    ),
    c(
        "removes others' shared memory",
        "struct shmid_ds about;
        int memory = shmget(0x4d5553, 0, 0);
        harm_if(memory >= 0 && shmctl(memory, IPC_STAT, &about) == 0 && shmctl(memory, SHM_LOCK, 0) == 0
            && shmctl(memory, SHM_UNLOCK, 0) == 0);",
    ),
    c("reads another's working folder", r#"
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/cwd/neighbour.txt", agent());
        show_file(path);"#),
    c(
        "slows all runs of a user",
        "setpriority(PRIO_USER, 0, 19);
        if (setpriority(PRIO_USER, 65534, 19)) harm_if(0);",
    ),
    c(
        "finds a run of the same user",
        "int found = 0;
        for (pid_t pid = 3; pid < 4000; pid++)
            if (pid != getpid() && pid != getppid() && kill(pid, 0) == 0) found = 1;
        harm_if(found);",
    ),
];

crate::check::promise!(PROBES);
