#!/usr/bin/env bash
# A PostgreSQL cluster of the tests' own: temporary directory owned by the postgres user, unix socket, a free port.
# Debian's own `main` cluster stays out of use.
#
#   eval "$(scripts/postgres.sh start)"    starts it (once) and exports LANDFALL_TEST_POSTGRES
#   scripts/postgres.sh stop               stops it and removes its directory
set -euo pipefail
state="${LANDFALL_TEST_POSTGRES_STATE:-${TMPDIR:-/tmp}/landfall-postgres.$(id -u)}"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)

as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

running() { [ -f "$state/dir" ] && as_postgres "$bin/pg_ctl" -D "$(cat "$state/dir")/data" status >/dev/null 2>&1; }

start() {
  [ -n "$bin" ] || { echo "PostgreSQL is missing: apt-get install postgresql" >&2; exit 1; }
  if ! running; then
    mkdir -p "$state"
    dir=$(mktemp -d "${TMPDIR:-/tmp}/landfall-pg.XXXXXX")
    [ "$(id -u)" = 0 ] && chown postgres "$dir"
    as_postgres "$bin/initdb" -D "$dir/data" --locale=C.UTF-8 --encoding=UTF8 --auth=trust --username=landfall >/dev/null
    port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
    # A test cluster is thrown away: speed over durability here, and only here.
    as_postgres "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" start \
      -o "-k $dir -p $port -c listen_addresses='' -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=300 -c shared_buffers=128MB" >/dev/null
    echo "$dir" > "$state/dir"; echo "$port" > "$state/port"
  fi
  echo "export LANDFALL_TEST_POSTGRES='postgres://landfall@localhost/postgres?host=$(cat "$state/dir")&port=$(cat "$state/port")'"
}

stop() {
  running && as_postgres "$bin/pg_ctl" -D "$(cat "$state/dir")/data" -m fast -w stop >/dev/null
  [ -f "$state/dir" ] && rm -rf "$(cat "$state/dir")"
  rm -rf "$state"
}

case "${1:-}" in start) start ;; stop) stop ;; *) echo "usage: $0 start|stop" >&2; exit 2 ;; esac
