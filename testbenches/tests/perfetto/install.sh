#!/bin/sh
# Installs what tests decode Perfetto traces with into target/test-tools. Silent when it is there.
set -eu
# Standard output is for the results of what comes after.
exec >&2
cd "$(dirname "$0")/../../.."
tools=target/test-tools
requirements=testbenches/tests/perfetto/requirements.txt

! cmp -s "$requirements" "$tools/installed" || exit 0
rtl/setup.sh python3-venv
echo "test-tools: installing Python packages"
python3 -m venv --clear "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check --retries 1 --requirement "$requirements"
cp "$requirements" "$tools/installed"
