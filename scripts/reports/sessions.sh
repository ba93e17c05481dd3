# 19: sessions, and services that keep silent.

number_of_sessions() { sls sessions list --json | grep -c '"session"'; }
by_password() { run sls login -q --username "$(name_of "$1")" --password-stdin <<<"$PASSWORD"; }
# A command of the same person on another machine.
elsewhere() {
  (at "$1-elsewhere" && by_password "$1" && ended 0 && sls "${@:2}") >out 2>err
  status=$?
  ended 0
}

19.1() {
  title 'a login after a sign-up leaves one session, and so do six at once'
  at often
  sign_up often || fail 'no account'
  by_password often
  ended 0
  same 1 "$(number_of_sessions)" 'a number of sessions of'
  local logins=() login
  for login in 1 2 3 4 5 6; do
    sls login -q --username "$(name_of often)" --password-stdin <<<"$PASSWORD" 2>"err$login" &
    logins+=($!)
  done
  for login in 1 2 3 4 5 6; do
    wait "${logins[login - 1]}"
    status=$?
    cp "err$login" err
    ended 0
  done
  same 1 "$(number_of_sessions)" 'a number of sessions of'
  run sls exec -q -- echo on
  ended 0
  out_is on
}

# A list of revocations that is a second old may still be handed out.
is_refused() { run sls exec -q -- true && [ "$status" != 0 ]; }
session_is_over() {
  ended 4
  out_is ''
  err_like '^sls: the session has ended$'
  err_like '^hint: log in again: sls login$'
  err_unlike 'attestation refused'
}

19.2() {
  title 'passwd elsewhere ends the next command with 4, and in words about the session'
  at two
  log_in two || fail 'no session'
  elsewhere two passwd -q --password-stdin <<<"$PASSWORD"$'\n'"$PASSWORD, again"
  echo "$PASSWORD, again" >"$work/accounts/two"
  eventually 'the session to be refused' is_refused
  session_is_over
}

19.3() {
  title 'status asks, and says of an ended session that it has ended'
  at asked
  log_in asked || fail 'no session'
  run sls status
  ended 0
  out_like '^session +good$'
  elsewhere asked logout -q --all
  run sls status
  ended 4
  out_like '^session +ENDED: '
  err_like '^hint: log in again: sls login$'
}

19.4() {
  title 'a service that accepts and never answers ends a command within seconds, in our own words'
  at silent
  log_in silent || fail 'no session'
  listen 127.0.0.1 0 silent
  # As if the installation were there.
  node -e '
    const fs = require("fs");
    const [file, address] = process.argv.slice(1);
    const saved = JSON.parse(fs.readFileSync(file));
    fs.writeFileSync(file, JSON.stringify({ ...saved, preferences: { services: { signup: address, login: address } } }));
  ' "$(state session.json)" "https://127.0.0.1:$port"
  for command in 'exec -q -- true' "trust add https://127.0.0.1:$port --fingerprint $SLS_TRUST_FINGERPRINT"; do
    # shellcheck disable=SC2086
    run sls $command </dev/null
    ended 6
    two_lines_of_ours
    err_like "^sls: expected a connection to 127.0.0.1:$port within 10 s, got none$"
  done
  run sls status
  kill "$listener"
  ended 0
  out_like '^session +not known: '
  err_like '^sls: warning: '
}
