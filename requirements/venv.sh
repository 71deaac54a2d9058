#!/bin/sh
# Make the virtual environment FOLDER, unless it is there: venv.sh FOLDER [PYTHON].
# Without PYTHON, the first interpreter of the path that fits is taken: 3.11 to 3.13, with venv and, since DeepSpeed
# compiles an extension, C headers.
set -eu
venv=$1
wanted=${2:-}

# Prints nothing if interpreter $1 fits, else why not. A name may exist and not run, as version managers' do.
obstacle() {
    "$1" - 2>/dev/null <<'PYTHON' || echo "does not run"
import os, sys, sysconfig

version = "%d.%d" % sys.version_info[:2]
try:
    import ensurepip, venv
except ImportError:
    venv = None
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    print("is " + version)
elif venv is None:
    print("has no venv (Debian's package python%s-venv)" % version)
elif not os.path.exists(header):
    print("has no C headers (Debian's package python%s-dev)" % version)
PYTHON
}

if [ -z "$wanted" ] && [ -e "$venv/bin/python" ] && [ -z "$(obstacle "$venv/bin/python")" ]; then
    exit
fi
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    echo "error: $venv is no virtual environment, and not empty; name another folder with VENV=" >&2
    exit 2
fi
found=
for name in ${wanted:-python3.13 python3.12 python3.11 python3}; do
    if command -v "$name" >/dev/null; then
        why=$(obstacle "$name")
        if [ -z "$why" ]; then
            echo "$venv: $("$name" --version), $(command -v "$name")"
            exec "$name" -m venv --clear "$venv"
        fi
        found="$found $name $why;"
    fi
done
if [ -n "$wanted" ]; then found=${found:-" $wanted is not in the path;"}; fi
echo "error: no fitting Python:${found:-" none in the path;"} needs 3.11, 3.12 or 3.13 with venv and C headers," \
    "for example Debian's python3, python3-venv and python3-dev, or name one: make PYTHON=/path/to/python3.13" >&2
exit 2
