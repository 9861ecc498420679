/*
 * The surroundings of the probes in C. The tests put three things before this file: HIDDEN, the agent's secret with
 * every byte one higher, so that nothing here holds the secret itself; DROPPED, the bytes of a small shared object;
 * and EACH_PROBE(run), which names all probes. Their functions come after it.
 *
 * As a program it is an engine of the jail (no arguments), runs one probe (`run NAME`), or takes away a feature of
 * the kernel and executes another program (`without NUMBER PROGRAM…`). As a shared object it exports `probe`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_alg.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <net/ethernet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static const unsigned char hidden[] = HIDDEN;
static const unsigned char dropped[] = {DROPPED};

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0) _exit(9);
}

/* The harm was done. */
static void harm(void) { say("HARM\n"); }

/* The harm was done if `done`; else what the kernel said is told. */
static void harm_if(int done) {
    int why = errno;
    if (done) harm();
    else dprintf(2, "refused: %s\n", strerror(why));
}

/* Prints what can be read of a descriptor. */
static void show(int descriptor) {
    char bytes[4096];
    if (descriptor < 0) {
        harm_if(0);
        return;
    }
    ssize_t count = read(descriptor, bytes, sizeof bytes);
    if (count > 0 && write(1, bytes, (size_t)count) < 0) _exit(9);
    harm_if(0);
}

static void show_file(const char *path) { show(open(path, O_RDONLY)); }

/* Whether the agent's secret stands in these bytes. */
static int is_secret(const unsigned char *bytes, size_t length) {
    size_t size = sizeof hidden - 1;
    for (size_t at = 0; at + size <= length; at++) {
        size_t same = 0;
        while (same < size && (unsigned char)(bytes[at + same] + 1) == hidden[same]) same++;
        if (same == size) return 1;
    }
    return 0;
}

/* Whether it stands in the memory of a process. */
static int secret_in_memory_of(const char *process) {
    char path[64], line[512];
    static unsigned char page[1 << 20];
    snprintf(path, sizeof path, "/proc/%s/maps", process);
    FILE *maps = fopen(path, "r");
    snprintf(path, sizeof path, "/proc/%s/mem", process);
    int memory = open(path, O_RDONLY), found = 0;
    while (maps && memory >= 0 && !found && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx rw", &from, &to) != 2) continue;
        for (; from < to && !found; from += sizeof page) {
            size_t size = to - from < sizeof page ? to - from : sizeof page;
            ssize_t count = pread(memory, page, size, (off_t)from);
            if (count > 0) found = is_secret(page, (size_t)count);
        }
    }
    return found;
}

/* The agent, where it can be seen; else process 1. */
static pid_t agent(void) {
    char path[300], line[4096];
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        pid_t pid = atoi(entry->d_name);
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int file = pid > 1 ? open(path, O_RDONLY) : -1;
        ssize_t count = file < 0 ? 0 : read(file, line, sizeof line);
        if (file >= 0) close(file);
        if (count > 0 && memmem(line, (size_t)count, "lab.py", 6)) return pid;
    }
    return 1;
}

/* Connects and prints what it is told. */
static void call(int family, int type, const void *address, socklen_t size) {
    int one = socket(family, type | SOCK_CLOEXEC, 0);
    struct timeval patience = {2, 0};
    if (one < 0 || connect(one, address, size) != 0) {
        harm_if(0);
        return;
    }
    setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (type == SOCK_DGRAM && send(one, "hello", 5, 0) < 0) {
        harm_if(0);
        return;
    }
    show(one);
}

static void call_inet(int type, const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    call(AF_INET, type, &address, sizeof address);
}

