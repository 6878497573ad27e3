#!/usr/bin/env bash
# Installs what building (setup.sh build) or testing (setup.sh test) needs: Debian packages when root, cargo-deny for the
# tests. Quick when everything is there. Without cargo-nextest, cargo test runs.
set -euo pipefail

need=()
have() { command -v "$1" >/dev/null 2>&1; }
have cc || need+=(build-essential)
if [ "${1:-test}" = test ]; then
  have chromium || need+=(chromium fonts-dejavu-core)
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need+=(postgresql)
  have python3 || need+=(python3)
  have swaks || need+=(swaks libnet-ssleay-perl libauthen-sasl-perl)
  python3 -c 'import ensurepip' >/dev/null 2>&1 || need+=(python3-venv)
  have strace || need+=(strace)
  have mutt || need+=(mutt)
  [ -e /usr/lib/dovecot/imap ] || need+=(dovecot-core dovecot-imapd)
  [ -e /usr/lib/dovecot/lmtp ] || need+=(dovecot-lmtpd)
  [ -e /usr/sbin/postfix ] || { need+=(postfix); echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections 2>/dev/null || true; }
fi

if [ "${#need[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "Missing packages. As root: apt-get install ${need[*]}" >&2
    exit 1
  fi
  echo "Installing ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
for tool in cargo node npm; do
  have "$tool" || { echo "Missing $tool: install Rust 1.95 or newer (rustup) and Node.js 20 or newer" >&2; exit 1; }
done
[ "${1:-test}" = test ] || exit 0
# What the tests compare with and drive: another implementation of DKIM and ARC, an IMAP client.
python="$HOME/.cache/landfall-python/bin/python"
if ! "$python" -c 'import dkim, nacl, authres, imapclient' >/dev/null 2>&1; then
  echo "Installing dkimpy and imapclient (once)"
  python3 -m venv "$HOME/.cache/landfall-python"
  "$HOME/.cache/landfall-python/bin/pip" install --quiet --disable-pip-version-check \
    dkimpy==1.1.8 pynacl==1.6.2 authres==1.2.0 imapclient==4.1.0
fi
if ! cargo deny --version >/dev/null 2>&1; then
  echo "Installing cargo-deny (once)"
  # A target folder of its own, small and optimised little: it runs for a second.
  CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/landfall-target}/tools" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
    cargo install cargo-deny --version 0.20.2 --locked --quiet
fi
