#!/bin/sh
# Makes .venv and installs this package with everything pinned in constraints.txt.
# Safe to run again: it does nothing while its inputs are unchanged.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; $python is $("$python" -V). Set PYTHON=..." >&2
  exit 1
}

# Open3D needs these libraries; without them its views are left out, saying so.
packages="libusb-1.0-0 libgl1 libgomp1 libegl1 libvulkan1 mesa-vulkan-drivers"
if command -v dpkg-query >/dev/null 2>&1; then
  missing=""
  for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    # shellcheck disable=SC2086  # word splitting is what makes these lists
    if [ -z "$sudo" ] || sudo -n true 2>/dev/null; then
      echo "Installing system libraries for Open3D:$missing"
      { $sudo apt-get -qq update && $sudo env DEBIAN_FRONTEND=noninteractive \
          apt-get -qq install -y --no-install-recommends $missing >/dev/null; } ||
        echo "That failed: Open3D views may be left out; all else works." >&2
    else
      echo "For Open3D views run: sudo apt-get install$missing" >&2
      echo "Going on without them; all else works." >&2
    fi
  fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=".venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt"
# torch alone first: asked for together with packages that need it, pip may look at
# newer builds than the pinned one.
$pip torch
$pip hatchling editables
$pip --no-build-isolation -e ".[notebooks,dev,book]"
# JupyterLab would offer to rebuild itself for an extension that needs no build, and ask
# whether to fetch news.
settings=.venv/etc/jupyter/labconfig
mkdir -p "$settings"
echo '{"buildAvailable": false, "buildCheck": false}' > "$settings/page_config.json"
echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' \
  > "$settings/default_setting_overrides.json"
touch .venv/.installed