static void call_unix(int type, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = 0;
    call(AF_UNIX, type, &address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

/* Writes the shared object into the run's own folder. */
static int drop(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    if (file < 0 || write(file, dropped, sizeof dropped) != (ssize_t)sizeof dropped) return -1;
    close(file);
    return open(path, O_RDONLY);
}

/* Outlives the run for a while, under a name by which it is found. */
static void outlive(const char *name) {
    prctl(PR_SET_NAME, name);
    setsid();
    for (int one = 0; one < 3; one++) close(one);
    sleep(5);
    _exit(0);
}

static void *nap(void *ignored) {
    sleep(1);
    return ignored;
}

#define E(number, run_, words) static void run_(void);
EACH_PROBE(E)
#undef E

static const struct {
    const char *name;
    void (*run)(void);
} probes[] = {
#define E(number, run_, words) {words, run_},
    EACH_PROBE(E)
#undef E
};

__attribute__((visibility("default"))) int probe(const char *name) {
    for (size_t at = 0; at < sizeof probes / sizeof *probes; at++) {
        if (strcmp(probes[at].name, name) == 0) {
            errno = 0;
            probes[at].run();
            return 0;
        }
    }
    dprintf(2, "there is no probe \"%s\"\n", name);
    return 1;
}

#ifdef PROGRAM
static void leave(void *library, const char *ending, const char *message, int code) {
    void (*way_out)(const char **, const char **, int *) = dlsym(library, "muster_leave");
    way_out(&ending, &message, &code);
    _exit(8);
}

/* Keeps a secret wherever others could look for it, and stays. */
static void neighbour(void) {
    static char secret[sizeof hidden];
    for (size_t at = 0; at + 1 < sizeof hidden; at++) secret[at] = (char)(hidden[at] - 1);
    const char *places[] = {"/scratch/neighbour.txt", "/tmp/neighbour.txt", "/dev/shm/neighbour.txt"};
    for (int one = 0; one < 3; one++) {
        int file = open(places[one], O_WRONLY | O_CREAT, 0666);
        if (file >= 0 && write(file, secret, sizeof secret) < 0) _exit(9);
    }
    int memory = shmget(0x4d5553, 4096, IPC_CREAT | 0666);
    if (memory >= 0) strcpy(shmat(memory, 0, 0), secret);
    for (;;) pause();
}

static int engine(void) {
    static char message[1024], name[256];
    void *library = dlopen("/muster/libmuster_lock.so", RTLD_NOW);
    if (!library) {
        dprintf(2, "%s\n", dlerror());
        return 7;
    }
    void (*fork_run)(int *) = dlsym(library, "muster_fork_run");
    void (*lock)(const char **, int *, char **) = dlsym(library, "muster_lock");
    const char *mode = "restricted";
    char *words = message;
    int status = 2;
    fork_run(&status);
    if (status != 0) return status;
    lock(&mode, &status, &words);
    if (status != 0) leave(library, "script_error", message, 3);
    int file = open("/scratch/code", O_RDONLY);
    if (file < 0 || read(file, name, sizeof name - 1) <= 0) leave(library, "script_error", "no code", 4);
    close(file);
    mkdir("/scratch/outputs", 0700);
    if (strcmp(name, "neighbour") == 0) neighbour();
    probe(name);
    leave(library, "succeeded", "", 0);
    return 6;
}

/* Executes a program for which the kernel lacks a call: it answers ENOSYS, or EPERM where it makes a user namespace. */
static int without(char **arguments) {
    int namespaces = strcmp(arguments[0], "without-user-namespaces") == 0;
    unsigned number = namespaces ? SYS_clone : (unsigned)atoi(arguments[1]);
    struct sock_filter enosys = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    struct sock_filter eperm = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, namespaces ? SYS_clone3 : number, 0, 1),
        enosys,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1),
        eperm,
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 7;
    arguments += namespaces ? 1 : 2;
    execv(arguments[0], arguments);
    return 7;
}

int main(int count, char **arguments) {
    if (count == 3 && strcmp(arguments[1], "run") == 0) return probe(arguments[2]);
    if (count > 2 && strncmp(arguments[1], "without", 7) == 0) return without(arguments + 1);
    return engine();
}
#endif
