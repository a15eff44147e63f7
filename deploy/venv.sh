#!/bin/sh
# Create or refresh .venv with the tested set of versions. Called by make; safe to run again.
#
# torch comes first, because pip would otherwise take the CUDA build from PyPI (gigabytes) on a
# machine without a GPU: a local CPU wheel where pip finds one, else PyTorch's own CPU index, else
# PyPI. With an NVIDIA GPU it is PyPI's build, which brings CUDA.
set -eu
cd "$(dirname "$0")/.."

find_python() {
    for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
        "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || continue
        echo "$name"
        return
    done
    echo "fashion_pipeline needs Python 3.11, 3.12 or 3.13; found: $(python3 --version 2>&1 || echo none)." >&2
    echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/of/python3.11" >&2
    exit 2
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

python=$(find_python)
if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    echo "Creating .venv with $($python --version) ..."
    rm -rf .venv
    "$python" -m venv .venv || {
        echo "python3 -m venv failed (see above). On Debian and Ubuntu: apt install python3-venv" >&2
        exit 2
    }
fi

torch=$(sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
torchvision=$(sed -n 's/^\(torchvision==.*\)/\1/p' constraints.txt)
installed=$(.venv/bin/python -c 'import importlib.metadata as m; print("torch==" + m.version("torch").split("+")[0])' 2>/dev/null || true)
if [ "$installed" != "$torch" ]; then
    echo "Installing $torch (the largest part; a few minutes on a slow line) ..."
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
        pip install "$torch" "$torchvision"
    else
        pip install "$torch+cpu" -c constraints.txt 2>/dev/null ||
            pip install "$torch" "$torchvision" --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
            {
                echo "No CPU build of torch is reachable: taking PyPI's, which brings CUDA libraries ..."
                pip install "$torch" "$torchvision"
            }
    fi
fi

echo "Installing fashion_pipeline and the tested versions of what it needs ..."
pip install -c constraints.txt -e '.[dev]'
cat pyproject.toml constraints.txt deploy/venv.sh | cksum >.venv/installed
