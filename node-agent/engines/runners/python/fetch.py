# Fetches wheels from an index into an archive. Executed as a script by packages/fetch.rs, in a jail whose broker lets it to
# the hosts of the index only: `lines` is the locked list, `indexes` the addresses. What comes out is verified by the agent.

import os
import subprocess
import sys
import tarfile
from urllib.parse import urlsplit

os.mkdir("wheels")
with open("requirements.txt", "w", encoding="utf-8") as file:
    file.writelines(f"{line}\n" for line in lines)
first, *others = indexes
command = [
    sys.executable, "-I", "-B", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "--proxy",
    os.environ["https_proxy"], "--retries", "2", "--timeout", "30", "download", "--quiet", "--no-cache-dir", "--require-hashes",
    "--no-deps", "--only-binary", ":all:", "--progress-bar", "off", "--dest", "wheels", "--index-url", first,
]
for other in others:
    command += ["--extra-index-url", other]
for index in indexes:
    # The hashes of the list say what is taken, whoever sends it.
    if urlsplit(index).scheme == "http":
        command += ["--trusted-host", urlsplit(index).netloc]
command += ["-r", "requirements.txt"]
done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
if done.returncode != 0:
    said = done.stderr.strip() or f"ERROR: pip ended with code {done.returncode}"
    sys.exit(said)
with tarfile.open("wheels.tar", "w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
    tar.add("wheels", ".")
archive = "/scratch/wheels.tar"
