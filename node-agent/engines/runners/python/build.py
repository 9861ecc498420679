# Installs wheels into a folder and leaves it in the archive. Executed as a script by packages/build.rs: `names` are the
# names of the files `file_0`, `file_1` …, `lines` the locked list.

import os
import subprocess
import sys
import tarfile

files = [globals()[f"file_{index}"] for index in range(len(names))]
os.mkdir("wheels")
for name, path in zip(names, files):
    os.rename(path, os.path.join("wheels", name))
with open("requirements.txt", "w", encoding="utf-8") as file:
    file.writelines(f"{line}\n" for line in lines)
command = [
    sys.executable, "-I", "-B", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "install",
    "--quiet", "--no-cache-dir", "--no-index", "--find-links", "wheels", "--require-hashes", "--no-deps",
    "--only-binary", ":all:", "--no-compile", "--root-user-action", "ignore", "--target", "set", "-r",
    "requirements.txt",
]
done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
if done.returncode != 0 or not os.path.isdir("set"):
    said = done.stderr.strip() or f"ERROR: pip ended with code {done.returncode}"
    if "No matching distribution" in said:
        here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {os.uname().machine}"
        said = f"ERROR: {said.split('ERROR: ')[-1]}; the wheels must fit {here}, and there are {', '.join(names)}"
    sys.exit(said)

# What tells how and from where it was installed is not of the content; what lists it goes from the record, too.
NOISE = ("INSTALLER", "REQUESTED", "direct_url.json")
for folder, folders, found in os.walk("set"):
    if folder.endswith(".dist-info"):
        for name in NOISE:
            if name in found:
                os.remove(os.path.join(folder, name))
        record = os.path.join(folder, "RECORD")
        if os.path.exists(record):
            with open(record, encoding="utf-8", newline="") as file:
                entries = sorted(file.read().splitlines())
            own = os.path.basename(folder)
            noise = tuple(f"{own}/{name}," for name in NOISE)
            with open(record, "w", encoding="utf-8", newline="") as file:
                file.writelines(f"{entry}\n" for entry in entries if not entry.startswith(noise))

with tarfile.open("set.tar", "w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
    tar.add("set", ".")
archive = "/scratch/set.tar"
