//! The promise: a restricted run has no network and no socket of any kind. A trusted one has what its class says, and
//! never a raw socket or a rare protocol.

use crate::probe::{Probe, c, python, r};

pub(crate) const PROBES: &[Probe] = &[
    r(
        "connects by TCP",
        "s <- socketConnection('127.0.0.1', 4711, open = 'r', blocking = TRUE, timeout = 2); cat(readLines(s, 1))",
    )
    .trusted(),
    r("fetches a page", "cat(readLines(url('http://127.0.0.1/')))").trusted(),
    r(
        "downloads a file",
        "download.file('http://127.0.0.1/', 'got', quiet = TRUE); cat(readLines('got'))",
    )
    .trusted(),
    r("asks the cloud for its secrets", "cat(readLines(url('http://169.254.169.254/')))").trusted(),
    r("tells a name server something", "try(nsl('harm.example.net'))").trusted(),
    r("listens", "s <- serverSocket(4799L); cat('HARM')").trusted(),
    r(
        "connects with the internal function",
        "s <- eval(quote(.Internal(socketConnection('127.0.0.1', 4711L, FALSE, TRUE, 'r', 'UTF-8', 2L, ''))), baseenv())
         cat(readLines(s, 1))",
    )
    .trusted(),
    python(
        "connects by TCP",
        "import socket; print(socket.create_connection(('127.0.0.1', 4711), 2).recv(100))",
    )
    .trusted(),
    python(
        "connects by TCP over IPv6",
        "import socket; print(socket.create_connection(('::1', 4711), 2).recv(100))",
    )
    .trusted(),
    python(
        "connects below the library's names",
        "import _socket
s = _socket.socket(); s.connect(('127.0.0.1', 4711)); print(s.recv(100))",
    )
    .trusted(),
    python(
        "sends by UDP",
        "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b'hello', ('127.0.0.1', 4712)); print(s.recv(100))",
    )
    .trusted(),
    python(
        "tells a name server something",
        "import socket
try: socket.getaddrinfo('harm.example.net', 80, socket.AF_INET)
except socket.gaierror: pass",
    )
    .trusted(),
    python(
        "asks the cloud for its secrets",
        "import urllib.request; print(urllib.request.urlopen('http://169.254.169.254/', timeout=2).read())",
    )
    .trusted(),
    python(
        "connects to a socket in the file system",
        "import socket
s = socket.socket(socket.AF_UNIX); s.connect('/mnt/agent/agent.sock'); print(s.recv(100))",
    ),
    python(
        "connects to an abstract socket",
        "import socket
s = socket.socket(socket.AF_UNIX); s.connect('\\0muster-agent'); print(s.recv(100))",
    ),
    python(
        "listens",
        "import socket
s = socket.socket(); s.bind(('127.0.0.1', 4798)); s.listen(); print('HARM')",
    )
    .trusted(),
    python(
        "opens a raw socket",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); print('HARM')",
    ),
    python(
        "listens to the wire",
        "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768); print('HARM')",
    ),
    python(
        "listens to the kernel's devices",
        "import socket
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15); s.bind((0, 1)); print('HARM')",
    ),
    c("connects by TCP", r#"call_inet(SOCK_STREAM, "127.0.0.1", 4711);"#).trusted(),
    c("asks the cloud for its secrets", r#"call_inet(SOCK_STREAM, "169.254.169.254", 4711);"#).trusted(),
    c("sends by UDP", r#"call_inet(SOCK_DGRAM, "127.0.0.1", 4712);"#).trusted(),
    c(
        "tells a name server something",
        r#"/* A question for harm.test, made by hand. */
        static const char question[] = "\1\2\1\0\0\1\0\0\0\0\0\0\4harm\4test\0\0\1\0\1";
        struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
        inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
        int one = socket(AF_INET, SOCK_DGRAM, 0);
        harm_if(one >= 0 && sendto(one, question, sizeof question - 1, 0, (void *)&server, sizeof server) > 0);"#,
    )
    .trusted(),
    c(
        "connects to a socket in the file system",
        r#"call_unix(SOCK_STREAM, "/mnt/agent/agent.sock");"#,
    ),
    c(
        "sends to a datagram socket in the file system",
        r#"struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/mnt/agent/log.sock"};
        int one = socket(AF_UNIX, SOCK_DGRAM, 0);
        harm_if(one >= 0 && sendto(one, "hello", 5, 0, (void *)&address, sizeof address) > 0);"#,
    ),
    c("connects to an abstract socket", r#"call_unix(SOCK_STREAM, "@muster-agent");"#),
    c("opens a raw socket", "harm_if(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0);"),
    c("listens to the wire", "harm_if(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) >= 0);"),
    c(
        "lists the interfaces",
        "struct { struct nlmsghdr head; struct rtgenmsg what; } ask = {
            {sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
        char answer[8192];
        int one = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
        harm_if(one >= 0 && send(one, &ask, sizeof ask, 0) > 0 && recv(one, answer, sizeof answer, 0) > 0);",
    )
    .trusted(),
    c("asks about others' sockets", "harm_if(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG) >= 0);"),
    c("speaks to the audit system", "harm_if(socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT) >= 0);"),
    c("asks for a rare protocol", "harm_if(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE) >= 0);"),
    c("makes a pair of sockets", "int pair[2]; harm_if(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);").trusted(),
];

crate::check::promise!(PROBES);
