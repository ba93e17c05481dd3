# 16: standard output that can't be written.

# Runs sls with standard output where nothing can be written.
into_full() {
  timeout --foreground -k 5 "$LIMIT" sls "$@" >/dev/full 2>err </dev/null
  status=$?
  : >out
}
full() {
  into_full "$@"
  [ "$status" = 1 ] || fail "expected status 1 of sls $*, got $status ($(short <err))"
  same "sls: can't write to standard output: ENOSPC" "$(tail -1 err)" "of sls $*"
}

16.1() {
  title 'reading commands whose output can not be written end with 1 and say so'
  for command in status 'status --json' 'sessions list --json' 'seats list' licence 'account show' 'audit check' 'trust show' \
    'totp status' 'enclaves list' --help 'login --help' --version; do
    # shellcheck disable=SC2086
    full $command
  done
}

16.2() {
  title 'exec and cp … - do as well'
  full exec -q -- echo something
  run sls cp -q - enclave:output < <(head -c 100000 /dev/zero)
  ended 0
  full cp -q enclave:output -
}

16.3() {
  title 'a reader that ended is no failure: 141, and nothing is said'
  for command in 'sessions list' --help; do
    run_line "sls $command | true; exit \${PIPESTATUS[0]}"
    # All of it fits into a pipe that nobody reads any more, when that is closed late.
    [ "$status" = 0 ] || ended 141
    err_is ''
  done
}

16.4() {
  title 'standard error that can not be written keeps nothing from being done'
  sls exec -- echo on >out 2>/dev/full </dev/null
  status=$?
  ended 0
  out_is on
}

16.5() {
  title 'a licence whose key could not be shown is revoked again'
  needs_admin
  # shellcheck disable=SC2086
  into_full admin licence issue --plan "reports-$number" --days 1 --reason test $REPORTS_ADMIN
  ended 1
  err_like "^sls: can't write to standard output: ENOSPC; the licence is revoked again$"
  admin licence list --json
  ended 0
  holds 'it to be revoked' grep -q '"revoked"' <(grep -A 12 "reports-$number" out)
}

# What an authenticator shows for a secret in Base32 (RFC 6238).
code_of() {
  local key counter mac offset
  key=$(printf %s "$1" | base32 -d | od -An -tx1 | tr -d ' \n')
  counter=$(printf %016x $(($(date +%s) / 30)))
  mac=$(printf %b "$(sed 's/../\\x&/g' <<<"$counter")" | openssl dgst -sha1 -mac HMAC -macopt "hexkey:$key" | sed 's/.*= *//')
  offset=$((16#${mac:39:1} * 2))
  printf '%06d\n' $(((16#${mac:offset:8} & 0x7fffffff) % 1000000))
}

16.6() {
  title 'recovery codes that can not be written to standard output are shown on standard error'
  at codes
  sign_up codes || fail 'no account'
  mkfifo typed
  sls totp enable --password-stdin <typed >/dev/full 2>err &
  local enabling=$!
  exec {typed}>typed
  echo "$PASSWORD" >&$typed
  eventually 'a secret' has_line err '^Secret'
  code_of "$(sed -n 's/^Secret[^:]*: //p' err | tr -d ' ')" >&$typed
  exec {typed}>&-
  wait $enabling
  status=$?
  ended 1
  same 10 "$(grep -c '^sls: warning: recovery code: ' err)" 'recovery codes'
  same "sls: can't write to standard output: ENOSPC" "$(tail -1 err)" 'at the end'
  local recovery
  recovery=$(sed -n 's/^sls: warning: recovery code: //p' err | head -1)
  run sls totp disable --password-stdin <<<"$PASSWORD"$'\n'"$recovery"
  ended 0
}
