# 10 to 12 and 14: proxies, logins that go on, a killed attestor, passwords made to be costly.

# Writes into the file seen the first line of each connection that comes, and answers nothing. $port is its. Arguments: those of listen.mjs.
listen() {
  node "$root/scripts/reports/listen.mjs" "${1:-127.0.0.1}" "${@:2}" >seen 2>/dev/null &
  listener=$!
  eventually 'a port' has_line seen '^port '
  port=$(sed -n 's/^port //p' seen)
}
two_lines_of_ours() {
  out_is ''
  same 'sls: hint: ' "$(sed -E 's/^(sls|hint): .*/\1: /' err | tr -d '\n')" 'on standard error'
}

10.1() {
  title 'proxies are not for what is on this machine'
  needs_own_service
  listen
  run env http_proxy="http://127.0.0.1:$port" https_proxy="http://127.0.0.1:$port" all_proxy="http://127.0.0.1:$port" sls exec -q -- echo on
  kill "$listener"
  ended 0
  out_is on
  err_is ''
  same "port $port" "$(cat seen)" 'to be asked for'
}

10.2() {
  title 'HTTPS_PROXY and all_proxy are taken, HTTP_PROXY is not'
  listen
  for variable in HTTPS_PROXY https_proxy ALL_PROXY all_proxy; do
    run env "$variable=http://127.0.0.1:$port" sls trust add "https://$variable.sls.test:1234" --fingerprint "$SLS_TRUST_FINGERPRINT"
    ended 6
    two_lines_of_ours
    err_like "^hint: .*$variable names a proxy"
    holds "$variable to be asked" grep -qi "^CONNECT $variable.sls.test:1234 " seen
  done
  run env HTTP_PROXY="http://127.0.0.1:$port" sls trust add http://127.0.0.1:1 --fingerprint "$SLS_TRUST_FINGERPRINT"
  kill "$listener"
  ended 6
  two_lines_of_ours
  holds 'HTTP_PROXY not to be asked' eval '! grep -q ":1 " seen'
}

10.3() {
  title 'NO_PROXY counts, in upper case, with blanks and ports'
  local address
  address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -E '^[0-9.]+$' | head -1)
  [ -n "$address" ] || skip 'this machine has no other address than its own'
  listen "$address"
  for list in "other.test, $address" "other.test:80 , $address:$port" "${address%.*}.0/24 other.test"; do
    : >seen
    run env NO_PROXY="$list" http_proxy=http://127.0.0.1:1 sls trust add "http://$address:$port" --fingerprint "$SLS_TRUST_FINGERPRINT"
    ended 6
    holds "it to be asked without a proxy ($list)" grep -q '^PRI ' seen
  done
  kill "$listener"
}

10.4() {
  title 'where nobody answers, every line on standard error is ours'
  run sls trust add http://127.0.0.1:1 --fingerprint "$SLS_TRUST_FINGERPRINT"
  ended 6
  two_lines_of_ours
}

11.1() {
  title 'a login to another enclave asks for nothing'
  run sls login -q --enclave another </dev/null
  ended 0
  out_is ''
  err_unlike 'username|assword'
  run sls exec -q --enclave another -- echo on
  ended 0
  out_is on
  run sls enclaves delete another --yes
  ended 0
}

11.2() {
  title 'a login goes on by the trust bundle that it named'
  at named
  local trust=(--trust "$SLS_TRUST" --trust-fingerprint "$SLS_TRUST_FINGERPRINT")
  unset SLS_TRUST SLS_TRUST_FINGERPRINT
  run sls signup -q --username "$(name_of named)" --password-stdin "${trust[@]}" <<<"$PASSWORD"
  ended 0
  echo "$PASSWORD" >"$work/accounts/named"
  run sls login -q "${trust[@]}"
  ended 0
  run sls login -q
  ended 0
  run sls exec -q -- echo on
  ended 0
  out_is on
}

11.3() {
  title 'after an enclave was started anew it is said what became of its files'
  run sls login -q --enclave again </dev/null
  ended 0
  run sls enclaves stop again
  ended 0
  run sls exec --enclave again -- echo on
  ended 0
  out_is on
  err_like '^sls: the enclave is gone: logging in again$'
  err_like '^sls: (warning: )?the enclave again was started anew(; its files are kept|: its workspace (is|may be) empty now)$'
  err_ours
  run sls enclaves delete again --yes
  ended 0
}

program() {
  local process
  for process in /proc/[0-9]*; do
    grep -qsz "$1" "$process/cmdline" && grep -qs "$work/home/service" "$process/environ" && echo "${process#/proc/}" && return
  done
  return 1
}

12.1() {
  title 'a killed attestor under load leaves nothing that only a person can repair'
  needs_own_service
  local clients=() killed attestor
  for round in 1 2; do
    clients=()
    for client in 1 2 3; do
      sls exec -q -- echo on >"out$client" 2>"err$client" </dev/null &
      clients+=($!)
    done
    eventually 'an attestor' eval 'attestor=$(program attestor-daemon.cjs) && [ "$attestor" != "${killed:-}" ]'
    kill -KILL "$attestor"
    killed=$attestor
    for client in 1 2 3; do
      wait "${clients[client - 1]}"
      status=$?
      cp "err$client" err
      cp "out$client" out
      [ $status = 0 ] && continue
      ended 6
      two_lines_of_ours
      err_unlike 'refused'
    done
  done
  works() { run sls exec -q -- echo on && [ "$status" = 0 ]; }
  eventually 'a command to run again' works
}

14.1() {
  title 'a password made to be costly is judged, and others are answered meanwhile'
  at costly
  local password
  password=$(printf 'p4ssw0rdQWERTYuiop%.0s' {1..200})
  sls signup -q --username "$(name_of costly)" --password-stdin <<<"$password" >judged 2>&1 &
  at main
  run sls account show
  ended 0
  wait $!
  status=$?
  case $status in
    0) echo "$password" >"$work/accounts/costly" ;;
    *) mv judged err && err_like '^sls: .*password' ;;
  esac
}
