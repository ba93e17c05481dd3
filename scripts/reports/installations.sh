# 13, 15, 17 and 18: what an installation meets: clusters that lack something, full disks, clocks that are wrong, folders that move.

13.1() {
  title 'the installer looks at what a cluster has before it installs, a line each, and says which one is wrong'
  [ -n "${REPORTS_INSTALLER:-}" ] || skip 'it takes a cluster, and REPORTS_INSTALLER'
  local about
  run node "$REPORTS_INSTALLER" --check
  err_is ''
  for about in Knative features ingress 'cluster DNS' 'storage class' 'TPM nodes' 'TPM devices' clocks; do
    same 1 "$(cut -c10-23 out | grep -cx "$about *")" "of $about a number of lines of"
  done
  # What is there runs.
  for about in clocks Knative features 'TPM nodes'; do out_like "^ok +$about "; done
  run node "$REPORTS_INSTALLER" --check --node-selector "reports.test/no-such-label=$$"
  ended 1
  out_like "^wrong +TPM nodes .*reports.test/no-such-label=$$.*; "
  run env KUBECONFIG="$PWD/none" node "$REPORTS_INSTALLER" --check --overlay software-tpm
  holds 'no success' test "$status" -ne 0
  out_is ''
  err_like "$PWD/none"
}

