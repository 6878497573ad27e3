#!/usr/bin/env bash
# Installs the peers that `make bench` compares with, from Debian packages. None of their services is started: every run
# starts its own, on loopback, with data directories of its own.
set -euo pipefail

need=()
command -v smtp-source >/dev/null || need+=(postfix)
command -v rspamd >/dev/null || need+=(rspamd)
command -v dovecot >/dev/null || need+=(dovecot-core dovecot-imapd dovecot-lmtpd)
[ -e /usr/lib/dovecot/lmtp ] || need+=(dovecot-lmtpd)
command -v nginx >/dev/null || need+=(nginx-light)
command -v nsd >/dev/null || need+=(nsd)
command -v wrk >/dev/null || need+=(wrk)
[ "${#need[@]}" = 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
  echo "Missing packages. As root: apt-get install ${need[*]}" >&2
  exit 1
fi
echo "Installing ${need[*]}"
export DEBIAN_FRONTEND=noninteractive
# Packages that start their services at installation are kept from it: a port in use would spoil the run.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