# A second installation in this folder, like the others of the kind: the first case that wants one makes it.
given_installation() {
  if [ ! -d "$work/second" ]; then
    mkdir "$work/second"
    begin "$work/second/server" "$work/second" || fail "expected sls up to be ready, got $(tail -3 "$work/second/up.log" | short)"
    end TERM
    [ "$status" = 0 ] || fail "expected status 0 of sls up at SIGTERM, got $status"
  fi
  cp -a "$work/second/server/." "$1"
}
# Begins sls up with this folder. It is ready, and its process $up, or it has ended. What it says is in up.json and up.log, here or in $2.
begin() {
  local folder=$1 said=${2:-.}
  rm -f "$said/life" "$said/up.json"
  mkfifo "$said/life"
  : >"$said/up.json"
  PARENT_PIPE=0 sls up --json --dir "$folder" <"$said/life" >"$said/up.json" 2>"$said/up.log" &
  up=$!
  exec {up_life}>"$said/life"
  eventually 'sls up to be ready, or to end' eval "grep -q '\"ready\": true' '$said/up.json' || ! kill -0 $up 2>/dev/null"
  kill -0 $up 2>/dev/null
}
# Ends it by this signal, or waits until it has: $status.
end() {
  [ $# = 0 ] || kill -s "$1" "$up"
  wait "$up"
  status=$?
  exec {up_life}>&-
}
# Whose service is that in this folder.
trusting() {
  export SLS_TRUST=$PWD/$1/trust-bundle.jws
  unset -v SLS_TRUST_FINGERPRINT
  # Compared with nothing: it was made here.
  SLS_TRUST_FINGERPRINT=$(sls trust show 2>&1 >/dev/null | sed -n 's/.* has not been confirmed: \(SHA256:[^ ]*\)$/\1/p')
  export SLS_TRUST_FINGERPRINT
}

# A file system of so many MiB in the folder disk.
small_disk() {
  mkdir disk
  mount -t tmpfs -o "size=$1m,mode=0700" sls-reports disk 2>/dev/null || skip 'no file system can be mounted here'
  at_end+=('umount -l disk')
}
# Takes what is left of it, to the last byte.
fill_disk() { cat /dev/zero >disk/filler 2>/dev/null || true; }

15.1() {
  title 'a first start on a full disk says in one line what has no room, and where'
  needs_own_service
  small_disk 8
  fill_disk
  run sls up --dir "$PWD/disk/server"
  ended 1
  out_is ''
  err_like "^sls: .*($PWD/disk/server.*no space left|no space left.*$PWD/disk/server|ENOSPC.*$PWD/disk/server|$PWD/disk/server.*ENOSPC)"
  err_unlike '\[object Object\]'
}

15.2() {
  title 'a disk that becomes full ends no program, and nothing that was acknowledged is lost'
  needs_own_service
  small_disk 160
  given_installation disk/server
  begin disk/server || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  trusting disk/server
  local before acknowledged=() person
  programs() { pgrep -P "$up" -f '(signup|login|enrol|admin|attestor-daemon)\.cjs' | sort; }
  before=$(programs)
  same 5 "$(wc -l <<<"$before")" 'a number of programs of'
  sign_up_there() {
    at "$1"
    run sls signup -q --username "$1" --password-stdin <<<"$PASSWORD"
    [ "$status" = 0 ] && acknowledged+=("$1")
  }
  sign_up_there before || fail "expected an account, got $(short <err)"
  fill_disk
  for person in full-1 full-2 full-3 full-4; do
    sign_up_there $person || { ended 6 && err_like '^hint: '; }
  done
  same "$before" "$(programs)" 'the programs'
  rm disk/filler
  eventually 'a sign-up once there is room' sign_up_there after
  end TERM
  ended 0
  begin disk/server || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  for person in "${acknowledged[@]}"; do
    at "$person"
    run sls login -q --username "$person" --password-stdin <<<"$PASSWORD"
    ended 0
  done
  end TERM
}

# Debian's libfaketime, where it is: a program under it has a clock that is off by $1, and timers that are right.
clock_off() {
  local library
  library=$(find /usr/lib -path '*/faketime/libfaketime.so.1' 2>/dev/null | head -1)
  [ -n "$library" ] || skip 'libfaketime is not here'
  off=(env "LD_PRELOAD=$library" "FAKETIME=$1" FAKETIME_DONT_FAKE_MONOTONIC=1)
}

17.1() {
  title 'a clock that is off is what a refused login or command is put down to, and it is compared first'
  at clocks
  log_in clocks || fail 'no session'
  local difference
  while read -r by difference; do
    clock_off "$by"
    run "${off[@]}" sls login --username "$(name_of clocks)" --password-stdin <<<"$PASSWORD"
    holds 'status 5 or 6' test "$status" = 5 -o "$status" = 6
    out_is ''
    err_like "^hint: this machine's clock is $difference the service's: "
    err_unlike 'someone may stand between|is the service up'
    run "${off[@]}" sls exec -q -- true
    holds 'no success' test "$status" -ne 0
    err_like "^hint: this machine's clock is $difference the service's: "
    run sls exec -q -- echo on
    ended 0
    out_is on
    err_is ''
  done <<'ROWS'
-2m 2 minutes behind
+1h 1 hour ahead of
-1d 1 day behind
+400d 400 days ahead of
ROWS
  clock_off -30s
  run "${off[@]}" sls exec -q -- echo on
  ended 0
  err_is ''
}

17.2() {
  title 'evidence that is verified later says as of which time it was good'
  run sls login -q --evidence evidence.json
  ended 0
  clock_off +8d
  run "${off[@]}" sls verify evidence.json
  ended 5
  err_like '^hint: it was issued at .*--at '
  local at
  at=$(sed -n 's/^hint: .*--at //p' err)
  run "${off[@]}" sls verify evidence.json --at "$at"
  ended 0
}

17.3() {
  title 'a refused one-time code says that a clock may be why'
  run sls totp enable --password-stdin <<<"$PASSWORD"$'\n000000'
  ended 4
  err_like '^hint: .*clock'
}

18.1() {
  title 'a relative --dir is taken from the working folder by every command'
  needs_own_service
  given_installation relative
  begin relative || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  for command in 'licence list' 'nodes list' 'trust-bundle export' 'licence list --address unix:relative/run/admin.sock'; do
    # shellcheck disable=SC2086
    run sls admin $command --dir relative
    ended 0
  done
  end TERM
  ended 0
}

18.2() {
  title 'a folder that is moved while sls up runs ends it with a word, and nothing is made at the old place'
  needs_own_service
  given_installation here
  begin here || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  mv here there
  end
  ended_up 1
  holds 'the message to name both places' grep -q "^sls: .* expected it at $PWD/here, got it at $PWD/there\$" up.log
  holds 'nothing at the old place' test ! -e here
  begin there || fail "expected sls up to be ready at the new place, got $(tail -3 up.log | short)"
  end TERM
  ended_up 0
}
ended_up() { cp up.log err && ended "$1"; }

18.3() {
  title 'a port that is busy at a start is done without for that run alone'
  needs_own_service
  given_installation server
  local kept
  kept=$(sed -n 's/.*"login": *\([0-9]*\).*/\1/p' server/installation.json)
  node "$root/scripts/reports/listen.mjs" 127.0.0.1 "$kept" >listening &
  local listener=$!
  eventually 'the port to be taken' has_line listening '^port '
  begin server || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  holds 'it to be said' grep -q "port $kept of login is taken" up.log
  end TERM
  kill $listener
  wait $listener 2>/dev/null
  begin server || fail "expected sls up to be ready, got $(tail -3 up.log | short)"
  end TERM
  holds 'it not to be said again' eval '! grep -q "is taken" up.log'
  holds 'the usual port in the trust bundle' grep -q "localhost:$kept\"" server/trust-bundle.json
}
